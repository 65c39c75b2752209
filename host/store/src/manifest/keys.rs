//! The keys of a manifest: the one place where they are written down.
//!
//! From these tables come the checks of [`super::read`], the editor schema, and the order in which
//! [`super::write`] writes.

use crate::names::{LONGEST_ID, file_name_problem, id_problem, model_name_problem, quoted};
use crate::{BadDigest, Digest};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use tenon_tasks::{Sandbox, task};

/// Most files of a model.
pub(super) const MOST_FILES: usize = 64;

/// Longest text of any key.
const LONGEST_TEXT: usize = 4096;

/// One key of a table.
pub(super) struct Key {
    pub name: &'static str,
    pub help: &'static str,
    pub required: bool,
    pub kind: Kind,
}

/// What a key takes.
pub(super) enum Kind {
    /// Text that follows a rule.
    Text(TextRule),
    /// A list of texts that follow a rule, none twice.
    Texts(TextRule),
    /// A list of SHA-256 digests; one may stand in it more than once.
    Digests,
    /// A whole number of at least 1.
    Positive,
    /// A whole number within these bounds.
    Within(u64, u64),
    /// true or false.
    Flag,
    /// A table with these keys.
    Table(&'static [Key]),
    /// Options of a backend.
    Options,
    /// Named options of a backend.
    Presets,
    /// The list of files, with these keys.
    Files(&'static [Key]),
}

/// What a text must look like.
pub(super) struct TextRule {
    /// For editors: a regular expression that accepts every good text, and refuses most others.
    pub pattern: &'static str,
    /// For editors: names to offer.
    pub examples: &'static [&'static str],
    /// Gets the key and the text.
    pub check: Check,
}

/// Decides on the text of a key.
pub(super) type Check = fn(&str, &str) -> Result<(), Fault>;

/// What is wrong with a text.
pub(super) struct Fault {
    pub message: String,
    pub help: Option<String>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }
}

/// The keys of a manifest.
pub(super) static MANIFEST: &[Key] = &[
    Key {
        name: "name",
        help: "Name of the model; the same as the file's name without .toml.",
        required: true,
        kind: Kind::Text(TextRule { pattern: "^[a-z0-9][a-z0-9._-]{0,63}$", examples: &[], check: model_name }),
    },
    Key {
        name: "task",
        help: "What the model does.",
        required: true,
        kind: Kind::Text(TextRule { pattern: "^[a-z0-9][a-z0-9-]{0,63}$", examples: task::ALL, check: task_name }),
    },
    Key {
        name: "backend",
        help: "The backend that runs the model; a plugin provides it.",
        required: true,
        kind: Kind::Text(TextRule {
            pattern: "^[a-z0-9][a-z0-9-]{0,63}$",
            examples: &["whisper", "llama", "echo"],
            check: kebab,
        }),
    },
    Key {
        name: "license",
        help: "Licence of the weights: an SPDX expression, or the name that its makers use.",
        required: true,
        kind: Kind::Text(TextRule { pattern: "\\S", examples: &["MIT", "Apache-2.0"], check: plain_text }),
    },
    Key {
        name: "restricted",
        help: "The licence is research-only, non-commercial or must be accepted: getting the files needs --accept-license.",
        required: false,
        kind: Kind::Flag,
    },
    Key {
        name: "description",
        help: "One line on what the model is.",
        required: false,
        kind: Kind::Text(TextRule { pattern: "\\S", examples: &[], check: plain_text }),
    },
    Key {
        name: "languages",
        help: "Languages that the model knows, as ISO 639 codes.",
        required: false,
        kind: Kind::Texts(TextRule { pattern: "^[a-z]{2,3}$", examples: &["en", "de"], check: language }),
    },
    Key { name: "parameters", help: "How many parameters the model has.", required: false, kind: Kind::Positive },
    Key {
        name: "homepage",
        help: "A page to read about the model.",
        required: false,
        kind: Kind::Text(TextRule { pattern: "^https?://", examples: &[], check: url }),
    },
    Key {
        name: "isolation",
        help: "Where the backend runs: in the engine's process, or in a worker process.",
        required: false,
        kind: Kind::Text(TextRule { pattern: "^(process|worker)$", examples: ISOLATIONS, check: isolation }),
    },
    Key {
        name: "worker",
        help: "How workers run the backend, with isolation = \"worker\".",
        required: false,
        kind: Kind::Table(WORKER),
    },
    Key { name: "file", help: "The files that make the model.", required: false, kind: Kind::Files(FILE) },
    Key {
        name: "load",
        help: "Options of loading the model; `tenon plugin info BACKEND` lists them.",
        required: false,
        kind: Kind::Options,
    },
    Key {
        name: "preset",
        help: "Named options of requests; a request that names none takes `default`.",
        required: false,
        kind: Kind::Presets,
    },
];

