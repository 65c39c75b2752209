"""What requests answer: results, and the events of a stream. Plain data, read from C once.

All times are seconds. Times in a transcript are counted from the beginning of the audio.
"""

from __future__ import annotations

import ctypes
import importlib
import json
from array import array
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Type, TypeVar, Union

from . import _abi as abi
from ._library import call, lib, rows, string

R = TypeVar("R", bound="Result")


@dataclass(frozen=True)
class Word:
    """A timed word."""

    start: float
    end: float
    #: Without surrounding space.
    text: str
    #: Probability, 0 to 1; None when the backend tells none.
    confidence: Optional[float]


@dataclass(frozen=True)
class Segment:
    """A timed piece of a transcript. As an event: what was heard since the last one."""

    start: float
    end: float
    #: As the model wrote it, surrounding space included.
    text: str
    #: Probability of the text, 0 to 1; None when the backend tells none.
    confidence: Optional[float]
    #: Probability that this is no speech, 0 to 1; None when the backend tells none.
    no_speech: Optional[float]
    #: Its words, where they were asked for by the option `words=True`.
    words: Tuple[Word, ...] = ()


@dataclass(frozen=True)
class Text:
    """An event: a piece of generated text, whole code points."""

    text: str


@dataclass(frozen=True)
class Token:
    """A token of a text, where they were asked for by the option `tokens=True`."""

    id: int
    text: str
    #: Natural logarithm of its probability; None when the backend tells none.
    logprob: Optional[float]
    #: When it was said; None for a token that has no time.
    start: Optional[float] = None
    end: Optional[float] = None


@dataclass(frozen=True)
class Embedding:
    """An event: the vector of one input text."""

    #: Which text, from 0.
    index: int
    #: 32-bit floats; `numpy.asarray` takes them without a copy.
    values: "array[float]"


@dataclass(frozen=True)
class Language:
    """The language that was detected or used."""

    #: ISO 639-1 code, such as "en".
    code: str
    #: English name; "" when the backend tells none.
    name: str
    #: Probability, 0 to 1; None when the backend tells none.
    probability: Optional[float]


@dataclass(frozen=True)
class Progress:
    """An event: how far the request is. Only the latest is kept when the reader is slow."""

    #: 0 to 1.
    fraction: float


@dataclass(frozen=True)
class Note:
    """What the reader of an answer should know: nothing is left out of a result without one."""

    code: str
    message: str
    #: Where audio was lost; None where no audio was.
    at: Optional[float] = None
    #: How much of it was lost; None where that is not known.
    lost: Optional[float] = None


#: What happens while a request runs.
Event = Union[Segment, Text, Token, Embedding, Language, Progress, Note]


@dataclass(frozen=True)
class Usage:
    """What a request consumed and produced, and where its time went."""

    #: Tokens of the input.
    prompt_tokens: int
    #: Tokens of the input that the session remembered.
    cached_tokens: int
    #: Tokens generated.
    generated_tokens: int
    #: Audio consumed.
    audio_seconds: float
    #: Time spent on the input: prefill or encoder.
    prompt_seconds: float
    #: Time spent on generating or decoding.
    generate_seconds: float
    #: Time until the first thing came; None when nothing did.
    first_seconds: Optional[float]
    #: Time from start to end.
    total_seconds: float


