//! Callbacks into C: functions with a pointer of the caller's, and the mark of a thread that is inside one.

use host::{Error, ErrorKind, Result};
use std::cell::Cell;
use std::ffi::c_void;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A pointer that C gave for its own callback. Tenon only hands it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data(pub *mut c_void);

// SAFETY: Tenon never looks behind the pointer; the header tells the caller on which threads callbacks run.
unsafe impl Send for Data {}
// SAFETY: as above.
unsafe impl Sync for Data {}

impl Data {
    /// A method, so that closures capture the whole and not the bare pointer.
    pub(crate) fn pointer(self) -> *mut c_void {
        self.0
    }
}

/// Runs a callback with the mark set.
pub(crate) fn inside<T>(body: impl FnOnce() -> T) -> T {
    let before = INSIDE.replace(true);
    let value = body();
    INSIDE.set(before);
    value
}

/// Refuses what may wait, since what it would wait for may be waiting for the callback.
pub(crate) fn refuse() -> Result<()> {
    if INSIDE.get() {
        let message = "called from a callback: only cancel, getters and frees may be called there";
        return Err(Error::new(ErrorKind::Busy, message));
    }
    Ok(())
}
