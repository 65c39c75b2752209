//! Manifests from a model hub: what a repository of Hugging Face, or of a server like it, has.
//!
//! The hub lists the files of a repository with their sizes and digests, and says the digest again when it is asked for a
//! file. Both are read, must agree, and go into a manifest with the commit in its addresses: what is pulled later is what
//! was shown. Names that the hub tells are held to the rules of manifests.

use crate::client::{Ask, Client, Trouble};
use crate::network::{HUB, Network};
use crate::recipe::{Kind, Recipe, shard_of};
use crate::retry::{Subject, patiently};
use crate::url::{encoded_path, shown};
use crate::{Error, ErrorKind, Events, Result};
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;
use tenon_store::{Digest, Manifest, ManifestFile};

/// Weights that are taken when nobody asked for others: the first of these that the repository has.
pub const PREFERRED: &[&str] =
    &["Q4_K_M", "Q4_K_S", "Q4_0", "IQ4_XS", "Q5_K_M", "Q5_K_S", "Q5_0", "Q6_K", "Q8_0", "Q3_K_M", "F16", "BF16", "F32"];

/// Longest answer of the hub, in bytes.
const LONGEST: u64 = 16 << 20;

/// Names that an error lists.
const MOST_NAMES: usize = 40;

/// Makes a manifest of what the hub has: `hf:ORG/REPO`, with `@REVISION` and `:FILE` or `:QUANT` as one likes, such as
/// `hf:Qwen/Qwen3-8B-GGUF:Q4_K_M`.
///
/// Without a file, that with the weights is taken that stands first in [`PREFERRED`]. A file in several shards becomes a
/// manifest with all of them. Nothing is fetched but what the hub says.
pub fn resolve(network: &Network, spec: &str, events: &mut Events<'_>) -> Result<Manifest> {
    let asked = Spec::parse(spec)?;
    let about = |error: Error| error.about(&format!("cannot look up {spec}"));
    let rest = format!("{HUB}/api/models/{}/revision/{}?blobs=true", asked.repo, asked.revision.replace('/', "%2F"));
    let address = network.address(&rest)?;
    let subject = Subject { name: spec, url: &address.without_query() };
    let repository: Repository =
        patiently(network, subject, events, |client| read_json(client, &Ask::get(&address))).map_err(about)?;
    let commit = repository.commit().map_err(about)?;
    let chosen = choose(&repository, &asked).map_err(about)?;
    let kind = Kind::of(file_name(&chosen[0].path)).unwrap_or(Kind::Gguf);
    let mut files = Vec::new();
    for one in chosen {
        let url = format!("{HUB}/{}/resolve/{commit}/{}", asked.repo, encoded_path(&one.path));
        let address = network.address(&url)?;
        let subject = Subject { name: &one.path, url: &address.without_query() };
        let told =
            patiently(network, subject, events, |client| Told::ask(client, &Ask::head(&address))).map_err(about)?;
        let (sha256, size) = agreed(one, &told, &commit).map_err(about)?;
        let mut file = ManifestFile::new("model", file_name(&one.path), sha256, size);
        file.urls = vec![url];
        files.push(file);
    }
    let recipe = Recipe {
        kind,
        name: None,
        license: repository.license(),
        hints: repository.hints(),
        languages: repository.languages(),
        parameters: repository.gguf.as_ref().and_then(|gguf| gguf.total).filter(|total| *total > 0),
        homepage: Some(format!("{HUB}/{}", asked.repo)),
        files,
    };
    recipe.manifest(spec)
}

/// What somebody asks the hub for.
#[derive(Debug, PartialEq, Eq)]
struct Spec {
    repo: String,
    revision: String,
    file: Option<String>,
}

