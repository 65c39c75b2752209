//! All that is unsafe here: whisper.cpp through the guarded functions of `shim.cpp`.
//!
//! whisper-rs keeps its pointers to itself and some of its safe functions are unsound, so contexts, states and callbacks
//! are owned here, over the same `whisper-rs-sys`. Every call that can fail in C++ goes through the shim. A [`State`]
//! belongs to one job at a time; a [`Context`] is only read and is shared.

#![allow(unsafe_code)]

use crate::decoding::Decoding;
use crate::filter::{FIRST_TIMESTAMP_S, Filter, Marks};
use crate::samples::Samples;
use crate::source::{Bytes, Source};
use crate::vocabulary::Texts;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tenon_plugin::{Error, Result, log};
use whisper_rs::whisper_rs_sys as sys;

/// What went wrong in a guarded call; the layout of the shim's `tenon_fault`.
#[repr(C)]
struct Fault {
    kind: i32,
    text: [u8; 508],
}

const FAULT_NONE: i32 = 0;
const FAULT_MEMORY: i32 = 2;

unsafe extern "C" {
    fn tenon_whisper_setup(log: sys::ggml_log_callback, fault: *mut Fault) -> bool;
    fn tenon_whisper_open(loader: *mut Loader, flash_attn: bool, fault: *mut Fault) -> *mut sys::whisper_context;
    fn tenon_whisper_close(context: *mut sys::whisper_context, fault: *mut Fault);
    fn tenon_whisper_state_open(
        context: *mut sys::whisper_context,
        abort: sys::ggml_abort_callback,
        data: *mut c_void,
        fault: *mut Fault,
    ) -> *mut sys::whisper_state;
    fn tenon_whisper_state_close(state: *mut sys::whisper_state, fault: *mut Fault);
    fn tenon_whisper_spectrogram(
        context: *mut sys::whisper_context,
        state: *mut sys::whisper_state,
        samples: *const f32,
        count: i32,
        threads: i32,
        fault: *mut Fault,
    ) -> i32;
    fn tenon_whisper_full(
        context: *mut sys::whisper_context,
        state: *mut sys::whisper_state,
        params: *const sys::whisper_full_params,
        samples: *const f32,
        count: i32,
        fault: *mut Fault,
    ) -> i32;
    fn tenon_whisper_languages(
        context: *mut sys::whisper_context,
        state: *mut sys::whisper_state,
        samples: *const f32,
        count: i32,
        threads: i32,
        scores: *mut f32,
        languages: i32,
        fault: *mut Fault,
    ) -> i32;
    fn tenon_whisper_vad_open(
        loader: *mut Loader,
        abort: sys::ggml_abort_callback,
        data: *mut c_void,
        fault: *mut Fault,
    ) -> *mut sys::whisper_vad_context;
    fn tenon_whisper_vad_close(vad: *mut sys::whisper_vad_context, fault: *mut Fault);
    fn tenon_whisper_vad_segments(
        vad: *mut sys::whisper_vad_context,
        params: *const sys::whisper_vad_params,
        samples: *const f32,
        count: i32,
        fault: *mut Fault,
    ) -> *mut sys::whisper_vad_segments;
    #[cfg(test)]
    fn tenon_whisper_fail_an_assertion(fault: *mut Fault);
}

/// Makes a guarded call and turns its fault into an error.
fn guarded<T>(call: impl FnOnce(*mut Fault) -> T) -> Result<T> {
    let mut fault = Fault { kind: FAULT_NONE, text: [0; 508] };
    let answer = call(&mut fault);
    if fault.kind == FAULT_NONE {
        return Ok(answer);
    }
    let end = fault.text.iter().position(|byte| *byte == 0).unwrap_or(fault.text.len());
    let text = String::from_utf8_lossy(&fault.text[..end]);
    let error = if fault.kind == FAULT_MEMORY { Error::out_of_memory } else { Error::backend };
    Err(error(format!("whisper.cpp: {text}")).detail("native", text))
}

/// Sets the process up: log, failed assertions, a way to abort. Once, before anything else of this module.
pub fn set_up() -> Result<()> {
    // SAFETY: the callback takes any text and level from any thread.
    let has_cpu = guarded(|fault| unsafe { tenon_whisper_setup(Some(write_log), fault) })?;
    if has_cpu { Ok(()) } else { Err(Error::backend("ggml offers no CPU to compute on")) }
}

