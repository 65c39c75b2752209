//! Memory: what a model is going to need, what the machine has left, and whether the one fits the other.
//!
//! A backend that offers `tenon.memory/1` reads the headers of verified files and says what it will need
//! ([`Engine::estimate`]); a load that cannot fit is refused before a weight is read, with the numbers. What is
//! available is what the system can give without swapping, or less where a cgroup allows less.

use crate::cgroup;
use crate::engine::{Backend, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Load;
use crate::plugin::call;
use crate::plugin::face::Prepared;
use crate::plugin::host::{Call, Sink};
use crate::plugin::item::Output;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tenon_store::Manifest;
use tenon_tasks::{DeviceEstimate, MemoryEstimate, MemoryParts, Options, task};

/// Most that the machine keeps for everybody else, and least.
const RESERVE: std::ops::RangeInclusive<u64> = 32 << 20..=512 << 20;
/// The part of the machine's memory that is kept for everybody else.
const RESERVED_PART: u64 = 50;
/// A load that needs no more than this is let through without a look at the machine, which takes longer than a part of
/// a hundred of loading a model so small.
const SMALL: u64 = *RESERVE.start();
/// The device whose memory is the machine's.
const CPU: &str = "cpu";

/// Whether a load that does not fit is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryCheck {
    /// It is, with the numbers.
    #[default]
    Refuse,
    /// Nobody asks: the system will swap, or end a process, when there is not enough.
    Ignore,
}

/// The machine's memory as far as this process may have it. All numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// All there is; the limit of the cgroup where that is less. 0 when nobody can tell.
    pub total: u64,
    /// What can be had without swapping; `None` when nobody can tell.
    pub available: Option<u64>,
    /// What of it is left to others: a fiftieth of the total, at least 32 MiB, at most 512 MiB.
    pub reserve: u64,
}

impl Memory {
    /// Looks at the machine.
    pub fn look() -> Self {
        Self::seen(Path::new("/"), system())
    }

    /// With the cgroups under `root`, which is `/` but for tests.
    fn seen(root: &Path, (mut total, mut available): (u64, Option<u64>)) -> Self {
        // The group with the least limit need not be the one that has the least left: groups share what those above have.
        for (limit, left) in group_limits(root) {
            total = if total == 0 { limit } else { total.min(limit) };
            available = available.into_iter().chain([left]).min();
        }
        Self::of(total, available)
    }

    fn of(total: u64, available: Option<u64>) -> Self {
        Self { total, available, reserve: (total / RESERVED_PART).clamp(*RESERVE.start(), *RESERVE.end()) }
    }

    /// A machine that has so much available.
    pub(crate) fn pretended(available: u64) -> Self {
        Self::of(available, Some(available))
    }

    /// Whether so much can be had, the reserve left alone. True when nobody can tell what is available.
    pub fn fits(&self, need: u64) -> bool {
        self.available.is_none_or(|available| need.saturating_add(self.reserve) <= available)
    }
}

/// Total and available memory of the system.
#[cfg(target_os = "linux")]
fn system() -> (u64, Option<u64>) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    (field("MemTotal").unwrap_or(0), field("MemAvailable"))
}

/// Total and available memory of the system.
#[cfg(not(target_os = "linux"))]
fn system() -> (u64, Option<u64>) {
    let Ok(mut system) = sysinfo::System::new() else { return (0, None) };
    system.refresh_memory_specifics(sysinfo::MemoryRefreshKind::nothing().with_ram());
    (system.total_memory(), Some(system.available_memory()))
}

/// Limit and what is left of it, of each cgroup of this process that has one.
fn group_limits(root: &Path) -> Vec<(u64, u64)> {
    cgroup::folders(root, "memory").iter().filter_map(|folder| group_limit(folder)).collect()
}

