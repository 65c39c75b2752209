//! Errors.

use crate::boundary::{self, c_text, free, text, value};
use crate::handle::{self, Kind, Object};
use host::Error;
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use tenon_abi::{Status, status};

/// What went wrong: a status, a sentence that says what, where and what to do, and details. Immutable; may be used by
/// several threads at once.
pub struct tenon_error {
    _opaque: [u8; 0],
}

/// An error in C's hands.
pub(crate) struct Failure {
    error: Error,
    message: CString,
    details: Vec<(CString, CString)>,
}

impl Object for Failure {
    const KIND: Kind = Kind::Error;
    type Handle = tenon_error;
}

/// Stands for the one error that needs no lock, since a forked child may not take any.
const FORKED: usize = usize::MAX;
const FORKED_MESSAGE: &CStr = c"this process was forked from one that used Tenon, whose threads are not here: \
    call exec after fork, or use Tenon for the first time in the child";

impl Failure {
    pub(crate) fn new(error: Error) -> Self {
        let details = error.details().map(|(key, value)| (c_text(key), c_text(value))).collect();
        Self { message: c_text(error.message()), details, error }
    }

    /// The error of every call in a forked child.
    pub(crate) fn forked() -> *mut tenon_error {
        std::ptr::without_provenance_mut(FORKED)
    }
}

fn is_forked(error: *const tenon_error) -> bool {
    error.addr() == FORKED && boundary::forked()
}

fn found(error: *const tenon_error) -> Option<Arc<Failure>> {
    handle::get::<Failure>(error).ok()
}

/// The status of an error; `TENON_E_STALE_HANDLE` for what is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_error_status(error: *const tenon_error) -> Status {
    if is_forked(error) {
        return status::E_UNSUPPORTED;
    }
    value(status::E_STALE_HANDLE, || found(error).map(|failure| failure.error.kind().status()))
}

/// The sentence of an error: what, where, what to do. Valid until the error is freed; "" for what is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_error_message(error: *const tenon_error) -> *const c_char {
    if is_forked(error) {
        return FORKED_MESSAGE.as_ptr();
    }
    value(c"".as_ptr(), || found(error).map(|failure| failure.message.as_ptr()))
}

/// A detail of an error, or NULL when it has none of that name. Names are "file", "line", "model", "plugin",
/// "backend", "native" (what the engine inside the backend said), "expected", "actual" and others. Valid until the
/// error is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_error_detail(error: *const tenon_error, key: *const c_char) -> *const c_char {
    value(std::ptr::null(), || {
        // SAFETY: the header says that texts are NULL or NUL-terminated.
        let key = unsafe { text(key, "key") }.ok()?;
        let failure = found(error)?;
        let detail = failure.details.iter().find(|(name, _)| name.to_bytes() == key.as_bytes());
        detail.map(|(_, value)| value.as_ptr())
    })
}

/// Frees an error. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_error_free(error: *mut tenon_error) {
    free::<Failure>(error, |_| {});
}
