"""libtenon: where it is, its functions, and how they are called.

Every call goes through `call`, which turns an error of C into an exception. Every object of C is held by a `Handle`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Set, TypeVar, Union

from . import _abi as abi
from ._errors import CLASSES, TenonError

Self = TypeVar("Self", bound="Handle")

#: The details that errors of the library have; C gives each by its name alone.
DETAILS = (
    "actual",
    "available",
    "backend",
    "cache",
    "compute",
    "context_size",
    "cpu",
    "device",
    "exit_code",
    "expected",
    "failures",
    "file",
    "limit",
    "line",
    "log",
    "lost",
    "missing",
    "model",
    "native",
    "needed",
    "offset",
    "option",
    "other",
    "plugin",
    "program",
    "prompt_tokens",
    "reserve",
    "retry_after_ms",
    "signal",
    "target",
    "threads",
    "trained",
    "weights",
    "worker_pid",
)

#: `.by` is the KeyboardInterrupt that came in a callback on the thread of a call, to be raised when the call returns.
interrupted = threading.local()


def candidates() -> Iterator[Path]:
    """Where the library may be, in the order of the search: the wheel, or a checkout in which this file lies."""
    major = abi.TENON_VERSION_MAJOR
    series = f"0.{abi.TENON_VERSION_MINOR}" if major == 0 else str(major)
    if sys.platform == "win32":
        shipped, built = "tenon.dll", "tenon.dll"
    elif sys.platform == "darwin":
        shipped, built = f"libtenon.{series}.dylib", "libtenon.dylib"
    else:
        shipped, built = f"libtenon.so.{series}", "libtenon.so"
    package = Path(__file__).resolve().parent
    yield package / "lib" / shipped
    checkout = package.parents[2]
    if (checkout / "include" / "tenon.h").is_file():
        for profile in ("release", "debug"):
            yield checkout / "target" / profile / built


def find() -> Path:
    """The library: the one that TENON_LIBRARY names, or else the first that is there."""
    named = os.environ.get("TENON_LIBRARY")
    if named:
        return Path(named)
    places = list(candidates())
    for place in places:
        if place.is_file():
            return place
    listed = ", ".join(str(place) for place in places)
    raise ImportError(f"libtenon is in none of its places ({listed}): install the wheel or set TENON_LIBRARY")


def load(path: Path) -> ctypes.CDLL:
    """Opens the library, refuses one of another version, and declares its functions."""
    try:
        library = ctypes.CDLL(str(path))
        library.tenon_version.restype = ctypes.c_uint32
        version: int = library.tenon_version()
    except (OSError, AttributeError) as problem:
        raise ImportError(f"{path} cannot be used as libtenon: {problem}") from problem
    wanted = abi.TENON_VERSION_MAJOR << 16 | abi.TENON_VERSION_MINOR << 8
    if version & ~0xFF != wanted:
        found = f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}"
        message = (
            f"{path} is libtenon {found}, and this package is for {abi.TENON_VERSION_STRING}: install one of the two"
        )
        raise ImportError(message)
    for name, (result, arguments) in abi.FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError(f"{path} lacks {name}: it is older than this package")
        function.restype, function.argtypes = result, arguments
    return library


path = find()
lib = load(path)

# How the interpreter ends. It waits for all threads but daemon threads, runs what atexit knows, and then ends a thread
# that comes to its lock, by unwinding it. Where a call of C has called back, the frames of C let nobody through and the
# process is aborted. So nothing may call back by then: what daemon threads are in is told to end, and waited for.

#: How long the end of the interpreter waits for what is told to end, in seconds.
PATIENCE = 10.0

#: The daemon threads that there were when the interpreter began to end, and until when what runs may go on.
left_behind: FrozenSet[Optional[int]] = frozenset()
until: Optional[float] = None

#: What tells the calls that hear no engine to end, of those that run now.
stops: Set[Callable[[], None]] = set()


class Inside:
    """A call of C that runs and may call back, and the use of what it lent."""

    #: Those of all threads, each with its thread.
    all: Dict["Inside", int] = {}

    def __init__(self, handle: Any = None) -> None:
        #: Of the object that must not be freed meanwhile, if there is one.
        self.handle = handle

    def __enter__(self) -> None:
        self.all[self] = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self.all.pop(self, None)


def leave_behind() -> None:
    """Notes which threads nobody waits for any more, and tells what they wait for to end."""
    global left_behind, until
    until = time.monotonic() + PATIENCE
    left_behind = frozenset(thread.ident for thread in threading.enumerate() if thread.daemon)
    for stop in list(stops):
        stop()


def left() -> float:
    """How many seconds what runs may go on; 0 while the interpreter does not end."""
    return 0.0 if until is None else max(0.0, until - time.monotonic())


def wait_for_calls(handle: Any = None) -> None:
    """Waits until no other thread is in a call, or in one that uses an object, when the interpreter ends."""
    here = threading.get_ident()
    while left() > 0:
        calls = list(Inside.all.items())
        if not any(thread != here and (handle is None or call.handle is handle) for call, thread in calls):
            break
        time.sleep(0.005)


def free_stream(handle: Any) -> None:
    """Frees a stream. When the interpreter ends, a daemon thread may be looking at what its latest event points to."""
    if until is not None:
        lib.tenon_stream_cancel(handle, None)
        wait_for_calls(handle)
    lib.tenon_stream_free(handle)


def free_engine(handle: Any) -> None:
    """Frees an engine. When the interpreter ends, its threads and its loads end first."""
    if until is not None:
        lib.tenon_engine_shutdown(handle, int(left() * 1e6), None)
    lib.tenon_engine_free(handle)


def lost(thread: Optional[int] = None) -> bool:
    """Whether nobody waits for a thread any more, by default this one."""
    return (thread or threading.get_ident()) in left_behind


def linger(thread: Optional[int] = None) -> None:
    """Keeps a daemon thread in its call until the process ends, once the interpreter has closed its handles.

    What it raised would be handled by nobody and printed, or half of it. `thread` is the one that it works for, if that
    is another one.
    """
    if lost(thread):
        threading.Event().wait()


# What was registered last is called first. What closes the handles, weakref, registers with its first finalizer, and
# calls that one, the oldest, when all handles are closed. What a program has registered itself since then comes before.
weakref.finalize(lib, wait_for_calls)
atexit.register(leave_behind)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=Inside.all.clear)


def into_c(function: Any, *arguments: Any) -> Any:
    """Calls a function of C that may call back. A daemon thread begins nothing once the interpreter ends."""
    with Inside():
        if not lost():
            return function(*arguments)
    linger()
    return None


def freed(free: Callable[[Any], None], handle: Any) -> None:
    """Calls a function that frees, on any thread and at any time."""
    with Inside():
        free(handle)


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last parameter is an error, and raises what it says."""
    error = abi.tenon_error()
    status: int = into_c(function, *arguments, ctypes.byref(error))
    settle(status, error)


