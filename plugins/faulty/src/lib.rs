//! A backend that misbehaves on request, to show what becomes of it. docs/plugins.md lists what the user sees.
//!
//! It is a well-behaved backend on the SDK (`backend.rs`) whose tables are then tampered with: by the environment
//! variable `TENON_FAULTY` at load (`faults::EntryFault`), by the load option `fault` (`faults::ModelFault`) and by
//! the request option `fault` (`faults::RunFault`). Without a fault it answers.

#![allow(unsafe_code)]

mod backend;
mod faults;
mod raw;
mod tables;

tenon_plugin::export::export_witness!();

/// The entry of the plugin contract, version 1, unless `TENON_FAULTY` asks for something else.
///
/// # Safety
/// Called by the host as `tenon_abi::PluginEntry` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_plugin_entry_v1(
    host: *const tenon_abi::Host,
    out: *mut *const tenon_abi::Plugin,
) -> tenon_abi::Status {
    tenon_plugin::export::quiet_hook();
    // SAFETY: the host's word, handed on.
    unsafe { tables::enter(host, out) }
}
