//! The host's functions for plugins, and the calls that they act on.
//!
//! A `tenon_call *` is never dereferenced: its bits are an index and a generation, looked up in a table. A stale or
//! invented one is `TENON_E_INVALID_ARGUMENT`. Whatever else a plugin passes is checked before it is read, copied, and
//! only then believed. No panic leaves this file.

use super::item::{self, Output};
use crate::cancel::{StopSigns, stop_error};
use crate::error::{Error, ErrorKind};
use crate::log;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tenon_abi as abi;
use tenon_abi::{Status, status};
use tenon_tasks::Options;

/// Longest message of an error or of the log that is kept.
const LONGEST_MESSAGE: usize = 16 * 1024;
const MOST_DETAILS: usize = 64;
/// How much earlier than here a worker may see a deadline pass.
#[cfg(unix)]
const EARLY: Duration = Duration::from_millis(50);

/// Where what a call emits goes.
pub trait Sink: Send {
    /// Takes one item; may wait while the reader is slow. An error ends the call.
    fn take(&mut self, output: Output) -> Result<(), Error>;
}

/// Where the audio of a call comes from.
pub trait Feed: Send {
    /// The next block of samples. Waits up to `timeout`, or until the call shall stop.
    fn pull(&mut self, timeout: Option<Duration>) -> Pulled;

    /// The same for one who asks again when nothing came, while the backend waits on: what is lent to others meanwhile
    /// stays lent.
    fn pull_on(&mut self, timeout: Option<Duration>) -> Pulled {
        self.pull(timeout)
    }
}

/// What a [`Feed`] gave.
pub enum Pulled {
    /// Samples, at least one.
    Block(Vec<f32>),
    /// There is no more.
    End,
    /// Nothing came in time.
    Timeout,
    /// The input cannot be read on, or the call shall stop.
    Failed(Error),
}

/// The host's side of one call into a plugin.
pub struct Call {
    stop: StopSigns,
    options: Options,
    /// The same options as the text that crossed; a plugin names the document by its address.
    document: Box<str>,
    told_to_stop: AtomicBool,
    failure: Mutex<Failure>,
    sink: Mutex<Option<Box<dyn Sink>>>,
    feed: Mutex<Option<Input>>,
    progress: Option<Box<dyn Fn(f32) + Send + Sync>>,
}

/// How a call in a worker ended.
#[cfg(unix)]
pub(crate) enum Remote {
    /// The plugin returned.
    Returned {
        /// Its status.
        status: Status,
        /// What it said with `fail`, last.
        message: Option<String>,
        /// What it added to that.
        details: Vec<(String, String)>,
    },
    /// The worker is gone.
    Died(Error),
}

/// What went wrong so far.
#[derive(Default)]
struct Failure {
    /// What the plugin said with `fail`, last.
    message: Option<String>,
    details: Vec<(String, String)>,
    /// What the host itself met inside the call: a broken contract, unreadable audio. Counts more than the plugin's word.
    host: Option<Error>,
}

struct Input {
    feed: Box<dyn Feed>,
    rate: u32,
    /// What the last `pull` handed out.
    block: Vec<f32>,
    audio: Box<abi::Audio>,
}

// SAFETY: the pointer in `audio` points into `block`, which moves along with it, and is only read by the plugin.
unsafe impl Send for Input {}

impl Call {
    /// A call without options that may neither emit nor pull.
    pub fn new(stop: StopSigns) -> Self {
        Self {
            stop,
            options: Options::new(),
            document: "{}".into(),
            told_to_stop: AtomicBool::new(false),
            failure: Mutex::default(),
            sink: Mutex::new(None),
            feed: Mutex::new(None),
            progress: None,
        }
    }

    /// With these options; the plugin gets them as a document.
    pub fn with_options(mut self, options: Options) -> Self {
        self.document = options.to_json().into();
        self.options = options;
        self
    }

    /// What it emits goes there.
    pub fn with_sink(mut self, sink: Box<dyn Sink>) -> Self {
        self.sink = Mutex::new(Some(sink));
        self
    }

