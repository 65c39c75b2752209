//! Manifests for files that nobody wrote one for: which backend reads a file, what the model is called, what it does.

use crate::client::{Ask, Client, Trouble};
use crate::network::Network;
use crate::retry::{Subject, patiently};
use crate::url::{Url, shown};
use crate::{Error, ErrorKind, Events, Result};
use std::path::Path;
use tenon_store::{Digest, Manifest, ManifestFile, is_research_only};
use tenon_tasks::task;

/// Longest name of a model.
const LONGEST_NAME: usize = 64;

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GGUF, for llama.cpp.
    Gguf,
    /// ggml, for whisper.cpp.
    Whisper,
}

impl Kind {
    /// Of a file's name, folders left out; `None` when no backend reads it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let helper = ["mmproj", "imatrix", "silero"].iter().any(|word| lower.contains(word));
        match () {
            () if helper => None,
            () if lower.ends_with(".gguf") => Some(Self::Gguf),
            () if lower.ends_with(".bin") && lower.starts_with("ggml") => Some(Self::Whisper),
            () => None,
        }
    }

    pub(crate) fn backend(self) -> &'static str {
        match self {
            Self::Gguf => "llama",
            Self::Whisper => "whisper",
        }
    }
}

/// What the model does, as far as texts about it tell.
pub(crate) fn task_of(kind: Kind, hints: &str) -> &'static str {
    let lower = hints.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    match kind {
        Kind::Whisper => task::TRANSCRIBE,
        Kind::Gguf if says(&["rerank", "text-ranking"]) => "rerank",
        Kind::Gguf if says(&["embed", "feature-extraction", "sentence-similarity", "bert", "minilm", "bge-"]) => {
            task::EMBED
        }
        Kind::Gguf => task::CHAT,
    }
}

/// A name for the model in a file.
pub(crate) fn model_name(kind: Kind, file: &str) -> String {
    let lower = file.to_ascii_lowercase();
    let stem = lower.rsplit_once('.').map_or(lower.as_str(), |(stem, _)| stem);
    let stem = shard_of(file).map_or(stem, |shard| &stem[..shard.stem.len()]);
    let named = match kind {
        Kind::Gguf => stem.to_owned(),
        Kind::Whisper => match stem.trim_start_matches("ggml").trim_start_matches(['-', '_', '.']) {
            rest if rest.starts_with("whisper") => rest.to_owned(),
            rest => format!("whisper-{rest}"),
        },
    };
    let mut name = String::new();
    for c in named.chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
        // Two dots in a row are no name, and it begins with a letter or a digit.
        let repeats = name.ends_with(c) && matches!(c, '.' | '-');
        if !repeats && (c.is_ascii_alphanumeric() || !name.is_empty()) {
            name.push(c);
        }
    }
    name.truncate(LONGEST_NAME);
    name.trim_end_matches(['.', '-', '_']).to_owned()
}

/// One file of several that make a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard<'n> {
    pub(crate) stem: &'n str,
    pub(crate) number: u32,
    pub(crate) count: u32,
}

/// Reads a name such as `x-00001-of-00003.gguf`.
pub(crate) fn shard_of(name: &str) -> Option<Shard<'_>> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !ending.eq_ignore_ascii_case("gguf") || !digits(number) || !digits(count) {
        return None;
    }
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1 <= number && number <= count).then_some(Shard { stem, number, count })
}

/// What a manifest is made from.
pub(crate) struct Recipe {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) license: String,
    /// Texts that may tell what the model does.
    pub(crate) hints: String,
    pub(crate) languages: Vec<String>,
    pub(crate) parameters: Option<u64>,
    pub(crate) homepage: Option<String>,
    pub(crate) files: Vec<ManifestFile>,
}

impl Recipe {
    /// The manifest, held to the same rules as one that somebody wrote.
    pub(crate) fn manifest(self, of: &str) -> Result<Manifest> {
        let first = self.files.first().map(|file| file.name.clone()).unwrap_or_default();
        let name = self.name.unwrap_or_else(|| model_name(self.kind, &first));
        let task = task_of(self.kind, &format!("{} {name}", self.hints));
        let mut manifest = Manifest::new(name, task, self.kind.backend(), self.license);
        manifest.restricted = is_research_only(&manifest.license);
        manifest.languages = self.languages;
        manifest.parameters = self.parameters;
        manifest.homepage = self.homepage;
        manifest.files = self.files;
        manifest.presets = vec![("default".to_owned(), tenon_tasks::Options::new())];
        Manifest::parse_text(&manifest.to_toml(), Path::new(of)).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
            Error::invalid(format!("{of} makes no manifest: {}", problems.join("; ")))
        })
    }
}

