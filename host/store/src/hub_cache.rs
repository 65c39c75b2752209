//! Files that the Hugging Face tools have in their cache already: where they lie in it.
//!
//! The cache is read, never written: [`crate::Store`] opens and hashes its files as those of any folder. Its layout is
//! `models--ORG--NAME/blobs/<sha256>`, and `models--ORG--NAME/snapshots/<commit>/<path>` as links into that, or, where
//! links are not to be had, as the files themselves.

use crate::ManifestFile;
use std::collections::HashSet;

/// The hosts of the hub.
const HOSTS: [&str; 2] = ["huggingface.co", "hf.co"];

/// Where in the cache a file of a manifest would lie, as paths beneath it, the likeliest first; none for a file that
/// does not come from the hub.
pub(crate) fn places_of(wanted: &ManifestFile) -> Vec<Vec<String>> {
    let (mut places, mut seen) = (Vec::new(), HashSet::new());
    for resource in wanted.urls.iter().filter_map(|url| Resource::of(url)) {
        let blob = vec![resource.folder(), "blobs".to_owned(), wanted.sha256.to_string()];
        for place in [Some(blob), resource.snapshot()].into_iter().flatten() {
            if seen.insert(place.clone()) {
                places.push(place);
            }
        }
    }
    places
}

/// A file of a repository of models on the hub.
#[derive(Debug, PartialEq, Eq)]
struct Resource<'u> {
    /// `ORG/NAME`, or `NAME` for the oldest ones.
    repository: &'u str,
    revision: &'u str,
    path: &'u str,
}

impl<'u> Resource<'u> {
    /// The file of `https://huggingface.co/ORG/NAME/resolve/REVISION/PATH`.
    fn of(url: &'u str) -> Option<Self> {
        let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let (repository, rest) = path.split_once("/resolve/")?;
        let (revision, path) = rest.split_once('/')?;
        // Data sets and programs have folders of another name.
        let is_model = repository.split('/').count() <= 2 && !repository.starts_with("datasets/");
        (HOSTS.contains(&host) && is_model).then_some(Self { repository, revision, path })
    }

    fn folder(&self) -> String {
        format!("models--{}", self.repository.replace('/', "--"))
    }

    /// Only a commit says which file it was.
    fn snapshot(&self) -> Option<Vec<String>> {
        let is_commit = self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        let start = [self.folder(), "snapshots".to_owned(), self.revision.to_owned()];
        is_commit.then(|| start.into_iter().chain(self.path.split('/').map(str::to_owned)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    fn places(url: &str) -> Vec<String> {
        let mut wanted = ManifestFile::new("model", "m.bin", Digest::of(b""), 1);
        wanted.urls = vec![url.to_owned()];
        places_of(&wanted).iter().map(|place| place.join("/")).collect()
    }

    #[test]
    fn a_file_of_the_hub_is_a_blob_or_a_file_of_its_commit() {
        let commit = "5359861c739e955e79d9a303bcbc70fb988958b1";
        let url = format!("https://huggingface.co/ggerganov/whisper.cpp/resolve/{commit}/a/b.bin?download=true");
        let blob = format!("models--ggerganov--whisper.cpp/blobs/{}", Digest::of(b""));
        let snapshot = format!("models--ggerganov--whisper.cpp/snapshots/{commit}/a/b.bin");
        assert_eq!(places(&url), [blob.clone(), snapshot]);
        assert_eq!(places("https://hf.co/ggerganov/whisper.cpp/resolve/main/b.bin"), [blob]);
        assert_eq!(places("https://huggingface.co/gpt2/resolve/main/b.bin").len(), 1);
    }

    #[test]
    fn what_is_not_of_a_models_repository_has_no_place() {
        for url in [
            "https://example.org/a/b/resolve/main/c.bin",
            "http://huggingface.co/a/b/resolve/main/c.bin",
            "https://huggingface.co.evil.com/a/b/resolve/main/c.bin",
            "https://huggingface.co/datasets/a/b/resolve/main/c.bin",
            "https://huggingface.co/datasets/b/resolve/main/c.bin",
            "https://huggingface.co/a/b/blob/main/c.bin",
            "https://huggingface.co/a/b/resolve/main",
            "https://huggingface.co",
        ] {
            assert!(places(url).is_empty(), "{url}");
        }
    }
}
