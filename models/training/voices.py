"""Speech from espeak-ng's library, through ctypes, with the times of its words and phonemes.

The library keeps its state in globals: one voice at a time, and not from two threads.
"""

import ctypes
import dataclasses
import random

import numpy as np

RATE = 22050  # samples a second, what espeak-ng makes
SYNCHRONOUS, PHONEME_EVENTS = 2, 1
END, WORD, PHONEME = 0, 1, 7
UTF8 = 1
SPEED, PITCH, RANGE, WORD_GAP = 1, 3, 4, 7

ACCENTS = {
    "en-us": 5, "gmw/en": 3, "gmw/en-GB-x-rp": 2, "gmw/en-GB-scotland": 1, "gmw/en-029": 1, "gmw/en-US-nyc": 1.5,
    "gmw/en-GB-x-gbclan": 1, "gmw/en-GB-x-gbcwmd": 1,
}  # fmt: skip
TRAINING_VARIANTS = "m1 m2 m3 m4 m5 m7 m8 f1 f2 f3 f5".split() * 3 + """
    adam Alex Alicia Andrea Annie antonio aunty belinda benjamin boris caleb david Denis Diogo ed Gene gustave Henrique
    Hugo iven iven2 Jacky john Lee marcelo Marco Mario max michel miguel Mike Mr Nguyen paul pedro quincy rob robert steph
    steph2 steph3 travis victor zac anika grandpa grandma norbert sandro klatt klatt2 klatt3
""".split()
HELD_OUT_VARIANTS = "m6 f4 linda Andy edward Michael shelby pablo".split()


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclasses.dataclass(frozen=True)
class Voice:
    """One way to say something; all that espeak-ng needs."""

    accent: str
    variant: str
    words_per_minute: int
    pitch: int
    range: int
    word_gap: int  # in 10 ms

    @property
    def name(self):
        return self.accent + (f"+{self.variant}" if self.variant else "")


def random_voice(rng: random.Random, held_out=False):
    """A training voice, or one whose variant training never hears."""
    accent = rng.choices(list(ACCENTS), ACCENTS.values())[0]
    variant = rng.choice(HELD_OUT_VARIANTS if held_out else TRAINING_VARIANTS)
    if not held_out and rng.random() < 0.12:
        variant = ""
    return Voice(accent, variant, rng.randint(115, 235), rng.randint(15, 85), rng.randint(20, 80), rng.choice([0, 0, 0, 1, 2]))


class Espeak:
    """The library, opened. Raises OSError when it is not installed."""

    def __init__(self):
        self.library = library = ctypes.CDLL("libespeak-ng.so.1")
        if library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS) != RATE:
            raise OSError("espeak-ng found no data (Debian: apt-get install espeak-ng-data)")
        self._samples, self._words, self._phonemes = [], [], []
        self._callback = _CALLBACK(self._receive)  # kept alive here: the library holds only a pointer
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p,
        ]  # fmt: skip
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]

    def _receive(self, samples, count, events):
        if count > 0 and samples:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != END:
            event = events[i]
            if event.type == WORD:
                self._words.append((event.text_position, event.sample / RATE))
            elif event.type == PHONEME:
                self._phonemes.append((event.id.string.decode("utf8", "replace"), event.sample / RATE))
            i += 1
        return 0

    def use(self, voice):
        if self.library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.name}")
        settings = (SPEED, voice.words_per_minute), (PITCH, voice.pitch), (RANGE, voice.range), (WORD_GAP, voice.word_gap)
        for parameter, value in settings:
            self.library.espeak_SetParameter(parameter, value, 0)

    def say(self, text, voice):
        """Samples (int16 at RATE), words [(1-based character position, seconds)], phonemes [(name, seconds)]."""
        self.use(voice)
        self._samples, self._words, self._phonemes = [], [], []
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, len(data), 0, 1, 0, UTF8, None, None)
        samples = np.concatenate(self._samples) if self._samples else np.zeros(0, np.int16)
        return samples, self._words, self._phonemes

    def pronounce(self, word):
        """The phonemes of a word in the first accent, without stress marks."""
        self.use(Voice("en-us", "", 175, 50, 50, 0))
        text = ctypes.c_char_p(word.encode())
        spelled = self.library.espeak_TextToPhonemes(ctypes.byref(text), UTF8, ord("_") << 8).decode()
        phonemes = [part.strip("',%=|_ ") for part in spelled.replace(" ", "_").split("_")]
        return [phoneme for phoneme in phonemes if phoneme]
