"""What can go wrong, as exceptions: one class for all, and one for each kind that programs handle."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Tuple, Type

from . import _abi as abi


class TenonError(Exception):
    """A request, load or other call failed. `str(error)` says what, where and what to do.

    - `status`: the number, one of the `TENON_E_` constants of include/tenon.h
    - `name`: its name, such as "TENON_E_HASH_MISMATCH"
    - `message`: the sentence
    - `details`: what is known besides, such as "file", "line", "plugin", "expected", "actual", or "native", which is
      what the engine inside the backend said
    """

    def __init__(self, status: int, name: str, message: str, details: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.details: Dict[str, str] = dict(details)

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.status, self.name, self.message, self.details)


class InvalidArgumentError(TenonError, ValueError):
    """An argument is out of range or otherwise unusable."""


class NotFoundError(TenonError, LookupError):
    """A model, manifest, plugin or file does not exist."""


class UnsupportedError(TenonError):
    """The backend or this version cannot do what was asked, or the process was forked from one that used Tenon."""


class BusyError(TenonError):
    """The session is already running a request, or the stream is being read by another thread."""


class CancelledError(TenonError):
    """The request was cancelled."""


class DeadlineError(TenonError, TimeoutError):
    """The request was not done within its timeout."""


class NetworkError(TenonError, ConnectionError):
    """A download failed, or the network may not be used."""


class WorkerDiedError(TenonError):
    """The worker that ran the request died; `details` has the signal and the last lines that it wrote."""


class OptionsError(TenonError, ValueError):
    """An option is unknown, of the wrong kind or out of range."""


CLASSES: Dict[int, Type[TenonError]] = {
    abi.TENON_E_INVALID_ARGUMENT: InvalidArgumentError,
    abi.TENON_E_NOT_FOUND: NotFoundError,
    abi.TENON_E_UNSUPPORTED: UnsupportedError,
    abi.TENON_E_BUSY: BusyError,
    abi.TENON_E_CANCELLED: CancelledError,
    abi.TENON_E_DEADLINE: DeadlineError,
    abi.TENON_E_NETWORK: NetworkError,
    abi.TENON_E_OPTIONS: OptionsError,
    abi.TENON_E_WORKER_DIED: WorkerDiedError,
}
