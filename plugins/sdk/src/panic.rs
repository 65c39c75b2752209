//! Catches panics at the boundary and finds words for them, without a word on stderr.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    /// What the panic under way on this thread said, and where.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; a panic becomes the sentence that describes it.
pub(crate) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let said = LAST.try_with(|last| last.take()).ok().flatten().unwrap_or_else(|| words(&*payload).to_owned());
        // Dropping a payload runs code of whoever panicked, which may panic again and end the process.
        std::mem::forget(payload);
        said
    })
}

/// Makes this library's panics speak to the host instead of stderr.
///
/// A plugin is a `cdylib` with a standard library of its own, so the hook of the host's program stays as it is.
pub fn quiet_hook() {
    std::panic::set_hook(Box::new(|info| {
        let said = describe(info);
        crate::log::error(&said);
        let _ = LAST.try_with(|last| last.replace(Some(said)));
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    match info.location() {
        Some(place) => format!("panic at {}:{}: {}", place.file(), place.line(), words(info.payload())),
        None => format!("panic: {}", words(info.payload())),
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without words",
    }
}
