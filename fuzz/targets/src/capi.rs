//! The C library as a program in C may misuse it: any calls in any order, with NULL, texts that are no UTF-8, handles
//! that were freed, that are of another kind or that never were, sizes that do not fit, on the echo backend.
//!
//! After each call: a status that exists, an error handle when and only when it is not OK, a result handle when and only
//! when it is, texts that are UTF-8, and never the status of a caught panic. What C must not do even so is left out: a
//! pointer to less memory than was said.

#![allow(unsafe_code, reason = "the functions under test take pointers, as C gives them")]

mod caller;
mod calls;

use crate::bytes::Bytes;
use crate::signals;
use caller::Caller;
use std::sync::{Mutex, PoisonError};

/// Most calls of an input.
const MOST_CALLS: usize = 96;

/// Calls of the C library, as many as the input is long.
pub fn capi(input: &[u8]) {
    // The handles of the process are one table: whoever uses it alone can tell what is in it.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    signals::as_in_c();
    let mut caller = Caller::new(Bytes(input));
    caller.begin();
    for _ in 0..MOST_CALLS {
        if caller.is_done() {
            break;
        }
        caller.step();
    }
    caller.end();
}