    /// `rate` is that of the samples that the feed gives.
    pub fn with_feed(mut self, feed: Box<dyn Feed>, rate: u32) -> Self {
        let audio = abi::Audio { samples: std::ptr::null(), frames: 0, rate, channels: 1 };
        self.feed = Mutex::new(Some(Input { feed, rate, block: Vec::new(), audio: Box::new(audio) }));
        self
    }

    /// Hears how far it is, 0 to 1.
    pub fn with_progress(mut self, progress: Box<dyn Fn(f32) + Send + Sync>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The options document as it crosses.
    pub(crate) fn document(&self) -> &str {
        &self.document
    }

    /// Puts the call into the table, where the plugin's calls find it until the guard is dropped.
    pub(crate) fn enter(self) -> Entered {
        let call = Arc::new(self);
        let id = CALLS.insert(Arc::clone(&call));
        Entered { call, id }
    }

    /// Why the call shall end; remembers that the plugin was told.
    pub(crate) fn stop_reason(&self) -> Option<ErrorKind> {
        let reason = self.stop.reason();
        if reason.is_some() {
            self.told_to_stop.store(true, Ordering::Relaxed);
        }
        reason
    }

    fn failure(&self) -> MutexGuard<'_, Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what the host itself met; the first counts.
    fn fail_host(&self, error: Error) -> Status {
        let status = error.kind().status();
        if error.is_stop() {
            self.told_to_stop.store(true, Ordering::Relaxed);
        } else {
            self.failure().host.get_or_insert(error);
        }
        status
    }

    fn emit(&self, item: *const abi::Item) -> Status {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = sink.as_mut() else { return status::E_INVALID_ARGUMENT };
        if let Some(reason) = self.stop_reason() {
            return reason.status();
        }
        // SAFETY: the plugin passes an item that is valid for this call, which is all that `read` relies on after it
        // has checked everything that can be checked.
        match unsafe { item::read(item) } {
            Ok(output) => sink.take(output).map_or_else(|error| self.fail_host(error), |()| status::OK),
            Err(problem) => {
                self.fail_host(Error::new(ErrorKind::Plugin, format!("the backend emitted {problem}")));
                status::E_INVALID_ARGUMENT
            }
        }
    }

    fn hear_progress(&self, fraction: f32) {
        if let Some(hears) = self.progress.as_ref().filter(|_| fraction.is_finite()) {
            hears(fraction.clamp(0.0, 1.0));
        }
    }

    /// Takes the sink and judges what came of the call, given the status that the plugin returned.
    fn conclude(&self, returned: Status, plugin: &str) -> Result<(), Error> {
        // A call of another plugin thread may still be inside `emit`; taking the sink waits for it.
        drop(self.sink.lock().unwrap_or_else(PoisonError::into_inner).take());
        let stopped = self.stop.reason();
        let told = self.told_to_stop.load(Ordering::Relaxed);
        let failure = std::mem::take(&mut *self.failure());
        let agrees =
            told || matches!(returned, status::OK | status::E_CANCELLED | status::E_DEADLINE | status::E_SHUTDOWN);
        failure.outcome(returned, stopped.filter(|_| agrees), plugin)
    }

    fn pull(&self, timeout_us: i64, out: *mut abi::Item) -> Status {
        if out.is_null() || !out.is_aligned() {
            return status::E_INVALID_ARGUMENT;
        }
        let mut input = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(input) = input.as_mut() else { return status::E_END };
        if let Some(reason) = self.stop_reason() {
            return reason.status();
        }
        let timeout = u64::try_from(timeout_us).ok().map(Duration::from_micros);
        match input.feed.pull(timeout) {
            Pulled::Block(block) => {
                // SAFETY: `out` is aligned, not NULL, and the plugin passes room for an item.
                unsafe { out.write(input.hold(block)) };
                status::OK
            }
            Pulled::End => status::E_END,
            Pulled::Timeout => status::E_TIMEOUT,
            Pulled::Failed(error) => self.fail_host(error),
        }
    }
}

/// What the engine does with a call that runs in a worker.
#[cfg(unix)]
impl Call {
    /// As `emit`, for an item that came from a worker and was read.
    ///
    /// # Errors
    /// The status that tells the plugin to stop.
    pub(crate) fn take_output(&self, output: Output) -> Result<(), Status> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let sink = sink.as_mut().ok_or(status::E_INVALID_ARGUMENT)?;
        if let Some(reason) = self.stop_reason() {
            return Err(reason.status());
        }
        sink.take(output).map_err(|error| self.fail_host(error))
    }

