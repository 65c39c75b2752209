//! What the SDK promises at the boundary: nothing that comes in is trusted, and nothing unwinds out.

#![allow(unsafe_code)]

mod support;

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Call as HostCall, Emitted, HOST, Plugin, item, str};
use tenon_abi::{self as abi, status};
use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Next, Result, Segment, Session, Token, Word};
use tenon_tasks::{Description, MemoryEstimate, MemoryParts, Usage};

/// Models named `kept` that are alive; one test opens one.
static KEPT: AtomicUsize = AtomicUsize::new(0);

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Asked {
    count: u32,
}

struct Probe;
struct Weights {
    what: String,
}
struct Talk(#[expect(dead_code, reason = "keeps the model alive")] Arc<Weights>);

impl Backend for Probe {
    const ID: &'static str = "probe";
    const CAPS: u32 = tenon_plugin::CAP_LIVE_INPUT;
    type Model = Weights;

    fn start() -> Result<Self> {
        Ok(Probe)
    }

    fn describe(&self) -> Description {
        Description {
            summary: "a probe".into(),
            engine: "none".into(),
            tasks: vec![],
            load_schema: serde_json::json!({"type": "object"}),
            files: vec![],
            audio: None,
            devices: vec![],
        }
    }

    fn estimate(&self, _call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        assert!(files.is_empty());
        match options {
            "panic" => panic!("no estimate today"),
            "never" => Err(Error::unsupported("nobody knows")),
            _ => {
                Ok(MemoryEstimate::on_cpu(MemoryParts { weights: 5, ..MemoryParts::default() }, MemoryParts::default()))
            }
        }
    }

    fn open(&self, call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<Weights> {
        match options {
            "panic" => panic!("no model today"),
            "fail" => Err(Error::model("the model is round").detail("corners", 0)),
            _ => {
                call.progress(1.0);
                KEPT.fetch_add(usize::from(options == "kept"), Ordering::SeqCst);
                let roles: Vec<&str> = files.iter().map(|file| file.role).collect();
                Ok(Weights { what: format!("{options}{}", roles.join(",")) })
            }
        }
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        KEPT.fetch_sub(usize::from(self.what == "kept"), Ordering::SeqCst);
    }
}

impl Model for Weights {
    type Session = Talk;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Talk> {
        if self.what.contains("shy") {
            panic!("no session today");
        }
        Ok(Talk(Arc::clone(self)))
    }
}

impl Session for Talk {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        match task {
            "panic" => panic!("{}", input.text()?),
            "count" => {
                let asked: Asked = tenon_plugin::options(options)?;
                (0..asked.count).try_for_each(|index| call.emit_text(&index.to_string()))
            }
            "everything" => everything(call),
            "probe" => {
                let probe = call.cancel_probe();
                let seen = std::thread::spawn(move || probe.is_cancelled()).join().unwrap();
                assert!(seen);
                call.check()
            }
            "live" => live(call, input),
            _ => call.emit_text(input.text()?),
        }
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        Ok(())
    }
}

fn everything(call: &Call) -> Result<()> {
    let words = [Word::new(0, 5, "a").confidence(0.5), Word::new(5, 9, "b")];
    let tokens = [Token::new(7, "ab").logprob(-0.5).times(0, 9)];
    call.emit_segment(&Segment::new(0, 9, " a b").words(&words).tokens(&tokens).confidence(0.5).no_speech(0.1))?;
    call.emit_token(&tokens[0])?;
    call.emit_bytes(b"\xc3")?;
    call.emit_embedding(3, &[1.0, 2.0])?;
    call.emit_note("tried", "all of it")?;
    call.emit_usage(&Usage { audio_us: 9, ..Usage::default() })
}

fn live(call: &Call, input: Input<'_>) -> Result<()> {
    assert!(input.is_live());
    let mut audio = input.into_audio();
    loop {
        match audio.next_within(Duration::from_millis(1))? {
            Next::Audio(piece) => call.emit_text(&format!("{}@{} ", piece.samples.len(), piece.rate))?,
            Next::Nothing => call.emit_text("nothing ")?,
            Next::End => return call.emit_text("end"),
        }
    }
}

tenon_plugin::export_backend!(Probe);

unsafe extern "C" {
    fn tenon_plugin_entry_v1(host: *const abi::Host, out: *mut *const abi::Plugin) -> abi::Status;
}

fn plugin() -> Plugin {
    Plugin::enter(tenon_plugin_entry_v1)
}

#[test]
fn the_tables_say_who_the_plugin_is() {
    let Plugin { plugin, backend } = plugin();
    // SAFETY: the SDK's texts end with NUL and are static.
    let id = unsafe { std::ffi::CStr::from_ptr(plugin.id) };
    assert_eq!((id.to_str(), plugin.abi_major, plugin.abi_minor), (Ok("probe"), abi::ABI_MAJOR, abi::ABI_MINOR));
    assert_eq!(backend.caps, abi::CAP_LIVE_INPUT);
    // SAFETY: the plugin's function, given a text that ends with NUL.
    unsafe {
        assert!(plugin.get_interface.unwrap()(c"tenon.backend/2".as_ptr()).is_null());
        assert!(plugin.get_interface.unwrap()(std::ptr::null()).is_null());
        plugin.shutdown.unwrap()();
    }
}

#[test]
fn the_entry_refuses_a_host_of_another_version_or_none() {
    let mut out = std::ptr::null();
    let enter = |host: *const abi::Host, out: *mut *const abi::Plugin| {
        // SAFETY: what is wrong with the host is what the entry has to find out.
        unsafe { tenon_plugin_entry_v1(host, out) }
    };
    plugin();
    assert_eq!(enter(std::ptr::null(), &mut out), status::E_INVALID_ARGUMENT);
    assert_eq!(enter(&HOST, std::ptr::null_mut()), status::E_INVALID_ARGUMENT);
    assert_eq!(enter(&abi::Host { struct_size: 8, ..HOST }, &mut out), status::E_ABI_MISMATCH);
    assert_eq!(enter(&abi::Host { abi_major: 2, ..HOST }, &mut out), status::E_ABI_MISMATCH);
    assert_eq!(enter(&abi::Host { emit: None, ..HOST }, &mut out), status::E_INVALID_ARGUMENT);
    let other: &'static abi::Host = Box::leak(Box::new(HOST));
    assert_eq!(enter(other, &mut out), status::E_BUSY, "a second host would be given the calls of the first");
    assert!(out.is_null());
}

#[test]
fn a_panic_in_a_run_becomes_a_status_and_ends_the_session() {
    let (plugin, call) = (plugin(), HostCall::default());
    let model = plugin.open(&call, "{}").unwrap();
    let session = plugin.session(&call, model).unwrap();
    let text = abi::Text { role: str("prompt"), text: str("boom") };
    let items = [item(abi::KIND_TEXT, &text)];
    assert_eq!(plugin.run(&call, session, "panic", &items, "{}"), status::E_PANIC);
    assert!(call.message.borrow().contains("boom"), "{:?}", call.message);
    assert_eq!(plugin.run(&call, session, "say", &items, "{}"), status::E_PANIC);
    assert!(call.message.borrow().contains("earlier panic"), "{:?}", call.message);
    let another = plugin.session(&call, model).unwrap();
    assert_eq!(plugin.run(&call, another, "say", &items, "{}"), status::OK);
    // SAFETY: open and not used again.
    unsafe { plugin.backend.session_close.unwrap()(another) };
    plugin.close(session, model);
}

#[test]
fn a_panic_while_opening_becomes_a_status() {
    let (plugin, call) = (plugin(), HostCall::default());
    assert_eq!(plugin.open(&call, "panic"), Err(status::E_PANIC));
    let model = plugin.open(&call, "shy").unwrap();
    assert_eq!(plugin.session(&call, model), Err(status::E_PANIC));
    assert_eq!(plugin.session(&call, model), Err(status::E_PANIC), "the model is unfit after a panic");
    assert!(call.message.borrow().contains("load it again"), "{:?}", call.message);
    // SAFETY: open and not used again.
    unsafe { plugin.backend.model_close.unwrap()(model) };
}

#[test]
fn an_error_carries_status_message_and_details() {
    let (plugin, call) = (plugin(), HostCall::default());
    assert_eq!(plugin.open(&call, "fail"), Err(status::E_MODEL));
    assert_eq!(*call.message.borrow(), "the model is round");
    assert_eq!(*call.details.borrow(), [("corners".to_owned(), "0".to_owned())]);
}

#[test]
fn a_session_keeps_its_model_alive() {
    let (plugin, call) = (plugin(), HostCall::default());
    let model = plugin.open(&call, "kept").unwrap();
    let session = plugin.session(&call, model).unwrap();
    // SAFETY: both are open; the model is closed first on purpose.
    unsafe {
        plugin.backend.model_close.unwrap()(model);
        assert_eq!(KEPT.load(Ordering::SeqCst), 1);
        plugin.backend.session_close.unwrap()(session);
        assert_eq!(KEPT.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn everything_that_can_be_emitted_arrives() {
    let (status, call) = plugin().ask("everything", "", "{}");
    assert_eq!(status, status::OK);
    let emitted = call.emitted.borrow();
    let words = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(emitted[0], Emitted::Segment { start_us: 0, end_us: 9, text: " a b".into(), words, tokens: 1 });
    assert_eq!(emitted[1], Emitted::Token { id: 7, text: "ab".into() });
    assert_eq!(emitted[3], Emitted::Embedding { index: 3, values: vec![1.0, 2.0] });
    assert_eq!(call.document("note").unwrap()["code"], "tried");
    assert_eq!(emitted[5], Emitted::Usage { prompt_tokens: 0, generated_tokens: 0, audio_us: 9 });
}

#[test]
fn a_host_that_says_stop_gets_its_status_back() {
    let call = HostCall { most: Some(3), ..HostCall::default() };
    assert_eq!(plugin().ask_in(&call, "count", "", r#"{"count": 100}"#), status::E_END);
    assert_eq!(call.texts(), "012");
    assert!(call.message.borrow().is_empty(), "the host knows why it said stop");
}

#[test]
fn cancel_is_seen_from_other_threads() {
    let call = HostCall::default();
    call.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(plugin().ask_in(&call, "probe", "", "{}"), status::E_CANCELLED);
}

#[test]
fn live_audio_comes_piece_by_piece() {
    let (plugin, call) = (plugin(), HostCall::default());
    call.live.borrow_mut().extend([vec![0.0; 160], vec![], vec![0.5; 80]]);
    assert_eq!(plugin.once(&call, "live", &[], "{}"), status::OK);
    assert_eq!(call.texts(), "160@16000 nothing 80@16000 end");
}

#[test]
fn options_that_do_not_fit_are_an_error() {
    let (status, call) = plugin().ask("count", "", r#"{"count": "many"}"#);
    assert_eq!(status, status::E_OPTIONS);
    assert!(call.message.borrow().contains("the options do not fit"), "{:?}", call.message);
}

#[test]
fn items_that_are_not_what_they_say_are_refused() {
    let plugin = plugin();
    let text = abi::Text { role: str("prompt"), text: str("fine") };
    let audio = abi::Audio { samples: [0.0].as_ptr(), frames: 1, rate: 16_000, channels: 2 };
    let endless = abi::Text { text: abi::Str { len: usize::MAX, ..str("x") }, ..text };
    let nowhere = abi::Text { text: abi::Str { ptr: std::ptr::null(), len: 4 }, ..text };
    let broken = b"\xff\xfe";
    let broken = abi::Text { text: abi::Str { ptr: broken.as_ptr().cast(), len: 2 }, ..text };
    let good = item(abi::KIND_TEXT, &text);
    let cases = [
        (abi::Item { size: 8, ..good }, status::E_INVALID_ARGUMENT),
        (abi::Item { data: std::ptr::null(), ..good }, status::E_INVALID_ARGUMENT),
        (abi::Item { data: good.data.wrapping_byte_add(1), ..good }, status::E_INVALID_ARGUMENT),
        (abi::Item { kind: 99, ..good }, status::E_UNSUPPORTED),
        (item(abi::KIND_AUDIO, &audio), status::E_AUDIO),
        (item(abi::KIND_TEXT, &endless), status::E_INVALID_ARGUMENT),
        (item(abi::KIND_TEXT, &nowhere), status::E_INVALID_ARGUMENT),
        (item(abi::KIND_TEXT, &broken), status::E_INVALID_ARGUMENT),
        (good, status::OK),
    ];
    for (given, expected) in cases {
        let call = HostCall::default();
        assert_eq!(plugin.once(&call, "say", &[given], "{}"), expected, "{given:?}: {:?}", call.message);
    }
}

#[test]
fn null_pointers_are_refused() {
    let (plugin, call) = (plugin(), HostCall::default());
    let backend = plugin.backend;
    let (no_model, no_session) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: NULL is what the functions have to refuse.
    unsafe {
        assert_eq!(backend.describe.unwrap()(std::ptr::null_mut()), status::E_INVALID_ARGUMENT);
        let open = backend.model_open.unwrap();
        assert_eq!(open(call.raw(), std::ptr::null(), 0, str("{}"), std::ptr::null_mut()), status::E_INVALID_ARGUMENT);
        let mut model = std::ptr::null_mut();
        assert_eq!(open(call.raw(), std::ptr::null(), 3, str("{}"), &mut model), status::E_INVALID_ARGUMENT);
        assert!(model.is_null());
        assert_eq!(plugin.session(&call, no_model), Err(status::E_INVALID_ARGUMENT));
        assert_eq!(backend.session_reset.unwrap()(call.raw(), no_session), status::E_INVALID_ARGUMENT);
        assert_eq!(plugin.run(&call, no_session, "say", &[], "{}"), status::E_INVALID_ARGUMENT);
        backend.session_close.unwrap()(no_session);
        backend.model_close.unwrap()(no_model);
    }
}

#[test]
fn an_estimate_is_emitted_as_a_document_and_its_panic_is_a_status() {
    let (plugin, call) = (plugin(), HostCall::default());
    assert_eq!(plugin.estimate(&call, "{}"), Some(status::OK));
    let device = &call.document("estimate").unwrap()["devices"][0];
    assert_eq!((device["device"].as_str(), device["model"]["weights"].as_u64()), (Some("cpu"), Some(5)));
    assert_eq!(plugin.estimate(&call, "never"), Some(status::E_UNSUPPORTED));
    assert_eq!(plugin.estimate(&call, "panic"), Some(status::E_PANIC));
}

#[test]
fn a_description_is_emitted_as_a_document() {
    let call = HostCall::default();
    assert_eq!(plugin().describe(&call), status::OK);
    assert_eq!(call.document("backend").unwrap()["summary"], "a probe");
}
