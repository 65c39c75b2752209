"""Engines and models."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import time
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from . import _abi as abi
from ._errors import TenonError
from ._estimate import Estimate, estimate
from ._library import Handle, call, chars, file_name, free_engine, interrupted, lib, microseconds, rows, string
from ._request import given
from ._results import sized
from ._session import Session
from ._waiting import SLICE, ProgressFn, attended

Path = Union[str, "os.PathLike[str]"]

VERIFY = {
    "cached": abi.TENON_VERIFY_CACHED,
    "always": abi.TENON_VERIFY_ALWAYS,
    "never": abi.TENON_VERIFY_NEVER,
}

#: The library's levels, each with the level of `logging` that its lines get.
LEVELS = {
    abi.TENON_LOG_ERROR: logging.ERROR,
    abi.TENON_LOG_WARN: logging.WARNING,
    abi.TENON_LOG_INFO: logging.INFO,
    abi.TENON_LOG_DEBUG: logging.DEBUG,
    abi.TENON_LOG_TRACE: 5,
}


def log(_data: Optional[int], level: int, target: bytes, line: bytes) -> None:
    """Hands a line to `logging`. What a handler raises is for `sys.unraisablehook`, since it cannot pass through C."""
    try:
        name = string(target).replace("::", ".")
        logger = logging.getLogger(name if name.split(".")[0] == "tenon" else f"tenon.{name}")
        logger.log(LEVELS.get(level, logging.ERROR), "%s", string(line))
    except KeyboardInterrupt as interrupt:
        interrupted.by = interrupt


#: One for all engines, so that it lives as long as any of their threads.
log_callback = abi.tenon_log_fn(log)


def library_level(level: int) -> int:
    """The most that the library need say for a level of `logging`."""
    return max((ours for ours, theirs in LEVELS.items() if theirs >= level), default=abi.TENON_LOG_OFF)


@dataclass(frozen=True)
class ModelEntry:
    """A model that an engine knows by its manifest."""

    name: str
    task: str
    backend: str
    #: "present", "missing" or "corrupt".
    state: str
    #: Bytes of its files.
    size: int
    license: str
    #: Path of the manifest.
    manifest: str
    #: What is wrong with the manifest; "" when nothing is.
    problem: str
    #: Whether `Engine.pull` needs `accept_license`.
    restricted: bool


@dataclass(frozen=True)
class PluginEntry:
    """A plugin that an engine found."""

    id: str
    version: str
    abi: str
    path: str
    sha256: str
    tasks: Tuple[str, ...]
    cpu: str
    license: str
    description: str
    loaded: bool
    #: Why it cannot be used; "" when it can.
    problem: str


class Engine(Handle):
    """Manifests, plugins and the store. Reads the manifests and the plugins' sidecars and loads nothing.

        with tenon.Engine() as engine, engine.load("commands-en") as model, model.session() as session:
            print(session.transcribe("order.wav").text)

    - `manifest_dirs`, `plugin_dirs`, `model_dirs`: folders that come before the standard places, which are those that
      the environment names (`TENON_MANIFESTS`, `TENON_PLUGIN_PATH`, `TENON_MODELS`), this package's own, the user's
      and the system's
    - `only_named_places`: leaves the standard places out
    - `store_dir`, `state_dir`: the store, and the ledger of verified files; by default the user's
    - `verify`: model files are hashed when the ledger does not know them as they are ("cached"), at every load
      ("always"), or not at all ("never")
    - `threads`: most threads that one request is granted; by default all that the process may use
    - `patience`: how many seconds a backend may take to end after cancel or timeout before its thread is left behind;
      by default 30
    - `log_level`: what goes to the logger "tenon" at most, as a level of `logging`; by default what that logger lets
      through now
    - `lock_file`: a lock file, as `tenon lock` writes it: every model and plugin that it does not pin is refused before
      anything of it runs
    - `ignore_memory`: loads models that do not fit into memory, too, which is otherwise refused with the numbers
    - `workers`: runs every model in a worker, a process of its own, also where its manifest does not ask for that; when
      a worker dies its requests raise `WorkerDiedError`, and the next one starts another
    - `worker_program`: the program `tenon-worker`; by default the one that `TENON_WORKER` names, or this package's own
    - `worker_grace`: how many seconds a worker may take to end a request after cancel or timeout before it is killed;
      by default 5

    Any thread may use it. Models and sessions go on when it is closed; the last thread ends with the last of them.
    """

    def __init__(
        self,
        *,
        manifest_dirs: Iterable[Path] = (),
        plugin_dirs: Iterable[Path] = (),
        model_dirs: Iterable[Path] = (),
        store_dir: Optional[Path] = None,
        state_dir: Optional[Path] = None,
        only_named_places: bool = False,
        verify: str = "cached",
        threads: Optional[int] = None,
        patience: Optional[float] = None,
        log_level: Optional[int] = None,
        ignore_memory: bool = False,
        lock_file: Optional[Path] = None,
        workers: bool = False,
        worker_program: Optional[Path] = None,
        worker_grace: Optional[float] = None,
    ) -> None:
        level = logging.getLogger("tenon").getEffectiveLevel() if log_level is None else log_level
        options = sized(abi.tenon_engine_options)
        options.flags = abi.TENON_ENGINE_ONLY_NAMED_PLACES if only_named_places else 0
        options.flags |= abi.TENON_ENGINE_IGNORE_MEMORY if ignore_memory else 0
        options.flags |= abi.TENON_ENGINE_WORKERS if workers else 0
        options.verify = verification(verify)
        options.threads = positive(threads, "threads", 2**32)
        options.patience_us = 0 if patience is None else max(1, microseconds(patience, "the patience"))
        options.manifest_dirs = folders(manifest_dirs)
        options.plugin_dirs = folders(plugin_dirs)
        options.model_dirs = folders(model_dirs)
        options.store_dir = None if store_dir is None else file_name(store_dir)
        options.state_dir = None if state_dir is None else file_name(state_dir)
        options.lock_file = None if lock_file is None else file_name(lock_file)
        options.worker_program = None if worker_program is None else file_name(worker_program)
        grace = 0 if worker_grace is None else max(1, microseconds(worker_grace, "the grace of workers"))
        options.worker_grace_us = grace
        options.log, options.log_level = log_callback, library_level(level)
        handle = abi.tenon_engine()
        call(lib.tenon_engine_new, ctypes.byref(options), ctypes.byref(handle))
        super().__init__(handle, free_engine)

    def models(self) -> List[ModelEntry]:
        """The models of all manifests, by name. Reads no model file."""
        table = rows(lib.tenon_engine_models, self._handle)

        def entry(row: Dict[str, str]) -> ModelEntry:
            size, restricted = int(row["size"] or 0), row["restricted"] == "yes"
            return ModelEntry(**known(ModelEntry, row, size=size, restricted=restricted))

        return [entry(row) for row in table]

    def plugins(self) -> List[PluginEntry]:
        """The plugins that were found, in search order: of two with one id the first is taken. Loads nothing."""

        def entry(row: Dict[str, str]) -> PluginEntry:
            return PluginEntry(
                **known(PluginEntry, row, tasks=tuple(row["tasks"].split()), loaded=row["loaded"] == "yes")
            )

        return [entry(row) for row in rows(lib.tenon_engine_plugins, self._handle)]

    def add_manifest(self, path: Path) -> None:
        """Adds the manifest of a file, before those of folders. `TenonError` with everything that is wrong with it."""
        call(lib.tenon_engine_add_manifest, self._handle, file_name(path))

    def add_manifest_text(self, manifest: str, origin: Optional[str] = None) -> None:
        """Adds a manifest that is a text. `origin` is what errors call it."""
        named = None if origin is None else chars(origin, "the origin")
        call(lib.tenon_engine_add_manifest_text, self._handle, chars(manifest, "the manifest"), named)

    def load_plugin(self, path: Path, sha256: Optional[str] = None) -> None:
        """Loads a plugin by the path of its library or sidecar, and puts it before those that were found.

        `sha256` (64 hexadecimal digits) must be that of the library; without a sidecar it is needed. A plugin stays
        loaded until the process ends.
        """
        digest = None if sha256 is None else chars(sha256, "sha256")
        call(lib.tenon_engine_load_plugin, self._handle, file_name(path), digest)

    def verify(self, name: str, *, verify: str = "always", progress: Optional[ProgressFn] = None) -> None:
        """Compares the files of a model with its manifest, and loads nothing.

        `verify` says how, as for the engine: "always" hashes them whether or not they are known to be good. `progress`
        is as for `load`.

        Raises what is wrong with the first file that is not what its manifest says.
        """
        handle, model, how = self._handle, chars(name, "the name of the model"), verification(verify)
        attended(lambda tell: call(lib.tenon_model_verify, handle, model, how, tell, None), progress)

    def pull(
        self,
        name: str,
        *,
        accept_license: bool = False,
        offline: bool = False,
        optional: bool = True,
        rate_limit: Optional[int] = None,
        connections: Optional[int] = None,
        endpoint: Optional[str] = None,
        timeout: Optional[float] = None,
        progress: Optional[ProgressFn] = None,
    ) -> None:
        """Fetches what a model lacks into the store, every byte verified by SHA-256: `load` finds it at once.

        - `accept_license`: the user accepts a licence for research or non-commercial use only, without which a model
          that is `ModelEntry.restricted` is refused
        - `offline`: opens no connection
        - `optional`: also the files that the model loads without
        - `rate_limit`: most bytes per second
        - `connections`: for one large file, where the server allows several
        - `endpoint`: where files of huggingface.co are fetched from, such as a mirror
        - `timeout`: the pull ends after so many seconds
        - `progress`: as for `load`, with the phases "verify" and "pull"

        Ctrl-C and what `progress` raises cancel it. What ended early goes on at the byte where it stopped.
        `NotFoundError`, `NetworkError` and others say what went wrong.
        """
        asked = sized(abi.tenon_pull_options)
        flags = [
            (accept_license, abi.TENON_PULL_ACCEPT_LICENSE),
            (offline, abi.TENON_PULL_OFFLINE),
            (not optional, abi.TENON_PULL_NO_OPTIONAL),
        ]
        asked.flags = sum(flag for wanted, flag in flags if wanted)
        asked.rate_limit = positive(rate_limit, "rate_limit", 2**64)
        asked.connections = positive(connections, "connections", 2**32)
        asked.endpoint = None if endpoint is None else chars(endpoint, "the endpoint")
        asked.deadline_us = 0 if timeout is None else max(1, microseconds(timeout, "the timeout"))
        handle, model = self._handle, chars(name, "the name of the model")
        attended(lambda tell: call(lib.tenon_engine_pull, handle, model, ctypes.byref(asked), tell, None), progress)

    def load(
        self, name: str, *, options: Optional[Mapping[str, Any]] = None, progress: Optional[ProgressFn] = None
    ) -> Model:
        """Verifies the files of a model by SHA-256, loads its plugin, and loads the model.

        `name` is that of its manifest, `options` are load options (`Model.load_schema`), and `progress` is called on
        this thread with the phase, "verify" or "load", and the fraction of it, 0 to 1. What it raises cancels the load,
        as Ctrl-C does. `NotFoundError` where there is no such manifest or file.
        """
        engine, model = self._handle, chars(name, "the name of the model")
        loaded: List[Model] = []

        def work(tell: Any) -> None:
            handle = abi.tenon_model()
            with given(options) as made:
                call(lib.tenon_model_load, engine, model, made, tell, None, ctypes.byref(handle))
            # A model that came too late for its caller is freed with the list.
            loaded.append(Model(handle))

        attended(work, progress)
        return loaded.pop()

    def estimate(self, name: str, *, options: Optional[Mapping[str, Any]] = None, sessions: int = 1) -> Estimate:
        """Estimates what a model is going to need of memory with these load options and so many sessions.

        Its files are verified and their heads read; it is not loaded. `UnsupportedError` where its backend estimates
        nothing.
        """
        return estimate(self._handle, name, options, sessions)

    def shutdown(self, timeout: Optional[float] = None) -> None:
        """Asks every request of the engine to end with an error, refuses new ones, and waits until all have ended.

        `TimeoutError` when some still run after `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = SLICE if until is None else until - time.monotonic()
            try:
                call(lib.tenon_engine_shutdown, self._handle, int(max(0.0, min(SLICE, left)) * 1e6))
                return
            except TenonError as problem:
                if problem.status != abi.TENON_E_TIMEOUT:
                    raise
                if left <= 0:
                    raise TimeoutError(problem.message) from problem


class Model(Handle):
    """A loaded model, from `Engine.load`. Its weights are shared by all of its sessions. Any thread may use it."""

    def __init__(self, handle: abi.tenon_model) -> None:
        super().__init__(handle, lib.tenon_model_free)

    def session(self) -> Session:
        """Opens a session."""
        return Session(self)

    def info(self, key: str) -> Optional[str]:
        """What is known of it, by the keys of `tenon_model_info` in include/tenon.h, such as "description", "license",
        "backend", "backend_version" or "provenance"; None for another key, and where the model has no such thing."""
        text = lib.tenon_model_info(self._handle, chars(key, "the key"))
        return None if text is None else string(text)

    @property
    def name(self) -> str:
        """Its name."""
        return self.info("name") or ""

    @property
    def task(self) -> str:
        """The task that its manifest names."""
        return self.info("task") or ""

    @property
    def tasks(self) -> Tuple[str, ...]:
        """The tasks of its backend."""
        return tuple((self.info("tasks") or "").split())

    @property
    def presets(self) -> Tuple[str, ...]:
        """The presets of its manifest."""
        return tuple((self.info("presets") or "").split())

    @property
    def sample_rate(self) -> Optional[int]:
        """The rate of the audio that it takes, in hertz, to which all audio is converted; None where it takes none."""
        rate = self.info("sample_rate")
        return int(rate) if rate else None

    def schema(self, task: Optional[str] = None) -> Dict[str, Any]:
        """The options of a task, by default the model's own, as a JSON Schema. {} for a task that it does not have."""
        return self._schema(f"options:{task or self.task}")

    def load_schema(self) -> Dict[str, Any]:
        """Its load options as a JSON Schema."""
        return self._schema("load_options")

    def _schema(self, key: str) -> Dict[str, Any]:
        parsed: Dict[str, Any] = json.loads(self.info(key) or "{}")
        return parsed


def known(kind: Any, row: Dict[str, str], **more: Any) -> Dict[str, Any]:
    """The fields of an entry; columns that a later version added are left out."""
    return {name: more[name] if name in more else row[name] for name in kind.__dataclass_fields__}


def verification(verify: str) -> int:
    if verify not in VERIFY:
        raise ValueError(f"verify is {verify!r}: it must be one of {', '.join(VERIFY)}")
    return VERIFY[verify]


def positive(number: Optional[int], name: str, limit: int) -> int:
    if number is not None and not 1 <= number < limit:
        raise ValueError(f"{name} is {number}: it must be 1 or more")
    return number or 0


def folders(paths: Iterable[Path]) -> Any:
    """Folders for C, ended by NULL."""
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"{paths!r} is one folder: give a list of folders")
    names = [file_name(path) for path in paths]
    return (ctypes.c_char_p * (len(names) + 1))(*names, None)
