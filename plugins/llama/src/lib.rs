//! The llama backend: text generation, chat and embeddings with llama.cpp, as a Tenon plugin.
//!
//! `native` and `shim.cpp` own everything of llama.cpp; `model` checks files before it sees them and holds what sessions
//! share; `estimate` says what memory they will take; `generate` and `embed` are the tasks; `sampling` chooses tokens. Templates, grammars, schemas and stop texts
//! are in the crate `tenon-llama-text`, the check of model files in `tenon-precheck`. `docs/llama.md` tells the rest.

mod embed;
mod estimate;
mod generate;
mod model;
mod native;
mod options;
mod sampling;

use model::Loaded;
use tenon_plugin::{Backend, CAP_CONCURRENT_SESSIONS, Call, ModelFile, Result};
use tenon_tasks::{Description, Device, EmbedOptions, FileRole, MemoryEstimate, TaskDescription, schema_of, task};

struct Llama;

impl Backend for Llama {
    const ID: &'static str = "llama";
    const CAPS: u32 = CAP_CONCURRENT_SESSIONS;
    type Model = Loaded;

    fn start() -> Result<Self> {
        native::start()?;
        Ok(Self)
    }

    fn build_info() -> String {
        format!("llama.cpp {}; {}", native::version(), native::system_info())
    }

    fn describe(&self) -> Description {
        let task = |name: &str, schema| TaskDescription { task: name.to_owned(), schema };
        Description {
            summary: "text generation, chat and embeddings with llama.cpp".to_owned(),
            engine: format!("llama.cpp {}", native::version()),
            tasks: vec![
                task(task::GENERATE, schema_of::<options::PromptOptions>()),
                task(task::CHAT, schema_of::<options::ChatOptions>()),
                task(task::EMBED, schema_of::<EmbedOptions>()),
            ],
            load_schema: schema_of::<options::LoadOptions>(),
            files: vec![FileRole { role: "model".to_owned(), required: true, many: true }],
            audio: None,
            devices: devices(),
        }
    }

    fn open(&self, call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<Loaded> {
        Loaded::open(call, files, options)
    }

    fn estimate(&self, _call: &Call, files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        model::estimate(files, options)
    }
}

fn devices() -> Vec<Device> {
    let device = |device: llama_cpp_2::LlamaBackendDevice| Device {
        name: device.name.to_lowercase(),
        description: device.description,
        memory_total: device.memory_total as u64,
        memory_free: device.memory_free as u64,
    };
    llama_cpp_2::list_llama_ggml_backend_devices().into_iter().map(device).collect()
}

tenon_plugin::export_backend!(Llama);
