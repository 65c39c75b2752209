//! A backend that runs one session of a model at a time, opens one model at a time, closes what it opened with much
//! stack, and takes as long as a test wants. It is linked into this program, so that the test sees every call.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon::{Engine, EngineBuilder, ErrorKind, Load, Model, Options, Request, Session};
use tenon_abi as abi;
use tenon_abi::{Status, Str, status};

/// Long enough for the slowest machine, and shorter than what waits for [`go_on`].
const LONG: Duration = Duration::from_secs(60);
/// After this long what waits for [`go_on`] goes on all the same, and its test fails.
const LONGEST: Duration = Duration::from_secs(150);

static HOST: AtomicPtr<abi::Host> = AtomicPtr::new(std::ptr::null_mut());
/// Calls of sessions that are in the backend right now, and how often there were two.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static OVERLAPS: AtomicUsize = AtomicUsize::new(0);
static OPENING: AtomicUsize = AtomicUsize::new(0);
static SESSIONS_CLOSED: AtomicUsize = AtomicUsize::new(0);
static MODELS_CLOSED: AtomicUsize = AtomicUsize::new(0);
/// Whether a session that is reset is to hold.
static RESET_HOLDS: AtomicBool = AtomicBool::new(false);
/// Whether what was asked to hold goes on.
static GOES_ON: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// The counters are those of the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // A test that failed may have left something behind.
    go_on();
    until(|| INSIDE.load(Ordering::SeqCst) == 0 && OPENING.load(Ordering::SeqCst) == 0);
    RESET_HOLDS.store(false, Ordering::SeqCst);
    for counter in [&OVERLAPS, &SESSIONS_CLOSED, &MODELS_CLOSED] {
        counter.store(0, Ordering::SeqCst);
    }
    *GOES_ON.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
    alone
}

fn go_on() {
    *GOES_ON.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    GOES_ON.1.notify_all();
}

fn hold() {
    let goes_on = GOES_ON.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(GOES_ON.1.wait_timeout_while(goes_on, LONGEST, |goes_on| !*goes_on));
}

fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        OVERLAPS.fetch_add(usize::from(INSIDE.fetch_add(1, Ordering::SeqCst) > 0), Ordering::SeqCst);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Uses a quarter of the stack that the contract promises.
#[inline(never)]
fn use_stack() {
    let much = std::hint::black_box([1_u8; 2 << 20]);
    assert_eq!(much.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>(), (2 << 20) / 4096);
}

const DESCRIPTION: &str = r#"{
    "summary": "one at a time", "engine": "this test",
    "tasks": [{"task": "generate", "schema": {"type": "object", "properties": {
        "hold": {"type": "boolean"}, "threads": {"type": ["integer", "null"], "minimum": 1, "maximum": 256}
    }}}],
    "load_schema": {"type": "object", "properties": {
        "hold": {"type": "boolean"}, "threads": {"type": ["integer", "null"], "minimum": 1, "maximum": 256}
    }},
    "files": [{"role": "model", "required": false, "many": true}]
}"#;

fn text(text: &str) -> Str {
    Str { ptr: text.as_ptr().cast(), len: text.len() }
}

fn emit<T>(call: *mut abi::Call, kind: u32, payload: &T) -> Status {
    let data = std::ptr::from_ref(payload).cast();
    let item = abi::Item { kind, size: size_of::<T>() as u32, data };
    // SAFETY: the host's functions are static, and the item lives until the call returns.
    unsafe { (*HOST.load(Ordering::SeqCst)).emit.unwrap()(call, &item) }
}

/// Whether these options ask to hold, and for how many threads.
///
/// # Safety
/// They are a document of the host's.
unsafe fn read(options: Str) -> (bool, Option<u64>) {
    // SAFETY: the caller's word.
    let bytes = unsafe { std::slice::from_raw_parts(options.ptr.cast::<u8>(), options.len) };
    let options: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    (options["hold"] == true, options["threads"].as_u64())
}

