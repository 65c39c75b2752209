"""Sessions: one conversation or one audio stream on a model."""

from __future__ import annotations

import ctypes
from typing import Any, Iterable, Optional, TypeVar, Union

from . import _abi as abi
from ._audio import Audio
from ._library import Handle, call, lib
from ._request import Message, Request
from ._results import Answer, Detection, Embeddings, Result, Transcript
from ._stream import Stream

R = TypeVar("R", bound=Result)


class Session(Handle):
    """One conversation or one audio stream on a model, from `Model.session`: one request at a time.

    Another request meanwhile, on whatever thread, is `BusyError`. After an error, also after Ctrl-C, the session can
    be used as before. Every method that runs a request raises `TenonError`; its arguments are those of `Request`.
    """

    def __init__(self, model: Any) -> None:
        handle = abi.tenon_session()
        call(lib.tenon_session_new, model._handle, ctypes.byref(handle))
        super().__init__(handle, lib.tenon_session_free)

    def run(self, request: Request[R]) -> R:
        """Runs a request and waits for its result. Ctrl-C cancels it."""
        with self.stream(request) as stream:
            return stream.result()

    async def run_async(self, request: Request[R]) -> R:
        """Runs a request in asyncio. Cancelling the task cancels the request."""
        async with self.stream(request) as stream:
            async for _ in stream:
                pass
            return stream.result()

    def stream(self, request: Request[R]) -> Stream[R]:
        """Starts a request whose events are read while it runs. Errors here are those known before the backend runs."""
        return Stream(self, request)

    def transcribe(
        self,
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Transcript:
        """Speech to text in the language spoken; see `Request.transcribe`."""
        with Request.transcribe(audio, rate=rate, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def translate(
        self,
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Transcript:
        """Speech to English text; see `Request.translate`."""
        with Request.translate(audio, rate=rate, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def detect_language(
        self,
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Detection:
        """Which language is spoken; see `Request.detect_language`."""
        with Request.detect_language(audio, rate=rate, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def generate(
        self, prompt: str, *, preset: Optional[str] = None, timeout: Optional[float] = None, **options: Any
    ) -> Answer:
        """Continues a prompt."""
        with Request.generate(prompt, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def chat(
        self,
        messages: Union[str, Iterable[Message]],
        *,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Answer:
        """Answers a conversation; see `Request.chat`."""
        with Request.chat(messages, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def embed(
        self,
        texts: Union[str, Iterable[str]],
        *,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Embeddings:
        """Turns each text into a vector."""
        with Request.embed(texts, preset=preset, timeout=timeout, **options) as request:
            return self.run(request)

    def cancel(self) -> None:
        """Asks the request that runs now, if one does, to end with `CancelledError`. Returns at once. Any thread."""
        call(lib.tenon_session_cancel, self._handle)

    def reset(self) -> None:
        """Makes it as good as new: it forgets everything. `BusyError` while a request runs on it."""
        call(lib.tenon_session_reset, self._handle)
