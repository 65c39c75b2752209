//! Who calls: the arguments that it makes of the input, the handles that it was given, and what it checks.

use crate::bytes::Bytes;
use libtenon::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Options,
    Engine,
    Table,
    Model,
    Session,
    Request,
    Stream,
    Result,
}

const KINDS: usize = 9;

/// Room for every struct, and what lies behind it when it is said to be larger.
#[repr(C, align(16))]
pub(super) struct Room(pub [u8; 512]);

/// A caller with its input.
pub(super) struct Caller<'a> {
    pub bytes: Bytes<'a>,
    /// All handles that were ever given out, by kind: also those that were freed.
    handles: [Vec<usize>; KINDS],
    /// The texts of the present call.
    texts: Vec<CString>,
    error: *mut tenon_error,
    /// Whether the present call was given a place for its error.
    hears: bool,
    pub room: Box<Room>,
}

/// A check of the target: the library's own hook keeps the words of a panic off the standard error.
#[track_caller]
pub(super) fn holds(condition: bool, what: impl FnOnce() -> String) {
    if !condition {
        let what = what();
        eprintln!("{}: {what}", std::panic::Location::caller());
        panic!("{what}");
    }
}

/// A folder in memory, where there is one, for what an engine writes.
pub(super) fn folder() -> &'static Path {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder for what engines write")
    });
    FOLDER.path()
}

/// Texts that mean something somewhere.
const TEXTS: &[&CStr] = &[
    c"echo",
    c"parrot",
    c"talker",
    c"transcribe",
    c"generate",
    c"chat",
    c"embed",
    c"detect-language",
    c"user",
    c"system",
    c"assistant",
    c"default",
    c"name",
    c"provenance",
    c"options:chat",
    c"language",
    c"text",
    c"temperature",
    c"max_tokens",
    c"words",
    c"tokens",
    c"stop",
    c"",
    c"{}",
    c"[\"a\"]",
    c"null",
    c"5.0",
    c"hello",
    c"model",
    c"memory_mb",
    c"/dev/null",
    c"/nonexistent",
];

impl<'a> Caller<'a> {
    pub fn new(bytes: Bytes<'a>) -> Self {
        Self {
            bytes,
            handles: Default::default(),
            texts: Vec::new(),
            error: std::ptr::null_mut(),
            hears: false,
            room: Box::new(Room([0; 512])),
        }
    }

    pub fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the texts of the last call.
    pub fn forget(&mut self) {
        self.texts.clear();
    }

    /// Keeps a handle that was given out.
    pub fn keep<T>(&mut self, kind: Kind, handle: *mut T) {
        if !handle.is_null() {
            self.handles[kind as usize].push(handle.addr());
        }
    }

    /// A handle: mostly one of this kind, living or freed; sometimes another, NULL or a number.
    pub fn handle<T>(&mut self, kind: Kind) -> *mut T {
        let choice = usize::from(self.bytes.u8());
        let of = |handles: &[usize], index: usize| match handles.len() {
            0 => 0,
            // The newest first: that is the one which is most likely alive.
            count => handles[count - 1 - index % count],
        };
        let number = match choice {
            0..=223 => of(&self.handles[kind as usize], choice / 8),
            224..=243 => of(&self.handles[choice % KINDS], usize::from(self.bytes.u8())),
            244..=247 => 0,
            248..=251 => self.bytes.u32() as usize,
            _ => (self.bytes.u32() as usize) << 32 | self.bytes.u32() as usize | 1,
        };
        std::ptr::without_provenance_mut(number)
    }

    /// A text: one that means something, one of the input (perhaps no UTF-8), or NULL.
    pub fn text(&mut self) -> *const c_char {
        let choice = usize::from(self.bytes.u8());
        match choice {
            0 => std::ptr::null(),
            1..=31 => {
                let text: Vec<u8> = self.bytes.take(choice * 2).iter().copied().filter(|byte| *byte != 0).collect();
                self.kept(CString::new(text).unwrap_or_default())
            }
            _ => TEXTS[choice % TEXTS.len()].as_ptr(),
        }
    }

    /// A text of these.
    pub fn text_of(&mut self, texts: &[&CStr]) -> *const c_char {
        let choice = self.bytes.u8();
        if choice >= 240 {
            return self.text();
        }
        self.kept(texts[usize::from(choice) % texts.len()].to_owned())
    }

    /// A text that stays until the call is over.
    pub fn kept(&mut self, text: CString) -> *const c_char {
        self.texts.push(text);
        self.texts.last().map_or(std::ptr::null(), |text| text.as_ptr())
    }

    /// Where an error goes; sometimes nowhere, or to an odd address.
    pub fn error(&mut self) -> *mut *mut tenon_error {
        self.error = std::ptr::null_mut();
        let choice = self.bytes.u8();
        self.hears = choice < 240;
        match choice {
            0..=239 => &raw mut self.error,
            240..=251 => std::ptr::null_mut(),
            _ => self.room.0.as_mut_ptr().wrapping_add(1).cast(),
        }
    }

