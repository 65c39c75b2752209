"""Streams: a request that runs, read event by event."""

from __future__ import annotations

import asyncio
import ctypes
import time
from typing import Any, Generic, Iterator, Optional, Type, TypeVar

from . import _abi as abi
from ._audio import samples
from ._library import Handle, Inside, call, free_stream, lib, linger, lost, settle
from ._request import Request, hertz
from ._results import Event, Result, Segment, Text, event, sized
from ._waiting import SLICE, interruptible

R_co = TypeVar("R_co", bound=Result, covariant=True)
S = TypeVar("S", bound="Stream[Any]")


class Stream(Handle, Generic[R_co]):
    """A request that runs, from `Session.stream`: an iterator of its events, and then its result.

        with session.stream(Request.chat("tell me a story")) as stream:
            for piece in stream.texts():
                print(piece, end="", flush=True)

    One thread at a time reads it (else `BusyError`); any thread may call `cancel`, `push_audio` and `finish_input`. A
    request that fails raises its error once, after its last event. Closing a stream cancels its request and waits
    until the backend has ended it. In asyncio, use `async with` and `async for`.
    """

    def __init__(self, session: Any, request: Request[R_co]) -> None:
        handle = abi.tenon_stream()
        call(lib.tenon_stream_start, session._handle, request._handle, ctypes.byref(handle))
        super().__init__(handle, free_stream)
        self._answer: Type[R_co] = request._answer
        self._event = sized(abi.tenon_event)
        #: The latest event; None where its kind is unknown.
        self._happened: Optional[Event] = None
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether all events were read, or an error was raised in place of the next one."""
        return self._ended

    def _step(self, seconds: float) -> int:
        """Waits for the next event, but not longer than this: TENON_OK, TENON_E_TIMEOUT or TENON_E_END."""
        error, status = abi.tenon_error(), abi.TENON_E_TIMEOUT
        handle, place = self._handle, ctypes.byref(self._event)
        with Inside(handle):
            if not lost():
                status = lib.tenon_stream_next(handle, int(seconds * 1e6), place, ctypes.byref(error))
            if status == abi.TENON_OK:
                self._happened = event(self._event)
        linger()
        if status not in (abi.TENON_OK, abi.TENON_E_TIMEOUT):
            self._ended = status != abi.TENON_E_BUSY
        calm = status in (abi.TENON_E_TIMEOUT, abi.TENON_E_END)
        settle(abi.TENON_OK if calm else status, error)
        return status

    def _wait(self, timeout: Optional[float]) -> int:
        """As `_step`, for any time, in slices."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = SLICE if until is None else until - time.monotonic()
            status = self._step(max(0.0, min(SLICE, left)))
            if status != abi.TENON_E_TIMEOUT or left <= 0:
                return status

    def poll(self, timeout: Optional[float] = 0.0) -> Optional[Event]:
        """The next event; waits for it, but at most `timeout` seconds, or as long as it takes with None.

        None when none came in that time and when there are no more, which `ended` tells apart.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if until is None else max(0.0, until - time.monotonic())
            if self._wait(left) != abi.TENON_OK:
                return None
            if self._happened is not None:
                return self._happened

    def __iter__(self: S) -> S:
        return self

    def __next__(self) -> Event:
        happened = self.poll(None)
        if happened is None:
            raise StopIteration
        return happened

    def texts(self) -> Iterator[str]:
        """The pieces of a text as they come. Other events are left out."""
        return (happened.text for happened in self if isinstance(happened, Text))

    def segments(self) -> Iterator[Segment]:
        """The segments of a transcript as they come. Other events are left out."""
        return (happened for happened in self if isinstance(happened, Segment))

    def result(self) -> R_co:
        """The whole result, as often as it is asked for. Waits for the end; events that were not read are dropped.

        Raises the request's own error when it failed.
        """
        while not self._ended:
            self._wait(None)
        result = abi.tenon_result()
        call(lib.tenon_stream_result, self._handle, ctypes.byref(result))
        try:
            return self._answer._read(result)
        finally:
            lib.tenon_result_free(result)

    def push_audio(self, audio: Any, *, rate: int) -> None:
        """Hands over live audio, for a request with `LIVE`: samples as for `Request.transcribe`, copied once.

        Rate and channels must stay as they were in the first call. Waits while the backend is more than 30 seconds
        behind, so where one thread pushes and reads, it should read between two pushes. `TenonError` with the name
        "TENON_E_END" when the request has ended, and an error that says so once it was asked to end or the input was
        finished. Any thread. Ctrl-C cancels the request.
        """
        found = samples(audio)
        push = lib.tenon_stream_push_audio_i16 if found.integer else lib.tenon_stream_push_audio
        handle, rate = self._handle, hertz(rate)
        interruptible(lambda: call(push, handle, found.pointer, found.frames, rate, found.channels), self.cancel)

    def finish_input(self) -> None:
        """Says that no more live audio comes, so that the request can end. A second time does nothing. Any thread."""
        call(lib.tenon_stream_finish_input, self._handle)

    def cancel(self) -> None:
        """Asks the request to end. Returns at once. Any thread, any number of times.

        Events that it has given out can still be read; then it raises `CancelledError`, unless it was done before.
        """
        call(lib.tenon_stream_cancel, self._handle)

    def fileno(self) -> int:
        """A file descriptor for select, poll and event loops, readable while there may be something to read.

        Then `poll()` until it gives None. It belongs to the stream: never read or close it. `UnsupportedError` on
        Windows.
        """
        descriptor = ctypes.c_int32()
        call(lib.tenon_stream_descriptor, self._handle, ctypes.byref(descriptor))
        return descriptor.value

    def __aiter__(self: S) -> S:
        return self

    async def __anext__(self) -> Event:
        while True:
            happened = self.poll()
            if happened is not None:
                return happened
            if self._ended:
                raise StopAsyncIteration
            await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        descriptor = self.fileno()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(descriptor, wake)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)

    async def __aenter__(self: S) -> S:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)