thread_local! {
    /// What ends the work that this thread does.
    static WORKING: RefCell<Option<Abort>> = const { RefCell::new(None) };
}

/// Engine messages for the host's log. whisper.cpp tells as information what only helps to find faults, and as an
/// error that it was stopped.
unsafe extern "C" fn write_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    let is_stopped =
        || WORKING.with(|abort| abort.try_borrow().is_ok_and(|abort| abort.as_ref().is_some_and(Abort::is_asked)));
    let level = match level {
        _ if is_stopped() => log::Level::Debug,
        sys::ggml_log_level_GGML_LOG_LEVEL_ERROR => log::Level::Error,
        sys::ggml_log_level_GGML_LOG_LEVEL_WARN => log::Level::Warning,
        sys::ggml_log_level_GGML_LOG_LEVEL_INFO => log::Level::Debug,
        _ => log::Level::Trace,
    };
    if text.is_null() || !log::enabled(level) {
        return;
    }
    // SAFETY: ggml hands out texts that end with NUL and live during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes().trim_ascii_end();
    if !text.is_empty() {
        log::write_bytes(level, text);
    }
}

/// Gives what was freed back to the system. glibc keeps it for threads that allocate in the same of its heaps; a new
/// state is made on another thread than the one before it and would stand beside its remains.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // SAFETY: a function of the C library that may be called at any time from any thread.
        unsafe { malloc_trim(0) };
    }
}

/// The devices of kind GPU that this build sees, by ggml's name.
pub fn gpus() -> Vec<String> {
    // SAFETY: the registry is set up; indices are below its count; names end with NUL and live as long as the process.
    unsafe {
        (0..sys::ggml_backend_dev_count())
            .map(|index| sys::ggml_backend_dev_get(index))
            .filter(|device| {
                let kind = sys::ggml_backend_dev_type(*device);
                kind != sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_CPU
                    && kind != sys::ggml_backend_dev_type_GGML_BACKEND_DEVICE_TYPE_ACCEL
            })
            .map(|device| CStr::from_ptr(sys::ggml_backend_dev_name(device)).to_string_lossy().into_owned())
            .collect()
    }
}

/// Layout of `whisper_model_loader`.
type Loader = sys::whisper_model_loader;

/// What makes whisper.cpp read from a source, for as long as the source lives.
fn loader(source: &mut Source<'_>) -> Loader {
    Loader {
        context: std::ptr::from_mut(source).cast(),
        read: Some(read_source),
        eof: Some(source_ended),
        close: Some(close_source),
    }
}

