//! Answers as a model hub gives them: what a repository holds, where its files are, and the files from another host.

use crate::wire::Request;
use crate::{Answer, Server};
use serde_json::json;
use tenon_store::Digest;

/// A repository with its files at one commit.
#[derive(Clone, Debug)]
pub struct Repository {
    /// `organisation/name`.
    pub id: String,
    /// The commit that `main` points to: 40 hexadecimal digits.
    pub commit: String,
    /// Its licence, as its card says it.
    pub license: Option<String>,
    /// Paths and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// Whoever does not show this token gets 401.
    pub token: Option<String>,
}

impl Repository {
    /// A public one under the MIT licence.
    pub fn new(id: &str, files: Vec<(&str, Vec<u8>)>) -> Self {
        Self {
            id: id.to_owned(),
            commit: "5359861c739e955e79d9a303bcbc70fb988958b1".to_owned(),
            license: Some("mit".to_owned()),
            files: files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes)).collect(),
            token: None,
        }
    }

    /// Serves it: what describes it from `hub`, its bytes from `store`, to which the hub redirects.
    pub fn serve(&self, hub: &Server, store: &Server) {
        for revision in ["main", &self.commit] {
            let base = format!("/api/models/{}", self.id);
            self.page(hub, &format!("{base}/revision/{revision}"), Answer::json(&self.description()));
            self.page(hub, &format!("{base}/tree/{revision}"), Answer::json(&self.tree()));
        }
        self.page(hub, &format!("/api/models/{}", self.id), Answer::json(&self.description()));
        for (path, bytes) in &self.files {
            let digest = Digest::of(bytes);
            let there = store.blob(&format!("/blobs/{digest}"), bytes);
            for revision in ["main", &self.commit] {
                let answer = Answer::redirect(302, &there)
                    .header("X-Repo-Commit", &self.commit)
                    .header("X-Linked-Etag", format!("\"{digest}\""))
                    .header("X-Linked-Size", bytes.len().to_string())
                    .header("ETag", "\"0000000000000000000000000000000000000000\"");
                self.page(hub, &format!("/{}/resolve/{revision}/{path}", self.id), answer);
            }
        }
    }

    /// The path of a file at its commit, on the hub.
    pub fn path(&self, file: &str) -> String {
        format!("/{}/resolve/{}/{file}", self.id, self.commit)
    }

    fn page(&self, hub: &Server, path: &str, answer: Answer) {
        let wanted = self.token.as_ref().map(|token| format!("Bearer {token}"));
        hub.answer_with(path, move |request: &Request| match &wanted {
            Some(wanted) if request.header("authorization") != Some(wanted) => Answer::status(401),
            _ => answer.clone(),
        });
    }

    fn description(&self) -> serde_json::Value {
        let sibling = |(path, bytes): &(String, Vec<u8>)| {
            let (digest, size) = (Digest::of(bytes).to_string(), bytes.len());
            json!({"rfilename": path, "size": size, "blobId": "00", "lfs": {"sha256": digest, "size": size, "pointerSize": 135}})
        };
        let siblings: Vec<_> = self.files.iter().map(sibling).collect();
        let license = self.license.as_ref();
        let tags: Vec<String> = license.map(|license| format!("license:{license}")).into_iter().collect();
        json!({
            "id": self.id, "modelId": self.id, "sha": self.commit, "private": false, "gated": false, "tags": tags,
            "cardData": {"license": self.license}, "siblings": siblings,
        })
    }

    fn tree(&self) -> serde_json::Value {
        let entry = |(path, bytes): &(String, Vec<u8>)| {
            let (digest, size) = (Digest::of(bytes).to_string(), bytes.len());
            json!({"type": "file", "path": path, "oid": "00", "size": size, "lfs": {"oid": digest, "size": size, "pointerSize": 135}})
        };
        self.files.iter().map(entry).collect()
    }
}
