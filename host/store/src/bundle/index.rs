//! The index of a bundle: what it holds, in the order in which it comes.

use crate::names::{LONGEST_ID, file_name_problem, id_problem, model_name_problem, plain, quoted};
use crate::signature::SUFFIX as SIGNATURE;
use crate::{Digest, Manifest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Name of the index in the archive.
pub(super) const NAME: &str = "bundle.toml";
/// Name of the file behind it, which tells a damaged index from a good one.
pub(super) const CHECK: &str = "bundle.sha256";
/// Longest index, in bytes.
pub(super) const LONGEST: u64 = 1024 * 1024;
/// Version of the format.
const FORMAT: u32 = 1;
/// Most models, blobs and plugins. Each blob is an open file until the last one is good.
const MOST_MODELS: usize = 256;
const MOST_BLOBS: usize = 256;
const MOST_PLUGINS: usize = 64;
/// Longest manifest and sidecar, as their own readers have it.
const LONGEST_MANIFEST: u64 = 256 * 1024;
const LONGEST_SIDECAR: u64 = 64 * 1024;
/// Longest name of a library: what fits a tar header behind its folder.
const LONGEST_LIBRARY: usize = 92;

/// How every sidecar's name ends.
pub(super) const SIDECAR: &str = ".plugin.toml";

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the format.
    pub(super) format: u32,
    /// The target that its plugins were built for.
    pub target: String,
    /// The models, by name.
    #[serde(rename = "model")]
    pub models: Vec<BundledModel>,
    /// The files of the models, by digest.
    #[serde(default, rename = "blob", skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<BundledBlob>,
    /// The plugins, by id.
    #[serde(default, rename = "plugin", skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<BundledPlugin>,
}

/// A model in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledModel {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub manifest: Content,
    /// The signature of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Content>,
}

/// A file of a model in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledBlob {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// A plugin in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledPlugin {
    /// Id of the backend.
    pub id: String,
    /// Version of the plugin.
    pub version: String,
    /// Contract that it was built for.
    pub abi: String,
    /// What it needs of the CPU, as its sidecar says.
    pub cpu: String,
    /// Name of the library.
    pub file: String,
    /// The library.
    pub library: Content,
    /// The sidecar.
    pub sidecar: Content,
}

/// What the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { sha256: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

impl BundledModel {
    /// The manifest's name in the archive.
    pub(super) fn path(&self) -> String {
        format!("models/{}.toml", self.name)
    }

    /// The signature's name in the archive.
    pub(super) fn signature_path(&self) -> String {
        format!("models/{}.toml{SIGNATURE}", self.name)
    }
}

impl BundledBlob {
    /// Its name in the archive.
    pub(super) fn path(&self) -> String {
        format!("blobs/sha256-{}", self.sha256)
    }
}

impl BundledPlugin {
    /// The sidecar's name in the folder of plugins.
    pub(super) fn sidecar_name(&self) -> String {
        format!("{}{SIDECAR}", self.id)
    }

    /// The sidecar's name in the archive.
    pub(super) fn sidecar_path(&self) -> String {
        format!("plugins/{}", self.sidecar_name())
    }

    /// The library's name in the archive.
    pub(super) fn library_path(&self) -> String {
        format!("plugins/{}", self.file)
    }
}

impl Index {
    /// An index of these; each list comes sorted.
    pub(super) fn new(models: Vec<BundledModel>, blobs: Vec<BundledBlob>, plugins: Vec<BundledPlugin>) -> Self {
        Self { format: FORMAT, target: super::TARGET.to_owned(), models, blobs, plugins }
    }

