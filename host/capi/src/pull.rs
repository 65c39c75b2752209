//! Pulls: models are fetched into the store.

use crate::boundary::{self, Sized_, optional, run, text};
use crate::engine::{Owner, Progress, TENON_PHASE_PULL, TENON_PHASE_VERIFY, fraction, tenon_engine, tenon_progress_fn};
use crate::error::tenon_error;
use crate::handle;
use host::fetch::{Event, Network};
use host::{CancelToken, Environment, Error, ErrorKind, Pull, PullEvent, Result};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::num::NonZeroU64;
use tenon_abi::Status;

/// Flag of `tenon_pull_options`: the user accepts the licence of a model for research or non-commercial use only.
/// Without it such a model is `TENON_E_INVALID_ARGUMENT`. The table of models says which they are: `restricted`.
pub const TENON_PULL_ACCEPT_LICENSE: u32 = 1;
/// Flag of `tenon_pull_options`: opens no connection. What is not here is `TENON_E_NETWORK`.
pub const TENON_PULL_OFFLINE: u32 = 2;
/// Flag of `tenon_pull_options`: leaves out files that the model loads without.
pub const TENON_PULL_NO_OPTIONAL: u32 = 4;

/// How a model is pulled. Fill it by `tenon_pull_options_init`, then set what shall differ. Everything is copied.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_pull_options {
    /// `sizeof(tenon_pull_options)`.
    pub struct_size: u32,
    /// `TENON_PULL_*` flags.
    pub flags: u32,
    /// Most bytes per second; 0 for no limit.
    pub rate_limit: u64,
    /// The pull ends with `TENON_E_DEADLINE` after so many microseconds; 0 for none.
    pub deadline_us: i64,
    /// Where files of huggingface.co are fetched from, such as a mirror; NULL for `HF_ENDPOINT`, or else the hub.
    pub endpoint: *const c_char,
    /// Connections for one large file, where the server allows several; 0 for the usual number.
    pub connections: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), begins with a u32, and zeroes are valid in every field.
unsafe impl Sized_ for tenon_pull_options {
    const NAME: &str = "tenon_pull_options";
}

/// Fetches what a model lacks into the store, every byte verified by size and SHA-256, and keeps it there under its
/// name: `tenon_model_load` finds it at once. `name` is that of its manifest; `options` and `progress` may be NULL.
/// Waits until it is done. `progress` hears `TENON_PHASE_VERIFY` while files that lie here are hashed, then
/// `TENON_PHASE_PULL` with the fraction of all bytes to fetch, some ten times a second also while nothing comes, and can
/// cancel. A pull that ended early is no loss: the next one goes on at the byte where it stopped.
///
/// The environment says how the network is used: proxies (`HTTPS_PROXY`, `NO_PROXY`), `SSL_CERT_FILE`, `HF_TOKEN`,
/// `TENON_OFFLINE` and others that docs/pull.md lists. It is read here, so change it on no other thread meanwhile.
///
/// `TENON_E_NOT_FOUND`, `TENON_E_NETWORK`, `TENON_E_HASH_MISMATCH`, `TENON_E_IO` (a full disk too),
/// `TENON_E_INVALID_ARGUMENT` where a licence has to be accepted, `TENON_E_CANCELLED`, `TENON_E_DEADLINE`,
/// `TENON_E_SHUTDOWN`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_engine_pull(
    engine: *mut tenon_engine,
    name: *const c_char,
    options: *const tenon_pull_options,
    progress: tenon_progress_fn,
    data: *mut c_void,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let name = text(name, "name")?;
            let engine = handle::get::<Owner>(engine)?;
            let pull = if options.is_null() { Pull::new() } else { pull_of(options)? };
            let pull = match Progress::new(progress, data) {
                Some(progress) => telling(pull, progress),
                None => pull,
            };
            engine.0.pull(name, pull).map(drop)
        })
    }
}

/// # Safety
/// As the header says of `tenon_engine_pull`.
unsafe fn pull_of<'a>(options: *const tenon_pull_options) -> Result<Pull<'a>> {
    // SAFETY: as the caller of this function says, for this and for every pointer in the struct.
    let (options, endpoint) = unsafe {
        let options = boundary::read(options)?;
        (options, optional(options.endpoint, "endpoint")?)
    };
    let unknown = options.flags & !(TENON_PULL_ACCEPT_LICENSE | TENON_PULL_OFFLINE | TENON_PULL_NO_OPTIONAL);
    boundary::nothing_unknown::<tenon_pull_options>(unknown, options.reserved)?;
    let mut network = Network::of(&Environment::of_this_process())?;
    if options.flags & TENON_PULL_OFFLINE != 0 {
        network = network.offline(true);
    }
    if let Some(limit) = NonZeroU64::new(options.rate_limit) {
        network = network.rate_limit(Some(limit));
    }
    if let Some(endpoint) = endpoint {
        network = network.endpoint(endpoint)?;
    }
    if options.connections != 0 {
        network = network.connections(options.connections as usize);
    }
    let pull = Pull::new().accept_license(options.flags & TENON_PULL_ACCEPT_LICENSE != 0).network(network);
    let pull = if options.flags & TENON_PULL_NO_OPTIONAL != 0 { pull.without_optional() } else { pull };
    match options.deadline_us {
        0 => Ok(pull),
        deadline => boundary::duration(deadline)
            .map(|deadline| pull.deadline(deadline))
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "deadline_us is negative")),
    }
}

/// A pull that tells how far it is, and ends when it is told to.
fn telling(pull: Pull<'_>, progress: Progress) -> Pull<'_> {
    let token = CancelToken::new();
    let stop = token.clone();
    let mut overall = Overall::default();
    pull.cancel(token).events(move |event| {
        let (phase, fraction) = match event {
            PullEvent::Check { done, total } => (TENON_PHASE_VERIFY, fraction(*done, *total)),
            PullEvent::Refer(_) => (TENON_PHASE_PULL, 1.0),
            other => {
                overall.hear(other);
                (TENON_PHASE_PULL, overall.fraction())
            }
        };
        if !progress.tell(phase, fraction) {
            stop.cancel();
        }
    })
}

/// How far a pull of several files is, as one fraction.
#[derive(Default)]
struct Overall {
    total: u64,
    /// Bytes of each file that are here.
    here: BTreeMap<String, u64>,
}

impl Overall {
    fn hear(&mut self, event: &PullEvent<'_>) {
        match event {
            PullEvent::Plan { files } => self.total = sum(files.iter().map(|file| file.size)),
            PullEvent::Fetch(Event::Resuming { file, done, .. } | Event::Progress { file, done, .. }) => {
                self.here.insert(file.clone(), *done);
            }
            PullEvent::Fetch(Event::Done { file, total, .. }) => {
                self.here.insert(file.clone(), *total);
            }
            _ => {}
        }
    }

    /// Everything is here only when the reference is written.
    fn fraction(&self) -> f32 {
        let done = sum(self.here.values().copied());
        if self.total == 0 { 0.0 } else { fraction(done.min(self.total), self.total) }
    }
}

/// The sum of sizes that a manifest says: it may say more than there can be.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_disk_holds_are_added_up_without_a_panic() {
        let mut overall = Overall { total: u64::MAX, ..Overall::default() };
        for file in ["a", "b"] {
            let (file, done, total) = (file.to_owned(), u64::MAX / 2 + 1, u64::MAX);
            overall.hear(&PullEvent::Fetch(&Event::Resuming { file, done, total }));
        }
        assert!(overall.fraction() > 0.9);
        assert_eq!(sum([u64::MAX, 1].into_iter()), u64::MAX);
    }
}
