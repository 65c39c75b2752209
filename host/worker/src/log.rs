//! The log on its way to the engine: every line that the engine wants is one reply.

use crate::desk::send;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tenon_wire::{Reply, Sender};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Hands lines to the engine.
pub struct Lines {
    replies: Arc<Sender<Reply>>,
    level: Arc<AtomicU8>,
}

impl Lines {
    /// `level`: 0 (off) to 5 (trace); may change at any time.
    pub fn new(replies: Arc<Sender<Reply>>, level: Arc<AtomicU8>) -> Self {
        Self { replies, level }
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change, so no answer holds for ever.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(*metadata.level()) <= self.level.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { backend: "tenon-worker".to_owned(), message: String::new() };
        event.record(&mut line);
        let Line { backend, message } = line;
        send(&self.replies, &Reply::Log { level: number(*event.metadata().level()), backend, message });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line {
    backend: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "backend" => self.backend = value.to_owned(),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a text cannot fail.
        _ = match field.name() {
            "backend" => {
                self.backend.clear();
                write!(self.backend, "{value:?}")
            }
            "message" if self.message.is_empty() => write!(self.message, "{value:?}"),
            "message" => {
                let fields = std::mem::take(&mut self.message);
                write!(self.message, "{value:?}{fields}")
            }
            name => write!(self.message, " {name}={value:?}"),
        };
    }
}