@dataclass(frozen=True)
class Result:
    """What every request answers; tasks that this package does not know answer just this."""

    task: str
    #: What was generated, or the segments' texts joined.
    text: str
    usage: Usage
    notes: Tuple[Note, ...]
    #: The name of the model.
    model: str
    #: The preset in force; "" for none.
    preset: str
    #: The options in force: those asked for, the preset's, and those that the host granted.
    options: Mapping[str, Any] = field(repr=False)
    #: Everything as one JSON object, as `tenon --json` prints it.
    json: str = field(repr=False)

    @classmethod
    def _read(cls: Type[R], result: abi.tenon_result) -> R:
        options = info(result, "options")
        return cls(
            task=info(result, "task"),
            text=string(lib.tenon_result_text(result)),
            usage=usage(result),
            notes=tuple(map(note, rows(lib.tenon_result_notes, result))),
            model=info(result, "model"),
            preset=info(result, "preset"),
            options=json.loads(options) if options else {},
            json=string(lib.tenon_result_json(result)),
            **cls._more(result),
        )

    @classmethod
    def _more(cls, _result: abi.tenon_result) -> Dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Transcript(Result):
    """What was said, by `transcribe` and `translate`."""

    #: In the order of their start.
    segments: Tuple[Segment, ...]
    #: The language spoken; None when the backend tells none.
    language: Optional[Language]

    @classmethod
    def _more(cls, result: abi.tenon_result) -> Dict[str, Any]:
        count = lib.tenon_result_segment_count(result)
        segments = tuple(segment(result, index) for index in range(count))
        return {"segments": segments, "language": language(result)}


@dataclass(frozen=True)
class Detection(Result):
    """Which language is spoken, by `detect_language`."""

    language: Optional[Language]

    @classmethod
    def _more(cls, result: abi.tenon_result) -> Dict[str, Any]:
        return {"language": language(result)}


@dataclass(frozen=True)
class Answer(Result):
    """What was written, by `generate` and `chat`."""

    #: Why it ended: "stop", or "length" when `max_tokens` or the end of the context was reached.
    finish: str
    #: The stop text that ended it, which is no part of the text; None when none did.
    stop: Optional[str]
    #: Its tokens, where they were asked for.
    tokens: Tuple[Token, ...] = field(repr=False)

    @classmethod
    def _more(cls, result: abi.tenon_result) -> Dict[str, Any]:
        stop = lib.tenon_result_info(result, b"stop")
        tokens = tuple(map(token, rows(lib.tenon_result_tokens, result)))
        return {"finish": info(result, "finish"), "stop": None if stop is None else string(stop), "tokens": tokens}


@dataclass(frozen=True)
class Embeddings(Result):
    """One vector for each text, by `embed`. A sequence of `array("f")`; `numpy.asarray` makes a matrix of it."""

    vectors: Tuple["array[float]", ...] = field(repr=False)

    @classmethod
    def _more(cls, result: abi.tenon_result) -> Dict[str, Any]:
        count = lib.tenon_result_embedding_count(result)
        return {"vectors": tuple(vector(result, index) for index in range(count))}

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> "array[float]":
        return self.vectors[index]

    def __iter__(self) -> Iterator["array[float]"]:
        return iter(self.vectors)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Any:
        if copy is False:
            raise ValueError("a matrix of the vectors needs a copy; each of them alone does not")
        numpy = importlib.import_module("numpy")
        return numpy.array([numpy.asarray(vector) for vector in self.vectors], dtype=dtype)


def sized(kind: Any) -> Any:
    """A struct of C's that begins with its size."""
    struct = kind()
    struct.struct_size = ctypes.sizeof(kind)
    return struct


def info(result: abi.tenon_result, key: str) -> str:
    return string(lib.tenon_result_info(result, key.encode()))


def probability(known: float) -> Optional[float]:
    return None if known < 0 else known


def seconds(microseconds: int) -> float:
    return microseconds / 1e6


def language(result: abi.tenon_result) -> Optional[Language]:
    code = info(result, "language")
    known = info(result, "language_probability")
    return Language(code, info(result, "language_name"), float(known) if known else None) if code else None


def segment(result: abi.tenon_result, index: int) -> Segment:
    read = sized(abi.tenon_timed_segment)
    call(lib.tenon_result_segment, result, index, ctypes.byref(read))
    return segment_of(read, tuple(word(result, index, number) for number in range(read.word_count)))


def segment_of(read: Any, words: Tuple[Word, ...]) -> Segment:
    return Segment(
        start=seconds(read.start_us),
        end=seconds(read.end_us),
        text=string(read.text),
        confidence=probability(read.confidence),
        no_speech=probability(read.no_speech),
        words=words,
    )


