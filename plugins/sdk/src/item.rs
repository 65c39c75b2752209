//! What a backend emits and receives, as thin wrappers whose memory is the contract's own: building one copies nothing.

use std::marker::PhantomData;
use tenon_abi as abi;

/// A text as the contract borrows it.
pub(crate) fn borrow(text: &[u8]) -> abi::Str {
    abi::Str { ptr: text.as_ptr().cast(), len: text.len() }
}

/// A timed word of a [`Segment`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    raw: abi::Word,
    text: PhantomData<&'a str>,
}

impl<'a> Word<'a> {
    /// A word without surrounding space; times in microseconds from the beginning of the audio.
    pub fn new(start_us: i64, end_us: i64, text: &'a str) -> Self {
        let text = borrow(text.as_bytes());
        Self { raw: abi::Word { start_us, end_us, text, confidence: f32::NAN, reserved: 0 }, text: PhantomData }
    }

    /// Says how probable it is, 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.raw.confidence = confidence;
        self
    }
}

/// A token of model text.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    raw: abi::Token,
    text: PhantomData<&'a [u8]>,
}

impl<'a> Token<'a> {
    /// A token by its id and bytes, which may be a part of a code point; the host joins them.
    pub fn new(id: i32, bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        let text = borrow(bytes.as_ref());
        Self { raw: abi::Token { text, start_us: -1, end_us: -1, id, logprob: f32::NAN }, text: PhantomData }
    }

    /// Says how probable it is, as a natural logarithm.
    #[must_use]
    pub fn logprob(mut self, logprob: f32) -> Self {
        self.raw.logprob = logprob;
        self
    }

    /// Says when it was spoken, in microseconds from the beginning of the audio.
    #[must_use]
    pub fn times(mut self, start_us: i64, end_us: i64) -> Self {
        (self.raw.start_us, self.raw.end_us) = (start_us, end_us);
        self
    }

    pub(crate) fn raw(&self) -> &abi::Token {
        &self.raw
    }
}

/// A timed piece of a transcript.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    raw: abi::Segment,
    parts: PhantomData<&'a [Word<'a>]>,
}

impl<'a> Segment<'a> {
    /// A segment with its text, surrounding space included; times in microseconds from the beginning of the audio.
    pub fn new(start_us: i64, end_us: i64, text: &'a str) -> Self {
        let raw = abi::Segment {
            start_us,
            end_us,
            text: borrow(text.as_bytes()),
            words: std::ptr::null(),
            word_count: 0,
            token_count: 0,
            tokens: std::ptr::null(),
            confidence: f32::NAN,
            no_speech: f32::NAN,
            reserved: [0; 2],
        };
        Self { raw, parts: PhantomData }
    }

    /// Adds its words.
    #[must_use]
    pub fn words(mut self, words: &'a [Word<'a>]) -> Self {
        // `Word` is transparent over the contract's struct, so a slice of one is an array of the other.
        self.raw.words = words.as_ptr().cast();
        self.raw.word_count = count(words.len());
        self
    }

    /// Adds its tokens.
    #[must_use]
    pub fn tokens(mut self, tokens: &'a [Token<'a>]) -> Self {
        self.raw.tokens = tokens.as_ptr().cast();
        self.raw.token_count = count(tokens.len());
        self
    }

    /// Says how probable it is: the geometric mean of its tokens' probabilities, 0 to 1.
    #[must_use]
    pub fn confidence(mut self, confidence: f32) -> Self {
        self.raw.confidence = confidence;
        self
    }

    /// Says how probable it is that nobody speaks in it, 0 to 1.
    #[must_use]
    pub fn no_speech(mut self, probability: f32) -> Self {
        self.raw.no_speech = probability;
        self
    }

    pub(crate) fn raw(&self) -> &abi::Segment {
        &self.raw
    }
}

/// A length as the contract counts it. No backend has 4 billion words in a segment.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a segment has fewer than 2^32 parts")
}

/// A text of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Who says it: `prompt`, `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What is said.
    pub text: &'a str,
}

/// A piece of audio of the input: mono samples, nominally within −1 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Audio<'a> {
    /// The samples.
    pub samples: &'a [f32],
    /// Samples per second, as the backend's description asks for.
    pub rate: u32,
}

/// A model file that the host has verified against its manifest.
#[derive(Clone, Copy, Debug)]
pub struct ModelFile<'a> {
    /// What the file is for: `model`, `vad`, … as in the manifest.
    pub role: &'a str,
    /// Path that opens exactly the bytes that were verified, valid until `open` returns.
    pub path: &'a std::path::Path,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Open, read-only descriptor on Unix, valid until `open` returns; not to be closed.
    pub fd: Option<i32>,
}