impl Spec {
    fn parse(text: &str) -> Result<Self> {
        let problem = |problem: &str| {
            Error::invalid(format!(
                "{} {problem}: write it as hf:ORG/REPO, with @REVISION and :FILE if need be",
                shown(text)
            ))
        };
        let rest = text.strip_prefix("hf:").ok_or_else(|| problem("does not begin with hf:"))?;
        let (rest, file) = match rest.split_once(':') {
            Some((rest, file)) => (rest, Some(file)),
            None => (rest, None),
        };
        let (repo, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let good = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !part.is_empty()
                && part.len() <= 96
                && part.chars().all(plain)
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
        };
        if repo.split('/').count() != 2 || !repo.split('/').all(good) {
            return Err(problem("names no repository"));
        }
        if !revision.split('/').all(good) {
            return Err(problem("names no revision"));
        }
        if file.is_some_and(|file| !is_plain_path(file)) {
            return Err(problem("names no file"));
        }
        Ok(Self { repo: repo.to_owned(), revision: revision.to_owned(), file: file.map(str::to_owned) })
    }
}

/// What the hub says of a repository; all of it is somebody else's text.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Repository {
    sha: String,
    siblings: Vec<Sibling>,
    #[serde(rename = "pipeline_tag")]
    pipeline: Option<String>,
    tags: Vec<String>,
    card_data: Option<Card>,
    gguf: Option<Gguf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sibling {
    #[serde(rename = "rfilename")]
    path: String,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Card {
    license: Value,
    license_name: Option<String>,
    language: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Gguf {
    total: Option<u64>,
    architecture: Option<String>,
}

impl Repository {
    /// The commit that the revision stands for.
    fn commit(&self) -> Result<String> {
        let commit = self.sha.to_ascii_lowercase();
        match commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(commit),
            false => Err(Error::network(format!("the hub names the commit {}, which is none", shown(&self.sha)))),
        }
    }

    /// The licence, as the card names it.
    fn license(&self) -> String {
        let card = self.card_data.as_ref();
        let first = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(texts) => texts.first().and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        let named = card.and_then(|card| first(&card.license));
        let named = named.or_else(|| self.tags.iter().find_map(|tag| tag.strip_prefix("license:").map(str::to_owned)));
        let named = match named.as_deref() {
            Some("other") | None => card.and_then(|card| card.license_name.clone()).or(named),
            Some(_) => named,
        };
        let plain: String = named.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        match plain.trim() {
            "" => "unknown".to_owned(),
            "mit" => "MIT".to_owned(),
            "apache-2.0" => "Apache-2.0".to_owned(),
            other => other.to_owned(),
        }
    }

    fn languages(&self) -> Vec<String> {
        let mut known: Vec<String> = match self.card_data.as_ref().map(|card| &card.language) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        known.retain(|code| matches!(code.len(), 2 | 3) && code.bytes().all(|byte| byte.is_ascii_lowercase()));
        known.sort();
        known.dedup();
        known
    }

    /// Texts that may tell what the model does.
    fn hints(&self) -> String {
        let pipeline = self.pipeline.as_deref().unwrap_or_default();
        let architecture = self.gguf.as_ref().and_then(|gguf| gguf.architecture.as_deref()).unwrap_or_default();
        format!("{pipeline} {architecture}")
    }

    /// The files that some backend reads.
    fn models(&self) -> Vec<&Sibling> {
        let usable = |file: &&Sibling| is_plain_path(&file.path) && Kind::of(file_name(&file.path)).is_some();
        self.siblings.iter().filter(usable).collect()
    }
}

/// What the hub says when it is asked for one file.
#[derive(Debug, Default)]
struct Told {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl Told {
    fn ask(client: &mut Client<'_>, ask: &Ask<'_>) -> std::result::Result<Self, Trouble> {
        let answer = client.ask_until(ask, |answer| answer.header("x-linked-etag").is_some())?;
        let text = |name| answer.header(name).map(|text| text.trim_matches('"').to_ascii_lowercase());
        Ok(Self {
            commit: text("x-repo-commit"),
            etag: text("x-linked-etag"),
            size: answer.header("x-linked-size").and_then(|size| size.parse().ok()),
        })
    }
}

/// Digest and size of a file, where all that the hub says of it agrees.
fn agreed(file: &Sibling, told: &Told, commit: &str) -> Result<(Digest, u64)> {
    let path = &file.path;
    let twice = |what: &str| Error::network(format!("the hub names two {what} for {}", shown(path)));
    if told.commit.as_deref().is_some_and(|told| told != commit) {
        return Err(twice("commits"));
    }
    let listed = file.lfs.as_ref().map(|lfs| (lfs.sha256.to_ascii_lowercase(), lfs.size));
    // What is no SHA-256 is the name of a small file in git, and no digest of its bytes.
    let etag = told.etag.as_deref().filter(|etag| etag.len() == 64).map(str::to_owned);
    if let (Some((listed, _)), Some(etag)) = (&listed, &etag)
        && listed != etag
    {
        return Err(twice("SHA-256"));
    }
    if let (Some((_, listed)), Some(size)) = (&listed, told.size)
        && *listed != size
    {
        return Err(twice("sizes"));
    }
    let digest = etag.or_else(|| listed.as_ref().map(|(digest, _)| digest.clone()));
    let size = told.size.or_else(|| listed.as_ref().map(|(_, size)| *size)).filter(|size| *size > 0);
    match (digest.and_then(|digest| digest.parse().ok()), size) {
        (Some(digest), Some(size)) => Ok((digest, size)),
        _ => Err(Error::network(format!("the hub tells no SHA-256 and size of {}", shown(path)))),
    }
}

/// The files that are meant: one, or all shards of one in their order.
fn choose<'r>(repository: &'r Repository, asked: &Spec) -> Result<Vec<&'r Sibling>> {
    let models = repository.models();
    if models.is_empty() {
        let message = "it has no file that a backend reads (.gguf, or ggml….bin of whisper)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let heads: Vec<&Sibling> = models.iter().copied().filter(is_head).collect();
    let found = match &asked.file {
        Some(file) => named(&heads, file).ok_or_else(|| none_such(&heads, file))?,
        None => preferred(&heads)?,
    };
    match shard_of(file_name(&found.path)) {
        None => Ok(vec![found]),
        Some(first) => (1..=first.count).map(|number| shard(&models, found, number)).collect(),
    }
}

/// A file that stands for a model: whole, or the first of its shards.
fn is_head(file: &&Sibling) -> bool {
    shard_of(file_name(&file.path)).is_none_or(|shard| shard.number == 1)
}

fn shard<'r>(models: &[&'r Sibling], first: &Sibling, number: u32) -> Result<&'r Sibling> {
    let path = first.path.replacen("-00001-of-", &format!("-{number:05}-of-"), 1);
    let found = models.iter().copied().find(|file| file.path == path);
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("it lacks {}, a part of the model", shown(&path))))
}