unsafe extern "C" fn read_source(context: *mut c_void, out: *mut c_void, size: usize) -> usize {
    // SAFETY: `context` is the live source that `loader` pointed to, used by one thread; `out` has room for `size`.
    let (source, out) =
        unsafe { (&mut *context.cast::<Source<'_>>(), std::slice::from_raw_parts_mut(out.cast(), size)) };
    if catch_unwind(AssertUnwindSafe(|| source.fill(out))).is_err() {
        out.fill(MaybeUninit::new(0_u8));
        source.fail(std::io::Error::other("the reader panicked"));
    }
    size
}

unsafe extern "C" fn source_ended(context: *mut c_void) -> bool {
    // SAFETY: as in `read_source`.
    unsafe { &*context.cast::<Source<'_>>() }.is_at_end()
}

unsafe extern "C" fn close_source(_: *mut c_void) {}

/// Loads by `open` from what can be read, and tells a failed read from a refused file.
fn load<T>(
    bytes: &mut dyn Bytes,
    size: u64,
    progress: &mut dyn FnMut(f32),
    open: impl FnOnce(*mut Loader, *mut Fault) -> *mut T,
) -> Result<Option<NonNull<T>>> {
    let mut source = Source::new(bytes, size, progress);
    let mut loader = loader(&mut source);
    let opened = guarded(|fault| open(&mut loader, fault))?;
    match source.failure() {
        // What was opened over zeros is lost memory at worst; it must not be used.
        Some(error) => Err(Error::io(format!("the model file cannot be read: {error}"))),
        None => Ok(NonNull::new(opened)),
    }
}

/// Weights and vocabulary of a model.
pub struct Context {
    raw: NonNull<sys::whisper_context>,
}

// SAFETY: after loading, whisper.cpp only reads a context whose states are allocated apart, as they all are here.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Loads a model of `size` bytes that the pre-check accepted.
    pub fn open(bytes: &mut dyn Bytes, size: u64, flash_attn: bool, progress: &mut dyn FnMut(f32)) -> Result<Self> {
        // SAFETY: the loader and its source live during the call.
        let raw = load(bytes, size, progress, |loader, fault| unsafe { tenon_whisper_open(loader, flash_attn, fault) });
        let raw = raw?.ok_or_else(|| Error::model("whisper.cpp refuses the model; its reason is in the log"))?;
        Ok(Self { raw })
    }

    /// The bytes of a token, which may be a part of a code point. `id` is below the model's number of tokens.
    pub fn token(&self, id: i32) -> &[u8] {
        // SAFETY: the vocabulary has a text for every such id; it ends with NUL and lives as long as the context.
        unsafe { CStr::from_ptr(sys::whisper_token_to_str(self.raw.as_ptr(), id)) }.to_bytes()
    }

    /// Id of the token that ends a text; ids below it stand for text.
    pub fn end_of_text(&self) -> i32 {
        // SAFETY: the context is live.
        unsafe { sys::whisper_token_eot(self.raw.as_ptr()) }
    }

    /// Number of tokens.
    fn tokens(&self) -> i32 {
        // SAFETY: the context is live.
        unsafe { sys::whisper_n_vocab(self.raw.as_ptr()) }
    }

    /// What a request wants of the next token.
    fn filter(&self, decoding: &Decoding) -> Filter {
        let mut filter = Filter::new(&decoding.suppressed);
        if let Some(grammar) = &decoding.grammar {
            // SAFETY: the context is live.
            let (first, positions) = unsafe {
                (sys::whisper_token_beg(self.raw.as_ptr()), sys::whisper_model_n_audio_ctx(self.raw.as_ptr()))
            };
            let marks = Marks {
                end_of_text: usize::try_from(self.end_of_text()).unwrap_or(0),
                first_timestamp: usize::try_from(first).unwrap_or(0),
                audio_ctx: usize::try_from(positions).unwrap_or(0),
            };
            let texts = (0..self.tokens()).map(|id| self.token(id).to_vec()).collect();
            filter.follow(grammar, decoding.grammar_penalty, decoding.suppress_nst, marks, texts);
        }
        filter
    }
}

impl Texts for Arc<Context> {
    fn text(&self, id: i32) -> &[u8] {
        self.token(id)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: states hold the context alive, so none is left; nobody has the pointer after this.
        let closed = guarded(|fault| unsafe { tenon_whisper_close(self.raw.as_ptr(), fault) });
        closed.unwrap_or_else(log::error);
    }
}

/// Ends the native work that looks at it, within a step of a graph.
#[derive(Clone, Debug, Default)]
pub struct Abort(Arc<AtomicBool>);

impl Abort {
    /// Asks the work to end.
    pub fn ask(&self) {
        self.0.store(true, Relaxed);
    }

    /// The work was asked to end.
    pub fn is_asked(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn clear(&self) {
        self.0.store(false, Relaxed);
    }

    /// What [`asked_to_abort`] gets; valid as long as this value lives.
    fn pointer(&self) -> *mut c_void {
        Arc::as_ptr(&self.0).cast_mut().cast()
    }
}

/// Called by ggml between the steps of a graph, on the thread that computes it.
unsafe extern "C" fn asked_to_abort(flag: *mut c_void) -> bool {
    // SAFETY: the flag lives as long as the state or detector that it was given to.
    unsafe { &*flag.cast::<AtomicBool>() }.load(Relaxed)
}

/// Working memory for one transcription at a time.
pub struct State {
    /// NULL once whisper.cpp has freed it.
    raw: *mut sys::whisper_state,
    context: Arc<Context>,
    abort: Abort,
    is_usable: bool,
    has_sampled: bool,
    /// Encoder positions of the last transcription, 0 for all of the model's.
    audio_ctx: Option<i32>,
}

// SAFETY: a state is used by one thread at a time, which `&mut self` sees to, and is tied to none.
unsafe impl Send for State {}

impl State {
    /// Allocates working memory on a model; `abort` will end its work.
    pub fn open(context: &Arc<Context>, abort: Abort) -> Result<Self> {
        // SAFETY: the context is live; the flag outlives the state, which holds it.
        let raw = guarded(|fault| unsafe {
            tenon_whisper_state_open(context.raw.as_ptr(), Some(asked_to_abort), abort.pointer(), fault)
        })?;
        if raw.is_null() {
            return Err(Error::out_of_memory("there is no memory for a whisper session"));
        }
        let context = Arc::clone(context);
        Ok(Self { raw, context, abort, is_usable: true, has_sampled: false, audio_ctx: None })
    }

    /// Makes ready for work, which the answer ends from another thread.
    pub fn arm(&self) -> Abort {
        self.abort.clear();
        self.abort.clone()
    }

    /// A transcription with this many encoder positions gives on it what it would give on a fresh state.
    ///
    /// What goes from one transcription into the next is the place in the sequence of random numbers, once some were
    /// drawn, which beam search does too; and audio, when the number of encoder positions grows to the full window: the
    /// keys of a shorter one lie where the full one has its padding, which nothing masks.
    pub fn is_as_new(&self, audio_ctx: i32) -> bool {
        self.is_usable && !self.has_sampled && self.audio_ctx.is_none_or(|last| last == audio_ctx)
    }

    /// A detection of the language on it, for which the encoder takes the positions of the last transcription, gives
    /// what it would give on a fresh state.
    pub fn is_as_new_for_languages(&self) -> bool {
        self.is_usable && self.audio_ctx.is_none_or(|last| last == 0)
    }

    /// Transcribes; segments and progress go to `events` as they come. An abort is an error like any other.
    ///
    /// `samples` are mono at 16 kHz, at least one second of them: with fewer than 201, whisper.cpp reads past the end.
    /// They are given up as soon as the spectrogram is made, unless words get times, which are found in them.
    pub fn transcribe(&mut self, decoding: &Decoding, samples: Arc<Samples>, events: &Sender<Event>) -> Result<Counts> {
        let count = self.begin(&samples)?;
        let filter = self.context.filter(decoding);
        let hooks = Hooks::new(filter, self.context.tokens(), self.abort.clone(), events.clone());
        let rule = any_text_without(hooks.filter.bar());
        let mut rules = [rule.as_ptr()];
        let mut params = parameters(decoding, &hooks);
        if decoding.grammar.is_some() {
            params.grammar_rules = rules.as_mut_ptr();
            params.n_grammar_rules = rules.len();
            params.i_start_rule = 0;
            params.grammar_penalty = hooks.filter.penalty();
        }
        self.is_usable = false;
        WORKING.set(Some(self.abort.clone()));
        let kept = if decoding.token_times {
            Some(samples)
        } else {
            self.hear(&samples, count, decoding.threads)?;
            drop(samples);
            None
        };
        let (samples, count) = kept.as_ref().map_or((std::ptr::null(), 0), |samples| (samples.as_ptr(), count));
        // SAFETY: context and state are live and belong together; all that `params` points to (prompt, language, rules,
        // hooks, flag) outlives the call; `count` samples are there, or none and the state holds their spectrogram.
        let code = guarded(|fault| unsafe {
            tenon_whisper_full(self.context.raw.as_ptr(), self.raw, &params, samples, count, fault)
        })?;
        if code == KEY_VALUE_MEMORY_FAILED {
            // whisper.cpp has freed the state itself.
            self.raw = std::ptr::null_mut();
        }
        if let Some(error) = hooks.take_failure() {
            return Err(error);
        }
        self.has_sampled |= decoding.samples() || hooks.fallbacks.load(Relaxed) > 0;
        self.audio_ctx = Some(decoding.audio_ctx);
        self.finish(code, full_step(code))?;
        Ok(hooks.counts())
    }

    /// Makes the spectrogram, after which whisper.cpp needs the samples no more: those of a long recording would else
    /// lie there twice for as long as it takes to decode them. `count` is how many they are.
    fn hear(&mut self, samples: &[f32], count: i32, threads: i32) -> Result<()> {
        // SAFETY: context and state are live and belong together; `count` samples are there.
        let code = guarded(|fault| unsafe {
            tenon_whisper_spectrogram(self.context.raw.as_ptr(), self.raw, samples.as_ptr(), count, threads, fault)
        })?;
        if code == 0 { Ok(()) } else { self.finish(SPECTROGRAM_FAILED, full_step(SPECTROGRAM_FAILED)) }
    }

    /// Scores of the first `languages` languages for the first 30 seconds, before the softmax.
    pub fn languages(&mut self, samples: &[f32], threads: i32, languages: i32) -> Result<Vec<f32>> {
        let count = self.begin(samples)?;
        let mut scores = vec![0.0; usize::try_from(languages).unwrap_or(0)];
        self.is_usable = false;
        WORKING.set(Some(self.abort.clone()));
        // SAFETY: context and state are live and belong together; samples and scores are as long as it says.
        let code = guarded(|fault| unsafe {
            tenon_whisper_languages(
                self.context.raw.as_ptr(),
                self.raw,
                samples.as_ptr(),
                count,
                threads,
                scores.as_mut_ptr(),
                scores.len() as i32,
                fault,
            )
        })?;
        self.finish(code, "detecting the language")?;
        Ok(scores)
    }

    fn begin(&mut self, samples: &[f32]) -> Result<i32> {
        if !self.is_usable {
            return Err(Error::internal("a whisper state is used again after an error"));
        }
        if samples.len() < MIN_SAMPLES {
            return Err(Error::internal(format!("{} samples are too few for whisper.cpp", samples.len())));
        }
        i32::try_from(samples.len()).map_err(|_| Error::audio("the audio is too long for one window"))
    }

    fn finish(&mut self, code: i32, step: &str) -> Result<()> {
        if self.abort.is_asked() {
            return Err(Error::cancelled());
        }
        if code != 0 {
            return Err(Error::backend(format!("whisper.cpp: {step} failed (code {code})")).detail("native", code));
        }
        self.is_usable = true;
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: the pointer is NULL or this value's own, and its context is still alive.
        let closed = guarded(|fault| unsafe { tenon_whisper_state_close(self.raw, fault) });
        closed.unwrap_or_else(log::error);
    }
}

/// One second at 16 kHz.
pub const MIN_SAMPLES: usize = 16_000;

/// Answer of `whisper_full_with_state` when it cannot make the spectrogram.
const SPECTROGRAM_FAILED: i32 = -2;

/// Answer of `whisper_full_with_state` after which the state is gone.
const KEY_VALUE_MEMORY_FAILED: i32 = -7;

fn full_step(code: i32) -> &'static str {
    match code {
        SPECTROGRAM_FAILED => "the spectrogram",
        -6 => "the encoder",
        KEY_VALUE_MEMORY_FAILED => "allocating the memory of the decoders",
        -8 | -9 => "the decoder",
        _ => "the transcription",
    }
}

/// What a transcription tells while it runs.
#[derive(Debug)]
pub enum Event {
    /// A finished segment.
    Segment(Segment),
    /// Part of the audio that is done, 0 to 1.
    Progress(f32),
}

/// A segment as whisper.cpp gives it. Times are hundredths of a second from the start of the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Start.
    pub t0: i64,
    /// End.
    pub t1: i64,
    /// Text, which may begin or end within a code point.
    pub text: Vec<u8>,
    /// Probability that nobody speaks.
    pub no_speech: f32,
    /// All tokens, special ones too.
    pub tokens: Vec<Token>,
}

/// A token as whisper.cpp gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// Id.
    pub id: i32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Start as for the segment, or −1.
    pub t0: i64,
    /// End as for the segment, or −1.
    pub t1: i64,
}