    /// A struct of any size, with a size that the memory behind it has.
    pub fn room<T>(&mut self) -> *mut T {
        let choice = self.bytes.u8();
        self.room.0.fill(0);
        let size: u32 = match choice {
            0..=199 => size_of::<T>() as u32,
            200..=249 => u32::from(choice) * 2 % 512,
            250 => 0,
            251 => 3,
            252 => u32::MAX,
            253 => 1 << 17,
            254 => 512,
            _ => return std::ptr::null_mut(),
        };
        if choice % 16 == 5 {
            let filling = self.bytes.take(512 - 4);
            self.room.0[4..4 + filling.len()].copy_from_slice(filling);
        }
        self.room.0[..4].copy_from_slice(&size.to_ne_bytes());
        self.room.0.as_mut_ptr().cast()
    }

    /// Judges a status and the error that came with it. True for OK.
    #[track_caller]
    pub fn judge(&mut self, status: i32) -> bool {
        self.judge_wait(status, &[])
    }

    /// As [`Caller::judge`], of a call that may also have nothing to say: statuses that come without an error.
    #[track_caller]
    pub fn judge_wait(&mut self, status: i32, silent: &[i32]) -> bool {
        holds(tenon_abi::status::ALL.iter().any(|(known, _)| *known == status), || format!("a status {status}"));
        holds(!matches!(status, tenon_abi::status::E_PANIC | tenon_abi::status::E_INTERNAL), || self.says(status));
        let error = std::mem::replace(&mut self.error, std::ptr::null_mut());
        if self.hears {
            let quiet = status == 0 || silent.contains(&status);
            holds(error.is_null() == quiet, || format!("status {status} with the error {error:?}"));
        }
        if !error.is_null() {
            // SAFETY: any value is allowed as a handle.
            let (said, same) = unsafe { (tenon_error_message(error), tenon_error_status(error)) };
            holds(same == status && !text_of(said).is_empty(), || format!("{status}, and the error says {same}"));
            // SAFETY: as above, and the key is a text.
            unsafe { tenon_error_detail(error, c"file".as_ptr()) };
            if self.bytes.u8() >= 64 {
                // SAFETY: as above.
                unsafe { tenon_error_free(error) };
            }
            self.keep(Kind::Error, error);
        }
        status == 0
    }

    /// As [`Caller::judge`], of a call that gives out a handle when, and only when, it succeeds.
    #[track_caller]
    pub fn gives<T>(&mut self, kind: Kind, status: i32, handle: *mut T) {
        let good = self.judge(status);
        holds(good != handle.is_null(), || format!("status {status} with the handle {handle:?}"));
        self.keep(kind, handle);
    }

    fn says(&self, status: i32) -> String {
        // SAFETY: any value is allowed as a handle.
        let message = text_of(unsafe { tenon_error_message(self.error) });
        format!("status {status}: {message}")
    }

    /// Frees everything twice, newest first or oldest first.
    pub fn end(&mut self) {
        let all = std::mem::take(&mut self.handles);
        let mut order: Vec<usize> = (0..KINDS).collect();
        if self.room.0[0] % 2 == 1 {
            order.reverse();
        }
        for _ in 0..2 {
            for kind in &order {
                for handle in &all[*kind] {
                    free(*kind, std::ptr::without_provenance_mut(*handle));
                }
            }
        }
    }
}

/// Frees a handle as one of a kind.
pub(super) fn free(kind: usize, handle: *mut c_void) {
    // SAFETY: any value is allowed as a handle.
    unsafe {
        match kind {
            0 => tenon_error_free(handle.cast()),
            1 => tenon_options_free(handle.cast()),
            2 => tenon_engine_free(handle.cast()),
            3 => tenon_table_free(handle.cast()),
            4 => tenon_model_free(handle.cast()),
            5 => tenon_session_free(handle.cast()),
            6 => tenon_request_free(handle.cast()),
            7 => tenon_stream_free(handle.cast()),
            _ => tenon_result_free(handle.cast()),
        }
    }
}

/// A text that the library gave out; "" for NULL.
#[track_caller]
pub(super) fn text_of<'t>(text: *const c_char) -> &'t str {
    if text.is_null() {
        return "";
    }
    // SAFETY: the library promises a text that ends, and it is read before anything is freed.
    let text = unsafe { CStr::from_ptr(text) };
    holds(text.to_str().is_ok(), || format!("{text:?} is not UTF-8"));
    text.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bytes_are_a_request_that_runs_to_its_result() {
        // The model for chats; then, of sessions, a run, with the newest session and request and a place for an error.
        let mut caller = Caller::new(Bytes(&[1, 0, 4, 1, 0, 0, 0]));
        caller.begin();
        caller.step();
        assert_eq!(caller.handles[Kind::Result as usize].len(), 1);
        caller.end();
    }
}
