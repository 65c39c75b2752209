"""Audio in its forms: a file by its path, the bytes of a file, samples in memory, or samples that come later."""

from __future__ import annotations

import ctypes
import enum
import os
from array import array
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Sequence, Union

#: More channels than this are frames and channels confused.
MOST_CHANNELS = 64


class Live(enum.Enum):
    """The type of `LIVE`."""

    LIVE = "live"


#: In place of audio: it comes while the request runs, through `Stream.push_audio`.
LIVE = Live.LIVE

#: The path of a file; `bytes` of a file; samples: anything with the buffer protocol, such as a numpy array of
#: float32 or int16, which is then read where it lies, or a list of floats or of whole numbers of 16 bits; or `LIVE`.
Audio = Union[str, "os.PathLike[str]", bytes, bytearray, Live, Any]


@dataclass(frozen=True)
class Samples:
    """Interleaved samples that C can read."""

    #: A ctypes array, a pointer, or None where there are none.
    pointer: Any
    frames: int
    channels: int
    #: Whether they are of 16 bits; otherwise they are floats.
    integer: bool
    #: What must live as long as the pointer is used.
    owner: Any


def samples(audio: Any) -> Samples:
    """Finds the samples of an object: of float32 or int16, (frames,) or (frames, channels).

    They are used where they lie if they lie in one piece, in C's order; else, and for float64, they are copied once.
    Everything else is a TypeError or ValueError.
    """
    view = buffer(audio)
    if view.format not in ("f", "h", "d"):
        message = f"samples must be float32 or int16, not of the format {view.format!r}"
        hint = "; raw 16-bit samples are memoryview(data).cast('h')" if view.format in ("B", "b", "c") else ""
        raise TypeError(message + hint)
    shape = view.shape or ()
    if len(shape) not in (1, 2):
        raise ValueError(f"samples have the shape {shape}: it must be (frames,) or (frames, channels)")
    channels = shape[1] if len(shape) == 2 else 1
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"samples have the shape {shape}, which is {channels} channels: it must be (frames, channels)")
    if view.format == "d":
        audio = view = single(audio, view)
    pointer = address(audio, view)
    return Samples(pointer, shape[0], channels, view.format == "h", (audio, view))


def buffer(audio: Any) -> memoryview:
    """The memory of an object."""
    if isinstance(audio, (list, tuple)):
        return memoryview(numbers(audio))
    try:
        return memoryview(audio)
    except (TypeError, BufferError):
        if not hasattr(audio, "__array__"):
            kind = type(audio).__name__
            message = (
                f"audio must be a path, the bytes of a file, or samples as a numpy array or another buffer, not {kind}"
            )
            raise TypeError(message) from None
        return memoryview(audio.__array__())


def numbers(values: Sequence[Any]) -> "array[Any]":
    """A list of samples: of 16 bits where all are whole numbers."""
    if not all(isinstance(value, Integral) and not isinstance(value, bool) for value in values):
        return array("f", values)
    try:
        return array("h", values)
    except OverflowError:
        raise ValueError("samples that are all whole numbers must be of 16 bits: -32768 to 32767") from None


def single(audio: Any, view: memoryview) -> Any:
    """Doubles as floats."""
    # A memoryview may be a part of its object.
    if not isinstance(audio, memoryview) and hasattr(view.obj, "astype"):
        return memoryview(view.obj.astype("float32"))
    flat = memoryview(array("f", array("d", view.tobytes())))
    return flat.cast("B").cast("f", view.shape) if view.nbytes and view.shape else flat


def address(audio: Any, view: memoryview) -> Any:
    """Where C finds the samples."""
    kind: Any = ctypes.c_int16 if view.format == "h" else ctypes.c_float
    count = view.nbytes // view.itemsize
    if count == 0:
        return None
    if not view.c_contiguous:
        return (kind * count).from_buffer_copy(view.tobytes())
    if not view.readonly:
        return (kind * count).from_buffer(view)
    interface = getattr(view.obj, "__array_interface__", None)
    # A memoryview may be a part of its object, and nobody tells which.
    if interface is not None and not isinstance(audio, memoryview):
        # ctypes takes no pointer to memory that must not be written; numpy tells where it is.
        return ctypes.cast(interface["data"][0], ctypes.POINTER(kind))
    return (kind * count).from_buffer_copy(view)
