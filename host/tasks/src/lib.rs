//! What can be asked of a Tenon model and what it answers.
//!
//! Option structs stand here once; their schemas, command-line flags, documentation and checks are made from them.
//! A backend with knobs of its own flattens the common struct into its own and exports *that* schema. The host never
//! parses options into these structs: it holds a sparse [`Options`] document and checks it against the [`Schema`]
//! that the backend exported.
//!
//! ```
//! use tenon_tasks::{GenerateOptions, Options, Schema, schema_of};
//!
//! let schema = Schema::from_json(&schema_of::<GenerateOptions>()).unwrap();
//! let mut asked = Options::new();
//! asked.set("temperatur", 0.5);
//! let problems = schema.check(&asked).unwrap_err();
//! assert_eq!(problems[0].to_string(), r#"unknown option "temperatur" (did you mean "temperature"?)"#);
//! ```

#![forbid(unsafe_code)]

mod answer;
mod description;
mod embed;
mod estimate;
mod generate;
mod options;
mod sandbox;
mod schema;
mod transcribe;

pub use answer::{FinishReason, Finished, Language, Message, Note, Role, Segment, Token, Usage, Word};
pub use description::{AudioFormat, Description, Device, FileRole, TaskDescription};
pub use embed::EmbedOptions;
pub use estimate::{DeviceEstimate, MemoryEstimate, MemoryParts};
pub use generate::GenerateOptions;
pub use options::Options;
pub use sandbox::Sandbox;
pub use schema::{Field, Kind, Problem, Schema, schema_of};
pub use transcribe::{DetectLanguageOptions, TranscribeOptions};

/// The task names that this version knows. A backend may offer others.
pub mod task {
    /// Speech to text in the language spoken.
    pub const TRANSCRIBE: &str = "transcribe";
    /// Speech to English text.
    pub const TRANSLATE: &str = "translate";
    /// Which language is spoken.
    pub const DETECT_LANGUAGE: &str = "detect-language";
    /// Continue a prompt.
    pub const GENERATE: &str = "generate";
    /// Answer a conversation.
    pub const CHAT: &str = "chat";
    /// Texts to vectors.
    pub const EMBED: &str = "embed";
    /// All of them.
    pub const ALL: &[&str] = &[TRANSCRIBE, TRANSLATE, DETECT_LANGUAGE, GENERATE, CHAT, EMBED];
}
