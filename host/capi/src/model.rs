//! Models.

use crate::boundary::{c_text, free, out, run, text, value};
use crate::engine::{Owner, Progress, TENON_PHASE_LOAD, TENON_PHASE_VERIFY, fraction, tenon_engine, tenon_progress_fn};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::options::{self, tenon_options};
use host::{CancelToken, Load, LoadProgress, Model};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::sync::{Mutex, PoisonError};
use tenon_abi::Status;

/// A loaded model. Weights are shared by all of its sessions. May be used by several threads at once.
pub struct tenon_model {
    _opaque: [u8; 0],
}

/// A model in C's hands, with the texts that were asked for: they stay as long as it does.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    texts: Mutex<HashMap<String, Option<CString>>>,
}

impl Object for Loaded {
    const KIND: Kind = Kind::Model;
    type Handle = tenon_model;
}

impl Loaded {
    fn info(&self, key: &str) -> Option<*const c_char> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if !texts.contains_key(key) {
            let text = info(&self.model, key)?;
            texts.insert(key.to_owned(), Some(c_text(&text)));
        }
        // The text lies on the heap, so growing the map does not move it.
        texts.get(key)?.as_ref().map(|text| text.as_ptr())
    }
}

fn info(model: &Model, key: &str) -> Option<String> {
    let (manifest, backend) = (model.manifest(), model.backend());
    Some(match key {
        "name" => model.name().to_owned(),
        "task" => model.task().to_owned(),
        "description" => manifest.description.clone().unwrap_or_default(),
        "license" => manifest.license.clone(),
        "manifest" => manifest.path().display().to_string(),
        "presets" => manifest.presets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" "),
        "size" => manifest.size().to_string(),
        "backend" => backend.id().to_owned(),
        "backend_version" => backend.version().to_owned(),
        "engine" => backend.description().engine.clone(),
        "isolation" => model.provenance().isolation.to_owned(),
        "sandbox" => model.provenance().sandbox.clone()?,
        "tasks" => backend.description().tasks.iter().map(|task| task.task.as_str()).collect::<Vec<_>>().join(" "),
        "sample_rate" => backend.description().audio?.rate.to_string(),
        "load_options" => serde_json::to_string(&backend.description().load_schema).ok()?,
        "provenance" => serde_json::to_string(model.provenance()).ok()?,
        _ => {
            let task = key.strip_prefix("options:")?;
            let task = backend.description().tasks.iter().find(|offered| offered.task == task)?;
            serde_json::to_string(&task.schema).ok()?
        }
    })
}

/// Verifies the files of a model by SHA-256, loads its plugin, and loads the model. `name` is that of its manifest;
/// `load_options` and `progress` may be NULL. Waits until it is done; `progress` can cancel. Free the model with
/// `tenon_model_free`. Every status; `TENON_E_NOT_FOUND` where there is no such manifest or file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_model_load(
    engine: *mut tenon_engine,
    name: *const c_char,
    load_options: *const tenon_options,
    progress: tenon_progress_fn,
    data: *mut c_void,
    model: *mut *mut tenon_model,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(model, std::ptr::null_mut(), "model");
        run(error, || {
            let place = place?;
            let (name, options) = (text(name, "name")?, options::optional(load_options)?);
            let engine = handle::get::<Owner>(engine)?;
            let load = match Progress::new(progress, data) {
                Some(progress) => telling(engine.new_load(), progress),
                None => engine.new_load(),
            };
            let model = engine.0.load(name, load.options(options))?;
            *place = handle::put(Loaded { model, texts: Mutex::default() })?;
            Ok(())
        })
    }
}

/// A load that tells how far it is, and ends when it is told to.
fn telling(load: Load, progress: Progress) -> Load {
    let token = CancelToken::new();
    let stop = token.clone();
    let hears = move |how_far: LoadProgress| {
        let go_on = match how_far {
            LoadProgress::Verify { done, total } => progress.tell(TENON_PHASE_VERIFY, fraction(done, total)),
            LoadProgress::Open(fraction) => progress.tell(TENON_PHASE_LOAD, fraction),
            _ => true,
        };
        if !go_on {
            stop.cancel();
        }
    };
    load.cancel(token).progress(hears)
}

/// What is known of a model: "name", "task", "description", "license", "manifest" (path), "presets" and "tasks"
/// (separated by spaces), "size" (bytes of its files), "backend", "backend_version", "engine" (the engine inside the
/// backend), "isolation" (process or worker), "sandbox" (full, partial or none, of a worker), "sample_rate" (of the
/// audio that it takes), "provenance" (JSON), "load_options" (JSON Schema) and
/// "options:TASK" (JSON Schema of the options of a task). NULL for another key, and where a model has no such thing.
/// Valid until the model is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_model_info(model: *const tenon_model, key: *const c_char) -> *const c_char {
    value(std::ptr::null(), || {
        // SAFETY: the header says that texts are NULL or NUL-terminated.
        let key = unsafe { text(key, "key") }.ok()?;
        handle::get::<Loaded>(model).ok()?.info(key)
    })
}

/// Frees a model. NULL does nothing. Its sessions go on; the weights are freed with the last of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_model_free(model: *mut tenon_model) {
    free::<Loaded>(model, |_| {});
}
