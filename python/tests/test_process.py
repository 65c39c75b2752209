"""What concerns the whole process: Ctrl-C, the end of the interpreter, forks. Each test runs a program of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import skip

import tenon

# A runner in the background ignores SIGINT, and what it starts inherits that; so the programs hear it of themselves.
START = """
import json, signal, sys, threading, time
import tenon
signal.signal(signal.SIGINT, signal.default_int_handler)
places = json.loads(sys.argv[1])
engine = tenon.Engine(**places)
model = engine.load("echo")
session = model.session()
slow = tenon.Request.generate("a b c", delay_ms=60000)
"""


@pytest.fixture
def program(places):
    """Starts a program that begins with an engine, a model, a session and a request that takes a minute a word."""
    paths = {
        key: [str(path) for path in value]
        if isinstance(value, list)
        else value
        if isinstance(value, bool)
        else str(value)
        for key, value in places.items()
    }

    def start(body, *options):
        source = START + textwrap.dedent(body)
        environment = {**os.environ, "PYTHONPATH": str(Path(tenon.__file__).parents[1]), "PYTHONFAULTHANDLER": "1"}
        return subprocess.Popen(
            [sys.executable, *options, "-c", source, json.dumps(paths)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


def outcome(process):
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    assert err == ""
    return out


WAITS = {
    "a run": "session.run(slow)",
    "a stream": "list(session.stream(slow))",
    "a wait with a timeout": "session.stream(slow).poll(3600)",
    "a load": 'engine.load("echo", options={"delay_ms": 60000})',
    "a load with progress": 'engine.load("echo", options={"delay_ms": 60000}, progress=print)',
    "asyncio": "import asyncio; asyncio.run(session.run_async(slow))",
    "live audio": """[stream.push_audio([0.0] * 16000, rate=16000) for stream in [session.stream(
        tenon.Request.transcribe(tenon.LIVE, delay_ms=60000))] for second in range(100)]""",
}


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_what_is_waiting(program, name):
    process = program(
        f"""
        try:
            print("ready", flush=True)
            {WAITS[name]}
        except KeyboardInterrupt:
            heard = time.monotonic()
        session.reset()
        assert session.generate("goes on").text == "goes on"
        assert engine.load("echo").name == "echo"
        print("interrupted", time.monotonic() - heard)
        """
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in outcome(process)


ENDS = {
    "everything open": "stream = session.stream(slow)",
    "a log that is heard": """
        import logging
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
        noisy = tenon.Engine(**places)
        noisy.load("echo").session().generate("x")
        stream = noisy.load("echo").session().stream(slow)
        """,
    "a daemon thread in a call": """
        threading.Thread(target=lambda: session.run(slow), daemon=True).start()
        time.sleep(0.3)
        """,
    "a daemon thread that goes from call to call": """
        def again():
            while True:
                session.run(tenon.Request.generate("a"))
        threading.Thread(target=again, daemon=True).start()
        time.sleep(0.3)
        """,
    "a daemon thread that has time to raise": """
        import weakref
        # Called after the finalizer of the stream, which is younger.
        weakref.finalize(threading, time.sleep, 0.5)
        threading.Thread(target=lambda: session.run(slow), daemon=True).start()
        time.sleep(0.3)
        """,
    "a daemon thread in a load": """
        load = lambda: engine.load("echo", options={"delay_ms": 60000}, progress=lambda *news: None)
        threading.Thread(target=load, daemon=True).start()
        time.sleep(0.3)
        """,
    "a daemon thread in a load that is heard meanwhile": """
        import logging
        logging.basicConfig(level=1, handlers=[logging.NullHandler()])
        noisy = tenon.Engine(**places)
        load = lambda: noisy.load("echo", options={"delay_ms": 60})
        threading.Thread(target=load, daemon=True).start()
        time.sleep(0.3)
        late = Late()
        """,
    "daemon threads that are heard meanwhile": """
        import logging
        logging.basicConfig(level=1, handlers=[logging.NullHandler()])
        noisy = tenon.Engine(**places)
        heard = noisy.load("echo")
        def again(work):
            while True:
                work()
        brief = tenon.Request.generate("a b c", delay_ms=20)
        for work in (lambda: noisy.load("echo"), lambda: heard.session().run(brief),
                     lambda: list(heard.session().stream(brief))):
            threading.Thread(target=again, args=[work], daemon=True).start()
        time.sleep(0.3)
        late = Late()
        """,
    "a function of its own that uses an engine": """
        import atexit
        atexit.register(lambda: print(engine.load("echo").session().generate("last words").text))
        """,
    "a cycle that holds a stream": """
        class Node: pass
        node = Node(); node.me = node; node.stream = session.stream(slow)
        """,
    "a stream in a module": "sys.modules['keep'] = session.stream(slow)",
    "sys.exit": "stream = session.stream(slow); print('end', flush=True); sys.exit()",
    "an object with a finalizer": """
        class Last:
            def __init__(self): self.stream = session.stream(slow)
            def __del__(self): self.stream.close(); self.stream.close()
        last = Last()
        """,
}


# A `Late` keeps the interpreter from its end when nothing may call back any more.
LATE = """
class Late:
    def __del__(self, sleep=time.sleep): sleep(1)