/// The keys of a file of a manifest.
static FILE: &[Key] = &[
    Key {
        name: "role",
        help: "What the file is to the backend: model, vad, tokenizer; `tenon plugin info BACKEND` lists the roles.",
        required: true,
        kind: Kind::Text(TextRule {
            pattern: "^[a-z0-9][a-z0-9-]{0,63}$",
            examples: &["model", "vad", "tokenizer"],
            check: kebab,
        }),
    },
    Key {
        name: "name",
        help: "Name of the file, without folders.",
        required: true,
        kind: Kind::Text(TextRule { pattern: "^[^/\\\\:*?\"<>|]{1,255}$", examples: &[], check: file_name }),
    },
    Key {
        name: "url",
        help: "Where the file can be had; the first address that answers is taken.",
        required: false,
        kind: Kind::Texts(TextRule { pattern: "^https?://", examples: &[], check: url }),
    },
    Key {
        name: "sha256",
        help: "SHA-256 of the file: 64 lower-case hexadecimal digits.",
        required: true,
        kind: Kind::Text(TextRule { pattern: SHA256, examples: &[], check: sha256 }),
    },
    Key { name: "size", help: "Bytes of the file.", required: true, kind: Kind::Positive },
    Key {
        name: "optional",
        help: "The model loads without this file; what needs it is refused until it is there.",
        required: false,
        kind: Kind::Flag,
    },
    Key {
        name: "chunk_size",
        help: "Bytes of each chunk that `chunks` names, but the last.",
        required: false,
        kind: Kind::Positive,
    },
    Key {
        name: "chunks",
        help: "SHA-256 of each chunk of the file, in order: a repair gets only the broken ones again.",
        required: false,
        kind: Kind::Digests,
    },
];

/// The keys of the table `worker`.
pub(super) static WORKER: &[Key] = &[
    Key {
        name: "sandbox",
        help: "How a worker is shut in: on (as far as the system can, the default), require (wholly, or it does not start), off.",
        required: false,
        kind: Kind::Text(TextRule { pattern: "^(on|require|off)$", examples: SANDBOXES, check: sandbox }),
    },
    Key {
        name: "count",
        help: "Most workers that run the model side by side, each with the whole model in memory; 1 by default.",
        required: false,
        kind: Kind::Within(1, MOST_WORKERS),
    },
    Key {
        name: "memory_limit",
        help: "Most bytes that one worker may allocate; what it maps of the model's files does not count.",
        required: false,
        kind: Kind::Within(1 << 20, i64::MAX as u64),
    },
    Key {
        name: "idle_timeout",
        help: "Seconds without a request after which a worker ends, to be started again by the next; 0: never; 300 by default.",
        required: false,
        kind: Kind::Within(0, LONGEST_TIMEOUT),
    },
    Key {
        name: "stall_timeout",
        help: "Seconds without any sign of life of a running request after which its worker is killed; 0, the default: never.",
        required: false,
        kind: Kind::Within(0, LONGEST_TIMEOUT),
    },
];

/// Most workers of one model.
const MOST_WORKERS: u64 = 16;
/// Longest timeout, in seconds: a week.
const LONGEST_TIMEOUT: u64 = 7 * 24 * 3600;

/// The values of `sandbox`.
static SANDBOXES: &[&str] = &["on", "require", "off"];

/// For editors: what a SHA-256 looks like.
const SHA256: &str = "^[0-9a-f]{64}$";

/// The values of `isolation`.
pub(super) static ISOLATIONS: &[&str] = &["process", "worker"];

/// What is wrong with the name of a preset, if anything.
pub(super) fn preset_name_problem(name: &str) -> Option<String> {
    id_problem(name, "_-")
}

