//! Panics that are caught: one in a decoder of somebody else is answered by an error and is no finding, one in a crate
//! of this project is.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    /// The panics of the watched work: whose, and what they say.
    static SEEN: RefCell<Vec<(bool, String)>> = const { RefCell::new(Vec::new()) };
}

/// Runs what catches panics itself, and panics when one of them was in a crate of this project.
pub(crate) fn only_of_others<T>(work: impl FnOnce() -> T) -> T {
    watch();
    SEEN.take();
    WATCHED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    WATCHED.set(false);
    let seen = SEEN.take();
    match done {
        Ok(done) => {
            let ours: Vec<&String> = seen.iter().filter(|(ours, _)| *ours).map(|(_, text)| text).collect();
            assert!(ours.is_empty(), "panics of this project were caught: {ours:?}");
            done
        }
        Err(payload) => {
            seen.iter().for_each(|(_, text)| eprintln!("{text}"));
            resume_unwind(payload)
        }
    }
}

/// Keeps the panics of watched work; all others go where they went before.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !WATCHED.get() {
                return before(panic);
            }
            let file = panic.location().map_or("", |place| place.file());
            SEEN.with_borrow_mut(|seen| seen.push((!is_of_others(file), panic.to_string())));
        }));
    });
}

/// Whether a source file belongs to a crate from a registry.
fn is_of_others(file: &str) -> bool {
    file.replace('\\', "/").contains("/registry/src/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "panics of this project were caught")]
    fn a_panic_of_this_project_is_a_finding_also_when_it_was_caught() {
        only_of_others(|| catch_unwind(|| panic!("here")).is_err());
    }

    #[test]
    #[should_panic(expected = "not caught")]
    fn a_panic_that_nobody_caught_goes_on() {
        only_of_others(|| panic!("not caught"));
    }
}
