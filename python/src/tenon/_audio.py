"""Audio in its forms: a file by its path, the bytes of a file, samples in memory, or samples that come later."""

from __future__ import annotations

import ctypes
import enum
import os
from array import array
from dataclasses import dataclass
from typing import Any, Union

#: More channels than this are frames and channels confused.
MOST_CHANNELS = 64


class Live(enum.Enum):
    """The type of `LIVE`."""

    LIVE = "live"


#: In place of audio: it comes while the request runs, through `Stream.push_audio`.
LIVE = Live.LIVE

#: The path of a file; `bytes` of a file; samples: anything with the buffer protocol, such as a numpy array of
#: float32 or int16, which is then read where it lies; or `LIVE`.
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
    if view.format not in ("f", "h"):
        message = f"samples must be float32 or int16, not of the format {view.format!r}"
        hint = "; raw 16-bit samples are memoryview(data).cast('h')" if view.format in ("B", "b", "c") else ""
        raise TypeError(message + hint)
    shape = view.shape or ()
    if len(shape) not in (1, 2):
        raise ValueError(f"samples have the shape {shape}: it must be (frames,) or (frames, channels)")
    channels = shape[1] if len(shape) == 2 else 1
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"samples have the shape {shape}, which is {channels} channels: it must be (frames, channels)")
    pointer = address(audio, view)
    return Samples(pointer, shape[0], channels, view.format == "h", (audio, view))


def buffer(audio: Any) -> memoryview:
    """The memory of an object."""
    if isinstance(audio, (list, tuple)):
        return memoryview(array("f", audio))
    try:
        view = memoryview(audio)
    except (TypeError, BufferError):
        if not hasattr(audio, "__array__"):
            kind = type(audio).__name__
            message = (
                f"audio must be a path, the bytes of a file, or samples as a numpy array or another buffer, not {kind}"
            )
            raise TypeError(message) from None
        view = memoryview(audio.__array__())
    if view.format == "d":
        return memoryview(audio.astype("float32") if hasattr(audio, "astype") else array("f", view))
    return view


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
    if interface is not None:
        # ctypes takes no pointer to memory that must not be written; numpy tells where it is.
        return ctypes.cast(interface["data"][0], ctypes.POINTER(kind))
    return (kind * count).from_buffer_copy(view)
