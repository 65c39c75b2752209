//! The host's function table, checked once and then called safely.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;
use tenon_abi::{self as abi, Status, Str, status};

static HOST: OnceLock<Host> = OnceLock::new();

type Detail = unsafe extern "C" fn(*mut abi::Call, Str, Str);

/// The functions of the host that loaded this plugin. All of them were checked to be there.
#[derive(Debug)]
pub(crate) struct Host {
    address: usize,
    target: &'static str,
    log_level: unsafe extern "C" fn() -> i32,
    log: unsafe extern "C" fn(i32, Str, Str),
    fail: unsafe extern "C" fn(*mut abi::Call, Status, Str) -> Status,
    cancelled: unsafe extern "C" fn(*const abi::Call) -> i32,
    progress: unsafe extern "C" fn(*mut abi::Call, f32),
    emit: unsafe extern "C" fn(*mut abi::Call, *const abi::Item) -> Status,
    pull: unsafe extern "C" fn(*mut abi::Call, i64, *mut abi::Item) -> Status,
    detail: Option<Detail>,
}

impl Host {
    /// Checks a host's table and keeps it for the life of the process.
    ///
    /// One copy of a plugin serves one host: calls belong to the host that made them, and a call does not say which.
    ///
    /// # Safety
    /// `host` is NULL or points to a table that starts with its `struct_size` and stays valid and unchanged until the
    /// process ends.
    pub(crate) unsafe fn install(host: *const abi::Host, target: &'static str) -> Result<&'static Self, Status> {
        if host.is_null() {
            return Err(status::E_INVALID_ARGUMENT);
        }
        // SAFETY: not NULL, and by the contract the first field of every version is the size.
        let size = unsafe { host.cast::<u32>().read() };
        if size as usize != size_of::<abi::Host>() {
            return Err(status::E_ABI_MISMATCH);
        }
        // SAFETY: the size says that a whole table is there, and the caller that it stays.
        let table = unsafe { &*host };
        if table.abi_major != abi::ABI_MAJOR {
            return Err(status::E_ABI_MISMATCH);
        }
        let checked = Self::check(table, target).ok_or(status::E_INVALID_ARGUMENT)?;
        let installed = HOST.get_or_init(|| checked);
        if installed.address == host.addr() { Ok(installed) } else { Err(status::E_BUSY) }
    }

    /// The host, once the plugin was entered.
    pub(crate) fn installed() -> Option<&'static Self> {
        HOST.get()
    }

    fn check(table: &'static abi::Host, target: &'static str) -> Option<Self> {
        Some(Self {
            address: std::ptr::from_ref(table).addr(),
            target,
            log_level: table.log_level?,
            log: table.log?,
            fail: table.fail?,
            cancelled: table.cancelled?,
            progress: table.progress?,
            emit: table.emit?,
            pull: table.pull?,
            detail: error_details(table.get_interface?),
        })
    }

    pub(crate) fn target(&self) -> &'static str {
        self.target
    }

    pub(crate) fn log_level(&self) -> i32 {
        // SAFETY: a function of the host's table; it takes nothing.
        unsafe { (self.log_level)() }
    }

    pub(crate) fn log(&self, level: i32, target: Str, message: Str) {
        // SAFETY: a function of the host's table; it copies texts that its contract lets be any bytes.
        unsafe { (self.log)(level, target, message) }
    }

    pub(crate) fn cancelled(&self, call: *const abi::Call) -> bool {
        // SAFETY: a function of the host's table; a call that is over is answered, not dereferenced.
        unsafe { (self.cancelled)(call) != 0 }
    }

    pub(crate) fn progress(&self, call: *mut abi::Call, fraction: f32) {
        // SAFETY: as for `cancelled`.
        unsafe { (self.progress)(call, fraction) }
    }

    /// # Safety
    /// `item` and all that it points to are valid for reading as its kind and counts say.
    pub(crate) unsafe fn emit(&self, call: *mut abi::Call, item: &abi::Item) -> Status {
        // SAFETY: the caller vouches for the item; the host copies it before it returns.
        unsafe { (self.emit)(call, item) }
    }

    pub(crate) fn pull(&self, call: *mut abi::Call, timeout_us: i64, out: &mut abi::Item) -> Status {
        // SAFETY: `out` is a valid place for an item.
        unsafe { (self.pull)(call, timeout_us, out) }
    }

    /// Stores an error's details and message, and returns the status to return.
    pub(crate) fn fail(&self, call: *mut abi::Call, error: &crate::Error) -> Status {
        use crate::item::borrow;
        if error.message().is_empty() {
            return error.status();
        }
        // SAFETY: functions of the host's table; they copy the texts, which live until they return.
        unsafe {
            let status = (self.fail)(call, error.status(), borrow(error.message().as_bytes()));
            if let Some(detail) = self.detail {
                for (key, value) in error.details() {
                    detail(call, borrow(key.as_bytes()), borrow(value.as_bytes()));
                }
            }
            status
        }
    }
}

/// The function of `tenon.host.error/1`, if the host has that interface.
fn error_details(get_interface: unsafe extern "C" fn(*const c_char) -> *const c_void) -> Option<Detail> {
    const ID: &CStr = c"tenon.host.error/1";
    // SAFETY: the id ends with NUL; the answer is NULL or the frozen struct of that id, whose first field is its size.
    unsafe {
        let interface = get_interface(ID.as_ptr()).cast::<abi::HostError>();
        if interface.is_null() || interface.cast::<u32>().read() as usize != size_of::<abi::HostError>() {
            return None;
        }
        (*interface).detail
    }
}
