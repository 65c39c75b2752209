"""The types of the package hold, and are of use to those who call it."""

import importlib.util
import os
import subprocess
import sys

from conftest import ROOT, skip

import tenon

SOURCE = ROOT / "python" / "src"

CALLER = """
import tenon
from typing import List

def words(session: tenon.Session, path: str) -> List[str]:
    heard = session.transcribe(path, words=True, timeout=5)
    return [word.text for segment in heard.segments for word in segment.words]

def answer(session: tenon.Session) -> str:
    with session.stream(tenon.Request.chat([("user", "hello")], temperature=0)) as stream:
        for event in stream:
            if isinstance(event, tenon.Text):
                print(event.text)
        return stream.result().finish
"""


def test_mypy_finds_nothing_wrong(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        skip("mypy is not installed (pip install mypy)")
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER)
    check = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "--config-file="]
    files = [SOURCE / "tenon", caller]
    environment = {**os.environ, "MYPYPATH": str(SOURCE)}
    ran = subprocess.run([*check, *files], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    caller.write_text(CALLER.replace("stream.result().finish", "stream.result().segments"))
    ran = subprocess.run([*check, caller], env=environment, capture_output=True, text=True)
    assert '"Answer" has no attribute "segments"' in ran.stdout


def test_everything_public_is_documented():
    for name in tenon.__all__:
        thing = getattr(tenon, name)
        if not isinstance(thing, type):
            continue
        assert thing.__doc__, name
        for member, value in vars(thing).items():
            if not member.startswith("_") and callable(value):
                assert value.__doc__, f"{name}.{member}"
