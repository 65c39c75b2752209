"""Makes the speech, `python3 speech_data.py WORK`: shards of utterances with features, words, phonemes and times; then the vocabulary.

A shard is an .npz of `texts` [n] str, `sorts` [n] str, `mel` [frames, 80] f16 (log10 of mel power), `mel_ends` [n],
`phonemes` [frames / 2] int16 (into `phoneme_names`, one per 20 ms), `phoneme_ends` [n], `starts` [words + n] f32
(seconds; each utterance has one more than it has words: its end) and `start_ends` [n].
"""

import os
import random
import sys
from multiprocessing import Pool

import numpy as np

import features
import grammar
from speech_model import Vocabulary
from voices import Espeak, random_voice

SHARDS = 48
UTTERANCES = 420  # a shard: about a quarter of an hour
LONGEST = 1150  # frames
SILENCE = "_"
RARE = 60  # phonemes with fewer frames than this are taken for silence


def utterance(espeak, text, voice):
    """Says `text`: log10 mel power [F, 80] f16, phoneme names [F / 2], word starts and the end [words + 1] in seconds."""
    samples, words, phonemes = espeak.say(text, voice)
    power = features.mel_power(features.resampled(samples))
    loudness = power.sum(1)
    frames = min(len(power), np.nonzero(loudness > loudness.max() * 1e-7)[0][-1] + 4)  # without silence at the end
    end = frames / 100
    names = np.full((frames + 1) // 2, SILENCE, object)
    for i, (name, start) in enumerate(phonemes):
        until = phonemes[i + 1][1] if i + 1 < len(phonemes) else end
        names[round(start * 50) : round(until * 50)] = name or SILENCE
    log_power = np.log10(np.maximum(power[:frames], 1e-12)).astype(np.float16)
    return log_power, names, word_starts(text, words, end)


def word_starts(text, events, end):
    """Start of each word and the end of the last, in seconds. espeak joins some words: those starts are interpolated."""
    position, starts, spoken = 1, {}, dict(events)
    for i, word in enumerate(text.split()):
        if position in spoken:
            starts[i] = spoken[position]
        position += len(word) + 1
    starts.setdefault(0, 0.0)
    count = len(text.split())
    known = sorted(starts)
    return np.interp(np.arange(count + 1), known + [count], [starts[i] for i in known] + [end]).astype(np.float32)


def write_shard(path, seed):
    """One shard of training voices and training sentences."""
    rng, espeak = random.Random(seed), Espeak()
    texts, sorts, mels, names, starts = [], [], [], [], []
    while len(texts) < UTTERANCES:
        voice = random_voice(rng)
        text, sort = grammar.spoken_text(rng, keep=lambda text: not grammar.held_out(text))
        mel, phonemes, times = utterance(espeak, text, voice)
        if len(mel) <= LONGEST:
            for column, value in zip((texts, sorts, mels, names, starts), (text, sort, mel, phonemes, times)):
                column.append(value)
    all_names = np.concatenate(names)
    known, ids = np.unique(all_names.astype(str), return_inverse=True)
    ends = lambda column: np.cumsum([len(value) for value in column])
    temporary = path + ".part.npz"
    np.savez(
        temporary, texts=texts, sorts=sorts, mel=np.concatenate(mels), mel_ends=ends(mels), phoneme_names=known,
        phonemes=ids.astype(np.int16), phoneme_ends=ends(names), starts=np.concatenate(starts), start_ends=ends(starts),
    )  # fmt: skip
    os.rename(temporary, path)


def shard_path(work, index):
    return os.path.join(work, "speech", f"{index:03d}.npz")


def make_shard(job):
    work, index = job
    path = shard_path(work, index)
    if not os.path.exists(path):
        write_shard(path, seed=1000 + index)
        print(f"shard {index + 1} of {SHARDS}", flush=True)


def make(work, processes=2):
    """All shards, then the vocabulary; what is there already is kept."""
    os.makedirs(os.path.join(work, "speech"), exist_ok=True)
    with Pool(processes, maxtasksperchild=8) as pool:
        pool.map(make_shard, [(work, index) for index in range(SHARDS)], chunksize=1)
    write_vocabulary(work)


def pronunciation_features(pronunciations):
    """Bag of phonemes, and phonemes by place from the front and from the back: [words, n] f32 with unit rows."""
    names = sorted({name for word in pronunciations for name in word})
    column, places = {name: i for i, name in enumerate(names)}, 6
    table = np.zeros((len(pronunciations), 2 * places + 1, len(names)), np.float32)
    for row, word in zip(table, pronunciations):
        for place, name in enumerate(word[:places]):
            row[place, column[name]] = 1
        for place, name in enumerate(word[::-1][:places]):
            row[places + place, column[name]] = 1
        for name in word:
            row[2 * places, column[name]] += 1
    table = table.reshape(len(pronunciations), -1)
    table = table[:, table.any(0)]
    return table / np.sqrt((table**2).sum(1, keepdims=True))


def write_vocabulary(work):
    words, espeak, frames = grammar.spoken_words(), Espeak(), {}
    for index in range(SHARDS):
        with np.load(shard_path(work, index)) as shard:
            counts = np.bincount(shard["phonemes"], minlength=len(shard["phoneme_names"]))
            for name, count in zip(shard["phoneme_names"], counts):
                frames[str(name)] = frames.get(str(name), 0) + int(count)
    common = sorted(name for name, count in frames.items() if count > RARE and name != SILENCE)
    pronunciation = pronunciation_features([espeak.pronounce(word) for word in words])
    np.savez(os.path.join(work, "vocabulary.npz"), words=words, phonemes=[SILENCE] + common, pronunciation=pronunciation)


def load_vocabulary(work):
    with np.load(os.path.join(work, "vocabulary.npz")) as data:
        return Vocabulary(data["words"].tolist(), data["phonemes"].tolist(), data["pronunciation"])


if __name__ == "__main__":
    make(sys.argv[1])