fn model_name(_: &str, text: &str) -> Result<(), Fault> {
    match model_name_problem(text) {
        Some(problem) => Err(Fault::new(format!("model name {} {problem}", quoted(text)))),
        None => Ok(()),
    }
}

fn kebab(key: &str, text: &str) -> Result<(), Fault> {
    match id_problem(text, "-") {
        Some(problem) => Err(Fault::new(format!("{key} {} {problem}", quoted(text)))),
        None => Ok(()),
    }
}

fn task_name(key: &str, text: &str) -> Result<(), Fault> {
    kebab(key, text)?;
    // Other tasks are a backend's own affair, but not what is one slip away from a common one.
    match task::ALL.iter().find(|known| (1..=2).contains(&strsim::osa_distance(known, text))) {
        Some(near) => Err(Fault::new(format!("unknown task {} (did you mean \"{near}\"?)", quoted(text)))),
        None => Ok(()),
    }
}

fn isolation(_: &str, text: &str) -> Result<(), Fault> {
    if ISOLATIONS.contains(&text) {
        return Ok(());
    }
    Err(Fault::new(format!("\"isolation\" must be \"process\" or \"worker\", not {}", quoted(text))))
}

fn plain_text(key: &str, text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new(format!("{key} is empty")));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Fault::new(format!("{key} has {} bytes, more than {LONGEST_TEXT}", text.len())));
    }
    match text.chars().find(|c| c.is_control() || crate::names::reorders_text(*c)) {
        Some(bad) => Err(Fault::new(format!("{key} holds {bad:?}; it must be one line of plain text"))),
        None => Ok(()),
    }
}

fn sandbox(_: &str, text: &str) -> Result<(), Fault> {
    match Sandbox::ALL.iter().any(|way| way.name() == text) {
        true => Ok(()),
        false => Err(Fault::new(format!("\"sandbox\" must be \"on\", \"require\" or \"off\", not {}", quoted(text)))),
    }
}

fn language(_: &str, text: &str) -> Result<(), Fault> {
    if matches!(text.len(), 2 | 3) && text.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Ok(());
    }
    Err(Fault::with_help(format!("{} is not an ISO 639 code of two or three letters", quoted(text)), "such as \"en\""))
}

fn file_name(_: &str, text: &str) -> Result<(), Fault> {
    match file_name_problem(text) {
        Some(problem) => Err(Fault::new(format!("file name {} {problem}", quoted(text)))),
        None => Ok(()),
    }
}

pub(super) fn sha256(_: &str, text: &str) -> Result<(), Fault> {
    text.parse::<Digest>().map(drop).map_err(|problem: BadDigest| {
        Fault::with_help(problem.to_string(), "`sha256sum FILE` or `openssl dgst -sha256 FILE` prints it")
    })
}

/// Accepts https, and http to this machine.
fn url(_: &str, text: &str) -> Result<(), Fault> {
    if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '"' | '<' | '>'))
    {
        return Err(Fault::new(format!("the address {} holds {bad:?}", quoted(text))));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Fault::new(format!("the address has {} bytes, more than {LONGEST_TEXT}", text.len())));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Fault::with_help(format!("{} is not an address", quoted(text)), "write it as https://HOST/PATH"));
    };
    if !matches!(scheme, "https" | "http") {
        return Err(Fault::new(format!("unknown scheme {}; files come by https", quoted(scheme))));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Fault::new(format!("the address {} holds a user name", quoted(text))));
    }
    let host = host_of(authority);
    if host.is_empty() {
        return Err(Fault::new(format!("the address {} names no host", quoted(text))));
    }
    if scheme == "http" && !is_loopback(host) {
        return Err(Fault::new(format!("http is for this machine only; use https for {}", quoted(host))));
    }
    Ok(())
}

/// The host of `HOST`, `HOST:PORT` or `[IPV6]:PORT`; empty when it is none of these.
fn host_of(authority: &str) -> &str {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let good_host = match bracketed {
        true => host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok(),
        false => host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')),
    };
    if good_port && good_host { host } else { "" }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// JSON Schema of a manifest, by which editors complete and check while somebody writes.
///
/// The checks of [`crate::Manifest::parse`] decide; what the schema cannot say (two files of one name, the name of
/// the manifest's own file) only they find.
pub fn manifest_schema() -> Value {
    let mut schema = table(MANIFEST);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tenon manifest",
        "description": "Which files make a model, which backend runs it, and how.",
    });
    let mut all = head.as_object().cloned().unwrap_or_default();
    all.append(&mut schema);
    Value::Object(all)
}