    /// As `pull`, for a worker.
    ///
    /// # Errors
    /// `E_END`, `E_TIMEOUT`, or the status that tells the plugin to stop.
    pub(crate) fn pull_block(&self, timeout: Option<Duration>) -> Result<Vec<f32>, Status> {
        self.pulled(|feed| feed.pull(timeout))
    }

    /// The same for a backend that waits on when nothing came in this time.
    pub(crate) fn pull_block_on(&self, timeout: Duration) -> Result<Vec<f32>, Status> {
        self.pulled(|feed| feed.pull_on(Some(timeout)))
    }

    fn pulled(&self, pull: impl FnOnce(&mut dyn Feed) -> Pulled) -> Result<Vec<f32>, Status> {
        let mut input = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let input = input.as_mut().ok_or(status::E_END)?;
        if let Some(reason) = self.stop_reason() {
            return Err(reason.status());
        }
        match pull(&mut *input.feed) {
            Pulled::Block(block) => Ok(block),
            Pulled::End => Err(status::E_END),
            Pulled::Timeout => Err(status::E_TIMEOUT),
            Pulled::Failed(error) => Err(self.fail_host(error)),
        }
    }

    /// The rate of live audio, where the call has it.
    pub(crate) fn feed_rate(&self) -> Option<u32> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|input| input.rate)
    }

    /// Everything that can ask it to end.
    pub(crate) fn stop_signs(&self) -> &StopSigns {
        &self.stop
    }

    /// The moment after which the call ends itself.
    pub(crate) fn deadline(&self) -> Option<std::time::Instant> {
        self.stop.deadline
    }

    /// As `progress`, for a worker. A panic of who hears it stays here.
    pub(crate) fn tell_progress(&self, fraction: f32) {
        guarded((), || self.hear_progress(fraction));
    }

    /// Ends a call that ran in a worker: what came of it, by the rules that hold for a plugin in this process.
    pub(crate) fn end_remote(&self, outcome: Remote, plugin: &str) -> Result<(), Error> {
        match outcome {
            Remote::Returned { status, message, mut details } => {
                self.let_the_deadline_pass(status);
                // The worker's side of the call has named the plugin, as `conclude` does.
                details.retain(|(key, value)| (key.as_str(), value.as_str()) != ("plugin", plugin));
                details.truncate(MOST_DETAILS);
                let message = message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
                {
                    let mut failure = self.failure();
                    (failure.message, failure.details) = (message, details);
                }
                self.conclude(status, plugin)
            }
            Remote::Died(error) => {
                drop(self.sink.lock().unwrap_or_else(PoisonError::into_inner).take());
                // What the host met inside the call explains more than that the worker was ended for it.
                Err(self.failure().host.take().unwrap_or(error).with_detail("plugin", plugin))
            }
        }
    }

    /// The worker has a clock of its own, and may have seen the deadline pass a moment before it does here.
    fn let_the_deadline_pass(&self, returned: Status) {
        let Some(deadline) = self.stop.deadline.filter(|_| returned == status::E_DEADLINE) else { return };
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if left <= EARLY {
            std::thread::sleep(left);
        }
    }
}

