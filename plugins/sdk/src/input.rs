//! The input of a run: the items that came with the call, and the audio that is still to come.

#![allow(unsafe_code)]

use crate::call::Call;
use crate::item::{Audio, Text};
use crate::{Error, Result};
use std::time::Duration;
use tenon_abi::{self as abi, status};

/// What a run is given: texts, or audio, or the promise of live audio.
#[derive(Debug)]
pub struct Input<'a> {
    texts: Vec<Text<'a>>,
    audio: Vec<Audio<'a>>,
    call: &'a Call,
}

impl<'a> Input<'a> {
    /// Checks and sorts the items of a call.
    ///
    /// # Safety
    /// `items` and what they point to are valid for `'a` as their kinds, sizes and counts say.
    pub(crate) unsafe fn read(call: &'a Call, items: &'a [abi::Item]) -> Result<Self> {
        let mut input = Self { texts: Vec::new(), audio: Vec::new(), call };
        for item in items {
            match item.kind {
                // SAFETY: the caller vouches for the items.
                abi::KIND_TEXT => input.texts.push(unsafe { read_text(item) }?),
                // SAFETY: as above.
                abi::KIND_AUDIO => input.audio.push(unsafe { read_audio(item) }?),
                kind => return Err(Error::unsupported(format!("this backend takes no items of kind {kind}"))),
            }
        }
        Ok(input)
    }

    /// All texts, in order.
    pub fn texts(&self) -> &[Text<'a>] {
        &self.texts
    }

    /// The one text of a task that takes one.
    pub fn text(&self) -> Result<&'a str> {
        match self.texts[..] {
            [Text { text, .. }] => Ok(text),
            _ => Err(Error::invalid_argument(format!("this task takes one text, not {}", self.texts.len()))),
        }
    }

    /// No audio came with the call: it has to be pulled, which only a backend with `CAP_LIVE_INPUT` is asked to do.
    pub fn is_live(&self) -> bool {
        self.audio.is_empty()
    }

    /// The audio that came with the call, if it came as one piece; no copy is made.
    pub fn samples(&self) -> Option<&'a [f32]> {
        match self.audio[..] {
            [Audio { samples, .. }] => Some(samples),
            _ => None,
        }
    }

    /// The audio piece by piece, wherever it comes from.
    pub fn into_audio(self) -> AudioInput<'a> {
        let live = self.is_live();
        AudioInput { given: self.audio.into_iter(), live, call: self.call }
    }
}

/// Audio piece by piece: what came with the call, or what the host hands out as it comes.
#[derive(Debug)]
pub struct AudioInput<'a> {
    given: std::vec::IntoIter<Audio<'a>>,
    live: bool,
    call: &'a Call,
}

/// What [`AudioInput::next_within`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next<'a> {
    /// A piece of audio.
    Audio(Audio<'a>),
    /// Nothing came within the time given; ask again.
    Nothing,
    /// There is no more.
    End,
}

impl AudioInput<'_> {
    /// Waits for the next piece; `None` at the end. The piece lives until the next one is asked for.
    ///
    /// # Errors
    /// The call was cancelled, or the audio cannot be read any further.
    #[expect(clippy::should_implement_trait, reason = "a piece borrows from the input, which an iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Audio<'_>>> {
        match self.pull(-1)? {
            Next::Audio(audio) => Ok(Some(audio)),
            Next::End => Ok(None),
            Next::Nothing => Err(Error::plugin("the host let a wait without a limit time out")),
        }
    }

    /// Waits for the next piece, but no longer than `timeout`.
    ///
    /// # Errors
    /// As [`AudioInput::next`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Next<'_>> {
        self.pull(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX))
    }

    fn pull(&mut self, timeout_us: i64) -> Result<Next<'_>> {
        if !self.live {
            return Ok(self.given.next().map_or(Next::End, Next::Audio));
        }
        let mut item = abi::Item { kind: 0, size: 0, data: std::ptr::null() };
        match self.call.pull(timeout_us, &mut item) {
            status::OK if item.kind != abi::KIND_AUDIO => {
                Err(Error::unsupported(format!("live input of kind {} is not audio", item.kind)))
            }
            // SAFETY: the host filled the item, which is valid until the next pull; `&mut self` keeps that away as
            // long as the piece is borrowed.
            status::OK => unsafe { read_audio(&item) }.map(Next::Audio),
            status::E_TIMEOUT => Ok(Next::Nothing),
            status::E_END => Ok(Next::End),
            other => Err(Error::from_host(other)),
        }
    }
}

/// The payload of an item, if it has the size and alignment of a `T`.
///
/// # Safety
/// `item.data` points to a value of `item.size` bytes that is valid for `'a`.
unsafe fn payload<'a, T>(item: &abi::Item) -> Result<&'a T> {
    let data = item.data.cast::<T>();
    if item.size as usize != size_of::<T>() || data.is_null() || !data.is_aligned() {
        return Err(Error::invalid_argument(format!("the item of kind {} has {} bytes", item.kind, item.size)));
    }
    // SAFETY: not NULL, aligned, and of the right size; valid by the caller's word.
    Ok(unsafe { &*data })
}

/// # Safety
/// The item and its texts are valid for `'a`.
unsafe fn read_text<'a>(item: &abi::Item) -> Result<Text<'a>> {
    // SAFETY: the caller's word, for the payload and for both texts.
    unsafe {
        let raw = payload::<abi::Text>(item)?;
        Ok(Text { role: text(raw.role, "role")?, text: text(raw.text, "text")? })
    }
}

/// # Safety
/// The item and its samples are valid for `'a`.
unsafe fn read_audio<'a>(item: &abi::Item) -> Result<Audio<'a>> {
    // SAFETY: the caller's word, for the payload and for the samples.
    unsafe {
        let raw = payload::<abi::Audio>(item)?;
        if raw.channels != 1 || raw.rate == 0 {
            return Err(Error::audio(format!("audio of {} channels at {} Hz is not mono", raw.channels, raw.rate)));
        }
        let samples = slice(raw.samples, raw.frames, "samples")?;
        Ok(Audio { samples, rate: raw.rate })
    }
}

/// A text of the host, once it is known to be one.
///
/// # Safety
/// `raw.ptr` is NULL or points to `raw.len` bytes that are valid for `'a`.
pub(crate) unsafe fn text<'a>(raw: abi::Str, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's word.
    let bytes = unsafe { slice(raw.ptr.cast::<u8>(), raw.len as u64, what) }?;
    std::str::from_utf8(bytes).map_err(|error| Error::invalid_argument(format!("the {what} is not UTF-8: {error}")))
}

/// `count` values at `start`, once that can be true.
///
/// # Safety
/// `start` is NULL or points to `count` values that are valid for `'a`.
pub(crate) unsafe fn slice<'a, T>(start: *const T, count: u64, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    let fits = usize::try_from(count).ok().filter(|count| count.checked_mul(size_of::<T>()).is_some_and(fits_memory));
    match fits {
        Some(count) if !start.is_null() && start.is_aligned() => {
            // SAFETY: not NULL, aligned, no longer than memory can be, and valid by the caller's word.
            Ok(unsafe { std::slice::from_raw_parts(start, count) })
        }
        _ => Err(Error::invalid_argument(format!("the {what} point to no memory"))),
    }
}

fn fits_memory(bytes: usize) -> bool {
    isize::try_from(bytes).is_ok()
}