fn table(keys: &[Key]) -> Map<String, Value> {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut table = Map::new();
    table.insert("type".to_owned(), json!("object"));
    table.insert("additionalProperties".to_owned(), json!(false));
    table.insert("required".to_owned(), json!(required));
    table.insert("properties".to_owned(), Value::Object(properties));
    table
}

fn property(key: &Key) -> Value {
    let mut property = key.kind.schema();
    property.insert("description".to_owned(), json!(key.help));
    Value::Object(property)
}

impl Kind {
    /// What the key must be, for a message.
    pub(super) fn wanted(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Text(_) => "text",
            Self::Texts(_) => "a list of texts",
            Self::Digests => "a list of SHA-256 digests",
            Self::Positive => "a whole number of at least 1",
            Self::Within(least, most) => return Cow::Owned(format!("a whole number from {least} to {most}")),
            Self::Flag => "true or false",
            Self::Options | Self::Presets | Self::Table(_) => "a table",
            Self::Files(_) => "a list of tables",
        })
    }

    fn schema(&self) -> Map<String, Value> {
        let schema = match self {
            Self::Text(rule) => rule.schema(),
            Self::Texts(rule) => json!({"type": "array", "uniqueItems": true, "items": rule.schema()}),
            Self::Digests => json!({"type": "array", "items": {"type": "string", "pattern": SHA256}}),
            Self::Positive => json!({"type": "integer", "minimum": 1}),
            Self::Within(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Table(keys) => return table(keys),
            Self::Options => json!({"type": "object"}),
            Self::Presets => json!({
                "type": "object",
                "additionalProperties": {"type": "object"},
                "propertyNames": {"pattern": format!("^[a-z0-9][a-z0-9_-]{{0,{}}}$", LONGEST_ID - 1)},
            }),
            Self::Files(keys) => json!({"type": "array", "maxItems": MOST_FILES, "items": table(keys)}),
        };
        schema.as_object().cloned().unwrap_or_default()
    }
}

impl TextRule {
    fn schema(&self) -> Value {
        let mut schema = json!({"type": "string", "pattern": self.pattern});
        if !self.examples.is_empty() {
            schema["examples"] = json!(self.examples);
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_this_machine() {
        for good in ["https://a.b/c", "https://a.b:443/c?d#e", "http://127.0.0.1:8000/x", "http://[::1]/x"] {
            assert!(url("url", good).is_ok(), "{good}");
        }
        let bad = [
            "http://a.b/c",
            "ftp://a.b/c",
            "file:///etc/passwd",
            "hf://org/repo",
            "HTTPS://a.b",
            "https://",
            "https:///x",
            "https://user:pass@a.b/c",
            "https://a.b:0/c",
            "https://a.b:99999/c",
            "https://[::g]/",
            "https://a b/",
            "https://a.b\\c",
            "http://localhost.evil.com/",
            "http://127.0.0.1.evil.com/",
            "//a.b/c",
            "a.bin",
            "",
        ];
        for bad in bad {
            assert!(url("url", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_slip_in_a_common_task_is_found_and_other_tasks_are_allowed() {
        assert!(task_name("task", "transcribe").is_ok());
        assert!(task_name("task", "rerank").is_ok());
        assert!(task_name("task", "generate-image").is_ok());
        let fault = task_name("task", "transcibe").err().unwrap();
        assert_eq!(fault.message, "unknown task \"transcibe\" (did you mean \"transcribe\"?)");
    }

    #[test]
    fn the_schema_names_every_key_with_help() {
        let schema = manifest_schema();
        let tables = [
            (MANIFEST, "/properties"),
            (WORKER, "/properties/worker/properties"),
            (FILE, "/properties/file/items/properties"),
        ];
        for (keys, at) in tables {
            let properties = schema.pointer(at).unwrap().as_object().unwrap();
            assert_eq!(properties.len(), keys.len());
            assert!(properties.values().all(|property| property["description"].is_string()));
        }
    }
}