impl Input {
    /// Keeps the block until the next one and describes it.
    fn hold(&mut self, block: Vec<f32>) -> abi::Item {
        self.block = block;
        *self.audio =
            abi::Audio { samples: self.block.as_ptr(), frames: self.block.len() as u64, rate: self.rate, channels: 1 };
        item_of(abi::KIND_AUDIO, &*self.audio)
    }
}

/// An item that points to `payload`.
pub(crate) fn item_of<T>(kind: u32, payload: &T) -> abi::Item {
    abi::Item { kind, size: size_of::<T>() as u32, data: std::ptr::from_ref(payload).cast() }
}

/// A text as it crosses; valid as long as `text` is.
pub(crate) fn str_of(text: &str) -> abi::Str {
    abi::Str { ptr: text.as_ptr().cast(), len: text.len() }
}

/// A call that a plugin may use right now. Dropping it makes its id stale.
pub(crate) struct Entered {
    call: Arc<Call>,
    id: CallId,
}

impl Entered {
    /// What crosses as `tenon_call *`.
    pub(crate) fn as_ptr(&self) -> *mut abi::Call {
        self.id.to_ptr()
    }

    pub(crate) fn document(&self) -> &str {
        self.call.document()
    }

    /// Ends the call: its id is stale from here on. Says what came of it, given the status that the plugin returned.
    pub(crate) fn end(self, returned: Status, plugin: &str) -> Result<(), Error> {
        CALLS.remove(self.id);
        self.call.conclude(returned, plugin)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CALLS.remove(self.id);
    }
}

impl Failure {
    /// `stopped`: the call was to end, so that even an answer that looks complete may be cut.
    fn outcome(self, returned: Status, stopped: Option<ErrorKind>, plugin: &str) -> Result<(), Error> {
        if let Some(error) = self.host {
            return Err(error.with_detail("plugin", plugin));
        }
        let error = match (stopped, ErrorKind::from_status(returned)) {
            // A panic poisons the session, whether or not somebody asked it to end.
            (_, Some(ErrorKind::Panic)) => Error::new(ErrorKind::Panic, self.message_or("the backend panicked")),
            (Some(reason), _) => {
                let error = stop_error(reason);
                match self.message {
                    Some(message) => error.with_detail("native", message),
                    None => error,
                }
            }
            (None, None) if returned == status::OK => return Ok(()),
            (None, Some(kind)) if may_return(kind) => Error::new(kind, self.message_or(&without_message(plugin, kind))),
            (None, _) => {
                let message = self.message.unwrap_or_else(|| "no message".to_owned());
                let message =
                    format!("backend \"{plugin}\" returned {}, which it may not: {message}", name_of(returned));
                Error::new(ErrorKind::Plugin, message)
            }
        };
        let error = self.details.into_iter().fold(error, |error, (key, value)| error.with_detail(key, value));
        Err(error.with_detail("plugin", plugin))
    }

    fn message_or(&self, otherwise: &str) -> String {
        self.message.clone().unwrap_or_else(|| otherwise.to_owned())
    }
}

fn without_message(plugin: &str, kind: ErrorKind) -> String {
    format!("backend \"{plugin}\" returned {} without a message", name_of(kind.status()))
}

/// Whether a plugin may end a call with this. To say that a call was stopped is the host's part.
fn may_return(kind: ErrorKind) -> bool {
    use ErrorKind as Kind;
    !matches!(
        kind,
        Kind::Cancelled
            | Kind::Deadline
            | Kind::Shutdown
            | Kind::Timeout
            | Kind::End
            | Kind::WorkerDied
            | Kind::StaleHandle
    )
}

fn name_of(status: Status) -> String {
    let name = status::ALL.iter().find(|(number, _)| *number == status).map(|(_, name)| *name);
    name.map_or_else(|| format!("the unknown status {status}"), str::to_owned)
}

// The table of calls.

/// Index and generation of a call, each half of a pointer's bits. A generation is never 0, so neither is the pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CallId {
    index: usize,
    generation: usize,
}

const HALF: u32 = usize::BITS / 2;
const MASK: usize = (1 << HALF) - 1;