/// Cached file pages count as used by a group, but the kernel takes them back when memory is wanted.
fn group_limit(folder: &Path) -> Option<(u64, u64)> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (limit, used, cached) = match number("memory.max") {
        Some(limit) => (limit, number("memory.current")?, ["inactive_file", "active_file"]),
        None => {
            let limit = number("memory.limit_in_bytes").filter(|limit| *limit < 1 << 60)?;
            (limit, number("memory.usage_in_bytes")?, ["total_inactive_file", "total_active_file"])
        }
    };
    let stat = read("memory.stat").unwrap_or_default();
    let field = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let cached: u64 = cached.into_iter().filter_map(field).sum();
    Some((limit, limit.saturating_sub(used.saturating_sub(cached))))
}

/// Bytes of the loads that were let through and are not over: what they are going to take is still there to be had.
/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promised(Arc<Mutex<u64>>);

impl Promised {
    /// The one of this process. Engines that pretend to have memory each have a machine of their own.
    pub(crate) fn of_process() -> Self {
        static OF_PROCESS: OnceLock<Promised> = OnceLock::new();
        OF_PROCESS.get_or_init(Self::default).clone()
    }

    /// Promises what a model and one session need of the machine's memory, if they fit beside what was promised before,
    /// which `estimate` gets.
    fn make(&self, estimate: impl FnOnce(u64) -> Estimate) -> Result<Promise> {
        let mut promised = self.lock();
        let estimate = estimate(*promised);
        estimate.check()?;
        let of_machine = estimate.devices.iter().filter(|device| device.need.device == CPU);
        let need = of_machine.fold(0, |sum: u64, device| sum.saturating_add(device.need.total(1)));
        *promised = promised.saturating_add(need);
        Ok(Promise { of: self.clone(), need })
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory that a load was promised, until it is over.
#[derive(Debug, Default)]
#[must_use = "dropped, the memory can be promised to another load"]
pub(crate) struct Promise {
    of: Promised,
    need: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = self.of.lock();
        *promised = promised.saturating_sub(self.need);
    }
}

/// What a model is going to need, and whether it fits this machine now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// Name of the model.
    pub model: String,
    /// Id of the backend that estimates.
    pub backend: String,
    /// The load options that it holds for.
    pub load_options: Options,
    /// Each device that takes part.
    pub devices: Vec<DeviceFit>,
}

/// What a model is going to need on one device, and what that has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeviceFit {
    /// What is needed, of the model and of each session.
    pub need: DeviceEstimate,
    /// What is available there now, in bytes; `None` when nobody can tell.
    pub available: Option<u64>,
    /// What of that is left to others, in bytes.
    pub reserve: u64,
}

impl Estimate {
    /// Bytes of the model and so many sessions on all devices.
    pub fn total(&self, sessions: u64) -> u64 {
        self.devices.iter().fold(0, |sum: u64, device| sum.saturating_add(device.need.total(sessions)))
    }

    /// Whether the model and so many sessions fit, on every device.
    pub fn fits(&self, sessions: u64) -> bool {
        self.devices.iter().all(|device| device.fits(sessions))
    }

    /// Refuses what does not fit with one session.
    pub(crate) fn check(&self) -> Result<()> {
        self.devices.iter().find(|device| !device.fits(1)).map_or(Ok(()), |device| Err(self.refusal(device)))
    }

    fn refusal(&self, device: &DeviceFit) -> Error {
        let (need, available) = (device.need.parts(1), device.available.unwrap_or(0));
        let parts: Vec<String> =
            named(&need).into_iter().filter(|(_, size)| *size > 0).map(|(name, size)| in_words(name, size)).collect();
        let context = if need.cache > 0 { "load it with a smaller context, " } else { "" };
        let message = format!(
            "model \"{}\" needs {} of memory on {} ({}), and {} are available, {} of them reserved: \
             {context}take smaller weights, close other programs, or ignore the check (--ignore-memory)",
            self.model,
            bytes(need.total()),
            device.need.device,
            parts.join(", "),
            bytes(available),
            bytes(device.reserve),
        );
        let error = Error::new(ErrorKind::OutOfMemory, message)
            .with_detail("model", &self.model)
            .with_detail("device", &device.need.device)
            .with_detail("needed", need.total().to_string())
            .with_detail("available", available.to_string())
            .with_detail("reserve", device.reserve.to_string());
        named(&need).into_iter().fold(error, |error, (name, size)| error.with_detail(name, size.to_string()))
    }
}

