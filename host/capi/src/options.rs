//! Options.

use crate::boundary::{free, out, run, text};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use host::{Error, ErrorKind, Options, Result};
use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};
use tenon_abi::Status;

/// Options for a load or a request: only what is set is asked for; all others are those of the manifest, the preset and
/// the backend. Names, kinds and ranges are the backend's own: `tenon show MODEL` and `tenon_model_info` list them.
/// They are checked when they are used, so an unknown name is `TENON_E_OPTIONS` there.
pub struct tenon_options {
    _opaque: [u8; 0],
}

/// Options in C's hands.
pub(crate) struct Document(Mutex<Options>);

impl Document {
    pub(crate) fn copy(&self) -> Options {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Object for Document {
    const KIND: Kind = Kind::Options;
    type Handle = tenon_options;
}

/// The options behind a handle that may be NULL.
pub(crate) fn optional(options: *const tenon_options) -> Result<Options> {
    if options.is_null() { Ok(Options::new()) } else { Ok(handle::get::<Document>(options)?.copy()) }
}

/// Makes options in which nothing is set. Free them with `tenon_options_free`; what uses them copies them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_new(options: *mut *mut tenon_options, error: *mut *mut tenon_error) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(options, std::ptr::null_mut(), "options");
        run(error, || {
            let place = place?;
            *place = handle::put(Document(Mutex::default()))?;
            Ok(())
        })
    }
}

/// # Safety
/// `name` is NULL or a NUL-terminated text.
unsafe fn set(options: *mut tenon_options, name: *const c_char, value: serde_json::Value) -> Result<()> {
    // SAFETY: as the caller of this function says.
    let name = unsafe { text(name, "name") }?;
    let document = handle::get::<Document>(options)?;
    document.0.lock().unwrap_or_else(PoisonError::into_inner).set(name, value);
    Ok(())
}

/// Sets an option to a text, which is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_set_string(
    options: *mut tenon_options,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set(options, name, text(value, "value")?.into())) }
}

/// Sets an option to a number. `TENON_E_INVALID_ARGUMENT` when it is not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_set_number(
    options: *mut tenon_options,
    name: *const c_char,
    value: f64,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let number = serde_json::Number::from_f64(value).ok_or_else(|| {
                Error::new(ErrorKind::InvalidArgument, format!("value is {value}, which is no number"))
            })?;
            set(options, name, number.into())
        })
    }
}

/// Sets an option to a whole number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_set_integer(
    options: *mut tenon_options,
    name: *const c_char,
    value: i64,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set(options, name, value.into())) }
}

/// Sets an option to true (not 0) or false (0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_set_bool(
    options: *mut tenon_options,
    name: *const c_char,
    value: i32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set(options, name, (value != 0).into())) }
}

/// Sets an option to any JSON value, such as a list of texts or a JSON schema.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_set_json(
    options: *mut tenon_options,
    name: *const c_char,
    json: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let value = serde_json::from_str(text(json, "json")?)
                .map_err(|problem| Error::new(ErrorKind::InvalidArgument, format!("json is no JSON: {problem}")))?;
            set(options, name, value)
        })
    }
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_options_free(options: *mut tenon_options) {
    free::<Document>(options, |_| {});
}