impl CallId {
    fn to_ptr(self) -> *mut abi::Call {
        std::ptr::without_provenance_mut(self.generation << HALF | self.index)
    }

    fn of(call: *const abi::Call) -> Self {
        let bits = call.addr();
        Self { index: bits & MASK, generation: bits >> HALF }
    }
}

struct Slot {
    generation: usize,
    call: Option<Arc<Call>>,
}

struct Calls {
    slots: RwLock<Vec<Slot>>,
    free: Mutex<Vec<usize>>,
}

static CALLS: Calls = Calls { slots: RwLock::new(Vec::new()), free: Mutex::new(Vec::new()) };

impl Calls {
    fn insert(&self, call: Arc<Call>) -> CallId {
        let reused = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let index = reused.unwrap_or(slots.len());
        if index == slots.len() {
            slots.push(Slot { generation: 0, call: None });
        }
        let slot = &mut slots[index];
        slot.generation += 1;
        slot.call = Some(call);
        CallId { index, generation: slot.generation }
    }

    fn remove(&self, id: CallId) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(id.index).filter(|slot| slot.generation == id.generation) else { return };
        let call = slot.call.take();
        let exhausted = slot.generation == MASK;
        drop(slots);
        if call.is_some() && !exhausted {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(id.index);
        }
    }

    fn find(&self, call: *const abi::Call) -> Option<Arc<Call>> {
        let id = CallId::of(call);
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(id.index).filter(|slot| slot.generation == id.generation)?.call.clone()
    }
}

// The functions of the vtable.

/// The host's functions, as plugins get them. Static: a plugin keeps the pointer until the process ends.
pub(crate) static HOST: abi::Host = abi::Host {
    struct_size: size_of::<abi::Host>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    log_level: Some(log_level),
    log: Some(write_log),
    fail: Some(fail),
    cancelled: Some(cancelled),
    progress: Some(progress),
    emit: Some(emit),
    pull: Some(pull),
    get_interface: Some(get_interface),
};

static OPTIONS: abi::HostOptions = abi::HostOptions {
    struct_size: size_of::<abi::HostOptions>() as u32,
    reserved: 0,
    get_string: Some(get_string),
    get_number: Some(get_number),
    get_integer: Some(get_integer),
    get_bool: Some(get_bool),
};

static ERROR: abi::HostError =
    abi::HostError { struct_size: size_of::<abi::HostError>() as u32, reserved: 0, detail: Some(detail) };

/// Keeps a panic of the host from unwinding into a plugin.
fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Dropping a payload may panic again.
        std::mem::forget(payload);
        otherwise
    })
}

/// How often plugins have called the host: a sign of life.
static ACTIVITY: AtomicU64 = AtomicU64::new(0);

/// How often plugins have called one of the host's functions in this process.
pub fn activity() -> u64 {
    ACTIVITY.load(Ordering::Relaxed)
}

/// Runs `body` on the call of this id.
fn on_call(call: *const abi::Call, body: impl FnOnce(&Call) -> Status) -> Status {
    ACTIVITY.fetch_add(1, Ordering::Relaxed);
    guarded(status::E_INTERNAL, || match CALLS.find(call) {
        Some(call) => body(&call),
        None => status::E_INVALID_ARGUMENT,
    })
}

extern "C" fn log_level() -> i32 {
    guarded(0, || i32::from(log::wanted_level()))
}

unsafe extern "C" fn write_log(level: i32, target: abi::Str, message: abi::Str) {
    guarded((), || {
        // SAFETY: the plugin passes texts that are valid for this call.
        let (backend, message) = unsafe { (item::lossy(target, 256), item::lossy(message, LONGEST_MESSAGE)) };
        if let (Some(backend), Some(message)) = (backend, message) {
            log::line(level, &backend, &message);
        }
    });
}