/// The file that a text names: by its path, its name, or its weights.
fn named<'r>(heads: &[&'r Sibling], text: &str) -> Option<&'r Sibling> {
    let only = |test: &dyn Fn(&str) -> bool| {
        let mut found: Vec<&Sibling> = heads.iter().copied().filter(|file| test(&file.path)).collect();
        // Of two files that end alike, the shorter name is the plainer one.
        found.sort_by_key(|file| (file_name(&file.path).len(), file.path.clone()));
        found.first().copied()
    };
    let by_name = |path: &str| file_name(path).eq_ignore_ascii_case(text);
    let by_whisper = |path: &str| file_name(path).eq_ignore_ascii_case(&format!("ggml-{text}.bin"));
    only(&|path| path == text)
        .or_else(|| only(&by_name))
        .or_else(|| only(&by_whisper))
        .or_else(|| only(&|path| has_weights(path, text)))
}

/// The file to take when nobody said which.
fn preferred<'r>(heads: &[&'r Sibling]) -> Result<&'r Sibling> {
    if let [only] = heads {
        return Ok(only);
    }
    let gguf = |file: &&&Sibling| Kind::of(file_name(&file.path)) == Some(Kind::Gguf);
    let ggufs: Vec<&Sibling> = heads.iter().filter(gguf).copied().collect();
    let found = PREFERRED.iter().find_map(|weights| named(&ggufs, weights));
    found.ok_or_else(|| {
        let message = format!("it has several models, so say which, after a colon: {}", listed(heads));
        Error::invalid(message)
    })
}