def word(result: abi.tenon_result, index: int, number: int) -> Word:
    read = sized(abi.tenon_timed_word)
    call(lib.tenon_result_word, result, index, number, ctypes.byref(read))
    return Word(seconds(read.start_us), seconds(read.end_us), string(read.text), probability(read.confidence))


def vector(result: abi.tenon_result, index: int) -> "array[float]":
    values, size = ctypes.POINTER(ctypes.c_float)(), ctypes.c_size_t()
    call(lib.tenon_result_embedding, result, index, ctypes.byref(values), ctypes.byref(size))
    return floats(values, size.value)


def floats(values: Any, size: int) -> "array[float]":
    copied = array("f")
    if size:
        copied.frombytes(ctypes.string_at(values, size * ctypes.sizeof(ctypes.c_float)))
    return copied


def time(text: str) -> Optional[float]:
    """A time in a table, where "" is none."""
    return seconds(int(text)) if text else None


def token(row: Dict[str, str]) -> Token:
    logprob = float(row["logprob"]) if row["logprob"] else None
    return Token(int(row["id"]), row["text"], logprob, time(row["start_us"]), time(row["end_us"]))


def note(row: Dict[str, str]) -> Note:
    return Note(row["code"], row["message"], time(row["at_us"]), time(row["lost_us"]))


def usage(result: abi.tenon_result) -> Usage:
    read = sized(abi.tenon_run_usage)
    call(lib.tenon_result_usage, result, ctypes.byref(read))
    return Usage(
        prompt_tokens=read.prompt_tokens,
        cached_tokens=read.cached_tokens,
        generated_tokens=read.generated_tokens,
        audio_seconds=seconds(read.audio_us),
        prompt_seconds=seconds(read.prompt_us),
        generate_seconds=seconds(read.generate_us),
        first_seconds=seconds(read.first_us) if read.first_us >= 0 else None,
        total_seconds=seconds(read.total_us),
    )


def event(read: Any) -> Optional[Event]:
    """An event of C's; None for a kind that a later version added."""
    kind: int = read.kind
    if kind == abi.TENON_EVENT_TEXT:
        return Text(string(read.text))
    if kind == abi.TENON_EVENT_TOKEN:
        logprob = read.logprob if read.logprob <= 0 else None
        timed = read.end_us > 0
        start, end = (seconds(read.start_us), seconds(read.end_us)) if timed else (None, None)
        return Token(read.token, string(read.text), logprob, start, end)
    if kind == abi.TENON_EVENT_PROGRESS:
        return Progress(read.fraction)
    if kind == abi.TENON_EVENT_EMBEDDING:
        return Embedding(read.index, floats(read.values, read.value_count))
    if kind == abi.TENON_EVENT_SEGMENT:
        return segment_of(read, words_of(document(read)["segment"]))
    if kind == abi.TENON_EVENT_LANGUAGE:
        name = document(read)["language"].get("name", "")
        return Language(string(read.text), name, probability(read.confidence))
    if kind == abi.TENON_EVENT_NOTE:
        return Note(document(read)["note"]["code"], string(read.text))
    return None


def document(read: Any) -> Dict[str, Any]:
    """The event as JSON, for what the struct has no field for."""
    parsed: Dict[str, Any] = json.loads(string(read.json))
    return parsed


def words_of(document: Dict[str, Any]) -> Tuple[Word, ...]:
    def known(confidence: Optional[float]) -> Optional[float]:
        # As precise as C's number, so that a segment of a stream equals that of the result.
        return None if confidence is None else ctypes.c_float(confidence).value

    words: List[Dict[str, Any]] = document.get("words", [])
    return tuple(
        Word(seconds(word["start_us"]), seconds(word["end_us"]), word["text"], known(word.get("confidence")))
        for word in words
    )
