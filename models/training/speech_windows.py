"""Composes training windows from utterances: sentences with pauses, loudness, tone, noise, silence.

Everything happens on mel power, so that a window costs milliseconds. Labels follow whisper: each sentence is
`<start> words <end>`; a sentence that the window cuts off is announced by its start alone, so that whisper.cpp goes
on from there; a window without speech is `<0.0>` and the end.
"""

import dataclasses
import glob
import os

import numpy as np

from features import BANDS, FILTERS, FLOOR, log_mel
from speech_model import AUDIO_CONTEXT, TIMESTAMPS


@dataclasses.dataclass(frozen=True)
class Kind:
    """A size of window: mel frames (100 a second), places for tokens, and the longest prompt before them."""

    frames: int
    tokens: int
    prompt: int


KINDS = {"short": Kind(512, 32, 8), "middle": Kind(1024, 56, 12), "full": Kind(3000, 160, 48)}
FIRST_TIMESTAMP_LIMIT = 10  # whisper.cpp lets the first timestamp of a window be 1.0 s at most
NO_WORD = (0, 0)
# Power of a band's noise fluctuates less, the more spectral bins the band sums over.
BAND_BINS = np.maximum(1, (FILTERS > 0).sum(1) * 0.7)
BAND_PER_POWER = np.maximum(1e-4, 1 / np.maximum(FILTERS.max(1), 1e-9))
TONE = np.cos(np.pi * np.arange(5)[:, None] * (np.arange(BANDS) + 0.5) / BANDS)


@dataclasses.dataclass(frozen=True)
class Utterance:
    mel: np.ndarray  # [F, BANDS] f16, log10 of power
    phonemes: np.ndarray  # [F / 2] int16
    words: np.ndarray  # [W] int32
    starts: np.ndarray  # [W + 1] f32, seconds


class Corpus:
    """All utterances, by sort ("command", "free", "salad")."""

    def __init__(self, work, vocabulary):
        self.vocabulary = vocabulary
        self.by_sort = {}
        word_id = {word: i for i, word in enumerate(vocabulary.words)}
        phoneme_id = {name: i for i, name in enumerate(vocabulary.phonemes)}
        for path in sorted(glob.glob(os.path.join(work, "speech", "[0-9]*[0-9].npz"))):
            self._load(path, word_id, phoneme_id)

    def _load(self, path, word_id, phoneme_id):
        with np.load(path) as data:
            shard = {name: data[name] for name in data.files}
        phonemes = np.array([phoneme_id.get(str(name), 0) for name in shard["phoneme_names"]], np.int16)[shard["phonemes"]]
        parts = zip(
            np.split(shard["mel"], shard["mel_ends"][:-1]), np.split(phonemes, shard["phoneme_ends"][:-1]),
            np.split(shard["starts"], shard["start_ends"][:-1]),
        )  # fmt: skip
        for text, sort, (mel, heard, starts) in zip(shard["texts"], shard["sorts"], parts):
            words = np.array([word_id[word] for word in str(text).split()], np.int32)
            self.by_sort.setdefault(str(sort), []).append(Utterance(mel, heard, words, starts))

    def hours(self):
        return sum(len(u.mel) for utterances in self.by_sort.values() for u in utterances) / 360_000

    def pick(self, rng, mix):
        """A random utterance; `mix` is the probability of each sort."""
        utterances = self.by_sort[rng.choice(list(mix), p=list(mix.values()))]
        return utterances[rng.integers(len(utterances))]


