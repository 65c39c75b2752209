//! Options of the text tasks that every text backend understands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How to generate text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GenerateOptions {
    /// Most tokens to generate; by default until the model ends or its context is full.
    #[schemars(range(min = 1, max = 1048576))]
    pub max_tokens: Option<u32>,
    /// Randomness of sampling; 0 always takes the most likely token.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// Keep only the most likely tokens, this many; 0 keeps all.
    #[schemars(range(min = 0, max = 1000000))]
    pub top_k: u32,
    /// Keep the most likely tokens whose probabilities add up to this; 1 keeps all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f64,
    /// Drop tokens less likely than this share of the most likely one; 0 drops none.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_p: f64,
    /// Makes tokens that stand in the last `repeat_last_n` less likely; 1 does nothing.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub repeat_penalty: f64,
    /// How many of the last tokens the penalties look at; −1 means the whole context.
    #[schemars(range(min = -1, max = 1048576))]
    pub repeat_last_n: i32,
    /// Makes a token less likely for each time that it occurred; 0 does nothing.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub frequency_penalty: f64,
    /// Makes a token less likely once it occurred; 0 does nothing.
    #[schemars(range(min = -2.0, max = 2.0))]
    pub presence_penalty: f64,
    /// Seed of the sampling; by default another one each time.
    #[schemars(range(min = 0, max = 4294967294_i64))]
    pub seed: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Grammar in GBNF that the answer must follow.
    pub grammar: Option<String>,
    /// JSON Schema that the answer must follow; a schema that cannot be enforced is refused.
    pub json_schema: Option<Value>,
    /// Give every token with its probability.
    pub tokens: bool,
    /// Threads to compute with; by default what the host's thread budget grants.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u32>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: None,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: None,
            stop: Vec::new(),
            grammar: None,
            json_schema: None,
            tokens: false,
            threads: None,
        }
    }
}