/// What a transcription did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Encoder passes.
    pub windows: u32,
    /// Encoder passes that gave a segment.
    pub windows_with_text: u32,
    /// Decodings that were repeated at a higher temperature.
    pub fallbacks: u32,
    /// Time in the encoder, microseconds.
    pub encode_us: i64,
}

/// What the callbacks of one transcription see. The filter of logits may run on several threads at once.
struct Hooks {
    abort: Abort,
    events: Sender<Event>,
    filter: Filter,
    /// Number of tokens.
    tokens: usize,
    failure: Mutex<Option<Error>>,
    start: Instant,
    windows: AtomicU32,
    windows_with_text: AtomicU32,
    window_has_text: AtomicBool,
    decodings: AtomicU32,
    fallbacks: AtomicU32,
    /// When the encoder began, microseconds after `start`, or −1 outside of it.
    encoder_began: AtomicI64,
    encode_us: AtomicI64,
}

impl Hooks {
    fn new(filter: Filter, tokens: i32, abort: Abort, events: Sender<Event>) -> Self {
        Self {
            abort,
            events,
            filter,
            tokens: usize::try_from(tokens).unwrap_or(0),
            failure: Mutex::new(None),
            start: Instant::now(),
            windows: AtomicU32::new(0),
            windows_with_text: AtomicU32::new(0),
            window_has_text: AtomicBool::new(false),
            decodings: AtomicU32::new(0),
            fallbacks: AtomicU32::new(0),
            encoder_began: AtomicI64::new(-1),
            encode_us: AtomicI64::new(0),
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            windows: self.windows.load(Relaxed),
            windows_with_text: self.windows_with_text.load(Relaxed),
            fallbacks: self.fallbacks.load(Relaxed),
            encode_us: self.encode_us.load(Relaxed),
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn encoder_begins(&self) {
        self.windows.fetch_add(1, Relaxed);
        self.window_has_text.store(false, Relaxed);
        self.decodings.store(0, Relaxed);
        self.encoder_began.store(self.now(), Relaxed);
    }

    fn encoder_may_have_ended(&self) {
        let began = self.encoder_began.swap(-1, Relaxed);
        if began >= 0 {
            self.encode_us.fetch_add(self.now() - began, Relaxed);
        }
    }

    fn decoding_begins(&self) {
        if self.decodings.fetch_add(1, Relaxed) > 0 {
            self.fallbacks.fetch_add(1, Relaxed);
        }
    }

    /// Ends the work with an error of its own.
    fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.abort.ask();
    }

    fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn send(&self, event: Event) {
        if matches!(event, Event::Segment(_)) && !self.window_has_text.swap(true, Relaxed) {
            self.windows_with_text.fetch_add(1, Relaxed);
        }
        // Nobody listens any more once the call was given up.
        let _ = self.events.send(event);
    }
}

/// Runs the body of a callback. A panic ends the work: nothing may unwind into C++.
fn called_back<T>(data: *mut c_void, on_panic: T, body: impl FnOnce(&Hooks) -> T) -> T {
    // SAFETY: every callback is given the hooks of its transcription, which outlive it.
    let hooks = unsafe { &*data.cast::<Hooks>() };
    catch_unwind(AssertUnwindSafe(|| body(hooks))).unwrap_or_else(|_| {
        hooks.fail(Error::panic("a callback of whisper.cpp panicked"));
        on_panic
    })
}

unsafe extern "C" fn on_encoder_begin(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    data: *mut c_void,
) -> bool {
    called_back(data, false, |hooks| {
        hooks.encoder_begins();
        !hooks.abort.is_asked()
    })
}

/// Asked after every pass of the encoder and of the decoder.
unsafe extern "C" fn on_abort(data: *mut c_void) -> bool {
    called_back(data, true, |hooks| {
        hooks.encoder_may_have_ended();
        hooks.abort.is_asked()
    })
}

unsafe extern "C" fn on_progress(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    percent: c_int,
    data: *mut c_void,
) {
    called_back(data, (), |hooks| hooks.send(Event::Progress(percent as f32 / 100.0)));
}

unsafe extern "C" fn on_segments(
    _: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    new: c_int,
    data: *mut c_void,
) {
    called_back(data, (), |hooks| {
        // SAFETY: whisper.cpp hands out the live state that it works on.
        let total = unsafe { sys::whisper_full_n_segments_from_state(state) };
        for index in (total - new).max(0)..total {
            // SAFETY: the index is below the number of segments.
            hooks.send(Event::Segment(unsafe { read_segment(state, index) }));
        }
    });
}

unsafe extern "C" fn on_logits(
    _: *mut sys::whisper_context,
    _: *mut sys::whisper_state,
    tokens: *const sys::whisper_token_data,
    count: c_int,
    logits: *mut f32,
    data: *mut c_void,
) {
    called_back(data, (), |hooks| {
        if count == 0 {
            hooks.decoding_begins();
        }
        // SAFETY: so many tokens were chosen so far, and plain numbers.
        let tokens = (0..usize::try_from(count).unwrap_or(0)).map(|index| unsafe { (*tokens.add(index)).id });
        let tokens: Vec<i32> = tokens.collect();
        // SAFETY: there is a logit for every token of the vocabulary; nobody else has them during the call.
        let logits = unsafe { std::slice::from_raw_parts_mut(logits, hooks.tokens) };
        let outcome = hooks.filter.apply(&tokens, logits, &|| hooks.abort.is_asked());
        outcome.unwrap_or_else(|error| hooks.fail(error));
    });
}

/// # Safety
/// `state` is live and has more than `index` segments.
unsafe fn read_segment(state: *mut sys::whisper_state, index: c_int) -> Segment {
    // SAFETY: the caller's word; tokens are read below their number; the text ends with NUL and is copied at once.
    unsafe {
        let text = CStr::from_ptr(sys::whisper_full_get_segment_text_from_state(state, index));
        let tokens = (0..sys::whisper_full_n_tokens_from_state(state, index)).map(|token| {
            let data = sys::whisper_full_get_token_data_from_state(state, index, token);
            Token { id: data.id, logprob: data.plog, t0: data.t0, t1: data.t1 }
        });
        Segment {
            t0: sys::whisper_full_get_segment_t0_from_state(state, index),
            t1: sys::whisper_full_get_segment_t1_from_state(state, index),
            text: text.to_bytes().to_vec(),
            no_speech: sys::whisper_full_get_segment_no_speech_prob_from_state(state, index),
            tokens: tokens.collect(),
        }
    }
}

/// The rule that whisper.cpp follows in place of a request's grammar: any code point but one, and then the same. It has
/// one way to go on, so that whisper.cpp keeps one stack.
fn any_text_without(bar: u32) -> [sys::whisper_grammar_element; 3] {
    let element = |type_, value| sys::whisper_grammar_element { type_, value };
    [
        element(sys::whisper_gretype_WHISPER_GRETYPE_CHAR_NOT, bar),
        element(sys::whisper_gretype_WHISPER_GRETYPE_RULE_REF, 0),
        element(sys::whisper_gretype_WHISPER_GRETYPE_END, 0),
    ]
}

/// The engine's parameters, which point into `decoding` and to `hooks`.
fn parameters(decoding: &Decoding, hooks: &Hooks) -> sys::whisper_full_params {
    let strategy = if decoding.is_beam_search() {
        sys::whisper_sampling_strategy_WHISPER_SAMPLING_BEAM_SEARCH
    } else {
        sys::whisper_sampling_strategy_WHISPER_SAMPLING_GREEDY
    };
    // SAFETY: makes a struct of plain values.
    let mut params = unsafe { sys::whisper_full_default_params(strategy) };
    params.n_threads = decoding.threads;
    params.n_max_text_ctx = decoding.max_context;
    params.offset_ms = decoding.offset_ms;
    params.duration_ms = decoding.duration_ms;
    params.translate = decoding.translate;
    params.no_timestamps = decoding.no_timestamps;
    params.print_progress = false;
    params.token_timestamps = decoding.token_times;
    params.thold_pt = decoding.word_thold;
    params.max_len = decoding.max_len;
    params.split_on_word = decoding.split_on_word;
    params.audio_ctx = decoding.audio_ctx;
    params.prompt_tokens = if decoding.prompt.is_empty() { std::ptr::null() } else { decoding.prompt.as_ptr() };
    params.prompt_n_tokens = decoding.prompt.len() as c_int;
    params.carry_initial_prompt = decoding.carry_initial_prompt;
    params.language = decoding.language.as_ptr();
    params.suppress_nst = decoding.suppress_nst;
    params.temperature = decoding.temperature;
    params.temperature_inc = decoding.temperature_inc;
    params.entropy_thold = decoding.entropy_thold;
    params.logprob_thold = decoding.logprob_thold;
    params.max_initial_ts = FIRST_TIMESTAMP_S;
    params.no_speech_thold = decoding.no_speech_thold;
    params.greedy.best_of = decoding.best_of;
    params.beam_search.beam_size = decoding.beam_size;
    let data = std::ptr::from_ref(hooks).cast_mut().cast::<c_void>();
    params.new_segment_callback = Some(on_segments);
    params.new_segment_callback_user_data = data;
    params.progress_callback = Some(on_progress);
    params.progress_callback_user_data = data;
    params.encoder_begin_callback = Some(on_encoder_begin);
    params.encoder_begin_callback_user_data = data;
    params.abort_callback = Some(on_abort);
    params.abort_callback_user_data = data;
    params.logits_filter_callback = Some(on_logits);
    params.logits_filter_callback_user_data = data;
    params
}

/// When speech counts as speech.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpeechOptions {
    /// Least probability of speech.
    pub threshold: f32,
    /// Shorter stretches of speech are dropped.
    pub min_speech_ms: i32,
    /// Shorter silences do not end a stretch.
    pub min_silence_ms: i32,
    /// Longer stretches are split.
    pub max_speech_s: f32,
    /// Added before and after a stretch.
    pub pad_ms: i32,
}

