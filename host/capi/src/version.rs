//! Version.

use crate::boundary::c_text;
use std::ffi::{CString, c_char};
use std::sync::OnceLock;
use tenon_abi::{Status, status};

/// The version of the library that is running: `TENON_VERSION_MAJOR << 16 | TENON_VERSION_MINOR << 8 |
/// TENON_VERSION_PATCH` of the header that it was built with. Never fails.
#[unsafe(no_mangle)]
pub extern "C" fn tenon_version() -> u32 {
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of the version is no number"),
    }
}

/// The version of the library that is running, such as "0.1.0". Never fails; the text stays.
#[unsafe(no_mangle)]
pub extern "C" fn tenon_version_string() -> *const c_char {
    const TEXT: &std::ffi::CStr =
        match std::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(text) => text,
            Err(_) => panic!("the version holds a NUL"),
        };
    TEXT.as_ptr()
}

/// The name of a status, such as "TENON_E_BUSY"; "TENON_E_UNKNOWN" for a number that is none. The text stays.
#[unsafe(no_mangle)]
pub extern "C" fn tenon_status_name(status: Status) -> *const c_char {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    let names = NAMES.get_or_init(|| status::ALL.iter().map(|(_, name)| c_text(name)).collect());
    let known = status::ALL.iter().position(|(number, _)| *number == status);
    known.and_then(|index| names.get(index)).map_or(c"TENON_E_UNKNOWN".as_ptr(), |name| name.as_ptr())
}