    /// Reads the text of an index, or says why it is none: a clause.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| format!("its {NAME} is not UTF-8 text"))?;
        let version = |text: &str| toml::from_str::<Format>(text).ok().map(|found| found.format);
        let index: Self = match version(text) {
            Some(other) if other != FORMAT => {
                return Err(format!("it has the format {other}; this program knows {FORMAT}"));
            }
            _ => toml::from_str(text).map_err(|error| format!("its {NAME} is wrong: {}", plain(error.message())))?,
        };
        match index.problem() {
            Some(problem) => Err(format!("its {NAME} is wrong: {problem}")),
            None => Ok(index),
        }
    }

    /// The index as TOML.
    pub(super) fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| unreachable!("plain tables are TOML: {error}"))
    }

    /// What [`CHECK`] says of an index with this text, in the words of `sha256sum`.
    pub(super) fn check_of(text: &[u8]) -> String {
        format!("{}  {NAME}\n", Digest::of(text))
    }

    /// Bytes of the files that make up a bundle, but for manifests and the archive's own.
    pub fn size(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.size);
        let plugins = self.plugins.iter().map(|plugin| plugin.library.size);
        blobs.chain(plugins).fold(0, u64::saturating_add)
    }

    /// What cannot be in an index, if anything: a clause.
    pub(super) fn problem(&self) -> Option<String> {
        let counts = [
            (self.models.len(), MOST_MODELS, "models"),
            (self.blobs.len(), MOST_BLOBS, "blobs"),
            (self.plugins.len(), MOST_PLUGINS, "plugins"),
        ];
        if let Some((count, most, what)) = counts.into_iter().find(|(count, most, _)| count > most) {
            return Some(format!("it names {count} {what}, more than {most}"));
        }
        if self.models.is_empty() {
            return Some("it names no model".to_owned());
        }
        if self.target.is_empty() || self.target.len() > LONGEST_ID || !self.target.is_ascii() {
            return Some(format!("{} is no target", quoted(&self.target)));
        }
        if self.size() == u64::MAX {
            return Some("its sizes cannot be".to_owned());
        }
        self.models_problem().or_else(|| self.blobs_problem()).or_else(|| self.plugins_problem())
    }

    fn models_problem(&self) -> Option<String> {
        ascending(self.models.iter().map(|model| &model.name)).or_else(|| {
            self.models.iter().find_map(|model| {
                let too_long = (model.manifest.size > LONGEST_MANIFEST)
                    || model.signature.as_ref().is_some_and(|content| content.size > crate::signature::LONGEST);
                let long = too_long.then(|| "has a manifest or signature that is too long".to_owned());
                let problem = model_name_problem(&model.name).or(long)?;
                Some(format!("model {} {problem}", quoted(&model.name)))
            })
        })
    }

    fn blobs_problem(&self) -> Option<String> {
        // In this order everybody locks blobs, so that no two imports wait for each other.
        ascending(self.blobs.iter().map(|blob| blob.sha256.to_string()))
            .or_else(|| self.blobs.iter().any(|blob| blob.size == 0).then(|| "it names an empty blob".to_owned()))
    }

    fn plugins_problem(&self) -> Option<String> {
        if let Some(problem) = ascending(self.plugins.iter().map(|plugin| &plugin.id)) {
            return Some(problem);
        }
        let mut files = BTreeSet::new();
        self.plugins.iter().find_map(|plugin| {
            let again = !files.insert(plugin.file.to_lowercase());
            let again = again.then(|| "has a library of the same name as another".to_owned());
            let problem = plugin.problem().or(again)?;
            Some(format!("plugin {} {problem}", quoted(&plugin.id)))
        })
    }

    /// What is wrong between the index and the manifests that it came with, if anything: a clause.
    pub(super) fn disagreement(&self, manifests: &[Manifest]) -> Option<String> {
        let mut blobs: BTreeMap<&Digest, u64> = self.blobs.iter().map(|blob| (&blob.sha256, blob.size)).collect();
        let files = manifests.iter().flat_map(|manifest| manifest.files.iter().map(move |file| (manifest, file)));
        let wrong = files.clone().find_map(|(manifest, file)| match blobs.get(&file.sha256) {
            Some(size) if *size == file.size => None,
            Some(size) => Some(format!(
                "its index gives {size} bytes to the file {} of model {}, whose manifest says {}",
                quoted(&file.name),
                quoted(&manifest.name),
                file.size
            )),
            None if file.optional => None,
            None => Some(format!("it lacks the file {} of model {}", quoted(&file.name), quoted(&manifest.name))),
        });
        for (_, file) in files {
            blobs.remove(&file.sha256);
        }
        let unnamed = || blobs.keys().next().map(|digest| format!("it holds sha256-{digest}, which no manifest names"));
        wrong.or_else(unnamed)
    }
}

impl BundledPlugin {
    /// What cannot be, if anything: a clause after its id.
    fn problem(&self) -> Option<String> {
        let plain = |text: &str| text.len() <= 200 && !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        let library = || {
            let file = self.file.as_str();
            let hidden =
                file.starts_with('.') || file.to_lowercase().ends_with(SIDECAR) || file.len() > LONGEST_LIBRARY;
            file_name_problem(file)
                .or_else(|| (hidden || !file.is_ascii()).then(|| "cannot be that of a library".to_owned()))
                .map(|problem| format!("has a library whose name {} {problem}", quoted(file)))
        };
        id_problem(&self.id, "-")
            .or_else(|| (!plain(&self.version) || !plain(&self.abi)).then(|| "has no plain version".to_owned()))
            .or_else(|| (!plain(&self.cpu)).then(|| "has no plain CPU level".to_owned()))
            .or_else(|| (self.sidecar.size > LONGEST_SIDECAR).then(|| "has a sidecar that is too long".to_owned()))
            .or_else(library)
    }
}

/// What every format of a bundle says first.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Says that texts are not in order, or one stands twice.
fn ascending<T: AsRef<str> + PartialOrd>(texts: impl Iterator<Item = T>) -> Option<String> {
    let texts: Vec<T> = texts.collect();
    let wrong = texts.windows(2).find(|two| two[0] >= two[1])?;
    let (before, name) = (wrong[0].as_ref(), wrong[1].as_ref());
    Some(match before == name {
        true => format!("{} stands twice", quoted(name)),
        false => format!("{} stands behind {}", quoted(name), quoted(before)),
    })
}
