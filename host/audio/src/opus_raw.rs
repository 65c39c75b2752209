//! The one place with `unsafe`: libopus, translated to Rust, behind a type that cannot be used wrongly.
//!
//! `unsafe-libopus` keeps the shape of the C library: functions on raw pointers. No decoder that is safe throughout
//! decodes all of Opus correctly yet (docs/audio.md has the comparison). Neighbour: [`crate::opus`] reads headers and
//! splits packets in safe code.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use unsafe_libopus::{OpusDecoder, opus_decode_float, opus_decoder_create, opus_decoder_destroy};

/// One mono or stereo Opus stream at 48 kHz.
pub(crate) struct RawDecoder {
    state: NonNull<OpusDecoder>,
    channels: usize,
}

// SAFETY: the state is one heap block that only this value points to, it holds no thread-local data and no locks, and
// every function that touches it takes `&mut self`.
unsafe impl Send for RawDecoder {}

impl RawDecoder {
    /// A decoder for 1 or 2 channels; `None` when there is no memory for it.
    pub(crate) fn new(channels: usize) -> Option<Self> {
        let count = match channels {
            1 => 1,
            2 => 2,
            _ => return None,
        };
        let mut error = 0;
        // SAFETY: the rate is one of the five allowed, the channel count is 1 or 2, and `error` outlives the call.
        let state = unsafe { opus_decoder_create(48_000, count, &raw mut error) };
        let state = NonNull::new(state)?;
        Some(Self { state, channels })
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Decodes a packet to the front of `pcm`; tells how many frames it holds. `None` for a packet that breaks the
    /// rules or does not fit.
    pub(crate) fn decode(&mut self, packet: &[u8], pcm: &mut [f32]) -> Option<usize> {
        // An empty packet would ask for concealment of a loss; a loss is told and silent here, never made up.
        if packet.is_empty() {
            return None;
        }
        let len = i32::try_from(packet.len()).ok()?;
        let room = i32::try_from(pcm.len() / self.channels).ok()?;
        // SAFETY: `state` is a live decoder (made in `new`, freed only in `drop`) that `&mut self` gives us alone;
        // `packet` is `len` readable bytes; `pcm` has room for `room` frames of `channels` samples, and the decoder
        // writes no more frames than that.
        let frames = unsafe { opus_decode_float(self.state.as_ptr(), packet.as_ptr(), len, pcm.as_mut_ptr(), room, 0) };
        usize::try_from(frames).ok().filter(|&n| n * self.channels <= pcm.len())
    }
}

impl Drop for RawDecoder {
    fn drop(&mut self) {
        // SAFETY: `state` came from `opus_decoder_create` and nothing uses it after this.
        unsafe { opus_decoder_destroy(self.state.as_ptr()) }
    }
}