unsafe extern "C" fn fail(call: *mut abi::Call, failed: Status, message: abi::Str) -> Status {
    // "Failed with success" is a mistake of the plugin; the call must not pass for a good one.
    let failed = if failed == status::OK { status::E_PLUGIN } else { failed };
    on_call(call, |call| {
        // SAFETY: the plugin passes a text that is valid for this call.
        let message = unsafe { item::lossy(message, LONGEST_MESSAGE) };
        call.failure().message = message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        failed
    });
    failed
}

extern "C" fn cancelled(call: *const abi::Call) -> i32 {
    // A call that is over is to end as well.
    let stops = |call: &Call| Status::from(call.stop_reason().is_some());
    i32::from(on_call(call, stops) != status::OK)
}

extern "C" fn progress(call: *mut abi::Call, fraction: f32) {
    on_call(call, |call| {
        call.hear_progress(fraction);
        status::OK
    });
}

unsafe extern "C" fn emit(call: *mut abi::Call, item: *const abi::Item) -> Status {
    on_call(call, |call| call.emit(item))
}

unsafe extern "C" fn pull(call: *mut abi::Call, timeout_us: i64, out: *mut abi::Item) -> Status {
    on_call(call, |call| call.pull(timeout_us, out))
}

unsafe extern "C" fn get_interface(id: *const c_char) -> *const c_void {
    guarded(std::ptr::null(), || {
        if id.is_null() {
            return std::ptr::null();
        }
        // SAFETY: `id` is not NULL and, by the contract, NUL-terminated.
        match unsafe { CStr::from_ptr(id) }.to_str() {
            Ok(abi::HOST_OPTIONS_INTERFACE) => std::ptr::from_ref(&OPTIONS).cast(),
            Ok(abi::HOST_ERROR_INTERFACE) => std::ptr::from_ref(&ERROR).cast(),
            _ => std::ptr::null(),
        }
    })
}

unsafe extern "C" fn detail(call: *mut abi::Call, key: abi::Str, value: abi::Str) {
    on_call(call, |call| {
        // SAFETY: the plugin passes texts that are valid for this call.
        let (key, value) = unsafe { (item::lossy(key, 256), item::lossy(value, LONGEST_MESSAGE)) };
        let mut failure = call.failure();
        if let (Some(key), Some(value), true) = (key, value, failure.details.len() < MOST_DETAILS) {
            failure.details.push((key, value));
        }
        status::OK
    });
}

/// Looks an option of `document` up and writes what `read` makes of it.
///
/// # Safety
/// `key` is valid for this call, and `out`, unless NULL or not aligned, has room for a `T`.
unsafe fn option<T>(
    call: *mut abi::Call,
    document: abi::Str,
    key: abi::Str,
    out: *mut T,
    read: impl FnOnce(&serde_json::Value) -> Option<T>,
) -> Status {
    on_call(call, |call| {
        // The document is known by its address: nothing is parsed again, and no foreign memory is read.
        let known = std::ptr::eq(document.ptr.cast(), call.document.as_ptr()) && document.len == call.document.len();
        // SAFETY: promised by the caller.
        let key = unsafe { item::lossy(key, 256) };
        let (true, Some(key), false, true) = (known, key, out.is_null(), out.is_aligned()) else {
            return status::E_INVALID_ARGUMENT;
        };
        let Some(value) = call.options.get(&key).filter(|value| !value.is_null()) else { return status::E_NOT_FOUND };
        let Some(value) = read(value) else { return status::E_INVALID_ARGUMENT };
        // SAFETY: `out` is neither NULL nor misaligned and has room, by the caller's promise.
        unsafe { out.write(value) };
        status::OK
    })
}

unsafe extern "C" fn get_string(call: *mut abi::Call, document: abi::Str, key: abi::Str, out: *mut abi::Str) -> Status {
    // The text lives in the call's own options, hence until the end of the call.
    // SAFETY: the plugin passes a key and an out pointer that are valid for this call.
    unsafe { option(call, document, key, out, |value| value.as_str().map(str_of)) }
}