/// Whether the name of a file ends in these weights: `x-Q4_K_M.gguf` has `Q4_K_M`.
fn has_weights(path: &str, weights: &str) -> bool {
    let name = file_name(path);
    let stem = shard_of(name).map(|shard| shard.stem).or_else(|| name.rsplit_once('.').map(|(stem, _)| stem));
    let stem = stem.unwrap_or(name).to_ascii_uppercase();
    let before = stem.strip_suffix(&weights.to_ascii_uppercase());
    // Such as Q4_K_M, IQ4_XS, UD-Q4_K_XL or F16; `K_M` alone is the end of several.
    let complete =
        weights.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with(|c: char| c.is_ascii_digit())
            || weights.contains('-');
    complete && before.is_some_and(|before| before.is_empty() || before.ends_with(['-', '_', '.']))
}

fn none_such(heads: &[&Sibling], file: &str) -> Error {
    let message = format!("it has no file and no weights {}; it has {}", shown(file), listed(heads));
    Error::new(ErrorKind::NotFound, message)
}

/// Names for a message.
fn listed(heads: &[&Sibling]) -> String {
    let mut names: Vec<&str> = heads.iter().map(|file| file_name(&file.path)).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names.join(", "))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a path stays where it is said to be.
fn is_plain_path(path: &str) -> bool {
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_control() || c == '\\');
    path.len() <= 1024 && path.split('/').all(good)
}

