"""The wheel: what is in it, and that everything else here passes where it is installed."""

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, built, skip

import tenon
from tenon import _library

#: Types are told by the sources.
TYPES = ROOT / "python" / "tests" / "test_types.py"

spec = importlib.util.spec_from_file_location("build_wheel", ROOT / "python" / "build_wheel.py")
builder = importlib.util.module_from_spec(spec)
spec.loader.exec_module(builder)


@pytest.fixture(scope="module")
def stage(tmp_path_factory, worker):
    """The tree that `cargo xtask dist` makes, of what is built."""
    if sys.platform != "linux":
        skip("this test knows the names of libraries on Linux alone")
    folder = tmp_path_factory.mktemp("stage")
    library = f"libtenon.so.{'.'.join(tenon.__version__.split('.')[:2])}"
    (folder / "lib").mkdir()
    shutil.copyfile(_library.path, folder / "lib" / "libtenon.so.whole")
    (folder / "lib" / library).symlink_to("libtenon.so.whole")
    plugins = folder / "lib" / "tenon" / "plugins"
    plugins.mkdir(parents=True)
    for name in ("whisper", "llama"):
        sidecar = ROOT / "target" / "release" / f"{name}.plugin.toml"
        if built(name) is None or not sidecar.is_file():
            skip("the native plugins are not built: cargo xtask build")
        shutil.copyfile(ROOT / "target" / "release" / f"libtenon_{name}.so", plugins / f"libtenon_{name}.so")
        shutil.copyfile(sidecar, plugins / sidecar.name)
    (folder / "libexec" / "tenon").mkdir(parents=True)
    shutil.copy(worker, folder / "libexec" / "tenon" / "tenon-worker")
    ignore = shutil.ignore_patterns("training", "blobs")
    for name in ("manifests", "models"):
        shutil.copytree(ROOT / name, folder / "share" / "tenon" / name, ignore=ignore)
    licences = folder / "share" / "doc" / "tenon" / "licenses"
    licences.mkdir(parents=True)
    (licences / "whisper.cpp.txt").write_text("MIT\n")
    return folder


@pytest.fixture(scope="module")
def wheel(stage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    return folder / builder.pack(stage, folder)


def test_the_wheel_is_what_its_record_says(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"tenon-{tenon.__version__}.dist-info"
        assert names[-1] == f"{info}/RECORD"
        records = [line.rsplit(",", 2) for line in archive.read(f"{info}/RECORD").decode().splitlines()]
        assert [name for name, _, _ in records] == names
        for name, digest, size in records[:-1]:
            data = archive.read(name)
            right = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={right}", str(len(data)))
        about = archive.read(f"{info}/WHEEL").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    tag = wheel.stem.split("-", 2)[2]
    assert tag.startswith("py3-none-") and f"\nTag: {tag}\n" in about and "Root-Is-Purelib: false" in about
    assert f"\nVersion: {tenon.__version__}\n" in metadata and "License-File: LICENSE-MIT" in metadata
    assert f"{info}/licenses/whisper.cpp.txt" in names
    program = "tenon/libexec/tenon/tenon-worker"
    for needed in (program, "tenon/py.typed", "tenon/_abi.py", "tenon/share/tenon/manifests/commands-en.toml"):
        assert needed in names
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(program).external_attr >> 16 == 0o100755
    assert not any("recordings" in name or "__pycache__" in name or "libtenon.so.whole" in name for name in names)


def test_the_tag_names_the_oldest_system_that_it_runs_on(wheel):
    libraries = [_library.path, *(ROOT / "target" / "release" / f"libtenon_{name}.so" for name in ("whisper", "llama"))]
    readelf = shutil.which("readelf")
    if readelf is None:
        skip("there is no readelf")
    text = "".join(
        subprocess.run([readelf, "-VW", library], check=True, capture_output=True, text=True).stdout
        for library in libraries
    )
    newest = max(int(minor) for minor in re.findall(r"\bGLIBC_2\.(\d+)\b(?!\.)", text))
    platform = wheel.stem.split("-")[-1]
    assert platform.startswith("manylinux_2_") and int(platform.split("_")[2]) >= newest


def test_what_needs_libraries_that_not_all_systems_have_gets_no_manylinux_tag(tmp_path, capsys):
    compiler = shutil.which("cc")
    if compiler is None:
        skip("there is no C compiler")
    (tmp_path / "odd.c").write_text("int odd(void) { return 1; }\n")
    odd, user = tmp_path / "libodd.so", tmp_path / "libuser.so"
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "odd.c", "-o", odd], check=True)
    (tmp_path / "user.c").write_text("int odd(void); int user(void) { return odd(); }\n")
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "user.c", "-o", user, odd], check=True)
    assert builder.platform_tag([user]).startswith("linux_")
    assert "libodd.so" in capsys.readouterr().err
    assert builder.platform_tag([odd]).startswith("manylinux_2_")


def test_the_same_stage_gives_the_same_bytes(tmp_path, plugins):
    stage = tmp_path / "stage"
    library = f"lib/libtenon.so.{'.'.join(tenon.__version__.split('.')[:2])}"
    files = [library, "libexec/tenon/tenon-worker", "lib/tenon/plugins/e.plugin.toml"]
    files += ["share/tenon/manifests/m.toml", "share/tenon/models/m.bin"]
    for name in files:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(next(plugins.glob("lib*")), stage / name)
    made = []
    for turn in ("first", "second"):
        for name in files:
            os.utime(stage / name, (0, len(made)))
        (tmp_path / turn).mkdir()
        made.append((tmp_path / turn / builder.pack(stage, tmp_path / turn)).read_bytes())
    assert made[0] == made[1]


def test_a_stage_that_lacks_something_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="cargo xtask dist"):
        builder.pack(tmp_path, tmp_path)


def test_the_package_can_be_linked_in_place(tmp_path):
    name = builder.build_editable(tmp_path)
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.read("tenon.pth").decode().strip() == str(ROOT / "python" / "src")


def test_every_other_test_passes_on_the_installed_wheel(wheel, tmp_path):
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        skip("this Python makes no virtual environments (Debian: apt-get install python3-venv)")
    # What is skipped was said by the tests themselves.
    left_out = ("TENON_LIBRARY", "TENON_SKIP_LOG", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, capture_output=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
        wheel,
    ]
    subprocess.run(install, check=True, env=environment)
    # pytest and numpy come from where this test has them; tenon only from the wheel.
    environment["PYTHONPATH"] = str(Path(pytest.__file__).parents[1])
    where = subprocess.run(
        [python, "-c", "import tenon; print(tenon.__file__)"],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(tmp_path / "venv"))
    tests = [python, "-m", "pytest", ROOT / "python" / "tests", "--ignore", __file__, "--ignore", TYPES, "-x"]
    ran = subprocess.run(tests, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