/// A manifest for one file at an address, of which the SHA-256 is known. The server is asked for the size alone.
///
/// The backend follows from the name of the file: `.gguf` is for llama, `ggml….bin` for whisper. `name` is the model's;
/// without one it follows from the file's.
pub fn manifest_of_url(
    network: &Network,
    url: &str,
    sha256: Digest,
    name: Option<&str>,
    events: &mut Events<'_>,
) -> Result<Manifest> {
    let address = network.address(url)?;
    let path = address.rest.split('?').next().unwrap_or_default();
    let file = decoded(path.rsplit('/').next().unwrap_or_default());
    let Some(kind) = Kind::of(&file) else {
        let message = format!("no backend is known for the file {}: .gguf and ggml….bin are", shown(&file));
        return Err(Error::new(ErrorKind::Unsupported, message));
    };
    let shown_url = address.without_query();
    let subject = Subject { name: &file, url: &shown_url };
    let size = patiently(network, subject, events, |client| size_of(client, &address))?;
    let mut files = vec![ManifestFile::new("model", file.as_str(), sha256, size)];
    files[0].urls = vec![url.to_owned()];
    let recipe = Recipe {
        kind,
        name: name.map(str::to_owned),
        license: "unknown".to_owned(),
        hints: String::new(),
        languages: Vec::new(),
        parameters: None,
        homepage: None,
        files,
    };
    recipe.manifest(&shown_url)
}

/// Bytes of the file at an address.
fn size_of(client: &mut Client<'_>, address: &Url) -> std::result::Result<u64, Trouble> {
    let linked = |answer: &crate::client::Answer| answer.header("x-linked-size").and_then(|size| size.parse().ok());
    let told = match client.ask_until(&Ask::head(address), |answer| linked(answer).is_some()) {
        Ok(answer) => linked(&answer).or_else(|| answer.length().filter(|_| answer.status() == 200)),
        Err(trouble @ Trouble::Again(..)) => return Err(trouble),
        // Not every server answers that; a range tells it too.
        Err(Trouble::Final(_)) => None,
    };
    if let Some(size) = told.filter(|size| *size > 0) {
        return Ok(size);
    }
    let answer = client.ask(&Ask { range: Some((0, Some(0))), ..Ask::get(address) })?;
    let total = match answer.status() {
        206 => answer.header("content-range").and_then(|said| said.rsplit_once('/')?.1.trim().parse().ok()),
        200 => answer.length(),
        _ => None,
    };
    total.filter(|size| *size > 0).ok_or_else(|| {
        Trouble::final_network(format!("{} does not say how many bytes it has", address.without_query()))
    })
}

/// A component of a path without percent escapes; what decodes to no text stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match escape
            .filter(|two| byte == b'%' && !two.starts_with('+'))
            .and_then(|two| u8::from_str_radix(two, 16).ok())
        {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        assert_eq!(Kind::of("Qwen3-8B-Q4_K_M.GGUF"), Some(Kind::Gguf));
        assert_eq!(Kind::of("ggml-base.en-q5_1.bin"), Some(Kind::Whisper));
        for other in ["pytorch_model.bin", "model.safetensors", "mmproj-f16.gguf", "ggml-silero-v6.2.0.bin", ""] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }

    #[test]
    fn models_are_called_after_their_files() {
        assert_eq!(model_name(Kind::Gguf, "Qwen2.5-7B-Instruct-Q4_K_M.gguf"), "qwen2.5-7b-instruct-q4_k_m");
        assert_eq!(model_name(Kind::Gguf, "big-Q8_0-00001-of-00003.gguf"), "big-q8_0");
        assert_eq!(model_name(Kind::Whisper, "ggml-base.en.bin"), "whisper-base.en");
        assert_eq!(model_name(Kind::Whisper, "ggml-whisper-x.bin"), "whisper-x");
        assert_eq!(model_name(Kind::Gguf, "--a  b..c--.gguf"), "a-b.c");
        assert_eq!(model_name(Kind::Gguf, &format!("{}.gguf", "x".repeat(200))).len(), 64);
    }

    #[test]
    fn shards_are_numbered() {
        assert_eq!(shard_of("a-b-00002-of-00010.gguf"), Some(Shard { stem: "a-b", number: 2, count: 10 }));
        for other in
            ["a.gguf", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "a-00001-of-00002.bin"]
        {
            assert_eq!(shard_of(other), None, "{other}");
        }
    }

    #[test]
    fn escapes_are_undone_where_they_make_text() {
        assert_eq!(decoded("a%20b%C3%BC.gguf"), "a bü.gguf");
        assert_eq!(decoded("a%2"), "a%2");
        assert_eq!(decoded("%+1%zz"), "%+1%zz");
        assert_eq!(decoded("%ff"), "%ff");
    }

    #[test]
    fn what_a_model_does_follows_from_what_is_said_of_it() {
        assert_eq!(task_of(Kind::Whisper, "embed"), "transcribe");
        assert_eq!(task_of(Kind::Gguf, "text-generation qwen3-8b"), "chat");
        assert_eq!(task_of(Kind::Gguf, "feature-extraction"), "embed");
        assert_eq!(task_of(Kind::Gguf, "qwen3-reranker-0.6b"), "rerank");
    }
}
