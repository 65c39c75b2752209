//! Where an engine's log goes: to the dispatch of the calling thread or, where the engine was given one, to that.
//!
//! Threads that the engine starts take over the log of the thread that starts them. A plugin's lines belong to the
//! engine that is calling it; those that no call explains go to every engine that has a dispatch of its own.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tracing::dispatcher::{get_default, with_default};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// The target of what plugins say.
pub(crate) const PLUGIN: &str = "tenon::plugin";

/// The log of an engine. Clones are the same; it is alive as long as one of them is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Option<Arc<Dispatch>>);

thread_local! {
    /// The log of the engine that this thread works for right now.
    static HERE: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// The dispatches of all engines that were given one.
static SINKS: Mutex<Vec<Weak<Dispatch>>> = Mutex::new(Vec::new());

impl Log {
    /// With `None` the log goes where the thread's own does.
    pub(crate) fn new(dispatch: Option<Dispatch>) -> Self {
        let dispatch = dispatch.map(Arc::new);
        if let Some(dispatch) = &dispatch {
            never_alone();
            let mut sinks = sinks();
            sinks.retain(|sink| sink.strong_count() > 0);
            sinks.push(Arc::downgrade(dispatch));
        }
        Self(dispatch)
    }

    /// The log of the engine that this thread works for, if it works for one.
    pub(crate) fn here() -> Option<Self> {
        HERE.try_with(|here| here.borrow().clone()).ok().flatten()
    }

    /// Runs `body` with this log.
    pub(crate) fn within<T>(&self, body: impl FnOnce() -> T) -> T {
        let _restore = Restore(HERE.try_with(|here| here.replace(Some(self.clone()))).ok().flatten());
        match &self.0 {
            Some(dispatch) => with_default(dispatch, body),
            None => body(),
        }
    }
}

/// Makes sure that there is a second dispatch. While there is only one, `tracing` asks the thread that first passes a
/// line whether anybody wants it, for ever, and not the dispatch: an engine without a dispatch would silence lines of
/// the one that has it.
fn never_alone() {
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(Deaf));
}

/// Wants nothing.
struct Deaf;

impl Subscriber for Deaf {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Puts back the log that a thread had before.
struct Restore(Option<Log>);

impl Drop for Restore {
    fn drop(&mut self) {
        // What is put away is dropped outside of the cell: a subscriber may log when it goes.
        drop(HERE.try_with(|here| here.replace(self.0.take())));
    }
}

/// `body` for another thread, which will run it with the log of this one.
pub(crate) fn inherited<T>(body: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let log = Log::here();
    move || match log {
        Some(log) => log.within(body),
        None => body(),
    }
}

/// Logs a line of a plugin for everybody whom it concerns. Levels as in the plugin contract: 1 error to 5 trace.
pub(crate) fn line(level: i32, backend: &str, message: &str) {
    let message = message.trim_end();
    of_plugin(|| match level {
        ..=1 => tracing::error!(target: PLUGIN, %backend, "{message}"),
        2 => tracing::warn!(target: PLUGIN, %backend, "{message}"),
        3 => tracing::info!(target: PLUGIN, %backend, "{message}"),
        4 => tracing::debug!(target: PLUGIN, %backend, "{message}"),
        _ => tracing::trace!(target: PLUGIN, %backend, "{message}"),
    });
}

/// Runs `write`, which logs a line of a plugin, for everybody whom the line concerns.
fn of_plugin(write: impl Fn()) {
    if is_explained() {
        return write();
    }
    living().iter().for_each(|dispatch| with_default(dispatch, &write));
}

/// The most verbose level of plugins' lines that somebody whom they concern wants, as in the plugin contract: 0 none,
/// 1 error to 5 trace.
pub(crate) fn wanted_level() -> u8 {
    match level_of_plugins() {
        LevelFilter::OFF => 0,
        LevelFilter::ERROR => 1,
        LevelFilter::WARN => 2,
        LevelFilter::INFO => 3,
        LevelFilter::DEBUG => 4,
        LevelFilter::TRACE => 5,
    }
}

fn level_of_plugins() -> LevelFilter {
    if is_explained() {
        return enabled_level();
    }
    living().iter().map(|dispatch| with_default(dispatch, enabled_level)).max().unwrap_or(LevelFilter::OFF)
}

/// Whether it is known where a line of this thread belongs: to the engine that it works for, or to its own dispatch.
fn is_explained() -> bool {
    HERE.try_with(|here| here.borrow().is_some()).unwrap_or(false)
        || get_default(|current| !current.is::<NoSubscriber>())
}

fn living() -> Vec<Arc<Dispatch>> {
    sinks().iter().filter_map(Weak::upgrade).collect()
}

fn sinks() -> MutexGuard<'static, Vec<Weak<Dispatch>>> {
    SINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enabled_level() -> LevelFilter {
    if tracing::enabled!(target: PLUGIN, Level::TRACE) {
        LevelFilter::TRACE
    } else if tracing::enabled!(target: PLUGIN, Level::DEBUG) {
        LevelFilter::DEBUG
    } else if tracing::enabled!(target: PLUGIN, Level::INFO) {
        LevelFilter::INFO
    } else if tracing::enabled!(target: PLUGIN, Level::WARN) {
        LevelFilter::WARN
    } else if tracing::enabled!(target: PLUGIN, Level::ERROR) {
        LevelFilter::ERROR
    } else {
        LevelFilter::OFF
    }
}
