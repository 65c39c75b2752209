"""Engines and models, on the echo plugin."""

import gc
import hashlib
import json
import logging
import os
import pickle
import shutil
import sys
import threading
import time
import weakref

import pytest
from conftest import ECHO

import tenon


def test_an_engine_lists_its_models_and_plugins(engine):
    (entry,) = engine.models()
    assert (entry.name, entry.task, entry.backend, entry.state) == ("echo", "generate", "echo", "present")
    assert (entry.size, entry.license, entry.problem) == (0, "MIT", "")
    assert entry.manifest.endswith("echo.toml")
    (plugin,) = engine.plugins()
    assert (plugin.id, plugin.problem) == ("echo", "")
    assert "transcribe" in plugin.tasks and len(plugin.sha256) == 64
    engine.load("echo").close()
    assert engine.plugins()[0].loaded


def test_a_manifest_can_be_added_as_a_file_or_text(engine, tmp_path):
    path = tmp_path / "more.toml"
    path.write_text(ECHO.replace('"echo"\ntask', '"more"\ntask'), encoding="utf-8")
    engine.add_manifest(path)
    engine.add_manifest_text(ECHO.replace('"echo"\ntask', '"text"\ntask'), "my text")
    engine.add_manifest_text(ECHO.replace('"echo"\ntask', '"other"\ntask'))
    assert {entry.name for entry in engine.models()} == {"echo", "more", "text", "other"}


def test_a_wrong_manifest_is_refused_with_its_place(engine):
    with pytest.raises(tenon.TenonError, match="my text:3") as raised:
        engine.add_manifest_text(ECHO.replace("backend", "backen"), "my text")
    assert raised.value.name == "TENON_E_MANIFEST"
    assert raised.value.status == 17
    with pytest.raises(tenon.NotFoundError, match="nowhere.toml"):
        engine.add_manifest("/nowhere.toml")


def test_a_model_that_nobody_knows_is_not_found(engine):
    with pytest.raises(tenon.NotFoundError, match='"ech"') as raised:
        engine.load("ech")
    assert isinstance(raised.value, LookupError)
    assert raised.value.details["model"] == "ech"


def test_a_lock_file_refuses_what_it_does_not_pin(places, tmp_path):
    lock = tmp_path / "tenon.lock"
    lock.write_text("version = 1\n", encoding="utf-8")
    with tenon.Engine(**places, lock_file=lock) as engine:
        with pytest.raises(tenon.TenonError, match='model "echo" is not pinned') as raised:
            engine.load("echo")
    assert raised.value.name == "TENON_E_HASH_MISMATCH"
    with pytest.raises(tenon.NotFoundError, match="nowhere.lock"):
        tenon.Engine(**places, lock_file=tmp_path / "nowhere.lock")


def test_workers_answer_as_the_process_does_and_are_told_of(places, worker):
    # The one of `worker` or of the installed package, wherever the library finds it.
    with tenon.Engine(**places, workers=True, worker_grace=2.0) as engine:
        with engine.load("echo") as model, model.session() as session:
            assert model.info("isolation") == "worker"
            assert session.generate("one two").text == "one two"


def test_a_worker_that_is_not_there_is_not_found_and_one_that_dies_is_an_error_of_its_own(places, tmp_path):
    with tenon.Engine(**places, workers=True, worker_program=tmp_path / "tenon-worker") as engine:
        with pytest.raises(tenon.NotFoundError, match="tenon-worker"):
            engine.load("echo")
    with tenon.Engine(**places, workers=True, worker_program=shutil.which("false")) as engine:
        with pytest.raises(tenon.WorkerDiedError, match="ended by itself with exit code 1") as raised:
            engine.load("echo")
    assert raised.value.details["exit_code"] == "1"


def test_errors_survive_pickling(engine):
    with pytest.raises(tenon.NotFoundError) as raised:
        engine.load("ech")
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is tenon.NotFoundError
    assert (str(again), again.name, again.details) == (str(raised.value), raised.value.name, raised.value.details)


