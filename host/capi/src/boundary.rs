//! The line between C and Rust: what comes in is checked, what goes out is copied, and no panic gets out.

use crate::callback;
use crate::error::{Failure, tenon_error};
use crate::handle::{self, Object};
use host::{Error, ErrorKind, Result};
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use tenon_abi::{Status, status};

/// Set in a child of a fork, where the threads and locks of its parent are gone.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Prepares the process, once: learns of forks, and keeps panics, which are all caught, off the standard error.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(unix)]
        {
            extern "C" fn in_child() {
                FORKED.store(true, Ordering::Relaxed);
            }
            // SAFETY: the handler only stores to an atomic. It cannot dangle: the library is never unmapped.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        }
        // The hook is that of this library's own copy of the standard library, not of the program's.
        std::panic::set_hook(Box::new(|panic| tracing::error!("panic: {panic}")));
    });
}

/// Whether this is a child of a fork of a process that used Tenon.
pub(crate) fn forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// Runs the body of a function that a callback may not call; see [`quick`] for the others.
///
/// # Safety
/// `error` is NULL or points to a place for a pointer.
pub(crate) unsafe fn run(error: *mut *mut tenon_error, body: impl FnOnce() -> Result<()>) -> Status {
    let body = || {
        callback::refuse()?;
        body()
    };
    // SAFETY: as the caller of this function says.
    unsafe { quick(error, body) }
}

/// Runs the body of a function, catches its panic, and gives out its error.
///
/// # Safety
/// As [`run`].
pub(crate) unsafe fn quick(error: *mut *mut tenon_error, body: impl FnOnce() -> Result<()>) -> Status {
    if !error.is_aligned() {
        return status::E_INVALID_ARGUMENT;
    }
    // SAFETY: aligned, and the caller says that this is NULL or a place for a pointer.
    let error = unsafe { error.as_mut() };
    if forked() {
        if let Some(error) = error {
            *error = Failure::forked();
        }
        return status::E_UNSUPPORTED;
    }
    watch();
    let (error, outcome) = match error {
        Some(error) => {
            *error = std::ptr::null_mut();
            (Some(error), caught(body))
        }
        None => (None, caught(body)),
    };
    match outcome {
        Ok(()) => status::OK,
        Err(failure) => {
            let number = failure.kind().status();
            if let Some(error) = error {
                *error = handle::put(Failure::new(failure)).unwrap_or(std::ptr::null_mut());
            }
            number
        }
    }
}

/// Runs the body of a function that gives back a value and has no error: `or` when anything is wrong.
pub(crate) fn value<T>(or: T, body: impl FnOnce() -> Option<T>) -> T {
    if forked() {
        return or;
    }
    caught(|| Ok(body())).ok().flatten().unwrap_or(or)
}

/// Ends a handle. `before` must not wait. In a callback the object is closed by another thread, since closing may wait
/// for the callback to return.
pub(crate) fn free<T: Object>(handle: *mut T::Handle, before: impl FnOnce(&T)) {
    if handle.is_null() || forked() {
        return;
    }
    let freed = caught(|| {
        let Some(object) = handle::take::<T>(handle) else { return Ok(()) };
        before(&object);
        let close = move || {
            object.close();
            drop(object);
        };
        match callback::refuse() {
            Ok(()) => close(),
            Err(_) => drop(std::thread::spawn(close)),
        }
        Ok(())
    });
    if let Err(error) = freed {
        tracing::error!(%error, "a panic while an object was freed");
    }
}

fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        // Dropping a payload may panic again.
        std::mem::forget(payload);
        Err(Error::new(ErrorKind::Panic, format!("a fault of Tenon, please report it: {text}")))
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// A text that C passed in.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated text that stays for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    // SAFETY: as the caller of this function says.
    utf8(unsafe { CStr::from_ptr(text) }.to_bytes(), name)
}

/// A text that may be NULL.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    // SAFETY: as the caller of this function says.
    if pointer.is_null() { Ok(None) } else { unsafe { text(pointer, name) }.map(Some) }
}

/// A path that may be NULL.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path(pointer: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    // SAFETY: as the caller of this function says.
    Ok(unsafe { optional(pointer, name) }?.map(PathBuf::from))
}

/// Bytes as text.
pub(crate) fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| invalid(format!("{name} is not UTF-8 at byte {}", error.valid_up_to())))
}