impl DeviceFit {
    /// Whether the model and so many sessions fit, the reserve left alone. True when nobody can tell.
    pub fn fits(&self, sessions: u64) -> bool {
        let need = self.need.total(sessions).saturating_add(self.reserve);
        self.available.is_none_or(|available| need <= available)
    }
}

fn named(parts: &MemoryParts) -> [(&'static str, u64); 4] {
    let MemoryParts { weights, cache, compute, other } = *parts;
    [("weights", weights), ("cache", cache), ("compute", compute), ("other", other)]
}

fn in_words(name: &str, size: u64) -> String {
    format!("{name} {}", bytes(size))
}

/// A size in decimal units, for a sentence.
fn bytes(size: u64) -> String {
    match size {
        0..1_000_000 => format!("{} kB", size / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", size / 1_000_000),
        _ => format!("{:.1} GB", size as f64 / 1e9),
    }
}

impl Engine {
    /// The machine's memory, as far as this process may have it.
    pub fn memory(&self) -> Memory {
        self.pretended_memory().map_or_else(Memory::look, Memory::pretended)
    }

    /// Estimates what a model is going to need of memory with these load options, and whether it fits now. Verifies the
    /// model's files and reads their headers; loads the plugin, but not the model.
    ///
    /// # Errors
    /// As [`Engine::load`] up to the moment at which the model would be opened; `Unsupported` when its backend
    /// estimates nothing, `OutOfMemory` never: what does not fit stands in the estimate.
    pub fn estimate(&self, name: &str, load: &Load) -> Result<Estimate> {
        let manifest = self.catalog().get(name)?.clone();
        self.estimate_manifest(&manifest, load)
    }

    /// Refuses a model that does not fit beside the loads that are under way; what it is promised it keeps until it is
    /// loaded. One of which the backend says nothing is let through.
    pub(crate) fn admit(
        &self,
        manifest: &Manifest,
        backend: &Backend,
        prepared: &Prepared,
        options: &Options,
        check: MemoryCheck,
        call: Call,
    ) -> Result<Promise> {
        if check == MemoryCheck::Ignore {
            return Ok(Promise::default());
        }
        match needs_of(backend, prepared, call) {
            Ok(needs) if needs.total(1) <= SMALL && self.pretended_memory().is_none() => Ok(Promise::default()),
            Ok(needs) => self.promised().make(|promised| {
                let memory = self.memory();
                let available = memory.available.map(|available| available.saturating_sub(promised));
                fitted(&Memory { available, ..memory }, manifest, backend, options, needs)
            }),
            Err(error) if error.is_stop() => Err(error),
            Err(error) => {
                // What is wrong with the files, the backend says again and better when it opens them.
                let model = &manifest.name;
                match error.kind() {
                    ErrorKind::Panic | ErrorKind::Plugin | ErrorKind::WorkerDied => {
                        tracing::warn!(model, %error, "no estimate of its memory")
                    }
                    _ => tracing::debug!(model, %error, "no estimate of its memory"),
                }
                Ok(Promise::default())
            }
        }
    }

    /// `call` carries the load options.
    pub(crate) fn estimate_files(
        &self,
        manifest: &Manifest,
        backend: &Backend,
        prepared: &Prepared,
        options: &Options,
        call: Call,
    ) -> Result<Estimate> {
        Ok(fitted(&self.memory(), manifest, backend, options, needs_of(backend, prepared, call)?))
    }
}

fn fitted(
    memory: &Memory,
    manifest: &Manifest,
    backend: &Backend,
    options: &Options,
    needs: MemoryEstimate,
) -> Estimate {
    let devices = needs.devices.into_iter().map(|need| device_fit(need, backend, memory)).collect();
    Estimate { model: manifest.name.clone(), backend: backend.id().to_owned(), load_options: options.clone(), devices }
}

/// What the backend says, read and believed as far as it can be.
fn needs_of(backend: &Backend, prepared: &Prepared, call: Call) -> Result<MemoryEstimate> {
    let documents = Arc::new(Mutex::new(Vec::new()));
    let call = call.with_sink(Box::new(Documents(Arc::clone(&documents))));
    let asked = call::on_big_stack(|| prepared.estimate(call).transpose())?;
    let id = backend.id();
    if asked.is_none() {
        let message = format!("backend \"{id}\" does not estimate memory: the model is loaded without asking");
        return Err(Error::new(ErrorKind::Unsupported, message).with_detail("plugin", id));
    }
    let documents = std::mem::take(&mut *documents.lock().unwrap_or_else(PoisonError::into_inner));
    let broken = |does: String| Error::new(ErrorKind::Plugin, format!("backend \"{id}\" {does}"));
    let [text] = documents.as_slice() else {
        return Err(broken(format!("estimates a model's memory {} times", documents.len())));
    };
    serde_json::from_str(text).map_err(|error| broken(format!("gives an estimate that cannot be read: {error}")))
}

fn device_fit(need: DeviceEstimate, backend: &Backend, memory: &Memory) -> DeviceFit {
    if need.device == CPU {
        return DeviceFit { need, available: memory.available, reserve: memory.reserve };
    }
    let mut devices = backend.description().devices.iter();
    let free = devices.find(|device| device.name == need.device).map_or(0, |device| device.memory_free);
    DeviceFit { need, available: (free > 0).then_some(free), reserve: 0 }
}

/// Collects the documents that `estimate` emits.
struct Documents(Arc<Mutex<Vec<String>>>);

impl Sink for Documents {
    fn take(&mut self, output: Output) -> Result<()> {
        match output {
            Output::Document { name, text } if name == "estimate" => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Plugin, "an estimate is one document named \"estimate\"")),
        }
    }
}

