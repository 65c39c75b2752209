//! The calls: each function of the library once, with the arguments that a caller makes of its input.
//!
//! `tenon_engine_pull` is left out, which opens connections.

use super::caller::{Caller, Kind, folder, free, holds, text_of};
use libtenon::*;
use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

/// Manifests of models that the echo backend runs, and one that is none.
const MANIFESTS: &[&CStr] = &[
    c"name = \"parrot\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n[preset.default]\ntemperature = 0\n",
    c"name = \"talker\"\ntask = \"transcribe\"\nbackend = \"echo\"\nlicense = \"MIT\"\n[preset.words]\nwords = true\n",
    c"name = \"mapper\"\ntask = \"embed\"\nbackend = \"echo\"\nlicense = \"MIT\"\n",
    c"name = \"big\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n[load]\nmemory_mb = 900000000\n",
    c"name = \"lost\"\ntask = \"chat\"\nbackend = \"nobody\"\nlicense = \"MIT\"\n",
    c"name = ",
];

/// Names of options: none that would make echo wait.
const NAMES: &[&CStr] = &[
    c"temperature",
    c"max_tokens",
    c"stop",
    c"words",
    c"tokens",
    c"language",
    c"prompt",
    c"threads",
    c"normalize",
    c"seed",
    c"grammar",
    c"json_schema",
    c"memory_mb",
    c"",
];

/// JSON for options.
const VALUES: &[&CStr] =
    &[c"1", c"5.0", c"-1", c"1e400", c"true", c"null", c"\"de\"", c"[\"a\",\"b\"]", c"{\"a\":[]}", c"[", c""];

/// Names of models.
const MODELS: &[&CStr] = &[c"parrot", c"talker", c"mapper", c"big", c"lost", c"nobody"];

/// Tasks.
const TASKS: &[&CStr] = &[c"chat", c"generate", c"transcribe", c"translate", c"detect-language", c"embed", c"dance"];

/// Paths at which there is nothing to read.
const PATHS: &[&CStr] = &[c"/nonexistent", c"/dev/null", c"", c".", c"/"];

/// The entry of the echo backend, without its types.
unsafe extern "C" fn entry(host: *const c_void, plugin: *mut *const c_void) -> i32 {
    // SAFETY: the engine calls it as the contract says.
    unsafe { echo_entry(host.cast(), plugin.cast()) }
}

unsafe extern "C" {
    #[link_name = "tenon_plugin_entry_v1"]
    fn echo_entry(host: *const tenon_abi::Host, plugin: *mut *const tenon_abi::Plugin) -> i32;
}

/// Goes on until it is told not to.
unsafe extern "C-unwind" fn progress(data: *mut c_void, phase: i32, fraction: f32) -> i32 {
    holds((1..=3).contains(&phase) && (0.0..=1.0).contains(&fraction), || format!("phase {phase} at {fraction}"));
    i32::from(!data.is_null())
}

unsafe extern "C-unwind" fn wakeup(_data: *mut c_void) {}

