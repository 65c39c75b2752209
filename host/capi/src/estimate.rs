//! Estimates: the memory that a model is going to need, told before it is loaded.

use crate::boundary::{self, Sized_, out, run, text};
use crate::engine::{Owner, tenon_engine};
use crate::error::tenon_error;
use crate::handle;
use crate::options::{self, tenon_options};
use crate::table::{Rows, tenon_table};
use host::{DeviceFit, Estimate, MemoryParts};
use std::ffi::c_char;
use tenon_abi::Status;

/// What a model and its sessions are going to need of memory, in bytes, on all devices together.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_estimate {
    /// `sizeof(tenon_estimate)`, set by the caller.
    pub struct_size: u32,
    /// 1 when it fits on every device now, 0 when not: then loading it is `TENON_E_OUT_OF_MEMORY`.
    pub fits: i32,
    /// Weights, once for all sessions.
    pub weights: u64,
    /// What sessions keep of their past: keys and values of their tokens.
    pub cache: u64,
    /// Buffers of the computation.
    pub compute: u64,
    /// Everything else: vocabulary, tables, samples, output.
    pub other: u64,
    /// All of it.
    pub total: u64,
    /// What of `total` each session more adds.
    pub session: u64,
    /// Memory of the machine that can be had now without swapping, within the limits of the cgroup; 0 when nobody can
    /// tell.
    pub available: u64,
    /// What of that is left to others.
    pub reserve: u64,
}

// SAFETY: repr(C), begins with a u32, and zeroes are valid in every field.
unsafe impl Sized_ for tenon_estimate {
    const NAME: &str = "tenon_estimate";
}

/// Estimates what a model is going to need of memory with these load options and so many sessions, and whether it fits
/// now. The model's files are verified and their heads read; it is not loaded. `load_options` may be NULL. `devices`
/// may be NULL; else it gets a table with a row for each device, to be freed with `tenon_table_free`. Its columns:
/// `device`, `weights`, `cache`, `compute`, `other`, `total`, `session` (of `total`, for each session), `reclaimable`
/// (mapped beside it, and taken back by the system when it wants memory), `available` (empty when nobody can tell),
/// `reserve`, `fits` (yes or no). `TENON_E_UNSUPPORTED` when the backend estimates nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_estimate(
    engine: *const tenon_engine,
    name: *const c_char,
    load_options: *const tenon_options,
    sessions: u32,
    estimate: *mut tenon_estimate,
    devices: *mut *mut tenon_table,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = if devices.is_null() { Ok(None) } else { out(devices, std::ptr::null_mut(), "devices").map(Some) };
        run(error, || {
            let place = place?;
            let (name, options) = (text(name, "name")?, options::optional(load_options)?);
            let engine = handle::get::<Owner>(engine)?;
            let made = engine.0.estimate(name, &engine.new_load().options(options))?;
            boundary::write(estimate, &sums(&made, sessions.into()))?;
            if let Some(place) = place {
                *place = table(&made, sessions.into()).give_out()?;
            }
            Ok(())
        })
    }
}

fn sums(estimate: &Estimate, sessions: u64) -> tenon_estimate {
    let parts = estimate.devices.iter().map(|device| device.need.parts(sessions));
    let MemoryParts { weights, cache, compute, other } = parts.fold(MemoryParts::default(), |sum, parts| sum + parts);
    let machine = estimate.devices.iter().find(|device| device.need.device == "cpu");
    tenon_estimate {
        struct_size: 0,
        fits: estimate.fits(sessions).into(),
        weights,
        cache,
        compute,
        other,
        total: estimate.total(sessions),
        session: estimate.total(1) - estimate.total(0),
        available: machine.and_then(|device| device.available).unwrap_or(0),
        reserve: machine.map_or(0, |device| device.reserve),
    }
}

fn table(estimate: &Estimate, sessions: u64) -> Rows {
    let columns = [
        "device",
        "weights",
        "cache",
        "compute",
        "other",
        "total",
        "session",
        "reclaimable",
        "available",
        "reserve",
        "fits",
    ];
    Rows::new(columns, estimate.devices.iter().map(|device| row(device, sessions)))
}

fn row(device: &DeviceFit, sessions: u64) -> [String; 11] {
    let MemoryParts { weights, cache, compute, other } = device.need.parts(sessions);
    let number = |number: u64| number.to_string();
    [
        device.need.device.clone(),
        number(weights),
        number(cache),
        number(compute),
        number(other),
        number(device.need.total(sessions)),
        number(device.need.session.total()),
        number(device.need.reclaimable),
        device.available.map(number).unwrap_or_default(),
        number(device.reserve),
        if device.fits(sessions) { "yes" } else { "no" }.to_owned(),
    ]
}
