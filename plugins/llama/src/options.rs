//! The backend's options: the common ones and llama.cpp's own.

use crate::native::ModelSettings;
use llama_cpp_sys_2 as sys;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tenon_plugin::{Error, Result};
use tenon_tasks::GenerateOptions;

/// Context that a model gets when none is asked for, if it was trained with as much: more costs memory and time.
pub const DEFAULT_CONTEXT: u32 = 4096;

/// Choice of the attention kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// Where the model allows it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Number format of a session's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemoryType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    #[default]
    F16,
    /// 8 bits and a scale for 32 numbers; needs flash attention.
    #[serde(rename = "q8_0")]
    Q8,
}

/// What of a session's memory the next request may use again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PrefixReuse {
    /// Whole steps of the prompt: the answer is that of a fresh session, bit for bit.
    #[default]
    Exact,
    /// Everything that the two have in common. Faster; numbers may differ in their last digits from a fresh session.
    Full,
    /// Nothing.
    Off,
}

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadOptions {
    /// Tokens that a session holds, prompt and answer; by default what the model was trained with, up to 4096.
    #[schemars(range(min = 16, max = 1048576))]
    pub context_size: Option<u32>,
    /// Most tokens of a prompt that are handed to the engine at once.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_size: u32,
    /// Tokens that are computed together; fewer need less memory, more are faster on long prompts.
    #[schemars(range(min = 1, max = 65536))]
    pub ubatch_size: u32,
    /// Threads to compute with; by default what the host's thread budget grants.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
    /// Use the flash attention kernel.
    pub flash_attn: FlashAttention,
    /// Map the model file into memory instead of reading it.
    pub mmap: bool,
    /// Number format of a session's memory of its tokens.
    pub kv_type: MemoryType,
    /// What a session's next request may use again of the last one.
    pub prefix_reuse: PrefixReuse,
    /// Layers to compute on a GPU. This build computes on the CPU: anything but 0 is refused.
    #[schemars(range(min = 0, max = 1024))]
    pub gpu_layers: u32,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            context_size: None,
            batch_size: 2048,
            ubatch_size: 512,
            threads: None,
            flash_attn: FlashAttention::Auto,
            mmap: true,
            kv_type: MemoryType::F16,
            prefix_reuse: PrefixReuse::Exact,
            gpu_layers: 0,
        }
    }
}

impl LoadOptions {
    /// Refuses what this build cannot do.
    pub fn check(&self) -> Result<()> {
        if self.gpu_layers > 0 {
            let message = "this build of the llama backend computes on the CPU only; leave `gpu_layers` at 0";
            return Err(Error::unsupported(message));
        }
        if self.kv_type == MemoryType::Q8 && self.flash_attn == FlashAttention::Off {
            return Err(Error::options("`kv_type` q8_0 needs flash attention; leave `flash_attn` at auto or on"));
        }
        Ok(())
    }

    /// Tokens of a session's context for a model trained with `trained` tokens.
    pub fn context(&self, trained: u32) -> Result<u32> {
        match self.context_size {
            None => Ok(trained.min(DEFAULT_CONTEXT)),
            Some(size) if size <= trained => Ok(size),
            Some(size) => {
                let message = format!("`context_size` is {size}, but the model was trained with {trained} tokens");
                Err(Error::options(message).detail("context_size", size).detail("trained", trained))
            }
        }
    }

    /// Tokens of one step of the engine.
    pub fn step(&self) -> u32 {
        self.ubatch_size.min(self.batch_size)
    }

    /// How to load the weights.
    pub fn model(&self) -> ModelSettings {
        ModelSettings { mmap: self.mmap }
    }

    /// As llama.cpp numbers it.
    pub fn attention(&self) -> sys::llama_flash_attn_type {
        match self.flash_attn {
            FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
            FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
            FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        }
    }

    /// As ggml numbers it.
    pub fn memory_type(&self) -> sys::ggml_type {
        match self.kv_type {
            MemoryType::F32 => sys::GGML_TYPE_F32,
            MemoryType::F16 => sys::GGML_TYPE_F16,
            MemoryType::Q8 => sys::GGML_TYPE_Q8_0,
        }
    }
}

/// How to generate text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TextOptions {
    /// What every text backend understands.
    #[serde(flatten)]
    pub common: GenerateOptions,
    /// Keep the tokens whose information is nearest to what is expected, up to this probability; 1 keeps all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub typical_p: f64,
    /// Keep tokens within so many standard deviations of the most likely one; 0 keeps all.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub top_n_sigma: f64,
    /// Mirostat sampling in place of the other filters: 0 is off, 1 and 2 are its versions.
    #[schemars(range(min = 0, max = 2))]
    pub mirostat: u32,
    /// Surprise that Mirostat aims at.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub mirostat_tau: f64,
    /// How fast Mirostat learns.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mirostat_eta: f64,
    /// Never end the answer by itself; needs `max_tokens` or `stop`, or the context ends it.
    pub ignore_eos: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            common: GenerateOptions::default(),
            typical_p: 1.0,
            top_n_sigma: 0.0,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            ignore_eos: false,
        }
    }
}

impl TextOptions {
    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<()> {
        // As the engine gets it: the least numbers above 0 are 0 there.
        if self.common.repeat_penalty as f32 <= 0.0 {
            return Err(Error::options("`repeat_penalty` must be more than 0; 1 does nothing"));
        }
        if self.common.grammar.is_some() && self.common.json_schema.is_some() {
            return Err(Error::options("`grammar` and `json_schema` exclude each other; give one"));
        }
        if self.ignore_eos && (self.common.grammar.is_some() || self.common.json_schema.is_some()) {
            return Err(Error::options(
                "`ignore_eos` cannot be had with a grammar, which decides where the answer ends",
            ));
        }
        Ok(())
    }
}

/// How to continue a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PromptOptions {
    /// How to generate.
    #[serde(flatten)]
    pub text: TextOptions,
    /// Begin with the token that begins a text; by default as the model says.
    pub add_bos: Option<bool>,
    /// Read control tokens such as `<|im_start|>` in the prompt as such.
    pub special: bool,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { text: TextOptions::default(), add_bos: None, special: true }
    }
}

/// How to answer a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChatOptions {
    /// How to generate.
    #[serde(flatten)]
    pub text: TextOptions,
    /// Further variables of the model's chat template, such as {"enable_thinking": false}.
    pub template_arguments: Map<String, Value>,
}
