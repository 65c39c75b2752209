"""The memory that a model is going to need, told before it is loaded."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

from . import _abi as abi
from ._library import chars, lib, rows
from ._request import given
from ._results import sized


@dataclass(frozen=True)
class DeviceEstimate:
    """What lies on one device, in bytes."""

    #: Name of the device, such as "cpu".
    device: str
    #: Weights, once for all sessions.
    weights: int
    #: What sessions keep of their past: keys and values of their tokens.
    cache: int
    #: Buffers of the computation.
    compute: int
    #: Everything else: vocabulary, tables, samples, output.
    other: int
    #: All of it.
    total: int
    #: What of the total each session more adds.
    session: int
    #: Mapped beside it, and taken back by the system when it wants memory.
    reclaimable: int
    #: What can be had there now; None when nobody can tell.
    available: Optional[int]
    #: What of that is left to others.
    reserve: int
    #: Whether it fits there now.
    fits: bool


@dataclass(frozen=True)
class Estimate:
    """What a model and its sessions are going to need of memory, in bytes, from `Engine.estimate`."""

    #: On all devices together.
    total: int
    #: What of the total each session more adds.
    session: int
    #: Whether it fits on every device now; loading it is refused when not.
    fits: bool
    #: Each device that takes part.
    devices: Tuple[DeviceEstimate, ...]


def estimate(engine: abi.tenon_engine, name: str, options: Optional[Mapping[str, Any]], sessions: int) -> Estimate:
    if not 0 <= sessions < 2**32:
        raise ValueError(f"sessions is {sessions}: it must be a number from 0 on")
    made, model = sized(abi.tenon_estimate), chars(name, "the name of the model")
    with given(options) as asked:

        def listed(owner: Any, table: Any, error: Any) -> int:
            status: int = lib.tenon_engine_estimate(owner, model, asked, sessions, ctypes.byref(made), table, error)
            return status

        devices = tuple(device(row) for row in rows(listed, engine))
    return Estimate(total=made.total, session=made.session, fits=made.fits != 0, devices=devices)


def device(row: Dict[str, str]) -> DeviceEstimate:
    number = {key: int(row[key]) for key in ("weights", "cache", "compute", "other", "total", "session", "reclaimable")}
    available = int(row["available"]) if row["available"] else None
    reserve, fits = int(row["reserve"]), row["fits"] == "yes"
    return DeviceEstimate(device=row["device"], available=available, reserve=reserve, fits=fits, **number)
