//! The signals of a program in C: there, writing to what nobody reads any more ends the process, unless somebody has
//! arranged that it does not. Rust's runtime has, for programs in Rust.

#![allow(unsafe_code, reason = "the action of a signal is set by a function of C")]

/// Makes SIGPIPE what it is in a program in C.
pub(crate) fn as_in_c() {
    // SAFETY: the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