unsafe extern "C" fn get_number(call: *mut abi::Call, document: abi::Str, key: abi::Str, out: *mut f64) -> Status {
    // SAFETY: the plugin passes a key and an out pointer that are valid for this call.
    unsafe { option(call, document, key, out, serde_json::Value::as_f64) }
}

unsafe extern "C" fn get_integer(call: *mut abi::Call, document: abi::Str, key: abi::Str, out: *mut i64) -> Status {
    let whole = |value: &serde_json::Value| {
        value.as_i64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
        })
    };
    // SAFETY: the plugin passes a key and an out pointer that are valid for this call.
    unsafe { option(call, document, key, out, whole) }
}

unsafe extern "C" fn get_bool(call: *mut abi::Call, document: abi::Str, key: abi::Str, out: *mut i32) -> Status {
    // SAFETY: the plugin passes a key and an out pointer that are valid for this call.
    unsafe { option(call, document, key, out, |value| value.as_bool().map(i32::from)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;

    fn options() -> Options {
        Options::from_json(r#"{"text": "☃", "number": 1.5, "whole": 3.0, "yes": true, "nothing": null}"#).unwrap()
    }

    #[test]
    fn a_call_is_known_by_its_id_while_it_lasts_and_never_again() {
        let first = Call::new(StopSigns::default()).enter();
        let stale = first.as_ptr();
        assert_eq!(cancelled(stale), 0);
        first.end(status::OK, "test").unwrap();
        let second = Call::new(StopSigns::default()).enter();
        assert_ne!(stale, second.as_ptr());
        assert_eq!(cancelled(stale), 1);
        // SAFETY: a stale id and an invented one are looked up, not dereferenced; the item is NULL.
        unsafe {
            assert_eq!(emit(stale, std::ptr::null()), status::E_INVALID_ARGUMENT);
            assert_eq!(
                emit(std::ptr::without_provenance_mut(usize::MAX), std::ptr::null()),
                status::E_INVALID_ARGUMENT
            );
            assert_eq!(emit(std::ptr::null_mut(), std::ptr::null()), status::E_INVALID_ARGUMENT);
        }
        second.end(status::OK, "test").unwrap();
    }

    #[test]
    fn ids_of_calls_side_by_side_differ() {
        let calls: Vec<Entered> = (0..100).map(|_| Call::new(StopSigns::default()).enter()).collect();
        let ids: std::collections::HashSet<usize> = calls.iter().map(|call| call.as_ptr().addr()).collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn nothing_is_emitted_or_pulled_where_the_contract_has_no_place_for_it() {
        let call = Call::new(StopSigns::default()).enter();
        let text = abi::Text { role: str_of(""), text: str_of("x") };
        let item = item_of(abi::KIND_TEXT, &text);
        let mut out = item;
        // SAFETY: the item and the room for one live until the end of the test.
        unsafe {
            assert_eq!(emit(call.as_ptr(), &item), status::E_INVALID_ARGUMENT);
            assert_eq!(pull(call.as_ptr(), 0, &mut out), status::E_END);
            assert_eq!(pull(call.as_ptr(), 0, std::ptr::null_mut()), status::E_INVALID_ARGUMENT);
        }
    }

    #[test]
    fn options_are_read_from_the_document_of_the_call_alone() {
        let call = Call::new(StopSigns::default()).with_options(options()).enter();
        let (id, document) = (call.as_ptr(), str_of(call.document()));
        let (mut text, mut number, mut whole, mut yes) = (str_of(""), 0.0, 0, 0);
        let copy = call.document().to_owned();
        // SAFETY: keys, documents and out values live until the end of the test.
        unsafe {
            assert_eq!(get_string(id, document, str_of("text"), &mut text), status::OK);
            assert_eq!(item::lossy(text, 64).as_deref(), Some("☃"));
            assert_eq!(get_number(id, document, str_of("number"), &mut number), status::OK);
            assert_eq!(get_integer(id, document, str_of("whole"), &mut whole), status::OK);
            assert_eq!(get_bool(id, document, str_of("yes"), &mut yes), status::OK);
            assert_eq!((number, whole, yes), (1.5, 3, 1));
            assert_eq!(get_integer(id, document, str_of("number"), &mut whole), status::E_INVALID_ARGUMENT);
            assert_eq!(get_string(id, document, str_of("yes"), &mut text), status::E_INVALID_ARGUMENT);
            assert_eq!(get_bool(id, document, str_of("nothing"), &mut yes), status::E_NOT_FOUND);
            assert_eq!(get_bool(id, document, str_of("unknown"), &mut yes), status::E_NOT_FOUND);
            assert_eq!(get_bool(id, str_of(&copy), str_of("yes"), &mut yes), status::E_INVALID_ARGUMENT);
            assert_eq!(get_bool(id, document, str_of("yes"), std::ptr::null_mut()), status::E_INVALID_ARGUMENT);
        }
    }

    #[test]
    fn the_last_message_and_all_details_stand_in_the_error() {
        let call = Call::new(StopSigns::default()).enter();
        // SAFETY: all texts are static.
        let returned = unsafe {
            detail(call.as_ptr(), str_of("expected"), str_of("4096"));
            fail(call.as_ptr(), status::E_BACKEND, str_of("first"));
            fail(call.as_ptr(), status::E_CONTEXT_OVERFLOW, str_of(" too long \n"))
        };
        let error = call.end(returned, "test").unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::ContextOverflow, "too long"));
        assert_eq!((error.detail("expected"), error.detail("plugin")), (Some("4096"), Some("test")));
    }

    #[test]
    fn a_failure_with_success_is_a_failure() {
        let call = Call::new(StopSigns::default()).enter();
        // SAFETY: the text is static.
        let returned = unsafe { fail(call.as_ptr(), status::OK, str_of("but why")) };
        assert_eq!(call.end(returned, "test").unwrap_err().kind(), ErrorKind::Plugin);
    }

    #[test]
    fn only_the_host_says_that_a_call_was_stopped() {
        for returned in [status::E_CANCELLED, status::E_DEADLINE, status::E_END, status::E_WORKER_DIED] {
            let error = Call::new(StopSigns::default()).enter().end(returned, "test").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Plugin, "{error}");
        }
        let token = CancelToken::new();
        let stop = StopSigns { tokens: vec![token.clone()], ..StopSigns::default() };
        let outcome = |returned| {
            let call = Call::new(stop.clone()).enter();
            call.end(returned, "test").map_err(|error| error.kind())
        };
        assert_eq!(outcome(status::OK), Ok(()));
        token.cancel();
        assert_eq!(outcome(status::OK), Err(ErrorKind::Cancelled));
        assert_eq!(outcome(status::E_CANCELLED), Err(ErrorKind::Cancelled));
        // It failed without having been told to stop: that is what the caller should hear of.
        assert_eq!(outcome(status::E_MODEL), Err(ErrorKind::Model));
        assert_eq!(outcome(status::E_PANIC), Err(ErrorKind::Panic));
    }

    #[test]
    fn a_panic_of_the_host_stays_in_the_host() {
        let progress_panics: Box<dyn Fn(f32) + Send + Sync> = Box::new(|_| panic!("in a callback"));
        let call = Call::new(StopSigns::default()).with_progress(progress_panics).enter();
        progress(call.as_ptr(), 0.5);
        call.end(status::OK, "test").unwrap();
    }

    #[test]
    fn interfaces_are_found_by_name() {
        // SAFETY: the names are static and NUL-terminated, or NULL.
        unsafe {
            assert!(std::ptr::eq(get_interface(c"tenon.host.options/1".as_ptr()).cast(), &OPTIONS));
            assert!(std::ptr::eq(get_interface(c"tenon.host.error/1".as_ptr()).cast(), &ERROR));
            assert!(get_interface(c"tenon.host.time-travel/1".as_ptr()).is_null());
            assert!(get_interface(std::ptr::null()).is_null());
        }
    }
}