def test_progress_of_a_load_is_told_on_the_thread_that_loads(engine):
    heard = []
    engine.load("echo", progress=lambda *news: heard.append((threading.current_thread(), *news))).close()
    assert {thread for thread, _, _ in heard} == {threading.current_thread()}
    assert {phase for _, phase, _ in heard} <= {"verify", "load"}
    fractions = [fraction for _, phase, fraction in heard if phase == "load"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_what_a_progress_function_raises_cancels_the_load_and_comes_out_of_it(engine):
    def progress(phase, fraction):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        engine.load("echo", options={"delay_ms": 2}, progress=progress)
    engine.load("echo").close()


def test_load_options_are_checked(engine):
    with pytest.raises(tenon.OptionsError, match="delay_ms") as raised:
        engine.load("echo", options={"delay_m": 2})
    assert isinstance(raised.value, ValueError)


def test_a_file_that_was_changed_is_not_verified(engine, tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"good")
    digest = hashlib.sha256(b"good").hexdigest()
    file = f'[[file]]\nrole = "model"\nname = "weights.bin"\nsha256 = "{digest}"\nsize = 4\n'
    engine.add_manifest_text(ECHO.replace('"echo"\ntask', '"weights"\ntask') + file)
    phases = []
    engine.verify("weights", progress=lambda phase, fraction: phases.append(phase))
    assert set(phases) <= {"verify"}
    (tmp_path / "weights.bin").write_bytes(b"evil")
    with pytest.raises(tenon.TenonError) as raised:
        engine.verify("weights")
    assert raised.value.name == "TENON_E_HASH_MISMATCH"
    assert raised.value.details["expected"] == digest
    engine.verify("weights", verify="never")


def test_a_plugin_can_be_loaded_by_its_path_and_digest(places):
    (folder,) = places.pop("plugin_dirs")
    library = next(folder.glob("lib*"))
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    with tenon.Engine(**places) as engine:
        assert engine.plugins() == []
        with pytest.raises(tenon.TenonError) as raised:
            engine.load_plugin(library, "0" * 64)
        assert raised.value.name == "TENON_E_HASH_MISMATCH"
        engine.load_plugin(library, digest)
        # Hexadecimal digits are those of both cases.
        engine.load_plugin(library, digest.upper())
        with engine.load("echo") as model, model.session() as session:
            assert session.generate("by path").text == "by path"


def test_a_model_tells_what_is_known_of_it(model):
    assert (model.name, model.task, model.sample_rate) == ("echo", "generate", 16000)
    assert set(model.tasks) == {"transcribe", "translate", "detect-language", "generate", "chat", "embed"}
    assert model.presets == ("short",)
    assert model.info("license") == "MIT"
    assert model.info("no such thing") is None
    assert "max_tokens" in model.schema()["properties"]
    assert "words" in model.schema("transcribe")["properties"]
    assert model.schema("fly") == {}
    assert "delay_ms" in model.load_schema()["properties"]
    assert json.loads(model.info("provenance"))


def test_shutdown_ends_requests_and_refuses_new_ones(engine, session):
    stream = session.stream(tenon.Request.generate("a b c", delay_ms=60000))
    engine.shutdown(timeout=30)
    with pytest.raises(tenon.TenonError) as raised:
        stream.result()
    assert raised.value.name == "TENON_E_SHUTDOWN"
    with pytest.raises(tenon.TenonError) as raised:
        session.generate("more")
    assert raised.value.name == "TENON_E_SHUTDOWN"


def test_log_lines_go_to_logging_as_far_as_asked(places, caplog):
    with caplog.at_level(logging.DEBUG, logger="tenon"), tenon.Engine(**places, log_level=logging.CRITICAL) as engine:
        engine.load("echo").close()
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, logger="tenon"), tenon.Engine(**places) as engine:
        engine.load("echo").close()
    assert any(record.name.startswith("tenon.") and record.levelno == logging.INFO for record in caplog.records)


class Broken(logging.Handler):
    """A handler that raises what it is told to."""

    def __init__(self, problem):
        super().__init__()
        self.problem = problem

    def handle(self, record):
        raise self.problem

    def __enter__(self):
        logging.getLogger("tenon").addHandler(self)
        logging.getLogger("tenon").setLevel(logging.INFO)

    def __exit__(self, *_):
        logging.getLogger("tenon").removeHandler(self)
        logging.getLogger("tenon").setLevel(logging.NOTSET)


def test_what_a_log_handler_raises_never_crosses_c(places, monkeypatch):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: unraisable.append(told.exc_value))
    problem = RuntimeError("broken handler")
    with Broken(problem), tenon.Engine(**places) as engine:
        assert len(engine.models()) == 1
    assert unraisable and set(unraisable) == {problem}


def test_an_interrupt_that_comes_in_a_log_handler_is_raised_by_the_call(places):
    with Broken(KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        tenon.Engine(**places)
    with tenon.Engine(**places) as engine:
        assert len(engine.models()) == 1


def test_wrong_arguments_of_an_engine_are_refused(places, tmp_path):
    with pytest.raises(TypeError, match="list of folders"):
        tenon.Engine(manifest_dirs=str(tmp_path))
    with pytest.raises(ValueError, match="cached, always, never"):
        tenon.Engine(verify="sometimes")
    with pytest.raises(ValueError, match="threads is 0"):
        tenon.Engine(threads=0)
    with pytest.raises(ValueError, match="patience"):
        tenon.Engine(patience=-1)
    with pytest.raises(ValueError, match="null character"):
        tenon.Engine(store_dir="a\0b")
    with tenon.Engine(**places, threads=1, patience=0.5, verify="always") as engine:
        assert len(engine.models()) == 1


def test_what_was_closed_cannot_be_used(engine):
    model = engine.load("echo")
    assert not model.closed
    model.close()
    model.close()
    assert model.closed
    with pytest.raises(ValueError, match="Model is closed"):
        model.session()
    with pytest.raises(ValueError, match="Model is closed"):
        model.info("name")
    engine.close()
    with pytest.raises(ValueError, match="Engine is closed"):
        engine.models()


def test_things_can_be_closed_in_any_order(places):
    engine = tenon.Engine(**places)
    model = engine.load("echo")
    session = model.session()
    request = tenon.Request.generate("still here")
    stream = session.stream(request)
    for thing in (engine, model, request, session):
        thing.close()
    assert stream.result().text == "still here"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted where Linux lists them")
def test_engines_leave_no_threads_behind(places):
    def threads():
        return len(os.listdir("/proc/self/task"))

    tenon.Engine(**places).load("echo").session().generate("what is made once is made")
    gc.collect()
    before = threads()
    for _ in range(50):
        with tenon.Engine(**places) as engine, engine.load("echo") as model, model.session() as session:
            assert session.generate("a b").text == "a b"
    for _ in range(6000):
        # The last thread ends soon after the last handle.
        if threads() <= before:
            break
        time.sleep(0.01)
    assert threads() <= before


def test_what_nobody_uses_is_freed(places):
    closed = []
    free = tenon._library.lib.tenon_stream_free

    def counted(handle):
        closed.append(handle)
        free(handle)

    model = tenon.Engine(**places).load("echo")
    stream = model.session().stream(tenon.Request.generate("a b", delay_ms=60000))
    stream._finalizer.detach()
    weakref.finalize(stream, counted, stream._raw)
    started = time.monotonic()
    del stream
    gc.collect()
    assert len(closed) == 1
    assert time.monotonic() - started < 30
