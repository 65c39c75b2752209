//! What the native plugins estimate of a model's memory is what it then takes. `memory-of --table` measures more.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use tenon_native_tests::random::{Q8_0, TextShape};
use tenon_native_tests::root;

/// How far an estimate may lie from what is measured.
const TOLERANCE: f64 = 0.10;

/// In a process of its own, which runs one request that fills the model's working memory.
#[track_caller]
fn is_near(backend: &str, file: &Path, options: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_memory-of")).arg(backend).arg(file).arg(options).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| told[key].as_f64().unwrap();
    let ratio = (number("estimate") + number("reclaimable")) / number("measured");
    assert!((1.0 - ratio).abs() <= TOLERANCE, "{} is {ratio:.3} of what it takes: {told}", file.display());
}

#[test]
fn the_shipped_models_take_what_was_estimated() {
    is_near("llama", &root().join("models/intents-en-q8_0.gguf"), "{}");
    is_near("whisper", &root().join("models/commands-en-q5_0.bin"), "{}");
}

#[test]
fn a_model_with_random_weights_takes_what_was_estimated_whatever_its_load_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("random.gguf");
    let shape = TextShape {
        architecture: "llama",
        layers: 6,
        width: 256,
        heads: 8,
        key_heads: 4,
        hidden: 768,
        tokens: 4096,
        output: true,
    };
    shape.write(&file, Q8_0).unwrap();
    for options in [
        r#"{"context_size": 1024}"#,
        r#"{"context_size": 1024, "flash_attn": "off"}"#,
        r#"{"context_size": 1024, "mmap": false, "kv_type": "f32", "ubatch_size": 128}"#,
    ] {
        is_near("llama", &file, options);
    }
}