"""


@pytest.mark.parametrize("name", ENDS)
def test_the_interpreter_ends_calmly_with(program, name):
    started = time.monotonic()
    process = program(LATE + textwrap.dedent(ENDS[name]) + "\nprint('end', flush=True)")
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    assert "end\n" in out
    assert "Traceback" not in err and "Fatal" not in err, err
    assert time.monotonic() - started < 50


def test_a_forked_child_is_told_that_it_cannot_use_the_library(program):
    process = program(
        """
        import os
        child = os.fork()
        if child == 0:
            for use in (lambda: session.run(slow), lambda: tenon.Engine(), engine.models, model.session):
                try:
                    use()
                    os._exit(1)
                except tenon.UnsupportedError as problem:
                    assert "fork" in str(problem), problem
            session.close()
            sys.exit(7)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), session.generate("the parent goes on").text)
        """
    )
    assert outcome(process) == "7 the parent goes on\n"


def test_results_can_be_given_back_by_a_worker_process(program):
    process = program(
        """
        import pickle
        print(pickle.loads(pickle.dumps(session.generate("there and back"))).text)
        """
    )
    assert outcome(process) == "there and back\n"


def test_numpy_is_not_imported_unless_it_is_used(program):
    process = program(
        """
        session.transcribe([0.5] * 16000, rate=16000)
        session.embed("x")
        print("numpy" in sys.modules)
        """
    )
    assert outcome(process) == "False\n"


def test_nothing_is_printed_and_no_signal_handler_is_set(program):
    process = program(
        """
        import signal
        before = [signal.getsignal(number) for number in range(1, 32)]
        session.generate("x")
        assert before == [signal.getsignal(number) for number in range(1, 32)]
        """
    )
    assert outcome(process) == ""


def test_what_is_no_library_is_refused(tmp_path):
    library = tmp_path / "libtenon.so"
    library.write_text("this is no library")
    source = "import tenon"
    environment = {**os.environ, "TENON_LIBRARY": str(library), "PYTHONPATH": str(Path(tenon.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert f"ImportError: {library} cannot be used as libtenon" in ran.stderr


def test_a_library_of_another_version_is_named(tmp_path):
    if shutil.which("cc") is None:
        skip("there is no C compiler")
    source = tmp_path / "other.c"
    source.write_text("unsigned tenon_version(void) { return 9u << 16 | 8u << 8 | 7u; }\n")
    library = tmp_path / "libtenon.so"
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    environment = {**os.environ, "TENON_LIBRARY": str(library), "PYTHONPATH": str(Path(tenon.__file__).parents[1])}
    ran = subprocess.run([sys.executable, "-c", "import tenon"], env=environment, capture_output=True, text=True)
    assert f"{library} is libtenon 9.8.7, and this package is for {tenon.__version__}" in ran.stderr
