"""Requests: what is asked of a session, in any of the tasks."""

from __future__ import annotations

import ctypes
import json
import os
from contextlib import contextmanager
from typing import Any, Generic, Iterable, Iterator, Mapping, Optional, Tuple, Type, TypeVar, Union

from . import _abi as abi
from ._audio import LIVE, Audio, samples
from ._library import Handle, call, chars, file_name, lib, microseconds
from ._results import Answer, Detection, Embeddings, Result, Transcript

R_co = TypeVar("R_co", bound=Result, covariant=True)

#: One message of a conversation: `("user", "hello")` or `{"role": "user", "content": "hello"}`.
Message = Union[Tuple[str, str], Mapping[str, str]]


@contextmanager
def given(options: Optional[Mapping[str, Any]]) -> Iterator[abi.tenon_options]:
    """Options for C. None as a value asks for nothing."""
    made = abi.tenon_options()
    call(lib.tenon_options_new, ctypes.byref(made))
    try:
        for name, value in (options or {}).items():
            if value is not None:
                call(lib.tenon_options_set_json, made, chars(name, "the name of an option"), document(name, value))
        yield made
    finally:
        lib.tenon_options_free(made)


def document(name: str, value: Any) -> bytes:
    try:
        # Numbers of numpy know their plain value.
        return json.dumps(value, allow_nan=False, default=lambda other: other.item()).encode()
    except (AttributeError, TypeError, ValueError) as problem:
        message = f"the option {name} is {value!r}: it must be a text, number, bool, or a list or dict of these"
        raise (ValueError if isinstance(problem, ValueError) else TypeError)(message) from None


class Request(Handle, Generic[R_co]):
    """What is asked of a session: make one by `Request.transcribe`, `Request.chat` and so on.

    It copies what it is given, audio in memory included, and can be used again, by several sessions at once too.

    Every task takes
    - `preset`: takes the options of this preset of the manifest, such as "fast", instead of those of "default"
    - `timeout`: seconds after which the request ends with `DeadlineError` if it is not done
    - its options by their names, such as `temperature=0`; `Model.schema` lists them. They lie over the preset's. They
      are checked when the request runs: `OptionsError`
    """

    def __init__(
        self,
        task: str,
        *,
        messages: Iterable[Tuple[Optional[str], str]] = (),
        audio: Optional[Audio] = None,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        options: Optional[Mapping[str, Any]] = None,
        answer: Type[R_co] = Result,  # type: ignore[assignment]
    ) -> None:
        """A request for a task by its name, for tasks of a backend that have no constructor here."""
        handle = abi.tenon_request()
        call(lib.tenon_request_new, chars(task, "the task"), ctypes.byref(handle))
        super().__init__(handle, lib.tenon_request_free)
        self._answer = answer
        for role, content in messages:
            self._add_text(role, content)
        if audio is not None:
            self._add_audio(audio, rate)
        with given(options) as made:
            call(lib.tenon_request_set_options, handle, made)
        if preset is not None:
            call(lib.tenon_request_set_preset, handle, chars(preset, "the preset"))
        if timeout is not None:
            call(lib.tenon_request_set_deadline, handle, microseconds(timeout, "the timeout"))

    def _add_text(self, role: Optional[str], content: str) -> None:
        if not isinstance(content, str):
            raise TypeError(f"a text must be a str, not {type(content).__name__}")
        text = content.encode()
        named = None if role is None else chars(role, "the role")
        call(lib.tenon_request_add_text_n, self._handle, named, text, len(text))

    def _add_audio(self, audio: Audio, rate: Optional[int]) -> None:
        is_samples = not isinstance(audio, (str, os.PathLike, bytes, bytearray)) and audio is not LIVE
        if not is_samples and rate is not None:
            raise TypeError("rate is for samples: a file says its own, and live audio has one when it is pushed")
        if audio is LIVE:
            call(lib.tenon_request_add_live_audio, self._handle)
        elif isinstance(audio, (bytes, bytearray)):
            data = bytes(audio)
            pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
            call(lib.tenon_request_add_audio_bytes, self._handle, pointer, len(data))
        elif is_samples:
            self._add_samples(audio, rate)
        else:
            call(lib.tenon_request_add_audio_file, self._handle, file_name(audio))

    def _add_samples(self, audio: Any, rate: Optional[int]) -> None:
        found = samples(audio)
        if rate is None:
            raise TypeError("samples need their rate, in frames per second: rate=16000")
        add = lib.tenon_request_add_audio_i16 if found.integer else lib.tenon_request_add_audio
        call(add, self._handle, found.pointer, found.frames, hertz(rate), found.channels)

    @staticmethod
    def transcribe(
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Request[Transcript]:
        """Speech to text in the language spoken.

        `audio` is the path of a file (wav, flac, mp3, ogg, opus, webm, m4a, aac, aiff), the bytes of one, `LIVE`, or
        samples of float32 or int16 with their `rate` in hertz, of the shape (frames,) or (frames, channels). A list is
        samples of one channel: of float32, or of int16 where all of its numbers are of the type int.
        """
        return Request(
            "transcribe", audio=audio, rate=rate, preset=preset, timeout=timeout, options=options, answer=Transcript
        )

    @staticmethod
    def translate(
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Request[Transcript]:
        """Speech to English text; `audio` as for `transcribe`."""
        return Request(
            "translate", audio=audio, rate=rate, preset=preset, timeout=timeout, options=options, answer=Transcript
        )

    @staticmethod
    def detect_language(
        audio: Audio,
        *,
        rate: Optional[int] = None,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Request[Detection]:
        """Which language is spoken; `audio` as for `transcribe`."""
        return Request(
            "detect-language", audio=audio, rate=rate, preset=preset, timeout=timeout, options=options, answer=Detection
        )

    @staticmethod
    def generate(
        prompt: str, *, preset: Optional[str] = None, timeout: Optional[float] = None, **options: Any
    ) -> Request[Answer]:
        """Continues a prompt."""
        return Request(
            "generate", messages=[(None, prompt)], preset=preset, timeout=timeout, options=options, answer=Answer
        )

    @staticmethod
    def chat(
        messages: Union[str, Iterable[Message]],
        *,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Request[Answer]:
        """Answers a conversation, in order; roles are "system", "user" and "assistant". A str is a user's message."""
        conversation = [("user", messages)] if isinstance(messages, str) else map(message, messages)
        return Request("chat", messages=conversation, preset=preset, timeout=timeout, options=options, answer=Answer)

    @staticmethod
    def embed(
        texts: Union[str, Iterable[str]],
        *,
        preset: Optional[str] = None,
        timeout: Optional[float] = None,
        **options: Any,
    ) -> Request[Embeddings]:
        """Turns each text into a vector."""
        several = [texts] if isinstance(texts, str) else texts
        messages = [(None, text) for text in several]
        return Request("embed", messages=messages, preset=preset, timeout=timeout, options=options, answer=Embeddings)


def message(given: Message) -> Tuple[str, str]:
    """The role and content of a message."""
    if isinstance(given, Mapping):
        if set(given) != {"role", "content"}:
            raise ValueError(f"a message has role and content, not {', '.join(sorted(given))}")
        return given["role"], given["content"]
    if isinstance(given, str):
        raise TypeError("a message is a pair of role and content or a dict of them, not a str")
    role, content = given
    return role, content


def hertz(rate: int) -> int:
    """A rate for C, which would cut a larger number."""
    try:
        whole = int(rate)
    except (OverflowError, ValueError):
        whole = 0
    if rate != whole or not 0 < whole < 2**32:
        raise ValueError(f"rate is {rate}: it must be a whole number of frames per second")
    return whole