class Window:
    """One training window under construction."""

    def __init__(self, rng, corpus, kind):
        self.rng, self.corpus, self.kind = rng, corpus, kind
        self.vocabulary = corpus.vocabulary
        self.power = np.full((kind.frames, BANDS), FLOOR, np.float32)
        self.phonemes = np.zeros(kind.frames // 2, np.int32)
        # Short windows are placed anywhere among the encoder's positions, so that all of these are trained.
        last = (AUDIO_CONTEXT - kind.frames // 2) // 5
        self.offset = int(rng.integers(0, last)) * 5 if rng.random() < 0.5 and last > 0 else 0
        self.tokens, self.targets = [self.vocabulary.start], []
        self.weights, self.spans, self.frames = [], [], []
        self.sentences = 0

    def timestamp(self, frame):
        """The timestamp of a mel frame, in tenths of a second from the first encoder position."""
        return min(TIMESTAMPS - 1, round((frame / 100 + self.offset / 50) * 10))

    def add(self, token, weight=1.0, span=NO_WORD, frame=0):
        self.tokens.append(token)
        self.targets.append(token)
        self.weights.append(weight)
        self.spans.append(span)
        self.frames.append(frame)

    def add_prompt(self, mix):
        """Text of before, as whisper.cpp hands it over: previous, tokens, start. It is read, not learned."""
        first, tokens = self.vocabulary.first_timestamp, []
        timed = self.rng.random() < 0.8
        while len(tokens) < self.kind.prompt - 1:
            tokens += [first + int(self.rng.integers(0, 200))] * timed
            tokens += self.corpus.pick(self.rng, mix).words.tolist()
            tokens += [first + int(self.rng.integers(5, 300))] * timed
            if self.rng.random() < 0.4:
                break
        self.tokens = [self.vocabulary.previous]
        for token in tokens[-(self.kind.prompt - 1) :] + [self.vocabulary.start]:
            self.add(token, weight=0.0)

    def add_sentence(self, at, utterance, gain):
        """Mixes an utterance in at frame `at` and writes its tokens; returns the frame at which it ends."""
        length, first = len(utterance.mel), self.vocabulary.first_timestamp
        self.power[at : at + length] += 10 ** (utterance.mel.astype(np.float32) + gain)
        self.phonemes[at // 2 :][: len(utterance.phonemes)] = utterance.phonemes[: len(self.phonemes) - at // 2]
        start, last = self.start_timestamp(at), len(self.phonemes)
        self.add(first + start)
        for i, word in enumerate(utterance.words):
            begin = int((at / 100 + utterance.starts[i]) * 50)
            end = int((at / 100 + utterance.starts[i + 1]) * 50) + 1
            inside = min(last - 1, int(begin + (end - begin) * self.rng.uniform(0.5, 1.0)))
            self.add(int(word), span=(max(0, begin - 2), min(last, end + 3)), frame=inside)
        self.add(first + max(self.timestamp(at + length), start + 1))
        self.sentences += 1
        return at + length

    def start_timestamp(self, at):
        stamp = self.timestamp(at)
        return stamp if self.sentences or self.offset else min(FIRST_TIMESTAMP_LIMIT, stamp)

    def add_cut_sentence(self, at, utterance, gain):
        """Mixes in what fits of an utterance; only its start is written, so that the next window takes it whole."""
        fits = self.kind.frames - at
        self.power[at:] += 10 ** (utterance.mel[:fits].astype(np.float32) + gain)
        heard = utterance.phonemes[: len(self.phonemes) - at // 2]
        self.phonemes[at // 2 :][: len(heard)] = heard
        self.add(self.vocabulary.first_timestamp + self.start_timestamp(at))

    def fill(self, mix, limit, longest_pause, cut):
        """Adds up to `limit` sentences with pauses; perhaps one more that the window cuts off."""
        rng, loudness = self.rng, self.rng.uniform(-2, 0.4)
        at = int(rng.integers(0, 90)) if rng.random() < 0.8 else int(rng.integers(0, 20))
        while self.sentences < limit:
            for _ in range(4):
                utterance = self.corpus.pick(rng, mix)
                if at + len(utterance.mel) + 6 < self.kind.frames and len(self.tokens) + len(utterance.words) + 5 < self.kind.tokens:
                    break
            else:
                break
            at = self.add_sentence(at, utterance, loudness + rng.uniform(-0.2, 0.2)) + int(rng.integers(15, longest_pause))
        if not (cut and self.sentences and len(self.tokens) + 4 < self.kind.tokens):
            return
        utterance = self.corpus.pick(rng, mix)
        fits = self.kind.frames - at
        if 40 < fits < len(utterance.mel) - 10:
            self.add_cut_sentence(at, utterance, loudness)

    def finish(self):
        """The end of the tokens; a window without a sentence says so."""
        vocabulary = self.vocabulary
        if not self.sentences:
            silent = vocabulary.first_timestamp
            # Half of the time the first target is "no speech", whose probability whisper.cpp looks at.
            self.add(vocabulary.no_speech if self.rng.random() < 0.5 else silent)
            self.tokens[-1] = silent
        self.targets.append(vocabulary.end)
        self.weights.append(1.0)
        self.spans.append(NO_WORD)
        self.frames.append(0)

    def add_noise(self, loudest_snr=5, quietest_snr=38):
        """Coloured noise at a random level, sometimes with slow swells; alone in the window it is of any loudness."""
        rng = self.rng
        colour = rng.normal(0, 1, 5) * np.array([0, 0.6, 0.35, 0.25, 0.2])
        colour[1] += rng.choice([0, 0, 0.5, 1.0])
        noise = FILTERS.sum(1) * 10 ** (colour @ TONE)
        if self.sentences:
            power = self.power @ BAND_PER_POWER
            level = np.mean(power[power > power.max() * 1e-4]) / 10 ** (rng.uniform(loudest_snr, quietest_snr) / 10)
        else:
            level = 10 ** rng.uniform(-5, 1)
        noise = noise * (level / (noise @ BAND_PER_POWER)) * rng.gamma(BAND_BINS, 1 / BAND_BINS, self.power.shape)
        if rng.random() < 0.3:
            steps = len(noise) // 32 + 1
            noise = noise * 10 ** (rng.choice([0.15, 0.5]) * np.repeat(rng.normal(0, 1, (steps, 1)), 32, 0)[: len(noise)])
        self.power += noise

    def arrays(self):
        """Padded arrays for speech_model.loss, without the batch axis."""
        features, rng = log_mel(self.power), self.rng
        if rng.random() < 0.3:
            low = int(rng.integers(0, 72))
            features[:, low : low + int(rng.integers(2, 9))] = features.mean()
        count, places = len(self.targets), self.kind.tokens
        assert count <= places, (count, self.kind)
        padded = lambda values, shape, kind: np.concatenate([np.asarray(values, kind), np.zeros((places - count, *shape), kind)])
        return {
            "mel": features,
            "offset": np.int32(self.offset),
            "phonemes": self.phonemes,
            "tokens": padded(self.tokens[:count], (), np.int32),
            "target": padded(self.targets, (), np.int32),
            "weight": padded(self.weights, (), np.float32),
            "span": padded(self.spans, (2,), np.int32),
            "frame": padded(self.frames, (), np.int32),
        }


def window(rng, corpus, kind_name, mix):
    """One random window of a kind, as arrays."""
    kind = KINDS[kind_name]
    made = Window(rng, corpus, kind)
    if rng.random() < 0.1:
        made.add_prompt(mix)
    silent = rng.random() < 0.04
    if not silent:
        dense = kind_name == "full" and rng.random() < 0.6
        limit = 99 if dense else int(rng.integers(1, 5)) if kind_name == "full" else int(rng.choice([1, 2, 3, 3]))
        cut = rng.random() < (0.5 if dense or kind_name == "middle" else 0.15)
        made.fill(mix, limit, longest_pause=60 if rng.random() < 0.5 else 220, cut=cut)
    made.finish()
    made.power *= 10 ** ((rng.normal(0, 0.12, 5) * [0, 1, 1, 1, 1] * (rng.random() < 0.7)) @ TONE)
    if rng.random() < (0.6 if made.sentences else 0.85):
        made.add_noise()
    return made.arrays()


def batch(rng, corpus, kind_name, mix, encoder_frames):
    """Windows of one kind that together have about `encoder_frames`; arrays with the batch axis first."""
    count = max(1, encoder_frames // (KINDS[kind_name].frames // 2))
    windows = [window(rng, corpus, kind_name, mix) for _ in range(count)]
    return {name: np.stack([w[name] for w in windows]) for name in windows[0]}
