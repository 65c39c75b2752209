"""Pulls, from a server in this process."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import ECHO

import tenon

WEIGHTS = bytes(range(256)) * 2000


@pytest.fixture
def server():
    """Serves WEIGHTS at every path; `asked` lists the requests."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(WEIGHTS)))
            self.end_headers()
            self.wfile.write(WEIGHTS)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def far(engine, server, monkeypatch):
    """An engine that knows the model "far", which only the server has."""
    monkeypatch.setenv("NO_PROXY", "*")
    add(engine, server, "far")
    return engine


def add(engine, server, name, more=""):
    digest, url = hashlib.sha256(WEIGHTS).hexdigest(), f"http://127.0.0.1:{server.server_port}/{name}.bin"
    file = (
        f'[[file]]\nrole = "model"\nname = "{name}.bin"\nurl = ["{url}"]\nsha256 = "{digest}"\nsize = {len(WEIGHTS)}\n'
    )
    head = ECHO.split("[preset")[0].replace('"echo"\ntask', f'"{name}"\ntask')
    engine.add_manifest_text(head + more + file)


def state(engine, name):
    return next(entry.state for entry in engine.models() if entry.name == name)


def test_a_pulled_model_loads_at_once(far, server):
    with pytest.raises(tenon.NotFoundError, match="tenon pull far"):
        far.load("far")
    heard = []
    far.pull("far", progress=lambda phase, fraction: heard.append((threading.current_thread(), phase, fraction)))
    assert {thread for thread, _, _ in heard} == {threading.current_thread()}
    assert heard[-1][1:] == ("pull", 1.0)
    assert state(far, "far") == "present"
    far.load("far").close()
    before = len(server.asked)
    far.pull("far", offline=True)
    assert len(server.asked) == before


def test_what_a_progress_function_raises_cancels_the_pull(far):
    def progress(phase, fraction):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        far.pull("far", progress=progress, rate_limit=100_000)
    far.pull("far", connections=2, timeout=60)
    assert state(far, "far") == "present"


def test_a_pull_says_what_it_may_not_do(far, server):
    with pytest.raises(tenon.NetworkError, match="offline") as raised:
        far.pull("far", offline=True)
    assert isinstance(raised.value, ConnectionError)
    with pytest.raises(tenon.NotFoundError):
        far.pull("fa")
    with pytest.raises(ValueError, match="rate_limit"):
        far.pull("far", rate_limit=0)
    with pytest.raises(tenon.DeadlineError):
        far.pull("far", timeout=1e-6)
    assert server.asked == []


def test_a_restricted_license_has_to_be_accepted(engine, server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    add(engine, server, "own", "restricted = true\n")
    assert [entry.restricted for entry in engine.models() if entry.name == "own"] == [True]
    with pytest.raises(tenon.InvalidArgumentError, match="--accept-license"):
        engine.pull("own")
    assert server.asked == []
    engine.pull("own", accept_license=True)
    assert state(engine, "own") == "present"
