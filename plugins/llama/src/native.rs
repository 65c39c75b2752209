//! The thin layer over llama.cpp: owns models, contexts, thread pools and grammars. All `unsafe` of this plugin is here.
//!
//! It stands on `llama-cpp-sys-2` rather than on the safe layer of `llama-cpp-2`, which hides the abort callback, the
//! thread pool and loading from several files, and lets no pointer out. Calls that can throw or assert go through
//! `shim.cpp`. After an error a [`Context`] is poisoned and refuses to go on; its owner makes another.

#![allow(unsafe_code)]

use llama_cpp_sys_2 as sys;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use tenon_plugin::{CancelProbe, Error, Result, log};

/// A token's number in the vocabulary.
pub type Token = sys::llama_token;

unsafe extern "C" {
    fn tenon_llama_install();
    fn tenon_llama_model_load(
        paths: *mut *const c_char,
        count: usize,
        params: *const sys::llama_model_params,
        out: *mut *mut sys::llama_model,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_context_new(
        model: *mut sys::llama_model,
        params: *const sys::llama_context_params,
        out: *mut *mut sys::llama_context,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_pool_new(
        params: *mut sys::ggml_threadpool_params,
        out: *mut *mut sys::ggml_threadpool,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_compute(
        context: *mut sys::llama_context,
        batch: *const sys::llama_batch,
        encode: bool,
        result: *mut i32,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_forget(
        context: *mut sys::llama_context,
        from: i32,
        removed: *mut bool,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_logits(
        context: *mut sys::llama_context,
        row: i32,
        out: *mut *mut f32,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_pooled(
        context: *mut sys::llama_context,
        out: *mut *mut f32,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_tokenize(
        vocab: *const sys::llama_vocab,
        text: *const c_char,
        length: i32,
        tokens: *mut Token,
        room: i32,
        add_special: bool,
        parse_special: bool,
        count: *mut i32,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_piece(
        vocab: *const sys::llama_vocab,
        token: Token,
        text: *mut c_char,
        room: i32,
        special: bool,
        length: *mut i32,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_schema(
        schema: *const c_char,
        grammar: *mut *mut c_char,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_grammar_new(
        vocab: *const sys::llama_vocab,
        grammar: *const c_char,
        out: *mut *mut sys::llama_sampler,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_grammar_apply(
        grammar: *mut sys::llama_sampler,
        candidates: *mut sys::llama_token_data_array,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn tenon_llama_grammar_accept(
        grammar: *mut sys::llama_sampler,
        token: Token,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
}

/// Runs a guarded call of the shim and turns what it caught into an error.
fn guarded(what: &str, call: impl FnOnce(*mut c_char, usize) -> i32) -> Result<()> {
    let mut message = [0_u8; 1024];
    let status = call(message.as_mut_ptr().cast(), message.len());
    if status == 0 {
        return Ok(());
    }
    let words = CStr::from_bytes_until_nul(&message).map(CStr::to_string_lossy).unwrap_or_default();
    Err(match status {
        2 => Error::backend(format!("llama.cpp gave up while {what}: {words}")).detail("native", words),
        3 => Error::out_of_memory(format!("memory is not enough for {what}")),
        _ => Error::backend(format!("llama.cpp failed while {what}: {words}")).detail("native", words),
    })
}

thread_local! {
    /// The line of the log that is not yet whole, and its level.
    static LINE: RefCell<(sys::ggml_log_level, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
    /// The first error that llama.cpp logged on this thread since this was emptied: it gives its reasons nowhere else.
    static REASON: RefCell<String> = const { RefCell::new(String::new()) };
    /// What tells whether the computation of this thread was cancelled, while there is one.
    static COMPUTING: Cell<Option<CancelProbe>> = const { Cell::new(None) };
    /// A context is being made on this thread.
    static MAKING: Cell<bool> = const { Cell::new(false) };
}

/// Sets the process up, once: assertions, log, ggml's tables.
pub fn start() -> Result<()> {
    // SAFETY: sets a static function pointer of ggml.
    unsafe { tenon_llama_install() };
    // SAFETY: the callback keeps the contract of `ggml_log_callback` and needs no user data.
    unsafe { sys::llama_log_set(Some(on_log), null_mut()) };
    let backend = llama_cpp_2::llama_backend::LlamaBackend::init()
        .map_err(|error| Error::internal(format!("llama.cpp was set up before: {error}")))?;
    // It stays up until the process ends: the library is never unloaded.
    std::mem::forget(backend);
    Ok(())
}

/// Version of the bundled llama.cpp.
pub fn version() -> String {
    // SAFETY: returns a static, NUL-terminated text.
    unsafe { CStr::from_ptr(sys::llama_version()) }.to_string_lossy().into_owned()
}

/// The CPU features that it was compiled for and found.
pub fn system_info() -> String {
    // SAFETY: returns a NUL-terminated text of the library; called once, while the plugin is loaded.
    unsafe { CStr::from_ptr(sys::llama_print_system_info()) }.to_string_lossy().trim().to_owned()
}

/// Collects llama.cpp's log into lines and hands them to the host.
unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a NUL-terminated text that is valid during the call.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    // A panic must not reach C++; a lost line of the log is no harm.
    let _ = catch_unwind(AssertUnwindSafe(|| LINE.with_borrow_mut(|(last, line)| collect(level, text, last, line))));
}

fn collect(level: sys::ggml_log_level, text: &[u8], last: &mut sys::ggml_log_level, line: &mut Vec<u8>) {
    if level != sys::GGML_LOG_LEVEL_CONT {
        *last = level;
    }
    for part in text.split_inclusive(|&byte| byte == b'\n') {
        line.extend_from_slice(part);
        if part.ends_with(b"\n") {
            write_line(*last, line.trim_ascii());
            line.clear();
        }
    }
}

fn write_line(level: sys::ggml_log_level, line: &[u8]) {
    // It knows no other end of a computation than success and failure, so it calls one that was cancelled an error.
    let cancelled = COMPUTING.get().is_some_and(|probe| probe.is_cancelled());
    // What llama.cpp calls information is some hundred lines a load.
    let level = match level {
        _ if cancelled => log::Level::Debug,
        sys::GGML_LOG_LEVEL_ERROR => log::Level::Error,
        // It warns of every choice that differs from the file's or its own, such as the pooling of embeddings.
        sys::GGML_LOG_LEVEL_WARN if MAKING.get() => log::Level::Debug,
        sys::GGML_LOG_LEVEL_WARN => log::Level::Warning,
        _ => log::Level::Debug,
    };
    if level == log::Level::Error {
        REASON.with_borrow_mut(|reason| {
            if reason.is_empty() {
                *reason = String::from_utf8_lossy(line).into_owned();
            }
        });
    }
    if !line.is_empty() && log::enabled(level) {
        log::write_bytes(level, String::from_utf8_lossy(line).as_bytes());
    }
}

/// What llama.cpp logged as an error on this thread, for a message.
fn reason() -> String {
    match REASON.take() {
        words if words.is_empty() => "llama.cpp gave no reason".to_owned(),
        words => words,
    }
}

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelSettings {
    /// Map the file instead of reading it.
    pub mmap: bool,
}

/// Weights and vocabulary. Read-only once loaded, so threads share it.
#[derive(Debug)]
pub struct Model {
    raw: NonNull<sys::llama_model>,
    vocab: NonNull<sys::llama_vocab>,
}

// SAFETY: llama.cpp changes nothing of a model after loading it; contexts hold what changes.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the loader, and every context holds an `Arc` of this model.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) };
    }
}

/// Calls the function behind `data`; the loader goes on while it answers true.
unsafe extern "C" fn on_progress(fraction: f32, data: *mut c_void) -> bool {
    // SAFETY: `Model::load` passes a pointer to this type that lives as long as the load.
    let report = unsafe { &*data.cast::<&dyn Fn(f32) -> bool>() };
    catch_unwind(AssertUnwindSafe(|| report(fraction))).unwrap_or(false)
}

impl Model {
    /// Loads a model from its file or its shards in order. `report` is told the progress, 0 to 1, and ends the load by
    /// answering false.
    pub fn load(paths: &[&Path], settings: ModelSettings, report: &dyn Fn(f32) -> bool) -> Result<Self> {
        let paths = paths.iter().map(|path| c_text(path.as_os_str().as_encoded_bytes())).collect::<Result<Vec<_>>>()?;
        let mut pointers: Vec<*const c_char> = paths.iter().map(|path| path.as_ptr()).collect();
        // SAFETY: returns plain values.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = 0;
        params.load_mode = if settings.mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = std::ptr::from_ref(&report).cast_mut().cast();
        REASON.take();
        let mut raw = null_mut();
        guarded("loading the model", |message, capacity| {
            // SAFETY: paths, parameters and the callback's data outlive the call.
            unsafe {
                tenon_llama_model_load(pointers.as_mut_ptr(), pointers.len(), &params, &mut raw, message, capacity)
            }
        })
        .map_err(|error| match error.status() == Error::backend("").status() {
            true => Error::model(error.message()),
            false => error,
        })?;
        let raw =
            NonNull::new(raw).ok_or_else(|| Error::model(format!("llama.cpp cannot load the model: {}", reason())))?;
        // SAFETY: a loaded model has a vocabulary, which lives as long as the model.
        let vocab = unsafe { sys::llama_model_get_vocab(raw.as_ptr()) };
        let vocab = NonNull::new(vocab.cast_mut()).ok_or_else(|| Error::model("the model has no vocabulary"))?;
        Ok(Self { raw, vocab })
    }

    /// A text of the file's metadata.
    pub fn metadata(&self, key: &str) -> Option<String> {
        let key = c_text(key.as_bytes()).ok()?;
        // SAFETY: with no room the function only tells the length.
        let length = unsafe { sys::llama_model_meta_val_str(self.raw.as_ptr(), key.as_ptr(), null_mut(), 0) };
        let room = usize::try_from(length).ok()?.checked_add(1)?;
        let mut text = vec![0_u8; room];
        // SAFETY: the buffer has the room that is told.
        unsafe { sys::llama_model_meta_val_str(self.raw.as_ptr(), key.as_ptr(), text.as_mut_ptr().cast(), room) };
        text.pop();
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// The context length that it was trained with.
    pub fn trained_context(&self) -> u32 {
        // SAFETY: reads a number of the model.
        unsafe { sys::llama_model_n_ctx_train(self.raw.as_ptr()) }.try_into().unwrap_or(0)
    }

    /// Values of an embedding.
    pub fn embedding_width(&self) -> usize {
        // SAFETY: reads a number of the model.
        unsafe { sys::llama_model_n_embd_out(self.raw.as_ptr()) }.try_into().unwrap_or(0)
    }

    /// Bytes of its weights.
    fn bytes(&self) -> u64 {
        // SAFETY: reads a number of the model.
        unsafe { sys::llama_model_size(self.raw.as_ptr()) }
    }

    /// It has an encoder, and whether it has a decoder too.
    pub fn parts(&self) -> (bool, bool) {
        // SAFETY: reads flags of the model.
        unsafe { (sys::llama_model_has_encoder(self.raw.as_ptr()), sys::llama_model_has_decoder(self.raw.as_ptr())) }
    }

    /// The end of its memory can be taken away and written again: no recurrent state, no sliding window.
    pub fn can_rewind(&self) -> bool {
        let raw = self.raw.as_ptr();
        // SAFETY: reads flags and a number of the model.
        unsafe {
            !sys::llama_model_is_recurrent(raw) && !sys::llama_model_is_hybrid(raw) && sys::llama_model_n_swa(raw) == 0
        }
    }

    /// It writes by denoising and not token by token.
    pub fn is_diffusion(&self) -> bool {
        // SAFETY: reads a flag of the model.
        unsafe { sys::llama_model_is_diffusion(self.raw.as_ptr()) }
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        self.vocab.as_ptr()
    }

    /// Number of tokens of the vocabulary; 0 without one.
    pub fn tokens(&self) -> usize {
        // SAFETY: reads a number of the vocabulary.
        unsafe { sys::llama_vocab_n_tokens(self.vocab()) }.try_into().unwrap_or(0)
    }

    /// There is a vocabulary, so that text can be read and written.
    pub fn has_vocabulary(&self) -> bool {
        // SAFETY: reads a number of the vocabulary.
        unsafe { sys::llama_vocab_type(self.vocab()) != sys::LLAMA_VOCAB_TYPE_NONE }
    }

    /// The token if it is one of this vocabulary: others make llama.cpp throw.
    fn known(&self, token: Token) -> Option<Token> {
        usize::try_from(token).is_ok_and(|index| index < self.tokens()).then_some(token)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<Token> {
        // SAFETY: reads a number of the vocabulary.
        self.known(unsafe { sys::llama_vocab_bos(self.vocab()) })
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<Token> {
        // SAFETY: reads a number of the vocabulary.
        self.known(unsafe { sys::llama_vocab_eos(self.vocab()) })
    }

    /// Texts begin with the token of [`Self::bos`].
    pub fn adds_bos(&self) -> bool {
        // SAFETY: reads a flag of the vocabulary.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab()) }
    }

    /// A token that ends an answer.
    pub fn ends(&self, token: Token) -> bool {
        // SAFETY: the token was found to be in range.
        self.known(token).is_some_and(|token| unsafe { sys::llama_vocab_is_eog(self.vocab(), token) })
    }

    /// Tokens that the model must never write.
    pub fn suppressed(&self) -> Vec<Token> {
        let mut count = 0;
        // SAFETY: returns an array of the vocabulary and writes its length.
        let tokens = unsafe { sys::llama_vocab_get_suppress_tokens(self.vocab(), &mut count) };
        match usize::try_from(count) {
            // SAFETY: the array lives as long as the vocabulary and has `count` tokens.
            Ok(count @ 1..) if !tokens.is_null() => unsafe { std::slice::from_raw_parts(tokens, count) }.to_vec(),
            _ => Vec::new(),
        }
    }

    /// The tokens that are read as control tokens only where that is asked for, and that have no text in an answer.
    pub fn controls(&self) -> Vec<Token> {
        // llama.cpp asserts that there is a vocabulary.
        let count = if self.has_vocabulary() { self.tokens() as Token } else { 0 };
        let control = |token: &Token| {
            // SAFETY: the token is in range.
            let attributes = unsafe { sys::llama_vocab_get_attr(self.vocab(), *token) };
            attributes & (sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN) != 0
        };
        (0..count).filter(control).collect()
    }

    /// Texts of these tokens.
    pub fn control_texts(&self) -> Vec<String> {
        self.controls().into_iter().filter_map(|token| self.text(token)).collect()
    }

    /// A token as it stands in the vocabulary.
    pub fn text(&self, token: Token) -> Option<String> {
        let token = self.known(token).filter(|_| self.has_vocabulary())?;
        // SAFETY: the token is in range; the text is NUL-terminated and lives as long as the vocabulary.
        let text = unsafe { CStr::from_ptr(sys::llama_vocab_get_text(self.vocab(), token)) };
        Some(text.to_string_lossy().into_owned())
    }

    /// Tokens of a text. `special` adds what the vocabulary puts around a text, `control` reads control tokens.
    pub fn tokenize(&self, text: &str, special: bool, control: bool) -> Result<Vec<Token>> {
        let length = i32::try_from(text.len()).ok().filter(|&length| length < i32::MAX / 4);
        let length = length.ok_or_else(|| Error::invalid_argument("the text is too long"))?;
        let mut tokens = vec![0; text.len() + 8];
        loop {
            let mut count = 0;
            let room = tokens.len() as i32;
            guarded("reading the text", |message, capacity| {
                // SAFETY: text and buffer have the lengths that are told.
                unsafe {
                    let out = tokens.as_mut_ptr();
                    let text = text.as_ptr().cast();
                    tenon_llama_tokenize(
                        self.vocab(),
                        text,
                        length,
                        out,
                        room,
                        special,
                        control,
                        &mut count,
                        message,
                        capacity,
                    )
                }
            })?;
            match usize::try_from(count) {
                Ok(count) => {
                    tokens.truncate(count);
                    return Ok(tokens);
                }
                Err(_) if count == i32::MIN => return Err(Error::invalid_argument("the text is too long")),
                Err(_) => tokens.resize(count.unsigned_abs() as usize, 0),
            }
        }
    }

    /// The bytes of a token; a control token has none unless `special`.
    pub fn piece(&self, token: Token, special: bool) -> Result<Vec<u8>> {
        let token = self.known(token).ok_or_else(|| Error::internal(format!("there is no token {token}")))?;
        let mut bytes = vec![0_u8; 32];
        loop {
            let mut length = 0;
            let room = bytes.len() as i32;
            guarded("writing a token", |message, capacity| {
                // SAFETY: the buffer has the room that is told.
                unsafe {
                    let out = bytes.as_mut_ptr().cast();
                    tenon_llama_piece(self.vocab(), token, out, room, special, &mut length, message, capacity)
                }
            })?;
            match usize::try_from(length) {
                Ok(length) => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                Err(_) => bytes.resize(length.unsigned_abs() as usize, 0),
            }
        }
    }
}

fn c_text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid_argument("a text holds a NUL character"))
}

/// How to make a context.
#[derive(Clone, Copy, Debug)]
pub struct ContextSettings {
    /// Tokens that it holds.
    pub size: u32,
    /// Most tokens of one call.
    pub batch: u32,
    /// Tokens that are computed together.
    pub ubatch: u32,
    /// Threads to compute with.
    pub threads: u32,
    /// `LLAMA_FLASH_ATTN_TYPE_*`.
    pub flash_attention: sys::llama_flash_attn_type,
    /// `GGML_TYPE_*` of keys and values.
    pub memory_type: sys::ggml_type,
    /// Gives one vector for a text, pooled so (`LLAMA_POOLING_TYPE_*`), instead of tokens.
    pub pooling: Option<sys::llama_pooling_type>,
}

/// Weights times tokens that are worth a thread. With less, threads wait for one another at ggml's barriers longer than
/// they compute; on a busy machine a small model with two threads was 10 to 100 times slower than with one.
const WORK_OF_A_THREAD: u64 = 16 << 20;

/// Threads that wait asleep between two steps.
#[derive(Debug)]
struct Pool {
    raw: NonNull<sys::ggml_threadpool>,
    threads: u32,
}

impl Pool {
    fn new(threads: u32) -> Result<Self> {
        // SAFETY: returns plain values.
        let mut params = unsafe { sys::ggml_threadpool_params_default(threads as i32) };
        // Spinning between steps takes the core from whoever has work.
        params.poll = 0;
        let none = || Error::out_of_memory(format!("{threads} threads to compute with cannot be started"));
        let mut raw = null_mut();
        guarded("starting threads", |message, capacity| {
            // SAFETY: the parameters are read during the call.
            unsafe { tenon_llama_pool_new(&mut params, &mut raw, message, capacity) }
        })
        // The assertion is that every thread could be started.
        .map_err(|_| none())?;
        NonNull::new(raw).map(|raw| Self { raw, threads }).ok_or_else(none)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: no context uses the pool any more: `Context` detaches it first.
        unsafe { sys::ggml_threadpool_free(self.raw.as_ptr()) };
    }
}

/// How a computation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The tokens are in the memory.
    Done,
    /// It was cancelled; the memory is as it was before.
    Cancelled,
}

/// One sequence of tokens on a model: its memory, compute buffers and threads.
#[derive(Debug)]
pub struct Context {
    raw: NonNull<sys::llama_context>,
    model: Arc<Model>,
    pool: Pool,
    batch: Batch,
    /// Threads that the next step computes with.
    threads: u32,
    /// What the abort callback asks; on the heap because llama.cpp keeps its address.
    probe: Box<Option<CancelProbe>>,
    poisoned: bool,
}

// SAFETY: a context is used by one thread at a time (`&mut`), and llama.cpp ties it to none.
unsafe impl Send for Context {}

/// The arrays of a `llama_batch`.
#[derive(Debug, Default)]
struct Batch {
    tokens: Vec<Token>,
    positions: Vec<i32>,
    counts: Vec<i32>,
    sequences: Vec<*mut i32>,
    outputs: Vec<i8>,
    /// The one sequence that all tokens belong to.
    sequence: Box<i32>,
}

impl Batch {
    fn fill(&mut self, tokens: &[Token], start: usize, every_output: bool) -> sys::llama_batch {
        let count = tokens.len();
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        self.positions.clear();
        self.positions.extend((start..start + count).map(|position| position as i32));
        self.counts.clear();
        self.counts.resize(count, 1);
        self.sequences.clear();
        self.sequences.resize(count, &mut *self.sequence);
        self.outputs.clear();
        self.outputs.resize(count, i8::from(every_output));
        if let Some(last) = self.outputs.last_mut() {
            *last = 1;
        }
        sys::llama_batch {
            n_tokens: count as i32,
            token: self.tokens.as_mut_ptr(),
            embd: null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.sequences.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}

/// Asked by ggml between the nodes of a graph.
unsafe extern "C" fn on_abort_poll(data: *mut c_void) -> bool {
    // SAFETY: the context passes the address of its probe, which lives on the heap as long as the context and is not
    // changed while a computation runs.
    let probe = unsafe { &*data.cast::<Option<CancelProbe>>() };
    catch_unwind(AssertUnwindSafe(|| probe.is_some_and(|probe| probe.is_cancelled()))).unwrap_or(true)
}

impl Context {
    /// Makes a context with its own threads.
    pub fn new(model: &Arc<Model>, settings: ContextSettings) -> Result<Self> {
        let pool = Pool::new(settings.threads)?;
        let mut probe = Box::new(None);
        // SAFETY: returns plain values.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = settings.size;
        params.n_batch = settings.batch.max(settings.ubatch);
        params.n_ubatch = settings.ubatch;
        params.n_seq_max = 1;
        params.n_threads = settings.threads as i32;
        params.n_threads_batch = settings.threads as i32;
        params.flash_attn_type = settings.flash_attention;
        params.type_k = settings.memory_type;
        params.type_v = settings.memory_type;
        params.no_perf = true;
        params.abort_callback = Some(on_abort_poll);
        params.abort_callback_data = std::ptr::from_mut(&mut *probe).cast();
        if let Some(pooling) = settings.pooling {
            params.embeddings = true;
            params.pooling_type = pooling;
        }
        REASON.take();
        let mut raw = null_mut();
        MAKING.set(true);
        let outcome = guarded("making a context", |message, capacity| {
            // SAFETY: the model is held by the context that comes of it; the parameters are read during the call.
            unsafe { tenon_llama_context_new(model.raw.as_ptr(), &params, &mut raw, message, capacity) }
        });
        MAKING.set(false);
        outcome?;
        let raw = NonNull::new(raw).ok_or_else(|| {
            Error::backend(format!("llama.cpp cannot make a context of {} tokens: {}", settings.size, reason()))
        })?;
        // SAFETY: the pool lives as long as the context, which is detached before the pool is freed.
        unsafe { sys::llama_attach_threadpool(raw.as_ptr(), pool.raw.as_ptr(), pool.raw.as_ptr()) };
        Ok(Self {
            raw,
            model: model.clone(),
            pool,
            batch: Batch::default(),
            threads: settings.threads,
            probe,
            poisoned: false,
        })
    }

    /// It met an error and must be replaced.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Computes with up to so many threads from now on.
    pub fn set_threads(&mut self, threads: u32) -> Result<()> {
        if threads == self.pool.threads {
            return Ok(());
        }
        let pool = Pool::new(threads)?;
        // SAFETY: no computation runs (`&mut`), and the new pool takes the place of the old one before that is freed.
        unsafe { sys::llama_attach_threadpool(self.raw.as_ptr(), pool.raw.as_ptr(), pool.raw.as_ptr()) };
        self.pool = pool;
        Ok(())
    }

    /// Uses as many threads for a step of so many tokens as are worth their barriers.
    fn share_work(&mut self, tokens: usize) {
        let worth = self.model.bytes().saturating_mul(tokens as u64) / WORK_OF_A_THREAD;
        let threads = u32::try_from(worth).unwrap_or(u32::MAX).clamp(1, self.pool.threads);
        if threads != self.threads {
            self.threads = threads;
            // SAFETY: no computation runs (`&mut`), and the pool has that many threads.
            unsafe { sys::llama_set_n_threads(self.raw.as_ptr(), threads as i32, threads as i32) };
        }
    }

    /// Computes `tokens`, no more than a batch, which stand from position `start` on. The last one's output is kept,
    /// or with `every_output` all.
    pub fn compute(&mut self, tokens: &[Token], start: usize, every_output: bool, probe: CancelProbe) -> Result<Step> {
        if self.poisoned {
            return Err(Error::internal("a context was used after an error"));
        }
        if tokens.iter().any(|&token| self.model.known(token).is_none()) {
            return Err(Error::internal("a token is not of this vocabulary"));
        }
        self.share_work(tokens.len());
        let encode = self.model.parts() == (true, false);
        let batch = self.batch.fill(tokens, start, every_output);
        *self.probe = Some(probe);
        REASON.take();
        COMPUTING.set(Some(probe));
        let mut result = 0;
        let outcome = guarded("computing", |message, capacity| {
            // SAFETY: the batch's arrays have `n_tokens` entries and outlive the call.
            unsafe { tenon_llama_compute(self.raw.as_ptr(), &batch, encode, &mut result, message, capacity) }
        });
        *self.probe = None;
        COMPUTING.set(None);
        // Whether it was cancelled or not: an exception may have left anything behind.
        self.poisoned = outcome.is_err();
        match (outcome, result) {
            (Ok(()), 0) => Ok(Step::Done),
            (Err(_), _) if probe.is_cancelled() => Ok(Step::Cancelled),
            (Err(error), _) => Err(error),
            _ if probe.is_cancelled() => {
                self.forget(start)?;
                Ok(Step::Cancelled)
            }
            (Ok(()), code) => {
                self.poisoned = true;
                Err(Error::backend(format!("llama.cpp cannot compute (code {code}): {}", reason())))
            }
        }
    }

    /// Takes everything from position `from` on out of the memory. False when the memory had to be emptied for it.
    pub fn forget(&mut self, from: usize) -> Result<bool> {
        let mut removed = false;
        let outcome = guarded("clearing the memory", |message, capacity| {
            // SAFETY: the context is not computing.
            unsafe { tenon_llama_forget(self.raw.as_ptr(), from as i32, &mut removed, message, capacity) }
        });
        self.poisoned |= outcome.is_err();
        outcome.map(|()| removed)
    }

    /// The scores of the vocabulary after the last token.
    pub fn logits(&mut self) -> Result<&[f32]> {
        let mut logits = null_mut();
        guarded("reading the output", |message, capacity| {
            // SAFETY: −1 is the last output.
            unsafe { tenon_llama_logits(self.raw.as_ptr(), -1, &mut logits, message, capacity) }
        })?;
        self.output(logits, self.model.tokens())
    }

    /// The pooled vector of the text that was computed.
    pub fn pooled(&mut self) -> Result<&[f32]> {
        let mut values = null_mut();
        guarded("reading the output", |message, capacity| {
            // SAFETY: the context is not computing.
            unsafe { tenon_llama_pooled(self.raw.as_ptr(), &mut values, message, capacity) }
        })?;
        self.output(values, self.model.embedding_width())
    }

    fn output(&mut self, values: *mut f32, count: usize) -> Result<&[f32]> {
        if values.is_null() || count == 0 {
            return Err(Error::backend("llama.cpp gave no output"));
        }
        // SAFETY: llama.cpp's output row has that many values and lives until the next computation (`&mut self`).
        Ok(unsafe { std::slice::from_raw_parts(values, count) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor; the pool is freed after it, the model later still.
        unsafe {
            sys::llama_detach_threadpool(self.raw.as_ptr());
            sys::llama_free(self.raw.as_ptr());
        }
    }
}

/// The grammar that llama.cpp makes of a JSON Schema. To be called on a large stack.
pub fn schema_grammar(schema: &str) -> Result<String> {
    let schema = c_text(schema.as_bytes())?;
    let mut grammar = null_mut();
    guarded("reading the JSON Schema", |message, capacity| {
        // SAFETY: the schema is NUL-terminated.
        unsafe { tenon_llama_schema(schema.as_ptr(), &mut grammar, message, capacity) }
    })?;
    if grammar.is_null() {
        return Err(Error::options("the JSON Schema cannot be made into a grammar"));
    }
    // SAFETY: the wrapper returns a NUL-terminated text that is ours to free.
    let text = unsafe { CStr::from_ptr(grammar) }.to_string_lossy().into_owned();
    // SAFETY: as above; it is not used again.
    unsafe { sys::llama_rs_string_free(grammar) };
    Ok(text)
}

/// A compiled grammar and how far the answer has got in it.
#[derive(Debug)]
pub struct Grammar {
    raw: NonNull<sys::llama_sampler>,
    // It reads the model's vocabulary.
    _model: Arc<Model>,
}

// SAFETY: a grammar is used by one thread at a time (`&mut`), and llama.cpp ties it to none.
unsafe impl Send for Grammar {}

impl Grammar {
    /// Compiles a grammar that [`tenon_llama_text::check_grammar`] has passed. To be called on a large stack.
    pub fn new(model: &Arc<Model>, grammar: &str) -> Result<Self> {
        let grammar = c_text(grammar.as_bytes())?;
        REASON.take();
        let mut raw = null_mut();
        guarded("reading the grammar", |message, capacity| {
            // SAFETY: the vocabulary is held by the grammar that comes of it; the text is NUL-terminated.
            unsafe { tenon_llama_grammar_new(model.vocab(), grammar.as_ptr(), &mut raw, message, capacity) }
        })?;
        let raw =
            NonNull::new(raw).ok_or_else(|| Error::options(format!("llama.cpp refuses the grammar: {}", reason())))?;
        Ok(Self { raw, _model: model.clone() })
    }

    /// Sets the score of every candidate that the grammar does not allow here to −∞.
    pub fn apply(&mut self, candidates: &mut [sys::llama_token_data]) -> Result<()> {
        let data = candidates.as_mut_ptr();
        let mut array = sys::llama_token_data_array { data, size: candidates.len(), selected: -1, sorted: false };
        guarded("applying the grammar", |message, capacity| {
            // SAFETY: the array borrows the candidates with their true number; a grammar only changes scores.
            unsafe { tenon_llama_grammar_apply(self.raw.as_ptr(), &mut array, message, capacity) }
        })
    }

    /// Takes the token as written.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        guarded("following the grammar", |message, capacity| {
            // SAFETY: the token came out of the candidates.
            unsafe { tenon_llama_grammar_accept(self.raw.as_ptr(), token, message, capacity) }
        })
    }
}

impl Drop for Grammar {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the constructor and no chain took it over.
        unsafe { sys::llama_sampler_free(self.raw.as_ptr()) };
    }
}