unsafe extern "C" fn describe(call: *mut abi::Call) -> Status {
    emit(call, abi::KIND_DOCUMENT, &abi::Document { name: text("backend"), text: text(DESCRIPTION) })
}

unsafe extern "C" fn model_open(
    _: *mut abi::Call,
    _: *const abi::File,
    _: u32,
    options: Str,
    out: *mut *mut abi::BackendModel,
) -> Status {
    OPENING.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the host's document and place.
    unsafe {
        if read(options).0 {
            hold();
        }
        *out = NonNull::dangling().as_ptr();
    }
    OPENING.fetch_sub(1, Ordering::SeqCst);
    status::OK
}

unsafe extern "C" fn model_close(_: *mut abi::BackendModel) {
    use_stack();
    MODELS_CLOSED.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn session_open(
    _: *mut abi::Call,
    _: *mut abi::BackendModel,
    _: Str,
    out: *mut *mut abi::BackendSession,
) -> Status {
    let _inside = Inside::enter();
    // SAFETY: the host's place.
    unsafe { *out = NonNull::dangling().as_ptr() };
    status::OK
}

unsafe extern "C" fn session_reset(_: *mut abi::Call, _: *mut abi::BackendSession) -> Status {
    let _inside = Inside::enter();
    if RESET_HOLDS.load(Ordering::SeqCst) {
        hold();
    }
    status::OK
}

unsafe extern "C" fn session_close(_: *mut abi::BackendSession) {
    let _inside = Inside::enter();
    use_stack();
    SESSIONS_CLOSED.fetch_add(1, Ordering::SeqCst);
}

/// Says how many threads it was given; if it shall, it holds then and says it again.
unsafe extern "C" fn run(
    call: *mut abi::Call,
    _: *mut abi::BackendSession,
    _: Str,
    _: *const abi::Item,
    _: u32,
    options: Str,
) -> Status {
    let _inside = Inside::enter();
    // SAFETY: the host's document.
    let (holds, threads) = unsafe { read(options) };
    let said = threads.map_or_else(|| "none".to_owned(), |threads| threads.to_string());
    let emitted = emit(call, abi::KIND_TEXT, &abi::Text { role: text(""), text: text(&said) });
    if !holds {
        return emitted;
    }
    hold();
    emit(call, abi::KIND_TEXT, &abi::Text { role: text(""), text: text(&said) })
}

unsafe extern "C" fn get_interface(id: *const c_char) -> *const c_void {
    static BACKEND: abi::Backend = abi::Backend {
        struct_size: size_of::<abi::Backend>() as u32,
        caps: 0,
        describe: Some(describe),
        model_open: Some(model_open),
        model_close: Some(model_close),
        session_open: Some(session_open),
        session_reset: Some(session_reset),
        session_close: Some(session_close),
        run: Some(run),
    };
    // SAFETY: by the contract the id ends with NUL.
    match unsafe { CStr::from_ptr(id) } == c"tenon.backend/1" {
        true => std::ptr::from_ref(&BACKEND).cast(),
        false => std::ptr::null(),
    }
}

unsafe extern "C" fn shutdown() {}

struct Root(abi::Plugin);

// SAFETY: never written; the pointers in it lead to static memory.
unsafe impl Sync for Root {}

unsafe extern "C" fn entry(host: *const abi::Host, out: *mut *const abi::Plugin) -> Status {
    static ROOT: Root = Root(abi::Plugin {
        struct_size: size_of::<abi::Plugin>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        id: c"serial".as_ptr(),
        version: c"0.1.0".as_ptr(),
        build_info: c"".as_ptr(),
        get_interface: Some(get_interface),
        shutdown: Some(shutdown),
    });
    HOST.store(host.cast_mut(), Ordering::SeqCst);
    // SAFETY: the host's place.
    unsafe { *out = &ROOT.0 };
    status::OK
}

fn manifest(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\ntask = \"generate\"\nbackend = \"serial\"\nlicense = \"MIT\"\n{more}")
}

