"""Whisper's features: 80 mel bands of 25 ms Hann windows, 100 frames a second, at 16 kHz.

Utterances are kept as mel *power*, because powers of speech and noise simply add: training windows are composed
and made noisy without going back to samples.
"""

import numpy as np
from scipy.fft import rfft
from scipy.signal import resample_poly

RATE = 16000
HOP, WINDOW = 160, 400
BANDS = 80
FLOOR = 1e-10  # of mel power, whisper's


def mel_scale(hertz):
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    hertz = np.asarray(hertz, float)
    return np.where(hertz >= 1000, 15 + np.log(np.maximum(hertz, 1e-9) / 1000) / (np.log(6.4) / 27), hertz * 3 / 200)


def mel_to_hertz(mel):
    return np.where(mel >= 15, 1000 * np.exp((np.log(6.4) / 27) * (mel - 15)), mel * 200 / 3)


def mel_filters():
    """Triangles of equal area, [BANDS, WINDOW / 2 + 1] f32: the table that whisper's files carry."""
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    edges = mel_to_hertz(np.linspace(mel_scale(0), mel_scale(RATE / 2), BANDS + 2))
    width, ramp = np.diff(edges), edges[:, None] - bins[None]
    triangles = np.maximum(0, np.minimum(-ramp[:-2] / width[:-1, None], ramp[2:] / width[1:, None]))
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


FILTERS = mel_filters()
HANN = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)


def mel_power(samples):
    """Samples (f32 in -1 to 1, at RATE) -> mel power [frames, BANDS] f32."""
    frames = len(samples) // HOP
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    spectrum = rfft(np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames] * HANN, axis=1)
    return (spectrum.real**2 + spectrum.imag**2) @ FILTERS.T


def log_mel(power):
    """Mel power of a whole window -> what whisper's encoder takes: log10, 8 decades deep, scaled to about -1 to 1."""
    log = np.log10(np.maximum(power, FLOOR))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)


def resampled(samples):
    """espeak's samples (int16 at 22,050 Hz) -> f32 in -1 to 1 at RATE."""
    return resample_poly(samples.astype(np.float32) / 32768, 320, 441).astype(np.float32)
