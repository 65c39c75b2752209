//! The safe face of a plugin's vtable in this process: models and sessions that close themselves, and errors instead
//! of statuses. What the engine uses is [`super::face`], which has the same over a worker.
//!
//! Nothing that a plugin returns is trusted: NULL for a model, an unknown status, a missing message.

use super::host::{Call, item_of, str_of};
use super::opened::Opened;
use super::stack;
use crate::error::{Error, ErrorKind, Result};
use crate::log::{self, Log};
use crate::threads::Want;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use tenon_abi as abi;

/// Stack of every thread that the host calls plugins on, by the contract.
pub const STACK: usize = 8 * 1024 * 1024;

/// What of a stack of [`STACK`] the host and its caller may have used before the plugin is called.
const USED: usize = 256 * 1024;

/// Runs `body` on a stack of [`STACK`]: this thread's where it has as much, else that of a thread which is waited for
/// and has this one's log.
///
/// A thread of its own is the dearer way. glibc gives it a heap of its own that grows by a page at a time, and a
/// model of many small parts loads slower there.
pub(crate) fn on_big_stack<T: Send>(body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if stack::left().is_some_and(|left| left >= STACK - USED) {
        return catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(host_panic(payload)));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tenon-call".to_owned()).stack_size(STACK);
        thread
            .spawn_scoped(scope, log::inherited(body))
            .map_err(no_thread)?
            .join()
            .unwrap_or_else(|payload| Err(host_panic(payload)))
    })
}

pub(crate) fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("cannot start a thread: {error}")).with_source(error)
}

/// The error for a panic of the host's own code.
pub(crate) fn host_panic(payload: Box<dyn std::any::Any + Send>) -> Error {
    // Dropping a payload may panic again.
    std::mem::forget(payload);
    Error::new(ErrorKind::Internal, "the host panicked while a plugin was running: please report it")
}

/// A model that a backend opened. Closes itself; its sessions hold it.
pub(crate) struct ModelHere {
    plugin: Arc<Opened>,
    raw: NonNull<abi::BackendModel>,
    /// The log of the engine that opened it.
    log: Log,
}

// SAFETY: the contract lets any host thread call, and the engine runs sessions of one model side by side only where
// the backend says that they may.
unsafe impl Send for ModelHere {}
// SAFETY: as above.
unsafe impl Sync for ModelHere {}

/// A session that a backend opened. Closes itself; holds its model.
pub(crate) struct SessionHere {
    model: Arc<ModelHere>,
    raw: NonNull<abi::BackendSession>,
}

// SAFETY: the contract lets any host thread call; `&mut self` keeps it to one thread at a time.
unsafe impl Send for SessionHere {}

/// Input of a run that crosses as items.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A text with its role.
    Text {
        /// Who says it.
        role: &'a str,
        /// What is said.
        text: &'a str,
    },
    /// Mono samples at the backend's rate.
    Audio {
        /// One channel, all finite.
        samples: &'a [f32],
        /// Samples per second.
        rate: u32,
    },
}

/// What describes the plugin emits goes to the sink of `call`.
pub(super) fn describe(plugin: &Opened, call: Call) -> Result<()> {
    let call = call.enter();
    // SAFETY: the function comes from a vtable that was checked and copied; the call is valid until `end`.
    let returned = unsafe { (plugin.vtable().describe)(call.as_ptr()) };
    call.end(returned, plugin.id())
}