fn read_json(client: &mut Client<'_>, ask: &Ask<'_>) -> std::result::Result<Repository, Trouble> {
    let answer = client.ask(ask)?;
    let url = answer.url.without_query();
    let mut text = Vec::new();
    let read = answer.into_reader().take(LONGEST + 1).read_to_end(&mut text);
    read.map_err(|error| Trouble::again(format!("the answer of {url} broke off: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(Trouble::final_network(format!("the answer of {url} is longer than {LONGEST} bytes")));
    }
    serde_json::from_slice(&text)
        .map_err(|error| Trouble::final_network(format!("the answer of {url} makes no sense: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(repo: &str, revision: &str, file: Option<&str>) -> Spec {
        Spec { repo: repo.to_owned(), revision: revision.to_owned(), file: file.map(str::to_owned) }
    }

    #[test]
    fn a_spec_names_repository_revision_and_file() {
        assert_eq!(Spec::parse("hf:Qwen/Qwen3-8B-GGUF").unwrap(), spec("Qwen/Qwen3-8B-GGUF", "main", None));
        assert_eq!(Spec::parse("hf:a/b@refs/pr/1:Q8_0").unwrap(), spec("a/b", "refs/pr/1", Some("Q8_0")));
        assert_eq!(Spec::parse("hf:a/b:x/y.gguf").unwrap(), spec("a/b", "main", Some("x/y.gguf")));
        for bad in [
            "a/b",
            "hf:a",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b:",
            "hf:a/b:../x",
            "hf:a b/c",
            "hf:a/%2e",
        ] {
            assert!(Spec::parse(bad).is_err(), "{bad}");
        }
    }

    fn repository(names: &[&str]) -> Repository {
        let siblings = names.iter().map(|name| Sibling { path: name.to_string(), lfs: None });
        Repository { siblings: siblings.collect(), ..Repository::default() }
    }

    fn chosen(names: &[&str], file: Option<&str>) -> std::result::Result<Vec<String>, String> {
        let repository = repository(names);
        let found = choose(&repository, &spec("a/b", "main", file)).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn the_file_is_found_by_path_by_name_and_by_weights() {
        let names =
            ["m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-IQ4_XS.gguf", "README.md", "mmproj-Q4_K_M.gguf"];
        assert_eq!(chosen(&names, None).unwrap(), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen(&names, Some("q8_0")).unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(chosen(&names, Some("ud-q4_k_m")).unwrap(), ["m-UD-Q4_K_M.gguf"]);
        assert_eq!(chosen(&names, Some("m-iq4_xs.gguf")).unwrap(), ["m-IQ4_XS.gguf"]);
        let error = chosen(&names, Some("Q2_K")).unwrap_err();
        assert!(error.contains("it has m-IQ4_XS.gguf, m-Q4_K_M.gguf, m-Q8_0.gguf, m-UD-Q4_K_M.gguf"), "{error}");
        for part in ["K_M", "4_XS", "M", ""] {
            assert!(chosen(&names, Some(part)).is_err(), "{part}");
        }
    }

    #[test]
    fn all_shards_come_in_their_order_and_none_may_lack() {
        let names = ["q/m-Q8_0-00002-of-00002.gguf", "q/m-Q8_0-00001-of-00002.gguf"];
        assert_eq!(chosen(&names, Some("Q8_0")).unwrap(), [names[1], names[0]]);
        assert_eq!(chosen(&names, None).unwrap(), [names[1], names[0]]);
        assert!(chosen(&names[1..], None).unwrap_err().contains("lacks \"q/m-Q8_0-00002-of-00002.gguf\""));
    }

    #[test]
    fn whisper_files_are_found_by_their_short_names() {
        let names = ["ggml-base.bin", "ggml-base.en.bin", "ggml-base-q5_1.bin", "ggml-silero-v6.2.0.bin"];
        assert_eq!(chosen(&names, Some("base")).unwrap(), ["ggml-base.bin"]);
        assert_eq!(chosen(&names, Some("base-q5_1")).unwrap(), ["ggml-base-q5_1.bin"]);
        assert!(chosen(&names, None).unwrap_err().contains("say which"));
    }

    #[test]
    fn names_that_lead_elsewhere_do_not_exist() {
        assert!(
            chosen(&["../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "a\\evil.gguf", "a\0.gguf"], None).is_err()
        );
    }

    #[test]
    fn a_hub_that_contradicts_itself_is_not_believed() {
        let digest = "a".repeat(64);
        let file = Sibling { path: "m.gguf".to_owned(), lfs: Some(Lfs { sha256: digest.clone(), size: 5 }) };
        let told = || Told { commit: Some("c".to_owned()), etag: Some(digest.clone()), size: Some(5) };
        assert!(agreed(&file, &told(), "c").is_ok());
        assert!(agreed(&file, &Told::default(), "c").is_ok());
        assert!(agreed(&file, &Told { commit: Some("d".to_owned()), ..told() }, "c").is_err());
        assert!(agreed(&file, &Told { etag: Some("b".repeat(64)), ..told() }, "c").is_err());
        assert!(agreed(&file, &Told { size: Some(6), ..told() }, "c").is_err());
        let unlisted = Sibling { path: "m.gguf".to_owned(), lfs: None };
        assert!(agreed(&unlisted, &Told::default(), "c").is_err());
        assert!(agreed(&unlisted, &Told { etag: Some("e".repeat(40)), ..told() }, "c").is_err());
        assert_eq!(agreed(&unlisted, &told(), "c").unwrap().1, 5);
    }

    #[test]
    fn the_licence_comes_from_the_card_or_the_tags() {
        let of = |json: &str| serde_json::from_str::<Repository>(json).unwrap().license();
        assert_eq!(of(r#"{"cardData":{"license":"apache-2.0"}}"#), "Apache-2.0");
        assert_eq!(of(r#"{"cardData":{"license":"other","license_name":"qwen-research"}}"#), "qwen-research");
        assert_eq!(of(r#"{"cardData":{"license":["mit","x"]}}"#), "MIT");
        assert_eq!(of(r#"{"tags":["gguf","license:gemma"]}"#), "gemma");
        assert_eq!(of("{}"), "unknown");
    }
}