/// An array that C passed in. NULL is an array of nothing.
///
/// # Safety
/// Where `count` is not 0 and `first` neither NULL nor misaligned, `count` values lie there and stay for `'a`.
pub(crate) unsafe fn array<'a, T>(first: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(invalid(format!("{name} is NULL, and its size is {count}")));
    }
    if !first.is_aligned() {
        return Err(invalid(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(invalid(format!("{name} cannot have {count} values: that is more than memory can hold")));
    }
    // SAFETY: not NULL, aligned, of a size that an object can have; the rest as the caller of this function says.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// Where to put a result; set to `nothing` at once. Called before [`run`], so that this holds whatever is refused.
///
/// # Safety
/// `out` is NULL or points to a place for a `T`.
pub(crate) unsafe fn out<'a, T>(out: *mut T, nothing: T, name: &str) -> Result<&'a mut T> {
    if out.is_null() {
        return Err(invalid(format!("{name} is NULL: the result has no place to go")));
    }
    if !out.is_aligned() {
        return Err(invalid(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    // SAFETY: aligned and not NULL; the rest as the caller of this function says. Nothing there is read.
    unsafe {
        out.write(nothing);
        Ok(&mut *out)
    }
}

/// A struct that crosses by pointer and begins with its size, so that it can grow.
///
/// # Safety
/// The type is `repr(C)`, begins with a `u32` that is its size, and is valid when all its bytes are 0.
pub(crate) unsafe trait Sized_: Copy {
    /// Its name in C.
    const NAME: &str;
}

/// Reads a struct of any size. What this version does not know must be 0: it cannot do what it does not know.
///
/// # Safety
/// `pointer` is NULL or points to as many bytes as the `u32` there says, and at least to that `u32`.
pub(crate) unsafe fn read<T: Sized_>(pointer: *const T) -> Result<T> {
    // SAFETY: as the caller of this function says.
    let (size, bytes) = unsafe { sized(pointer) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: the bytes up to `size` are there.
    let tail = unsafe { std::slice::from_raw_parts(bytes.add(known), size - known) };
    if tail.iter().any(|byte| *byte != 0) {
        let message = format!("the {} sets a field that this version of Tenon does not know", T::NAME);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    // SAFETY: zeroes are a valid T, and `known` bytes fit into it and are there.
    unsafe {
        let mut value: T = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(bytes, (&raw mut value).cast::<u8>(), known);
        Ok(value)
    }
}

/// Refuses flags that this version does not know, and a reserved field that somebody set: it cannot do what it does not
/// know.
pub(crate) fn nothing_unknown<T: Sized_>(flags: u32, reserved: impl Into<i64>) -> Result<()> {
    let message = match (flags, reserved.into()) {
        (0, 0) => return Ok(()),
        (0, reserved) => format!("reserved of the {} is {reserved}: set it to 0", T::NAME),
        _ => format!("flags {flags:#x} of the {} are unknown to this version", T::NAME),
    };
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Writes as much of a struct as there is room for, and zeroes behind it; its size stays what it was.
///
/// # Safety
/// As [`read`], and the bytes may be written.
pub(crate) unsafe fn write<T: Sized_>(pointer: *mut T, value: &T) -> Result<()> {
    // SAFETY: as the caller of this function says.
    let (size, _) = unsafe { sized(pointer) }?;
    let (bytes, known) = (pointer.cast::<u8>(), size.min(size_of::<T>()));
    let skip = size_of::<u32>();
    // SAFETY: `size` bytes may be written, and `known` of them can be read from the value.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>().add(skip), bytes.add(skip), known - skip);
        std::ptr::write_bytes(bytes.add(known), 0, size - known);
    }
    Ok(())
}

/// Sizes beyond this are a struct that was not filled in.
const LARGEST_STRUCT: usize = 1 << 16;

unsafe fn sized<T: Sized_>(pointer: *const T) -> Result<(usize, *const u8)> {
    if pointer.is_null() {
        return Err(invalid(format!("the {} is NULL", T::NAME)));
    }
    if !pointer.is_aligned() {
        return Err(invalid(format!("the {} is not aligned to {} bytes", T::NAME, align_of::<T>())));
    }
    // SAFETY: the caller says that a u32 is there, and the pointer is aligned.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if size < size_of::<u32>() || size > LARGEST_STRUCT {
        let message = format!("struct_size of the {} is {size}: set it to sizeof the struct before the call", T::NAME);
        return Err(invalid(message));
    }
    Ok((size, pointer.cast()))
}

/// A text for C. A NUL inside, which C cannot hold, becomes U+FFFD in the pointer's text; sizes tell the same text.
pub(crate) fn c_text(text: &str) -> CString {
    match CString::new(text) {
        Ok(text) => text,
        Err(_) => CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default(),
    }
}

/// Seconds and fractions as microseconds that C chose; negative means none.
pub(crate) fn duration(microseconds: i64) -> Option<std::time::Duration> {
    u64::try_from(microseconds).ok().map(std::time::Duration::from_micros)
}
