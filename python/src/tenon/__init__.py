"""Tenon: speech and language models on the user's own machine.

    import tenon

    with tenon.Engine() as engine, engine.load("commands-en") as model, model.session() as session:
        print(session.transcribe("order.wav").text)

An `Engine` finds manifests and plugins, and loads a `Model`; a `Session` on it runs one `Request` at a time, and gives
a `Result`, or a `Stream` of events. What fails is a `TenonError`. All times are seconds.

This is a thin layer over the C library libtenon: it needs nothing but Python's standard library, and takes numpy's
arrays where they lie. After a fork, the child cannot use what the parent made: with multiprocessing, use "spawn".
"""

from ._abi import TENON_VERSION_STRING as __version__
from ._audio import LIVE, Audio
from ._engine import Engine, Model, ModelEntry, PluginEntry
from ._errors import (
    BusyError,
    CancelledError,
    DeadlineError,
    InvalidArgumentError,
    NetworkError,
    NotFoundError,
    OptionsError,
    TenonError,
    UnsupportedError,
    WorkerDiedError,
)
from ._estimate import DeviceEstimate, Estimate
from ._request import Message, Request
from ._results import (
    Answer,
    Detection,
    Embedding,
    Embeddings,
    Event,
    Language,
    Note,
    Progress,
    Result,
    Segment,
    Text,
    Token,
    Transcript,
    Usage,
    Word,
)
from ._session import Session
from ._stream import Stream

__all__ = [
    "LIVE",
    "Answer",
    "Audio",
    "BusyError",
    "CancelledError",
    "DeadlineError",
    "Detection",
    "DeviceEstimate",
    "Embedding",
    "Embeddings",
    "Engine",
    "Estimate",
    "Event",
    "InvalidArgumentError",
    "Language",
    "Message",
    "Model",
    "ModelEntry",
    "NetworkError",
    "Note",
    "NotFoundError",
    "OptionsError",
    "PluginEntry",
    "Progress",
    "Request",
    "Result",
    "Segment",
    "Session",
    "Stream",
    "TenonError",
    "Text",
    "Token",
    "Transcript",
    "UnsupportedError",
    "Usage",
    "Word",
    "WorkerDiedError",
    "__version__",
]