/// Asks how much memory a model will need; the answer goes to the sink of `call`, which carries the load options.
/// `None` when the plugin has no way to ask. Must run on a stack of [`STACK`].
pub(crate) fn estimate(plugin: &Opened, files: &[FileHere<'_>], call: Call) -> Option<Result<()>> {
    let estimate = plugin.estimate()?;
    let table: Vec<abi::File> = files.iter().map(FileHere::crossing).collect();
    let call = call.enter();
    // SAFETY: the function comes from a table that was checked; files, texts and the document live until it returns.
    let returned = unsafe { estimate(call.as_ptr(), table.as_ptr(), table.len() as u32, str_of(call.document())) };
    Some(call.end(returned, plugin.id()))
}

impl ModelHere {
    /// Opens a model from verified files. `call` carries the load options. Must run on a stack of [`STACK`].
    pub(crate) fn open(plugin: &Arc<Opened>, files: &[FileHere<'_>], call: Call) -> Result<Self> {
        let one_at_a_time = plugin.caps() & abi::CAP_PARALLEL_OPEN == 0;
        let opening = || plugin.opening().lease(Want::UpTo(1), call.stop_signs());
        let _alone = one_at_a_time.then(opening).transpose()?;
        plugin.begin_use()?;
        Self::open_counted(plugin, files, call).inspect_err(|_| plugin.end_use())
    }

    fn open_counted(plugin: &Arc<Opened>, files: &[FileHere<'_>], call: Call) -> Result<Self> {
        let table: Vec<abi::File> = files.iter().map(FileHere::crossing).collect();
        let call = call.enter();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the table, the texts that it points to, the document and `raw` live until the function returns.
        let returned = unsafe {
            let options = str_of(call.document());
            (plugin.vtable().model_open)(call.as_ptr(), table.as_ptr(), table.len() as u32, options, &mut raw)
        };
        let opened = NonNull::new(raw).filter(|_| returned == abi::status::OK);
        if let Err(error) = call.end(returned, plugin.id()) {
            if let Some(raw) = opened {
                // SAFETY: the plugin opened it, and nobody else has it: the load was cancelled at its last moment.
                unsafe { (plugin.vtable().model_close)(raw.as_ptr()) };
            }
            return Err(error);
        }
        let raw = opened.ok_or_else(|| null_out(plugin, "model"))?;
        Ok(Self { plugin: Arc::clone(plugin), raw, log: Log::here().unwrap_or_default() })
    }
}

impl ModelHere {
    /// Must run on a stack of [`STACK`], once.
    fn close(&mut self) -> Result<()> {
        // SAFETY: the model was opened by this plugin and is closed once; its sessions held it, so they are closed.
        unsafe { (self.plugin.vtable().model_close)(self.raw.as_ptr()) };
        Ok(())
    }
}

impl Drop for ModelHere {
    fn drop(&mut self) {
        let log = self.log.clone();
        log.within(|| match on_big_stack(|| self.close()) {
            Ok(()) => self.plugin.end_use(),
            // It counts as open: its plugin must not be ended.
            Err(error) => tracing::error!(plugin = self.plugin.id(), %error, "a model cannot be closed and stays open"),
        });
    }
}

impl SessionHere {
    /// Opens a session. Must run on a stack of [`STACK`].
    pub(crate) fn open(model: &Arc<ModelHere>, call: Call) -> Result<Self> {
        let plugin = &model.plugin;
        let call = call.enter();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the model is open, the document and `raw` live until the function returns.
        let returned = unsafe {
            let options = str_of(call.document());
            (plugin.vtable().session_open)(call.as_ptr(), model.raw.as_ptr(), options, &mut raw)
        };
        let opened = NonNull::new(raw).filter(|_| returned == abi::status::OK);
        // Closes itself when the call was to end at its last moment.
        let opened = opened.map(|raw| Self { model: Arc::clone(model), raw });
        call.end(returned, plugin.id())?;
        opened.ok_or_else(|| null_out(plugin, "session"))
    }

    /// Makes the session as good as new. Must run on a stack of [`STACK`].
    pub(crate) fn reset(&mut self, call: Call) -> Result<()> {
        let plugin = &self.model.plugin;
        let call = call.enter();
        // SAFETY: the session is open, and `&mut self` keeps other calls out.
        let returned = unsafe { (plugin.vtable().session_reset)(call.as_ptr(), self.raw.as_ptr()) };
        call.end(returned, plugin.id())
    }

    /// Runs a task; what comes of it goes to the sink of `call`. Must run on a stack of [`STACK`].
    pub(crate) fn run(&mut self, task: &str, items: &[Item<'_>], call: Call) -> Result<()> {
        let plugin = &self.model.plugin;
        let payloads: Vec<Payload> = items.iter().map(Payload::of).collect();
        let table: Vec<abi::Item> = payloads.iter().map(Payload::item).collect();
        let call = call.enter();
        // SAFETY: the session is open and kept by `&mut self`; the items, what they point to and the document live
        // until the function returns.
        let returned = unsafe {
            let (items, count, options) = (table.as_ptr(), table.len() as u32, str_of(call.document()));
            (plugin.vtable().run)(call.as_ptr(), self.raw.as_ptr(), str_of(task), items, count, options)
        };
        call.end(returned, plugin.id())
    }
}

impl SessionHere {
    /// Must run on a stack of [`STACK`], once.
    fn close(&mut self) -> Result<()> {
        // SAFETY: the session was opened by this plugin and is closed once.
        unsafe { (self.model.plugin.vtable().session_close)(self.raw.as_ptr()) };
        Ok(())
    }
}

/// Whoever drops it sees to it that no other session of the model is in the backend, where it cannot run several.
impl Drop for SessionHere {
    fn drop(&mut self) {
        let model = Arc::clone(&self.model);
        model.log.within(|| {
            if let Err(error) = on_big_stack(|| self.close()) {
                tracing::error!(plugin = model.plugin.id(), %error, "a session cannot be closed and stays open");
                // A model may be closed only after its sessions.
                std::mem::forget(Arc::clone(&model));
            }
        });
    }
}

/// The struct that an item points to.
enum Payload {
    Text(abi::Text),
    Audio(abi::Audio),
}

impl Payload {
    fn of(item: &Item<'_>) -> Self {
        match item {
            Item::Text { role, text } => Self::Text(abi::Text { role: str_of(role), text: str_of(text) }),
            Item::Audio { samples, rate } => Self::Audio(abi::Audio {
                samples: samples.as_ptr(),
                frames: samples.len() as u64,
                rate: *rate,
                channels: 1,
            }),
        }
    }

    fn item(&self) -> abi::Item {
        match self {
            Self::Text(text) => item_of(abi::KIND_TEXT, text),
            Self::Audio(audio) => item_of(abi::KIND_AUDIO, audio),
        }
    }
}

fn null_out(plugin: &Opened, what: &str) -> Error {
    let message = format!("backend \"{}\" said that it opened a {what} and gave none", plugin.id());
    Error::new(ErrorKind::Plugin, message).with_detail("plugin", plugin.id())
}

/// A model file as a backend gets it.
#[derive(Clone, Debug)]
pub struct FileHere<'a> {
    /// What the file is for.
    pub role: &'a str,
    /// The path that opens exactly the bytes that were hashed.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// An open descriptor of it on Unix, which outlives the call; -1 elsewhere.
    pub fd: i32,
}

impl FileHere<'_> {
    fn crossing(&self) -> abi::File {
        abi::File {
            role: str_of(self.role),
            path: str_of(&self.path),
            size: self.size,
            sha256: self.sha256,
            fd: self.fd,
            reserved: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{Builder, current};

    /// What stack is left inside of `on_big_stack` on a thread with this much, and whether it is still that thread.
    fn on_thread_with(size: usize) -> (Option<usize>, bool) {
        let body = || {
            let (left, inside) = on_big_stack(|| Ok((stack::left(), current().id()))).unwrap();
            (left, inside == current().id())
        };
        Builder::new().stack_size(size).spawn(body).unwrap().join().unwrap()
    }

    #[test]
    fn whatever_the_thread_has_the_backend_gets_what_the_contract_promises() {
        for size in [STACK / 4, STACK - USED, STACK] {
            let (left, _) = on_thread_with(size);
            assert!(left.is_none_or(|left| left >= STACK - USED - 64 * 1024), "{left:?} of {size}");
        }
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_thread_with_enough_stack_is_used_itself() {
        assert!(on_thread_with(STACK).1);
    }

    #[test]
    fn a_panic_is_an_error_on_either_stack() {
        for size in [STACK / 4, STACK] {
            let body = || on_big_stack::<()>(|| panic!("in a test")).unwrap_err().kind();
            let kind = Builder::new().stack_size(size).spawn(body).unwrap().join().unwrap();
            assert_eq!(kind, ErrorKind::Internal);
        }
    }
}
