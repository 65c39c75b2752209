"""Makes the recordings that ship: the demonstration and the tests play them.

    python3 recordings.py WORK TO [--tenon PROGRAM | --whisper-cli PROGRAM --model FILE]

Sentences and voices are held out. For each kind of command the first candidate that the shipped models get right is
taken, so these recordings show what works; how often it works is what evaluate.py says.
"""

import argparse
import json
import os
import random

import numpy as np
import soundfile

import grammar
from command_data import answer_text
from evaluation_data import noisy, sequence, silence
from evaluate import joined, words_of
from features import RATE
from runners import Tenon, WhisperCli
from voices import Espeak, random_voice

SEED = 2024
CANDIDATES = 12
PAUSE = (0.9, 1.3)  # seconds between the commands of one recording
LONG_CLIP = 11.0  # seconds

# (file, kind of command, signal to noise ratio in dB)
SINGLE = [
    ("timer", "timer_set", None), ("light", "light_switch", None), ("alarm", "alarm_set", None), ("weather", "weather", None),
    ("music", "music_play", None), ("reminder", "reminder", None), ("message", "message", None), ("list", "list_add", None),
    ("thermostat-noisy", "thermostat_set", 20), ("device-noisy", "device", 20), ("two-commands", "several", None),
]  # fmt: skip
SEQUENCES = [("three-commands", 3, None), ("eleven-seconds", 4, LONG_CLIP)]


def candidate(rng, kind):
    """A held-out (text, answer) of a kind."""
    while True:
        text, answer, found = grammar.command(rng, keep=grammar.held_out)
        if found == kind and 4 <= len(text.split()) <= 14 and "please" not in text:
            return text, answer


def single(espeak, rng, kind, snr_db):
    text, answer = candidate(rng, kind)
    voice = random_voice(rng, held_out=True)
    samples, _ = sequence(espeak, [text], [voice], [0.3])
    if snr_db is not None:
        samples = noisy(np.random.default_rng(SEED), samples, snr_db, pink=True)
    entry = {"text": text, "answer": answer_text(answer), "voice": voice.name}
    return samples, entry | ({"snr_db": snr_db} if snr_db is not None else {})


def several(espeak, rng, count, seconds):
    """`count` commands with pauses by one voice; `seconds` is the length to fill, or None."""
    parts = []
    while len(parts) < count:
        kind = rng.choice(["timer_set", "light_switch", "device", "music_play", "weather", "list_add", "call", "blinds"])
        text, answer = candidate(rng, kind)
        if len(text.split()) <= 8:
            parts.append(text)
    voice = random_voice(rng, held_out=True)
    pauses = [0.3] + [rng.uniform(*PAUSE) for _ in parts[1:]]
    samples, segments = sequence(espeak, parts, [voice] * count, pauses)
    if seconds is not None:
        missing = seconds - len(samples) / RATE
        if not 0 <= missing < 1.5:
            return None
        samples = np.concatenate([samples, silence(missing + 1)])[: int(seconds * RATE)]
    return samples, {"text": " ".join(parts), "voice": voice.name, "segments": segments}


def is_heard(entry, segments):
    """Every word right, and each segment ends within 0.2 s of the truth.

    Starts are not compared: whisper.cpp lets a segment start where the last one ended, pauses included.
    """
    if words_of(joined(segments)) != words_of(entry["text"]):
        return False
    if "segments" not in entry:
        return True
    ends = [abs(true["end"] - made["end"]) <= 0.2 for true, made in zip(entry["segments"], segments)]
    return len(segments) == len(entry["segments"]) and all(ends)


def first_right(make, name, folder, runner, answers):
    """Writes candidates until one is heard (and answered) right; returns its entry."""
    path = os.path.join(folder, name + ".wav")
    for number in range(CANDIDATES):
        made = make(random.Random(f"{SEED} {name} {number}"))
        if made is None:
            continue
        samples, entry = made
        soundfile.write(path, np.clip(samples, -1, 1), RATE, subtype="PCM_16")
        if is_heard(entry, runner.transcribe([path])[0]) and ("answer" not in entry or answers(entry["text"]) == entry["answer"]):
            return {"file": name + ".wav"} | entry
    raise RuntimeError(f"none of {CANDIDATES} candidates for {name} came out right: train longer")


def toml(entries):
    """The list of recordings as TOML; JSON's strings are valid TOML strings."""
    lines = ["# Made by models/training/recordings.py. Speech is synthesised by espeak-ng; times are in seconds."]
    for entry in entries:
        lines.append("\n[[recording]]")
        for key, value in entry.items():
            if key == "segments":
                rows = [", ".join(f"{name} = {json.dumps(field)}" for name, field in segment.items()) for segment in value]
                lines += ["segments = ["] + [f"    {{ {row} }}," for row in rows] + ["]"]
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def make(folder, runner, answers):
    os.makedirs(folder, exist_ok=True)
    espeak, entries = Espeak(), []
    for name, kind, snr_db in SINGLE:
        entries.append(first_right(lambda rng: single(espeak, rng, kind, snr_db), name, folder, runner, answers))
    for name, count, seconds in SEQUENCES:
        entries.append(first_right(lambda rng: several(espeak, rng, count, seconds), name, folder, runner, answers))
    with open(os.path.join(folder, "recordings.toml"), "w") as file:
        file.write(toml(entries))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("folder")
    parser.add_argument("--tenon", default="tenon")
    parser.add_argument("--whisper-cli")
    parser.add_argument("--model", help="the speech model's file, for --whisper-cli")
    asked = parser.parse_args()
    if asked.whisper_cli:
        from command_check import checkpoint_answers

        make(asked.folder, WhisperCli(asked.whisper_cli, asked.model), checkpoint_answers(asked.work))
    else:
        tenon = Tenon(asked.tenon)
        make(asked.folder, tenon, lambda text: tenon.answer([text])[0])


if __name__ == "__main__":
    main()
