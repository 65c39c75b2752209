"""What the tests share: a folder with the echo plugin, and engines on it or on what ships.

The package is the installed one, or else that of this checkout. The tests need built plugins: `cargo build -p
tenon-echo` and, for the models that ship, `cargo xtask build`; a test that misses them is skipped loudly.
"""

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = ROOT / "models" / "recordings"

# The user's own manifests and ledger play no part.
STATE = tempfile.mkdtemp()
atexit.register(shutil.rmtree, STATE, ignore_errors=True)
for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
    os.environ[variable] = STATE

try:
    import tenon
except ModuleNotFoundError:
    sys.path.insert(0, str(ROOT / "python" / "src"))
    import tenon


def skip(why):
    """Skips a test, and says so where `cargo xtask test` counts it."""
    log = os.environ.get("TENON_SKIP_LOG")
    if log:
        with open(log, "a", encoding="utf-8") as lines:
            test = os.environ.get("PYTEST_CURRENT_TEST", "python").split(" ")[0]
            lines.write(f"{test}: {why}\n")
    pytest.skip(why)


def built(name):
    """A library that cargo built; None where it did not."""
    named = os.environ.get(f"TENON_TEST_{name.upper()}")
    places = (
        [Path(named)] if named else [ROOT / "target" / kind / f"libtenon_{name}.so" for kind in ("debug", "release")]
    )
    return next((place for place in places if place.is_file()), None)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory):
    """A folder with the echo plugin, sealed."""
    library = built("echo")
    if library is None:
        skip("the echo plugin is not built: cargo build -p tenon-echo")
    folder = tmp_path_factory.mktemp("plugins")
    data = library.read_bytes()
    (folder / library.name).write_bytes(data)
    template = (ROOT / "plugins" / "echo" / "echo.plugin.toml").read_text(encoding="utf-8")
    seal = f'file = "{library.name}"\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    (folder / "echo.plugin.toml").write_text(template + seal, encoding="utf-8")
    return folder


ECHO = 'name = "echo"\ntask = "generate"\nbackend = "echo"\nlicense = "MIT"\n\n[preset.short]\nmax_tokens = 1\n'


@pytest.fixture
def places(plugins, tmp_path):
    """The arguments of an engine that knows one model, `echo`, which does every task, and nothing else."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "echo.toml").write_text(ECHO, encoding="utf-8")
    return {
        "manifest_dirs": [manifests],
        "plugin_dirs": [plugins],
        "model_dirs": [tmp_path],
        "store_dir": tmp_path / "store",
        "state_dir": tmp_path / "state",
        "only_named_places": True,
    }


@pytest.fixture(scope="session")
def worker():
    """The program that models in workers run in."""
    named = os.environ.get("TENON_TEST_WORKER")
    places = [Path(named)] if named else [ROOT / "target" / kind / "tenon-worker" for kind in ("debug", "release")]
    for place in places:
        if place.is_file():
            return place
    skip("tenon-worker is not built: cargo build -p tenon-worker")


@pytest.fixture
def engine(places):
    with tenon.Engine(**places) as engine:
        yield engine


@pytest.fixture
def model(engine):
    with engine.load("echo") as model:
        yield model


@pytest.fixture
def session(model):
    with model.session() as session:
        yield session


@pytest.fixture(scope="session")
def shipped():
    """An engine on what ships, where it was installed or built."""
    with tenon.Engine() as engine:
        plugins = {plugin.id for plugin in engine.plugins() if not plugin.problem}
        if not {"whisper", "llama"} <= plugins:
            skip("the native plugins are not built: cargo xtask build")
        yield engine
