//! Log lines.

use crate::boundary::c_text;
use crate::callback::{self, Data};
use std::ffi::{c_char, c_void};
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};

/// Log level: nothing at all.
pub const TENON_LOG_OFF: i32 = 0;
/// Log level: something is wrong.
pub const TENON_LOG_ERROR: i32 = 1;
/// Log level: something is doubtful.
pub const TENON_LOG_WARN: i32 = 2;
/// Log level: what the engine does, in few lines.
pub const TENON_LOG_INFO: i32 = 3;
/// Log level: for those who look for a fault.
pub const TENON_LOG_DEBUG: i32 = 4;
/// Log level: everything.
pub const TENON_LOG_TRACE: i32 = 5;

/// Hears the log lines of an engine: the level (`TENON_LOG_*`), where the line comes from, and the line. Both texts are
/// valid during the call. Called on any thread, also on several at once.
pub type tenon_log_fn =
    Option<unsafe extern "C-unwind" fn(data: *mut c_void, level: i32, target: *const c_char, line: *const c_char)>;

/// Gives what an engine logs to a function of C.
struct Sink {
    function: unsafe extern "C-unwind" fn(*mut c_void, i32, *const c_char, *const c_char),
    data: Data,
    most: LevelFilter,
}

/// A sink for lines up to a level; `None` when nothing is to be heard.
pub(crate) fn sink(function: tenon_log_fn, data: *mut c_void, level: i32) -> Option<Dispatch> {
    let most = match level {
        ..=TENON_LOG_OFF => return None,
        TENON_LOG_ERROR => LevelFilter::ERROR,
        TENON_LOG_WARN => LevelFilter::WARN,
        TENON_LOG_INFO => LevelFilter::INFO,
        TENON_LOG_DEBUG => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    function.map(|function| Dispatch::new(Sink { function, data: Data(data), most }))
}

fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => TENON_LOG_ERROR,
        Level::WARN => TENON_LOG_WARN,
        Level::INFO => TENON_LOG_INFO,
        Level::DEBUG => TENON_LOG_DEBUG,
        Level::TRACE => TENON_LOG_TRACE,
    }
}

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (target, text) = (c_text(event.metadata().target()), c_text(&(line.message + &line.fields)));
        let level = number(*event.metadata().level());
        // SAFETY: the caller of tenon_engine_new gave the function for this, and both texts outlive the call.
        callback::inside(|| unsafe { (self.function)(self.data.pointer(), level, target.as_ptr(), text.as_ptr()) });
    }

    // Tenon opens no spans; these are what the trait asks for.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A line: its message, then its fields as ` name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