/// Tokens of context of a text model whose manifest names none.
const ROUGH_CONTEXT: u64 = 4096;
/// Bytes of a context's token for a model of a thousand million parameters; it grows more slowly than they do.
const ROUGH_TOKEN: f64 = 48_000.0;
/// Bytes of a speech model's working memory for the root of a thousand million parameters.
const ROUGH_SPEECH: f64 = 760e6;
/// What every backend needs beside its weights.
const ROUGH_REST: u64 = 64 << 20;

/// A rough figure for a model of which nothing but the manifest is here: bytes, by the sizes of its files, its number
/// of parameters and its context. [`Engine::estimate`] says it well, once the files are here.
pub fn estimate_of_manifest(manifest: &Manifest) -> u64 {
    let weights = manifest.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
    // Many weights have about a byte.
    let root = (manifest.parameters.unwrap_or(weights) as f64 / 1e9).sqrt();
    let working = match manifest.task.as_str() {
        task::TRANSCRIBE | task::TRANSLATE | task::DETECT_LANGUAGE => (ROUGH_SPEECH * root) as u64,
        task::GENERATE | task::CHAT => {
            let context = manifest.load.get("context_size").and_then(serde_json::Value::as_u64);
            let token = ROUGH_TOKEN * root;
            context.unwrap_or(ROUGH_CONTEXT).saturating_mul(token as u64).saturating_add(weights / 16)
        }
        _ => weights / 16,
    };
    weights.saturating_add(working).saturating_add(ROUGH_REST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tree;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_smallest_group_of_version_2_counts_and_its_cached_files_are_free() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "2000000000\n"),
            ("sys/fs/cgroup/a/memory.current", "1500000000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 400000000\ninactive_file 900000000\nactive_file 100000000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "1500000000\n"),
        ]);
        let memory = Memory::seen(root.path(), (16 * GIB, Some(8 * GIB)));
        assert_eq!((memory.total, memory.available), (2_000_000_000, Some(1_500_000_000)));
        assert_eq!(memory.reserve, 40_000_000);
    }

    #[test]
    fn a_group_that_is_nearly_full_counts_although_its_limit_is_not_the_least() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "8000000000\n"),
            ("sys/fs/cgroup/a/memory.current", "7900000000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "6000000000\n"),
            ("sys/fs/cgroup/a/b/memory.current", "100000000\n"),
        ]);
        let memory = Memory::seen(root.path(), (16 * GIB, Some(12 * GIB)));
        assert_eq!((memory.total, memory.available), (6_000_000_000, Some(100_000_000)));
    }

    #[test]
    fn a_group_of_version_1_counts_unless_its_limit_is_none() {
        let limit = |limit: &str| {
            let root = tree(&[
                ("proc/self/cgroup", "7:memory:/docker/x\n0::/\n"),
                ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", limit),
                ("sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "600000000\n"),
                ("sys/fs/cgroup/memory/docker/x/memory.stat", "total_inactive_file 100000000\n"),
            ]);
            Memory::seen(root.path(), (16 * GIB, Some(8 * GIB))).available
        };
        assert_eq!(limit("1000000000\n"), Some(500_000_000));
        assert_eq!(limit("9223372036854771712\n"), Some(8 * GIB));
    }

    #[test]
    fn a_group_with_more_than_the_machine_changes_nothing() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "99000000000\n"),
            ("sys/fs/cgroup/memory.current", "1\n"),
        ]);
        let memory = Memory::seen(root.path(), (16 * GIB, Some(8 * GIB)));
        assert_eq!((memory.total, memory.available), (16 * GIB, Some(8 * GIB)));
    }

    #[test]
    fn the_reserve_is_a_fiftieth_within_its_bounds() {
        for (total, reserve) in [(0, 32 << 20), (GIB, 32 << 20), (5 * GIB, 5 * GIB / 50), (64 * GIB, 512 << 20)] {
            assert_eq!(Memory::of(total, None).reserve, reserve);
        }
    }

    #[test]
    fn what_nobody_can_tell_fits() {
        assert!(Memory::of(0, None).fits(u64::MAX));
        let memory = Memory::pretended(GIB);
        assert!(memory.fits(GIB - memory.reserve) && !memory.fits(GIB - memory.reserve + 1));
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = Memory::look();
        assert!(memory.total > 0 && memory.available.is_none_or(|available| available <= memory.total), "{memory:?}");
    }

    #[test]
    fn a_refusal_says_what_is_needed_what_there_is_and_what_to_do() {
        let parts = |weights, cache| MemoryParts { weights, cache, ..MemoryParts::default() };
        let need = DeviceEstimate {
            device: "cpu".into(),
            model: parts(4 * GIB, 0),
            session: parts(0, 600 << 20),
            reclaimable: 0,
        };
        let device = DeviceFit { need, available: Some(2 * GIB), reserve: 64 << 20 };
        let estimate = Estimate {
            model: "big".into(),
            backend: "llama".into(),
            load_options: Options::new(),
            devices: vec![device],
        };
        let error = estimate.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert_eq!(
            error.message(),
            "model \"big\" needs 4.9 GB of memory on cpu (weights 4.3 GB, cache 629 MB), and 2.1 GB are available, \
             67 MB of them reserved: load it with a smaller context, take smaller weights, close other programs, \
             or ignore the check (--ignore-memory)"
        );
        assert_eq!(error.detail("needed"), Some("4924112896"));
        assert_eq!(error.detail("available"), Some("2147483648"));
        assert!(estimate.fits(0) == (4 * GIB + (64 << 20) <= 2 * GIB) && !estimate.fits(2));
    }

    #[test]
    fn a_rough_figure_comes_from_sizes_parameters_and_context() {
        let manifest = |task: &str, load: &str| {
            let text = format!(
                "name = \"m\"\ntask = \"{task}\"\nbackend = \"llama\"\nlicense = \"MIT\"\nparameters = 1000000000\n\
                 [[file]]\nrole = \"model\"\nname = \"m.gguf\"\nsize = 800000000\n\
                 url = [\"https://example.org/m.gguf\"]\nsha256 = \"{}\"\n{load}",
                "0".repeat(64)
            );
            estimate_of_manifest(&Manifest::parse(&text, Path::new("m.toml")).unwrap())
        };
        let chat = manifest("chat", "");
        assert!((1_000_000_000..1_200_000_000).contains(&chat), "{chat}");
        assert!(manifest("chat", "[load]\ncontext_size = 32768\n") > chat + 1_000_000_000);
        assert!(manifest("embed", "") < chat);
    }
}