def settle(status: int, error: abi.tenon_error) -> None:
    """Raises what a call left behind, if anything."""
    problem = None if status == abi.TENON_OK else exception(status, error)
    interrupt = interrupted.__dict__.pop("by", None)
    if interrupt is not None:
        raise interrupt
    if problem is not None:
        linger()
        raise problem


def exception(status: int, error: abi.tenon_error) -> TenonError:
    """An error of C as an exception. Frees it."""
    name = string(lib.tenon_status_name(status))
    message = string(lib.tenon_error_message(error)) or name
    details: Dict[str, str] = {}
    for key in DETAILS:
        value = lib.tenon_error_detail(error, key.encode())
        if value is not None:
            details[key] = string(value)
    lib.tenon_error_free(error)
    return CLASSES.get(status, TenonError)(status, name, message, details)


def string(text: Optional[bytes]) -> str:
    """A text of C's; "" for NULL."""
    return "" if text is None else text.decode()


def chars(text: str, what: str) -> bytes:
    """A text for C, which cannot hold a NUL."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if "\0" in text:
        raise ValueError(f"{what} contains a null character")
    return text.encode()


def file_name(path: Union[str, "os.PathLike[str]"]) -> bytes:
    """A path for C."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("the path contains a null character")
    return name


def microseconds(seconds: float, what: str) -> int:
    """A duration for C, which ends at 292,000 years."""
    if not seconds >= 0:
        raise ValueError(f"{what} is {seconds}: it must be a number of seconds, 0 or more")
    return int(min(seconds * 1e6, 2.0**63 - 1024))


def rows(function: Any, owner: Any) -> List[Dict[str, str]]:
    """A table that a function gives, as one dict for each row."""
    table = abi.tenon_table()
    call(function, owner, ctypes.byref(table))
    try:
        names = [lib.tenon_table_column(table, column) for column in range(lib.tenon_table_columns(table))]
        count = lib.tenon_table_rows(table)
        return [{string(name): string(lib.tenon_table_get(table, row, name)) for name in names} for row in range(count)]
    finally:
        lib.tenon_table_free(table)


class Handle:
    """What all objects have in common: they can be closed, by `close`, by `with`, or else when nobody uses them.

    Closing twice is allowed, and so is any order of closing: what needs another object keeps it alive. To use what was
    closed is a ValueError.
    """

    def __init__(self, handle: Any, free: Callable[[Any], None]) -> None:
        self._raw = handle
        # Runs once: by close, when the object is gone, or before the interpreter ends.
        self._finalizer = weakref.finalize(self, freed, free, handle)

    @property
    def _handle(self) -> Any:
        if not self._finalizer.alive:
            linger()
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._raw

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Frees what it holds. A second time does nothing."""
        self._finalizer()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
