"""Waiting that Ctrl-C interrupts. Python hears a signal only between two steps of its own, on its main thread, so a
call of C that may take long runs on another thread, or in slices."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Callable, List, Optional, Tuple

from . import _abi as abi
from ._library import linger, stops

#: The longest single wait in C, in seconds.
SLICE = 0.1

#: How long an interrupted call waits for its end, in seconds: a backend that tells no progress hears no cancel.
GRACE = 1.0

#: Hears how far a load, verification or pull is: the phase, "verify", "load" or "pull", and the fraction of it, 0 to 1.
#: What it raises cancels, and comes out of the call.
ProgressFn = Callable[[str, float], object]

PHASES = {abi.TENON_PHASE_VERIFY: "verify", abi.TENON_PHASE_LOAD: "load", abi.TENON_PHASE_PULL: "pull"}


class Errand:
    """A call of C on a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._news: SimpleQueue[Optional[Tuple[int, float]]] = SimpleQueue()
        self._failure: List[BaseException] = []
        self._work = work
        self._asker = threading.get_ident()

    def tell(self, phase: int, fraction: float) -> None:
        """Says how far it is. Any thread."""
        self._news.put((phase, fraction))

    def wait(self, stop: Callable[[], None], progress: Optional[ProgressFn] = None) -> None:
        """Runs it, and has progress called on this thread.

        When that raises, or the wait is interrupted, the work is told to stop and the exception goes on; what does not
        stop soon ends behind the caller's back, and its outcome is dropped.
        """
        thread = threading.Thread(target=self._run, name="tenon", daemon=True)
        thread.start()
        try:
            for phase, fraction in iter(self._news.get, None):
                if progress is not None:
                    progress(PHASES.get(phase, str(phase)), fraction)
        except BaseException:
            stop()
            thread.join(GRACE)
            raise
        thread.join()
        if self._failure:
            linger()
            raise self._failure[0]

    def _run(self) -> None:
        try:
            linger(self._asker)
            self._work()
        except BaseException as problem:
            self._failure.append(problem)
        finally:
            self._news.put(None)


def attended(work: Callable[[Any], None], progress: Optional[ProgressFn]) -> None:
    """Runs a call that tells its progress to a callback, which can cancel it."""
    unwanted = threading.Event()

    def tell(_data: Optional[int], phase: int, fraction: float) -> int:
        errand.tell(phase, fraction)
        return int(unwanted.is_set())

    callback = abi.tenon_progress_fn(tell)
    errand = Errand(lambda: work(callback))
    stops.add(unwanted.set)
    try:
        # Where the interpreter has begun to end, nobody has told this one.
        linger()
        errand.wait(unwanted.set, progress)
    finally:
        stops.discard(unwanted.set)


def interruptible(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Runs a call that may wait. Only the main thread hears signals; others need no help."""
    if threading.current_thread() is threading.main_thread():
        Errand(work).wait(stop)
    else:
        work()
