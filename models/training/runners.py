"""Programs that run the models for the evaluation.

A runner has `transcribe(files)` -> a list of segments [{"start", "end", "text"}] (seconds) for each file, or
`answer(prompts)` -> one text for each prompt, or both. Everything is greedy.
"""

import json
import os
import subprocess

BATCH = 50  # files a process


class Tenon:
    """The program of this project: what the figures in README.md were measured with."""

    def __init__(self, program="tenon", speech="commands-en", commands="intents-en", options=()):
        self.program, self.speech, self.commands, self.options = program, speech, commands, list(options)

    def transcribe(self, files):
        command = [self.program, "transcribe", "-m", self.speech, "--json", *self.options]
        transcripts = []
        for first in range(0, len(files), BATCH):
            documents = json.loads(run([*command, *files[first : first + BATCH]]))
            transcripts += [segments_of(d) for d in (documents if isinstance(documents, list) else [documents])]
        return transcripts

    def answer(self, prompts):
        return [run([self.program, "run", self.commands, "--temperature", "0", prompt]).strip() for prompt in prompts]


class WhisperCli:
    """whisper.cpp's own program, as a reference for the speech model."""

    def __init__(self, program, model, options=()):
        self.command = [program, "-m", model, "-t", "1", "-bs", "1", "-bo", "1", "-nf", "-np", "-oj", *options]

    def transcribe(self, files):
        transcripts = []
        for first in range(0, len(files), BATCH):
            part = files[first : first + BATCH]
            run([*self.command, *(word for file in part for word in ("-f", file))])
            for file in part:
                with open(file + ".json") as written:
                    transcripts.append(segments_of(json.load(written)))
                os.remove(file + ".json")
        return transcripts


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} …: exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def segments_of(document):
    """Segments of Tenon's JSON or of whisper.cpp's."""
    if "transcription" in document:
        cues = document["transcription"]
        return [{"start": c["offsets"]["from"] / 1000, "end": c["offsets"]["to"] / 1000, "text": c["text"]} for c in cues]
    return [{name: segment[name] for name in ("start", "end", "text")} for segment in document["segments"]]