/// A Silero model with its working memory: finds speech.
pub struct SpeechDetector {
    raw: NonNull<sys::whisper_vad_context>,
    abort: Abort,
}

// SAFETY: a detector is used by one thread at a time, which `&mut self` sees to, and is tied to none.
unsafe impl Send for SpeechDetector {}

impl SpeechDetector {
    /// Loads a model that the pre-check accepted. It computes with one thread: its graphs are so small that a second
    /// one only waits.
    pub fn open(mut bytes: &[u8]) -> Result<Self> {
        let abort = Abort::default();
        let size = bytes.len() as u64;
        // SAFETY: the loader and its source live during the call; the flag outlives the detector, which holds it.
        let raw = load(&mut bytes, size, &mut |_| (), |loader, fault| unsafe {
            tenon_whisper_vad_open(loader, Some(asked_to_abort), abort.pointer(), fault)
        })?;
        let raw = raw.ok_or_else(|| Error::model("whisper.cpp refuses the VAD model; its reason is in the log"))?;
        Ok(Self { raw, abort })
    }

    /// Makes ready for work, which the answer ends from another thread.
    pub fn arm(&self) -> Abort {
        self.abort.clear();
        self.abort.clone()
    }

    /// Start and end of each stretch of speech, in hundredths of a second.
    pub fn speech(&mut self, samples: &[f32], options: &SpeechOptions) -> Result<Vec<(i64, i64)>> {
        let count = i32::try_from(samples.len()).map_err(|_| Error::audio("the audio is too long for one window"))?;
        let params = sys::whisper_vad_params {
            threshold: options.threshold,
            min_speech_duration_ms: options.min_speech_ms,
            min_silence_duration_ms: options.min_silence_ms,
            max_speech_duration_s: options.max_speech_s,
            speech_pad_ms: options.pad_ms,
            // Only whisper.cpp's own cutting of samples looks at it.
            samples_overlap: 0.0,
        };
        WORKING.set(Some(self.abort.clone()));
        // SAFETY: the detector is live; `count` samples are there.
        let segments = guarded(|fault| unsafe {
            tenon_whisper_vad_segments(self.raw.as_ptr(), &params, samples.as_ptr(), count, fault)
        })?;
        if segments.is_null() {
            return Err(Error::backend("whisper.cpp: detecting speech failed"));
        }
        // SAFETY: the list is live until it is freed, once; indices are below its length.
        let speech = unsafe {
            let count = sys::whisper_vad_segments_n_segments(segments);
            let time = |value: f32| value as i64;
            let speech = (0..count).map(|index| {
                let start = sys::whisper_vad_segments_get_segment_t0(segments, index);
                let end = sys::whisper_vad_segments_get_segment_t1(segments, index);
                (time(start), time(end))
            });
            let speech = speech.collect();
            sys::whisper_vad_free_segments(segments);
            speech
        };
        // A detector that was stopped gives silence for the rest.
        if self.abort.is_asked() { Err(Error::cancelled()) } else { Ok(speech) }
    }
}

impl Drop for SpeechDetector {
    fn drop(&mut self) {
        // SAFETY: the pointer is this value's own.
        let closed = guarded(|fault| unsafe { tenon_whisper_vad_close(self.raw.as_ptr(), fault) });
        closed.unwrap_or_else(log::error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_assertion_of_ggml_is_an_error_and_not_the_end() {
        set_up().unwrap();
        // SAFETY: takes nothing but the fault.
        let error = guarded(|fault| unsafe { tenon_whisper_fail_an_assertion(fault) }).unwrap_err();
        assert!(error.message().contains("a test asked for a failed assertion"), "{error}");
    }

    #[test]
    fn this_build_computes_on_the_cpu_alone() {
        assert!(gpus().is_empty());
    }
}
