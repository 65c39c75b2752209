"""The models that ship, by the plugins of whisper.cpp and llama.cpp, and the example of the README."""

import json
import os
import re
import subprocess
import sys
import threading
import wave
from pathlib import Path

import pytest
from conftest import RECORDINGS, ROOT

import tenon

SAID = "add water to my shopping list switch on the light in the balcony open the basement curtains"


@pytest.fixture(scope="module")
def hearing(shipped):
    with shipped.load("commands-en") as model:
        yield model


@pytest.fixture(scope="module")
def answering(shipped):
    with shipped.load("intents-en") as model:
        yield model


def test_what_ships_is_found_in_the_wheel_or_in_the_checkout(shipped):
    package = Path(tenon.__file__).resolve().parent
    home = package if (package / "lib").is_dir() else ROOT
    found = {entry.name: entry for entry in shipped.models()}
    for name in ("commands-en", "intents-en"):
        assert found[name].state == "present"
        assert Path(found[name].manifest).is_relative_to(home)
    assert all(Path(plugin.path).is_relative_to(home) for plugin in shipped.plugins())


def test_a_recording_is_transcribed(hearing):
    with hearing.session() as session:
        heard = session.transcribe(RECORDINGS / "three-commands.wav", words=True)
    assert heard.text.strip() == SAID
    assert len(heard.segments) == 3
    assert [word.text for segment in heard.segments for word in segment.words] == SAID.split()
    assert heard.segments[0].start == pytest.approx(0.3, abs=0.2)
    assert heard.usage.audio_seconds == pytest.approx(7.78, abs=0.01)


def test_samples_of_numpy_are_heard_as_the_file_is(hearing):
    numpy = pytest.importorskip("numpy")
    with wave.open(str(RECORDINGS / "timer.wav")) as file:
        rate, samples = file.getframerate(), numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)
    with hearing.session() as session:
        texts = {
            session.transcribe(RECORDINGS / "timer.wav").text,
            session.transcribe(samples, rate=rate).text,
            session.transcribe(samples.astype(numpy.float32) / 32768, rate=rate).text,
        }
    assert texts == {" can you set a five hour timer"}


def test_a_preset_of_a_manifest_is_taken(hearing):
    assert set(hearing.presets) == {"default", "fast", "high_quality"}
    with hearing.session() as session:
        heard = session.transcribe(RECORDINGS / "light.wav", preset="fast")
    assert (heard.text.strip(), heard.preset) == ("turn the basement lamps off", "fast")
    assert heard.options["beam_size"] == 1


def test_sessions_of_one_model_work_side_by_side(answering):
    answers = []

    def work():
        with answering.session() as session:
            answers.append(session.chat("put salt on the wish list").text)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ['{"intent":"list.add","list":"wish","item":"salt"}'] * 3


def test_an_answer_comes_piece_by_piece(answering):
    with answering.session() as session, session.stream(tenon.Request.chat("listen to christmas music")) as stream:
        pieces = list(stream.texts())
        answer = stream.result()
    assert len(pieces) > 3
    assert "".join(pieces) == answer.text
    assert json.loads(answer.text) == {"intent": "music.play", "genre": "christmas"}
    assert answer.usage.generated_tokens >= len(pieces)


def test_an_answer_follows_a_schema_that_is_a_dict(answering):
    schema = {"type": "object", "properties": {"intent": {"const": "light.off"}}, "required": ["intent"]}
    with answering.session() as session:
        answer = session.chat("turn the lamps off", json_schema={**schema, "additionalProperties": False})
    assert json.loads(answer.text) == {"intent": "light.off"}


def test_a_prompt_that_is_too_long_is_refused_with_figures(answering):
    with answering.session() as session, pytest.raises(tenon.TenonError) as raised:
        session.chat("lamp " * 100000)
    assert raised.value.name == "TENON_E_CONTEXT_OVERFLOW"
    assert int(raised.value.details["prompt_tokens"]) > int(raised.value.details["context_size"])


def run_the_example_of(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": str(Path(tenon.__file__).parents[1])}
    ran = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_the_example_of_the_readme_works(shipped):
    heard, answer = run_the_example_of("python/README.md")
    assert re.fullmatch(r"\d\.\d\d s to \d\.\d\d s: can you set a five hour timer", heard)
    assert json.loads(answer) == {"intent": "timer.set", "hours": 5}


def test_the_example_of_the_projects_readme_works(shipped):
    (heard,) = run_the_example_of("README.md")
    assert heard.strip() == "can you set a five hour timer"