fn engine(builder: EngineBuilder) -> Engine {
    let engine = builder.build().unwrap();
    // SAFETY: the entry keeps the contract.
    unsafe { engine.register_plugin(entry) }.unwrap();
    engine.add_manifest_text(&manifest("serial", ""), "memory").unwrap();
    engine
}

fn model() -> Model {
    engine(Engine::builder()).load("serial", Load::new()).unwrap()
}

fn loads(options: &str) -> Load {
    Load::new().options(Options::from_json(options).unwrap())
}

fn asks(options: &str) -> Request {
    Request::generate("x").options(Options::from_json(options).unwrap()).deadline(LONG)
}

fn said(session: &mut Session, options: &str) -> String {
    session.run(&asks(options)).unwrap().text
}

#[test]
fn closing_has_the_stack_that_the_contract_promises_on_every_thread() {
    let _alone = alone();
    let body = || {
        let model = model();
        drop(model.session().unwrap());
        assert_eq!((count(&SESSIONS_CLOSED), count(&MODELS_CLOSED)), (1, 0));
        drop(model);
        assert_eq!(count(&MODELS_CLOSED), 1);
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(body).unwrap().join().unwrap();
}

#[test]
fn a_session_that_is_dropped_while_another_runs_is_closed_when_that_has_left_the_backend() {
    let _alone = alone();
    let model = model();
    let (mut runs, dropped) = (model.session().unwrap(), model.session().unwrap());
    let mut stream = runs.stream(asks(r#"{"hold": true}"#)).unwrap();
    until(|| count(&INSIDE) == 1);
    drop(dropped);
    assert_eq!(count(&SESSIONS_CLOSED), 0);
    go_on();
    assert!(stream.all(|event| event.is_ok()));
    assert_eq!(count(&SESSIONS_CLOSED), 1);
    drop((stream, runs));
    assert_eq!((count(&SESSIONS_CLOSED), count(&MODELS_CLOSED)), (2, 0));
    drop(model);
    assert_eq!((count(&MODELS_CLOSED), count(&OVERLAPS)), (1, 0));
}

#[test]
fn the_thread_of_a_request_may_drop_another_session_of_its_model() {
    let _alone = alone();
    let model = model();
    let (mut runs, dropped) = (model.session().unwrap(), Mutex::new(model.session().ok()));
    let test = std::thread::current().id();
    let mut stream = runs.stream(asks(r#"{"hold": true}"#)).unwrap();
    stream.set_wakeup(Some(Box::new(move || {
        // Not for what came before there was a hook.
        if std::thread::current().id() != test {
            drop(dropped.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    })));
    go_on();
    assert!(stream.all(|event| event.is_ok()));
    assert_eq!((count(&SESSIONS_CLOSED), count(&OVERLAPS)), (1, 0));
}

#[test]
fn sessions_come_go_and_run_side_by_side_and_the_backend_sees_one_at_a_time() {
    let _alone = alone();
    go_on();
    let model = model();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let mut session = model.session().unwrap();
                    said(&mut session, "{}");
                }
            });
        }
    });
    assert_eq!((count(&SESSIONS_CLOSED), count(&OVERLAPS)), (200, 0));
}

#[test]
fn what_a_load_asks_for_in_threads_holds_for_requests_that_ask_for_none() {
    let _alone = alone();
    let engine = engine(Engine::builder());
    engine.add_manifest_text(&manifest("one", "[load]\nthreads = 1\n"), "memory").unwrap();
    for model in [engine.load("serial", loads(r#"{"threads": 1}"#)).unwrap(), engine.load("one", Load::new()).unwrap()]
    {
        let mut session = model.session().unwrap();
        assert_eq!(said(&mut session, "{}"), "1");
        let cores = tenon::Machine::look().threads;
        assert_eq!(said(&mut session, &format!(r#"{{"threads": {cores}}}"#)), cores.to_string());
    }
    let error = engine.load("serial", loads(r#"{"threads": 256}"#)).unwrap_err();
    assert_eq!((error.kind(), error.detail("option")), (ErrorKind::Options, Some("threads")));
}

#[test]
fn more_threads_than_the_engine_was_told_to_grant_are_refused() {
    let _alone = alone();
    let engine = engine(Engine::builder().threads(1));
    let error = engine.load("serial", loads(r#"{"threads": 2}"#)).unwrap_err();
    assert_eq!((error.kind(), error.detail("option")), (ErrorKind::Options, Some("threads")));
    let mut session = engine.load("serial", Load::new()).unwrap().session().unwrap();
    assert_eq!((said(&mut session, "{}"), said(&mut session, r#"{"threads": 1}"#)), ("1".into(), "1".into()));
    let error = session.run(&asks(r#"{"threads": 2}"#)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Options);
    assert!(error.message().contains("told to grant a request at most 1: ask for fewer"), "{error}");
}

#[test]
fn nobody_waits_for_a_request_that_was_given_up_for_lost() {
    let _alone = alone();
    let engine = engine(Engine::builder().patience(Duration::from_millis(50)));
    let load = || engine.load("serial", Load::new()).unwrap();
    let (model, other) = (load(), load());
    let (mut lost, mut behind) = (model.session().unwrap(), model.session().unwrap());
    let all = tenon::Machine::look().threads;
    let hangs = asks(&format!(r#"{{"hold": true, "threads": {all}}}"#)).deadline(Duration::from_millis(20));
    let error = lost.run(&hangs).unwrap_err();
    assert_eq!((error.kind(), error.detail("lost")), (ErrorKind::Deadline, Some("true")));
    assert_eq!(count(&INSIDE), 1);
    // The threads are there for others.
    let mut session = other.session().unwrap();
    assert_eq!(said(&mut session, &format!(r#"{{"threads": {all}}}"#)), all.to_string());
    // Its model is not.
    let refused = [model.session().map(drop), behind.reset(), behind.run(&asks("{}")).map(drop)];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!((error.kind(), error.detail("lost")), (ErrorKind::Busy, Some("true")));
        assert!(error.message().contains("does not end although it was asked to"), "{error}");
    }
    assert_eq!(count(&INSIDE), 1);
    go_on();
    until(|| count(&INSIDE) == 0);
    // It has left the backend, and its thread is about to leave the gate.
    let began = Instant::now();
    while behind.run(&asks("{}")).is_err() {
        assert!(began.elapsed() < LONG);
    }
    drop(model.session().unwrap());
    assert_eq!(said(&mut session, &format!(r#"{{"threads": {all}}}"#)), all.to_string());
}

#[test]
fn a_session_that_is_made_ready_keeps_no_threads_from_others() {
    let _alone = alone();
    let (model, other) = (model(), model());
    let mut session = model.session().unwrap();
    // Cancelled in the backend, so that the session is reset before its next request.
    let mut stream = session.stream(asks(r#"{"hold": true}"#)).unwrap();
    until(|| count(&INSIDE) == 1);
    stream.cancel();
    go_on();
    assert!(stream.any(|event| event.is_err()));
    *GOES_ON.0.lock().unwrap() = false;
    RESET_HOLDS.store(true, Ordering::SeqCst);
    let mut stream = session.stream(asks("{}")).unwrap();
    until(|| count(&INSIDE) == 1);
    let all = tenon::Machine::look().threads;
    assert_eq!(said(&mut other.session().unwrap(), &format!(r#"{{"threads": {all}}}"#)), all.to_string());
    go_on();
    assert!(stream.all(|event| event.is_ok()));
}

#[test]
fn a_load_that_waits_for_another_sees_its_deadline() {
    let _alone = alone();
    let engine = engine(Engine::builder());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| engine.load("serial", loads(r#"{"hold": true}"#)).map(drop));
        until(|| count(&OPENING) == 1);
        let error = engine.load("serial", Load::new().deadline(Duration::from_millis(50))).unwrap_err();
        let still = count(&OPENING);
        go_on();
        assert_eq!((error.kind(), still), (ErrorKind::Deadline, 1));
        first.join().unwrap().unwrap();
    });
    engine.load("serial", Load::new().deadline(LONG)).unwrap();
}
