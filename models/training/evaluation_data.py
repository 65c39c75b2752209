"""The held-out evaluation: recordings of held-out sentences by held-out voices, and held-out commands. Fixed seeds.

Written under WORK/evaluation: clean/*.wav, noisy/*.wav, long/*.wav, empty/*.wav, and the lists speech.jsonl
({"file", "sort", "text", "segments"}) and commands.jsonl ({"prompt", "expected"}).
"""

import json
import os
import random
import sys

import numpy as np
import soundfile

import grammar
from command_data import held_out_examples
from features import RATE, resampled
from voices import Espeak, random_voice

COMMANDS, FREE, LONG, EMPTY = 500, 150, 30, 40
PROMPTS = 1000
SNR_DB = 20


def spoken(espeak, text, voice):
    """f32 samples at 16 kHz, cut to the sound."""
    samples = resampled(espeak.say(text, voice)[0])
    loud = np.nonzero(np.abs(samples) > 1e-3)[0]
    return samples[max(0, loud[0] - 80) : loud[-1] + 800]


def silence(seconds):
    return np.zeros(int(seconds * RATE), np.float32)


def noise(generator, length, pink):
    """White or pink noise of mean power one."""
    spectrum = np.fft.rfft(generator.normal(0, 1, length))
    if pink:
        spectrum /= np.sqrt(np.arange(len(spectrum)) + 1.0)
    samples = np.fft.irfft(spectrum, length)
    return (samples / np.sqrt(np.mean(samples**2))).astype(np.float32)


def noisy(generator, samples, snr_db, pink):
    """Adds noise at `snr_db` below the power of the samples that are not silent."""
    power = np.mean(samples[np.abs(samples) > 1e-3] ** 2)
    mixed = samples + noise(generator, len(samples), pink) * np.sqrt(power / 10 ** (snr_db / 10))
    return np.clip(mixed, -1, 1)


def sequence(espeak, texts, voices, pauses):
    """Says texts one after another, each after its pause in seconds: samples, and [{"start", "end", "text"}]."""
    parts, segments, at = [], [], 0.0
    for text, voice, pause in zip(texts, voices, pauses):
        speech = spoken(espeak, text, voice)
        parts += [silence(pause), speech]
        start = at + len(parts[-2]) / RATE
        at = start + len(speech) / RATE
        segments.append({"start": round(start, 2), "end": round(at, 2), "text": text})
    return np.concatenate([*parts, silence(0.3)]), segments


def held_out_command(rng):
    """A command to say; free sentences have their own set."""
    while True:
        text, _, kind = grammar.command(rng, keep=grammar.held_out)
        if kind != "no_command":
            return text


def held_out_sentence(rng):
    while not grammar.held_out(text := grammar.sentence(rng)):
        pass
    return text


def speech_cases(espeak):
    """(folder, sort, samples, segments) of every recording, clean and noisy."""
    rng, generator = random.Random(424242), np.random.default_rng(5)
    for sort, count, make in (("command", COMMANDS, held_out_command), ("free", FREE, held_out_sentence)):
        for i in range(count):
            samples, segments = sequence(espeak, [make(rng)], [random_voice(rng, True)], [rng.uniform(0.1, 0.6)])
            yield "clean", sort, samples, segments
            yield "noisy", sort, noisy(generator, samples, SNR_DB, pink=i % 2 == 1), segments
    for i in range(LONG):
        texts = [held_out_command(rng) for _ in range(rng.randint(3, 14))]
        dense = i % 2 == 0
        pauses = [rng.uniform(0.2, 0.7)] + [rng.uniform(0.25, 0.5 if dense else 1.8) for _ in texts[1:]]
        samples, segments = sequence(espeak, texts, [random_voice(rng, True)] * len(texts), pauses)
        yield "long", "dense" if dense else "sparse", samples, segments
    for i in range(EMPTY):
        loudness = 0 if i == 0 else 10 ** rng.uniform(-4, -1)
        yield "empty", "empty", noise(generator, int(rng.uniform(2, 12) * RATE), i % 2 == 1) * loudness, []


def make(work):
    folder = os.path.join(work, "evaluation")
    for name in ("clean", "noisy", "long", "empty"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    lines, counts = [], {}
    for kind, sort, samples, segments in speech_cases(Espeak()):
        counts[kind] = counts.get(kind, 0) + 1
        file = os.path.join(kind, f"{counts[kind]:04d}.wav")
        soundfile.write(os.path.join(folder, file), np.clip(samples, -1, 1), RATE, subtype="PCM_16")
        text = " ".join(segment["text"] for segment in segments)
        lines.append({"file": file, "sort": sort, "text": text, "segments": segments})
    write_lines(os.path.join(folder, "speech.jsonl"), lines)
    write_lines(os.path.join(folder, "commands.jsonl"), held_out_examples(PROMPTS))


def write_lines(path, values):
    with open(path, "w") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    make(sys.argv[1])
