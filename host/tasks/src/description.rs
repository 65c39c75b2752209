//! How a backend describes itself: the document named `backend` that `describe` emits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a backend is and can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// One line on what it is.
    pub summary: String,
    /// The engine inside, with its version: `whisper.cpp 1.8.3`.
    pub engine: String,
    /// The tasks that it offers.
    pub tasks: Vec<TaskDescription>,
    /// JSON Schema of the load options: an object.
    pub load_schema: Value,
    /// The files that a model of this backend is made of.
    pub files: Vec<FileRole>,
    /// The audio that it wants, if it takes audio.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub audio: Option<AudioFormat>,
    /// The devices that it sees.
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// A task that a backend offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDescription {
    /// Name of the task.
    pub task: String,
    /// JSON Schema of its options: an object.
    pub schema: Value,
}

/// A file that a model is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRole {
    /// Name of the role: `model`, `vad`, `tokenizer`.
    pub role: String,
    /// A model without it cannot be opened.
    pub required: bool,
    /// More than one file may have this role, such as the shards of a model.
    #[serde(default)]
    pub many: bool,
}

/// The audio that a backend wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AudioFormat {
    /// Samples per second, mono.
    pub rate: u32,
}

/// A device that a backend can compute on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Name to choose it by: `cpu`, `cuda0`.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Memory in bytes, 0 when unknown.
    #[serde(default)]
    pub memory_total: u64,
    /// Free memory in bytes, 0 when unknown.
    #[serde(default)]
    pub memory_free: u64,
}
