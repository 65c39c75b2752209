//! The host's side of a call: where results go, and whether they are still wanted.

#![allow(unsafe_code)]

use crate::host::Host;
use crate::item::{Segment, Token, borrow};
use crate::{Error, Result};
use serde::Serialize;
use std::marker::PhantomData;
use std::mem::size_of;
use tenon_abi::{self as abi, Status, status};
use tenon_tasks::{FinishReason, Finished, Language, Note, Usage};

/// One call of the host: takes what the backend makes and knows whether the caller still wants it.
///
/// An `Err` of an `emit_*` function means *stop*: the caller has had enough. Hand it on with `?`.
#[derive(Debug)]
pub struct Call {
    raw: *mut abi::Call,
    host: &'static Host,
    // A call belongs to the thread that was called; `CancelProbe` is for the others.
    thread: PhantomData<*mut ()>,
}

impl Call {
    pub(crate) fn new(raw: *mut abi::Call, host: &'static Host) -> Self {
        Self { raw, host, thread: PhantomData }
    }

    /// Hands out a piece of text.
    pub fn emit_text(&self, text: &str) -> Result<()> {
        self.emit_bytes(text.as_bytes())
    }

    /// Hands out a piece of text as bytes, which may end within a code point; the host joins them.
    pub fn emit_bytes(&self, text: &[u8]) -> Result<()> {
        let payload = abi::Text { role: borrow(b""), text: borrow(text) };
        // SAFETY: the payload borrows `text`, which outlives the call.
        unsafe { self.emit(abi::KIND_TEXT, &payload) }
    }

    /// Hands out a piece of a transcript.
    pub fn emit_segment(&self, segment: &Segment<'_>) -> Result<()> {
        // SAFETY: `Segment` can only be built over borrowed words, tokens and text, with their true counts.
        unsafe { self.emit(abi::KIND_SEGMENT, segment.raw()) }
    }

    /// Hands out a token with its probability, beside its text.
    pub fn emit_token(&self, token: &Token<'_>) -> Result<()> {
        // SAFETY: `Token` can only be built over borrowed text.
        unsafe { self.emit(abi::KIND_TOKEN, token.raw()) }
    }

    /// Hands out the embedding of the input text number `index`.
    pub fn emit_embedding(&self, index: u32, values: &[f32]) -> Result<()> {
        let payload = abi::Embedding { values: values.as_ptr(), count: values.len() as u64, index, reserved: 0 };
        // SAFETY: the payload borrows `values` with their true count.
        unsafe { self.emit(abi::KIND_EMBEDDING, &payload) }
    }

    /// Hands out what the run consumed and produced; once, at its end.
    pub fn emit_usage(&self, usage: &Usage) -> Result<()> {
        let Usage { prompt_tokens, cached_tokens, generated_tokens, audio_us, prompt_us, generate_us } = *usage;
        let payload = abi::Usage { prompt_tokens, cached_tokens, generated_tokens, audio_us, prompt_us, generate_us };
        // SAFETY: the payload points nowhere.
        unsafe { self.emit(abi::KIND_USAGE, &payload) }
    }

    /// Hands out a named document.
    pub fn emit_document<T: Serialize + ?Sized>(&self, name: &str, document: &T) -> Result<()> {
        let text = serde_json::to_string(document)
            .map_err(|error| Error::internal(format!("the document `{name}` is no JSON: {error}")))?;
        let payload = abi::Document { name: borrow(name.as_bytes()), text: borrow(text.as_bytes()) };
        // SAFETY: the payload borrows `name` and `text`.
        unsafe { self.emit(abi::KIND_DOCUMENT, &payload) }
    }

    /// Hands out the language that was detected or used.
    pub fn emit_language(&self, language: &Language) -> Result<()> {
        self.emit_document("language", language)
    }

    /// Hands out why a text ended, with the stop text that ended it, if one did.
    pub fn emit_finish(&self, reason: FinishReason, stop: Option<&str>) -> Result<()> {
        self.emit_document("finish", &Finished { reason, stop: stop.map(str::to_owned) })
    }

    /// Hands out something that the user should know about this result.
    pub fn emit_note(&self, code: &str, message: impl Into<String>) -> Result<()> {
        self.emit_document("note", &Note { code: code.to_owned(), message: message.into() })
    }

    /// Reports progress, 0 to 1.
    pub fn progress(&self, fraction: f32) {
        self.host.progress(self.raw, fraction);
    }

    /// The result is no longer wanted. Ask at least once per token, batch or encoder step; it is cheap.
    pub fn is_cancelled(&self) -> bool {
        self.host.cancelled(self.raw)
    }

    /// `Err` when the result is no longer wanted, so that `call.check()?` ends a loop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// A copy of the question [`Call::is_cancelled`] for other threads and for callbacks of an engine in C.
    pub fn cancel_probe(&self) -> CancelProbe {
        CancelProbe { raw: self.raw, host: self.host }
    }

    pub(crate) fn pull(&self, timeout_us: i64, out: &mut abi::Item) -> Status {
        self.host.pull(self.raw, timeout_us, out)
    }

    /// Stores the error with the host and returns the status to return.
    pub(crate) fn fail(&self, error: &Error) -> Status {
        self.host.fail(self.raw, error)
    }

    /// # Safety
    /// `payload` is the struct of `kind`, and what it points to is valid.
    unsafe fn emit<T>(&self, kind: u32, payload: &T) -> Result<()> {
        let item = abi::Item { kind, size: size_of::<T>() as u32, data: std::ptr::from_ref(payload).cast() };
        // SAFETY: the item points to a live payload of the size it says; the rest is the caller's word.
        match unsafe { self.host.emit(self.raw, &item) } {
            status::OK => Ok(()),
            other => Err(Error::from_host(other)),
        }
    }
}

/// Asks from any thread whether a call's result is still wanted. Once the call is over, it is not.
#[derive(Clone, Copy, Debug)]
pub struct CancelProbe {
    raw: *mut abi::Call,
    host: &'static Host,
}

// SAFETY: the pointer is never dereferenced here, only handed to `cancelled`, which the contract lets any thread call
// and which answers for calls that are over.
unsafe impl Send for CancelProbe {}
// SAFETY: as above.
unsafe impl Sync for CancelProbe {}

impl CancelProbe {
    /// The result is no longer wanted.
    pub fn is_cancelled(&self) -> bool {
        self.host.cancelled(self.raw)
    }
}
