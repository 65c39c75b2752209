//! Backends that are linked into the program, and what a plugin logs when no engine calls it.
//!
//! The entry of this test's own backend hands the call on to that of the echo plugin, whose library the test opens by
//! itself, and keeps the host's functions.

#![allow(unsafe_code)]

use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tenon::{Engine, EntryFunction, Load, Request};
use tenon_abi::{Host, PLUGIN_ENTRY_SYMBOL, Plugin, Status, Str};
use tenon_testkit::{Lines, echo};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static HOST: AtomicPtr<Host> = AtomicPtr::new(std::ptr::null_mut());
/// The host's functions are the same for all plugins, and the sinks those of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn echo_entry() -> EntryFunction {
    static ENTRY: OnceLock<EntryFunction> = OnceLock::new();
    *ENTRY.get_or_init(|| {
        // SAFETY: the library is the echo plugin, which was just built; its constructors are those of Rust's std.
        let library = unsafe { libloading::Library::new(echo().library) }.unwrap();
        // SAFETY: the symbol is an entry, by the contract.
        let entry = unsafe { *library.get::<EntryFunction>(PLUGIN_ENTRY_SYMBOL).unwrap() };
        // A plugin is never unloaded.
        std::mem::forget(library);
        entry
    })
}

unsafe extern "C" fn entry(host: *const Host, out: *mut *const Plugin) -> Status {
    CALLS.fetch_add(1, Ordering::SeqCst);
    HOST.store(host.cast_mut(), Ordering::SeqCst);
    // SAFETY: handed on as it came.
    unsafe { echo_entry()(host, out) }
}

fn engine(lines: Option<&Lines>) -> Engine {
    let builder = Engine::builder();
    let engine = lines.map_or(builder.clone(), |lines| builder.log(lines.dispatch())).build().unwrap();
    // SAFETY: the entry is that of the echo plugin, which keeps the contract.
    let backend = unsafe { engine.register_plugin(entry) }.unwrap();
    assert_eq!((backend.id(), backend.path(), backend.digest()), ("echo", Path::new(""), None));
    let text = "name = \"talk\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"";
    engine.add_manifest_text(text, "memory").unwrap();
    engine
}

/// Logs as a plugin does.
fn log(message: &str) {
    let text = |text: &str| Str { ptr: text.as_ptr().cast(), len: text.len() };
    // SAFETY: the host's functions are static, and the texts live until the call returns.
    unsafe { (*HOST.load(Ordering::SeqCst)).log.unwrap()(2, text("echo"), text(message)) };
}

fn log_level() -> i32 {
    // SAFETY: the host's functions are static.
    unsafe { (*HOST.load(Ordering::SeqCst)).log_level.unwrap()() }
}

#[test]
fn a_linked_backend_runs_without_library_and_hash_and_is_started_once() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for engine in [engine(None), engine(None)] {
        let entry = engine.plugins().remove(0);
        assert_eq!((entry.id.as_str(), entry.loaded, entry.sha256), ("echo", true, None));
        let mut session = engine.load("talk", Load::new()).unwrap().session().unwrap();
        let answer = session.run(&Request::generate("linked")).unwrap();
        assert_eq!((answer.text.as_str(), answer.provenance.plugin_sha256.as_str()), ("linked", ""));
    }
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_plugin_logs_on_its_own_threads_goes_to_every_engine_that_has_a_dispatch() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (quiet, chatty) = (Lines::new(tracing::Level::WARN), Lines::new(tracing::Level::DEBUG));
    let silent = engine(None);
    assert_eq!(log_level(), 0);
    log("nobody hears this");
    let (first, second) = (engine(Some(&quiet)), engine(Some(&chatty)));
    assert_eq!(log_level(), 4);
    std::thread::spawn(|| log("from a thread of the plugin")).join().unwrap();
    drop((first, silent));
    log("to those that are left");
    let count = |lines: &Lines, text: &str| lines.of("tenon::plugin").iter().filter(|line| line.contains(text)).count();
    assert_eq!([&quiet, &chatty].map(|lines| count(lines, "from a thread")), [1, 1]);
    assert_eq!([&quiet, &chatty].map(|lines| count(lines, "to those")), [0, 1]);
    assert_eq!([&quiet, &chatty].map(|lines| count(lines, "nobody")), [0, 0]);
    drop(second);
    assert_eq!(log_level(), 0);
}

#[test]
fn within_a_call_the_level_is_that_of_the_engine_that_calls() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (quiet, chatty) = (Lines::new(tracing::Level::WARN), Lines::new(tracing::Level::TRACE));
    let engines = [engine(Some(&quiet)), engine(Some(&chatty)), engine(None)];
    for (engine, level) in engines.iter().zip([2, 5, 0]) {
        // The backend calls this back from within its call.
        let heard = Arc::new(Mutex::new(None));
        let hears = Arc::clone(&heard);
        let load = Load::new().progress(move |_| *hears.lock().unwrap() = Some(log_level()));
        engine.load("talk", load).unwrap();
        assert_eq!(*heard.lock().unwrap(), Some(level));
    }
}