impl Caller<'_> {
    /// An engine with the echo backend, a model, and sessions of it: what most calls need.
    pub fn begin(&mut self) {
        let knobs = self.bytes.u8();
        if knobs == 0 {
            return;
        }
        self.engine_new();
        // SAFETY: the entry keeps the contract; any value is allowed as a handle.
        unsafe {
            let engine = self.handle_of_last(Kind::Engine);
            tenon_engine_register_plugin(engine, Some(entry), null_mut());
            let mut handles = (null_mut(), null_mut(), null_mut());
            for (index, manifest) in MANIFESTS[..3].iter().enumerate() {
                tenon_engine_add_manifest_text(engine, manifest.as_ptr(), null(), null_mut());
                if knobs >> index & 1 == 1 {
                    tenon_model_load(
                        engine,
                        MODELS[index].as_ptr(),
                        null(),
                        None,
                        null_mut(),
                        &mut handles.0,
                        null_mut(),
                    );
                    tenon_session_new(handles.0, &mut handles.1, null_mut());
                    tenon_request_new(TASKS[[0, 2, 5][index]].as_ptr(), &mut handles.2, null_mut());
                    tenon_request_add_text(handles.2, c"user".as_ptr(), c"say it again".as_ptr(), null_mut());
                    self.keep(Kind::Model, handles.0);
                    self.keep(Kind::Session, handles.1);
                    self.keep(Kind::Request, handles.2);
                }
            }
        }
    }

    fn handle_of_last<T>(&mut self, kind: Kind) -> *mut T {
        let input = std::mem::replace(&mut self.bytes, crate::bytes::Bytes(&[]));
        let handle = self.handle(kind);
        self.bytes = input;
        handle
    }

    /// One call.
    pub fn step(&mut self) {
        self.forget();
        match self.bytes.u8() % 8 {
            0 => self.on_engine(),
            1 => self.on_options(),
            2 | 3 => self.on_request(),
            4 => self.on_session(),
            5 => self.on_stream(),
            6 => self.on_result(),
            _ => self.on_tables_and_errors(),
        }
    }

    /// Makes an engine that looks nowhere but into its own folder.
    fn engine_new(&mut self) {
        let place = |name: &str| CString::new(folder().join(name).as_os_str().as_bytes()).unwrap_or_default();
        let (store, state) = (self.kept(place("store")), self.kept(place("state")));
        let options = tenon_engine_options {
            struct_size: size_of::<tenon_engine_options>() as u32,
            flags: TENON_ENGINE_ONLY_NAMED_PLACES,
            verify: 0,
            threads: 1,
            patience_us: 0,
            manifest_dirs: null(),
            plugin_dirs: null(),
            model_dirs: null(),
            store_dir: store,
            state_dir: state,
            log: None,
            log_data: null_mut(),
            log_level: 0,
            reserved: 0,
            lock_file: null(),
            worker_program: null(),
            worker_grace_us: 0,
        };
        let mut engine = null_mut();
        let error = self.error();
        // SAFETY: all pointers are to what they should be.
        let status = unsafe { tenon_engine_new(&options, &mut engine, error) };
        self.gives(Kind::Engine, status, engine);
    }

    fn on_engine(&mut self) {
        let which = self.bytes.u8() % 12;
        if which == 0 {
            return self.engine_new();
        }
        let engine = self.handle(Kind::Engine);
        // SAFETY: texts are NULL or end, places are NULL or have room; any value is allowed as a handle.
        unsafe {
            let status = match which {
                1 => tenon_engine_add_manifest(engine, self.text_of(PATHS), self.error()),
                2 | 3 => tenon_engine_add_manifest_text(engine, self.text_of(MANIFESTS), self.text(), self.error()),
                4 => tenon_engine_load_plugin(engine, self.text_of(PATHS), self.text(), self.error()),
                5 => {
                    let function: tenon_entry_fn = if self.bytes.u8() < 8 { None } else { Some(entry) };
                    tenon_engine_register_plugin(engine, function, self.error())
                }
                6 => return self.models(engine),
                7 => {
                    let stop = self.stop();
                    let mode = self.bytes.u8();
                    tenon_model_verify(
                        engine,
                        self.text_of(MODELS),
                        i32::from(mode % 5) - 1,
                        Some(progress),
                        stop,
                        self.error(),
                    )
                }
                8 => tenon_engine_shutdown(engine, i64::from(self.bytes.u8()) - 1, self.error()),
                9 => return self.estimate(engine),
                10 => return free(Kind::Engine as usize, engine.cast()),
                _ => return self.model(engine),
            };
            self.judge(status);
        }
    }

    /// What makes a progress function stop, or not.
    fn stop(&mut self) -> *mut c_void {
        if self.bytes.u8() < 32 { std::ptr::without_provenance_mut(1) } else { null_mut() }
    }

    fn models(&mut self, engine: *mut tenon_engine) {
        let mut table = null_mut();
        // SAFETY: as in `on_engine`.
        let status = unsafe {
            match self.bytes.u8() % 2 {
                0 => tenon_engine_models(engine, &mut table, self.error()),
                _ => tenon_engine_plugins(engine, &mut table, self.error()),
            }
        };
        self.gives(Kind::Table, status, table);
    }

    fn estimate(&mut self, engine: *mut tenon_engine) {
        let (name, options, sessions) = (self.text_of(MODELS), self.handle(Kind::Options), self.bytes.u32());
        let mut table = null_mut();
        // SAFETY: as in `on_engine`.
        unsafe {
            let room = self.room();
            let status = tenon_engine_estimate(engine, name, options, sessions, room, &mut table, self.error());
            if self.judge(status) {
                self.keep(Kind::Table, table);
            } else {
                holds(table.is_null(), || format!("a table with status {status}"));
            }
        }
    }

    fn model(&mut self, engine: *mut tenon_engine) {
        let mut model = null_mut();
        let (name, options, stop) = (self.text_of(MODELS), self.handle(Kind::Options), self.stop());
        let function: tenon_progress_fn = if self.bytes.u8() < 128 { None } else { Some(progress) };
        // SAFETY: as in `on_engine`.
        unsafe {
            let status = tenon_model_load(engine, name, options, function, stop, &mut model, self.error());
            self.gives(Kind::Model, status, model);
        }
    }

    fn on_options(&mut self) {
        let which = self.bytes.u8() % 8;
        // SAFETY: as in `on_engine`.
        unsafe {
            if which == 0 {
                let mut options = null_mut();
                let status = tenon_options_new(&mut options, self.error());
                return self.gives(Kind::Options, status, options);
            }
            let (options, name) = (self.handle(Kind::Options), self.text_of(NAMES));
            let status = match which {
                1 => tenon_options_set_string(options, name, self.text(), self.error()),
                2 => {
                    let number = f64::from(f32::from_bits(self.bytes.u32()));
                    tenon_options_set_number(options, name, number, self.error())
                }
                3 => tenon_options_set_integer(
                    options,
                    name,
                    i64::from(self.bytes.u32()) << (self.bytes.u8() % 32),
                    self.error(),
                ),
                4 => tenon_options_set_bool(options, name, self.bytes.u8().into(), self.error()),
                5 | 6 => tenon_options_set_json(options, name, self.text_of(VALUES), self.error()),
                _ => return free(Kind::Options as usize, options.cast()),
            };
            self.judge(status);
        }
    }

    fn on_request(&mut self) {
        let which = self.bytes.u8() % 14;
        // SAFETY: as in `on_engine`; arrays have the sizes that are said, or are NULL.
        unsafe {
            if which == 0 {
                let mut request = null_mut();
                let status = tenon_request_new(self.text_of(TASKS), &mut request, self.error());
                return self.gives(Kind::Request, status, request);
            }
            let request = self.handle(Kind::Request);
            let status = match which {
                1 | 2 => tenon_request_add_text(request, self.text(), self.text(), self.error()),
                3 => {
                    let count = usize::from(self.bytes.u8());
                    let text = self.bytes.take(count);
                    let text = if count == 255 { &[] } else { text };
                    tenon_request_add_text_n(request, self.text(), text.as_ptr().cast(), text.len(), self.error())
                }
                4 | 5 => {
                    let samples = self.samples();
                    let (rate, channels) = self.format();
                    let frames = samples.len() / channels.max(1) as usize;
                    tenon_request_add_audio(request, samples.as_ptr(), frames, rate, channels, self.error())
                }
                6 => {
                    let samples: Vec<i16> = self.samples().into_iter().map(|sample| sample as i16).collect();
                    let (rate, channels) = self.format();
                    let frames = samples.len() / channels.max(1) as usize;
                    tenon_request_add_audio_i16(request, samples.as_ptr(), frames, rate, channels, self.error())
                }
                7 => tenon_request_add_audio_file(request, self.text_of(PATHS), self.error()),
                8 => {
                    let count = usize::from(self.bytes.u16());
                    let bytes = self.bytes.take(count);
                    tenon_request_add_audio_bytes(request, bytes.as_ptr(), bytes.len(), self.error())
                }
                9 => tenon_request_add_live_audio(request, self.error()),
                10 => tenon_request_set_options(request, self.handle::<tenon_options>(Kind::Options), self.error()),
                11 => tenon_request_set_preset(request, self.text_of(&[c"default", c"words", c"loud"]), self.error()),
                12 => {
                    let after = i64::from(self.bytes.u16()) * 16 - 16;
                    tenon_request_set_deadline(request, after, self.error())
                }
                _ => return free(Kind::Request as usize, request.cast()),
            };
            self.judge(status);
        }
    }

    /// Samples: of the input's own bits, or many that are the same.
    fn samples(&mut self) -> Vec<f32> {
        let count = usize::from(self.bytes.u8());
        match count {
            0..=63 => (0..count).map(|_| f32::from_bits(self.bytes.u32())).collect(),
            _ => vec![f32::from_bits(self.bytes.u32()); count * 256],
        }
    }

    /// A rate and a number of channels.
    fn format(&mut self) -> (u32, u32) {
        match self.bytes.u8() {
            choice @ 0..=199 => ([16_000, 8_000, 44_100, 48_000][usize::from(choice % 4)], u32::from(choice / 4 % 3)),
            _ => (self.bytes.u32(), self.bytes.u8().into()),
        }
    }

    fn on_session(&mut self) {
        let which = self.bytes.u8() % 8;
        // SAFETY: as in `on_engine`.
        unsafe {
            if which == 0 {
                let (model, mut session) = (self.handle::<tenon_model>(Kind::Model), null_mut());
                let status = tenon_session_new(model, &mut session, self.error());
                return self.gives(Kind::Session, status, session);
            }
            let session = self.handle::<tenon_session>(Kind::Session);
            let status = match which {
                1..=3 => {
                    let (request, mut result) = (self.handle::<tenon_request>(Kind::Request), null_mut());
                    let status = tenon_run(session, request, &mut result, self.error());
                    return self.gives(Kind::Result, status, result);
                }
                4 => tenon_session_cancel(session, self.error()),
                5 => tenon_session_reset(session, self.error()),
                6 => return self.info(),
                _ => return free(Kind::Session as usize, session.cast()),
            };
            self.judge(status);
        }
    }

    fn info(&mut self) {
        let model = self.handle::<tenon_model>(Kind::Model);
        // SAFETY: as in `on_engine`.
        unsafe {
            if self.bytes.u8() < 16 {
                return tenon_model_free(model);
            }
            text_of(tenon_model_info(model, self.text()));
        }
    }

    fn on_stream(&mut self) {
        let which = self.bytes.u8() % 14;
        // SAFETY: as in `on_engine` and `on_request`.
        unsafe {
            if which <= 1 {
                let (session, request) =
                    (self.handle::<tenon_session>(Kind::Session), self.handle::<tenon_request>(Kind::Request));
                let mut stream = null_mut();
                let status = tenon_stream_start(session, request, &mut stream, self.error());
                return self.gives(Kind::Stream, status, stream);
            }
            let stream = self.handle::<tenon_stream>(Kind::Stream);
            let status = match which {
                2..=5 => return self.event(stream),
                6 => {
                    let samples = self.samples();
                    let (rate, channels) = self.format();
                    let frames = samples.len() / channels.max(1) as usize;
                    tenon_stream_push_audio(stream, samples.as_ptr(), frames, rate, channels, self.error())
                }
                7 => {
                    let samples: Vec<i16> = self.samples().into_iter().map(|sample| sample as i16).collect();
                    let (rate, channels) = self.format();
                    let frames = samples.len() / channels.max(1) as usize;
                    tenon_stream_push_audio_i16(stream, samples.as_ptr(), frames, rate, channels, self.error())
                }
                8 => tenon_stream_finish_input(stream, self.error()),
                9 => {
                    let function: tenon_wakeup_fn = if self.bytes.u8() < 64 { None } else { Some(wakeup) };
                    tenon_stream_set_wakeup(stream, function, null_mut(), self.error())
                }
                10 => {
                    let mut descriptor = -7;
                    let status = tenon_stream_descriptor(stream, &mut descriptor, self.error());
                    holds((descriptor >= 0) == (status == 0), || format!("descriptor {descriptor} with {status}"));
                    status
                }
                11 => tenon_stream_cancel(stream, self.error()),
                12 => {
                    let mut result = null_mut();
                    let status = tenon_stream_result(stream, &mut result, self.error());
                    return self.gives(Kind::Result, status, result);
                }
                _ => {
                    tenon_stream_is_ready(stream);
                    return free(Kind::Stream as usize, stream.cast());
                }
            };
            self.judge(status);
        }
    }

    /// The next event; waits two milliseconds at most.
    fn event(&mut self, stream: *mut tenon_stream) {
        let timeout = i64::from(self.bytes.u8()) * 8;
        // SAFETY: as in `on_engine`; the room has the size that it says, or says one that is refused.
        unsafe {
            let event = self.room::<tenon_event>();
            let whole = self.room.0[..4] == (size_of::<tenon_event>() as u32).to_ne_bytes();
            let status = tenon_stream_next(stream, timeout, event, self.error());
            if self.judge_wait(status, &[tenon_abi::status::E_TIMEOUT, tenon_abi::status::E_END])
                && whole
                && !event.is_null()
            {
                let event = event.read();
                holds((1..=7).contains(&event.kind), || format!("an event of kind {}", event.kind));
                let (text, json) = (text_of(event.text), text_of(event.json));
                holds(text.len() <= event.text_size * 3 && !json.contains('\0'), || text.to_owned());
                holds(event.values.is_null() == (event.value_count == 0), || format!("{} values", event.value_count));
            }
        }
    }

    fn on_result(&mut self) {
        let which = self.bytes.u8() % 9;
        let result = self.handle::<tenon_result>(Kind::Result);
        // SAFETY: as in `on_engine`.
        unsafe {
            let status = match which {
                0 | 1 => {
                    let (text, size) = (text_of(tenon_result_text(result)), tenon_result_text_size(result));
                    holds(text.len() >= size && text.len() <= size * 3, || format!("{size} bytes of {text:?}"));
                    text_of(tenon_result_json(result));
                    text_of(tenon_result_info(result, self.text()));
                    return;
                }
                2 => {
                    let count = tenon_result_segment_count(result);
                    let index = usize::from(self.bytes.u8());
                    let status = tenon_result_segment(result, index, self.room(), self.error());
                    holds(status != 0 || index < count, || format!("segment {index} of {count}"));
                    status
                }
                3 => {
                    let (segment, index) = (self.bytes.u8().into(), self.bytes.u8().into());
                    tenon_result_word(result, segment, index, self.room(), self.error())
                }
                4 => {
                    let (count, index) = (tenon_result_embedding_count(result), usize::from(self.bytes.u8() % 8));
                    let (mut values, mut size) = (null(), 0);
                    let status = tenon_result_embedding(result, index, &mut values, &mut size, self.error());
                    holds(status != 0 || index < count, || format!("status {status} of vector {index} of {count}"));
                    holds(values.is_null() == (size == 0), || format!("{size} values"));
                    status
                }
                5 | 6 => {
                    let mut table = null_mut();
                    let status = match which {
                        5 => tenon_result_tokens(result, &mut table, self.error()),
                        _ => tenon_result_notes(result, &mut table, self.error()),
                    };
                    return self.gives(Kind::Table, status, table);
                }
                7 => tenon_result_usage(result, self.room(), self.error()),
                _ => return free(Kind::Result as usize, result.cast()),
            };
            self.judge(status);
        }
    }

    fn on_tables_and_errors(&mut self) {
        let which = self.bytes.u8() % 6;
        // SAFETY: as in `on_engine`.
        unsafe {
            match which {
                0 | 1 => {
                    let table = self.handle::<tenon_table>(Kind::Table);
                    let (rows, columns) = (tenon_table_rows(table), tenon_table_columns(table));
                    let (row, column) = (usize::from(self.bytes.u8()), usize::from(self.bytes.u8()));
                    let name = tenon_table_column(table, column);
                    holds(name.is_null() == (column >= columns), || format!("column {column} of {columns}"));
                    let cell = tenon_table_get(table, row, name);
                    holds(cell.is_null() == (row >= rows || name.is_null()), || format!("row {row} of {rows}"));
                    text_of(cell);
                    text_of(tenon_table_get(table, row, self.text()));
                }
                2 => {
                    let error = self.handle::<tenon_error>(Kind::Error);
                    text_of(tenon_error_message(error));
                    text_of(tenon_error_detail(error, self.text()));
                    text_of(tenon_status_name(tenon_error_status(error)));
                }
                3 => {
                    let (status, version) = (tenon_status_name(self.bytes.u32().cast_signed()), tenon_version_string());
                    holds(text_of(status).starts_with("TENON_") && !text_of(version).is_empty(), String::new);
                    holds(tenon_version() > 0, String::new);
                }
                _ => {
                    let kind = usize::from(self.bytes.u8() % 9);
                    let handle = self.handle::<c_void>([Kind::Error, Kind::Table, Kind::Options][kind % 3]);
                    free(kind, handle);
                }
            }
        }
    }
}
