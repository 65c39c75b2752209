//! Shows a pull: `pulling 8934d96d3f08… 45%`, `verifying sha256 digest`, `writing manifest`.

use crate::context::Context;
use crate::output::{size, span};
use crate::progress::{Mode, Step};
use serde_json::json;
use std::collections::BTreeSet;
use tenon::fetch::Event;
use tenon::{Digest, Manifest, ManifestFile, PullEvent};

/// Turns the events of one pull into bars, lines or JSON.
pub(super) struct Show<'c> {
    context: &'c Context,
    manifest: &'c Manifest,
    step: Option<(Doing, Step)>,
    /// What has been said once already: the same event comes again while something takes its time.
    said: BTreeSet<String>,
}

/// What a step shows.
#[derive(PartialEq, Eq)]
enum Doing {
    Checking,
    Pulling(Digest),
    Verifying(String),
}

impl<'c> Show<'c> {
    pub(super) fn new(context: &'c Context, manifest: &'c Manifest) -> Self {
        Self { context, manifest, step: None, said: BTreeSet::new() }
    }

    pub(super) fn event(&mut self, event: &PullEvent<'_>) {
        match event {
            PullEvent::Check { done, total } => {
                let label = format!("verifying {}", self.manifest.name);
                self.step(Doing::Checking, |mode| Step::begin(mode, label)).bytes(*done, *total);
            }
            PullEvent::Plan { files } => {
                self.end();
                self.plan(files);
            }
            PullEvent::Fetch(event) => self.fetch(event),
            PullEvent::Refer(_) => {
                self.end();
                self.context.progress.status("writing manifest");
            }
            _ => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        self.step = None;
    }

    /// Name, licence, size and where from, before the first byte.
    fn plan(&self, files: &[ManifestFile]) {
        let (name, license) = (&self.manifest.name, &self.manifest.license);
        if files.is_empty() {
            return self.context.progress.status_with(&format!("{name} is here already"), &json!({"model": name}));
        }
        let bytes: u64 = files.iter().map(|file| file.size).sum();
        let count = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
        let hosts: BTreeSet<&str> = files.iter().filter_map(|file| file.urls.first()).map(|url| host(url)).collect();
        let hosts: Vec<&str> = hosts.into_iter().collect();
        let from = hosts.join(", ");
        let plan = format!("{name}: licence {license}, {} in {count} from {from}", size(bytes));
        let facts = json!({"model": name, "license": license, "files": files.len(), "total": bytes, "hosts": hosts});
        self.context.progress.status_with(&plan, &facts);
    }

    fn fetch(&mut self, event: &Event) {
        match event {
            Event::Waiting { file } => self.once(&format!("waiting for another process that fetches {file}")),
            Event::Progress { digest, done, total, .. } => {
                self.step(Doing::Pulling(*digest), |mode| Step::pulling(mode, *digest, *done, *total))
                    .bytes(*done, *total);
            }
            Event::Verifying { file, done, total } => self.verifying(file, *done, *total),
            Event::Retrying { file, reason, after, attempt } => {
                self.once(&format!("{file}: {reason}; try {} follows in {}", attempt + 1, span(*after)));
            }
            Event::Mirror { file, reason, url } => self.once(&format!("{file}: {reason}; now from {}", host(url))),
            Event::Done { digest, total, .. } => self.done(*digest, *total),
            _ => {}
        }
    }

    fn verifying(&mut self, file: &str, done: u64, total: u64) {
        let doing = Doing::Verifying(file.to_owned());
        if self.step.as_ref().is_none_or(|(before, _)| *before != doing) {
            if let Some((Doing::Pulling(_), step)) = self.step.take() {
                step.finish(total);
            }
            self.context.progress.status("verifying sha256 digest");
        }
        // Only a bar: lines and JSON have said it.
        if self.context.progress == Mode::Auto {
            self.step(doing, |mode| Step::begin(mode, "verifying")).bytes(done, total);
        }
    }

    fn done(&mut self, digest: Digest, total: u64) {
        match self.step.take() {
            Some((Doing::Pulling(pulled), step)) if pulled == digest => step.finish(total),
            _ => {}
        }
    }

    /// The step that shows this; a new one when it shows something else.
    fn step(&mut self, doing: Doing, begin: impl FnOnce(Mode) -> Step) -> &mut Step {
        if self.step.as_ref().is_some_and(|(before, _)| *before != doing) {
            self.step = None;
        }
        let mode = self.context.progress;
        &mut self.step.get_or_insert_with(|| (doing, begin(mode))).1
    }

    /// Warns of something, once, above the bar.
    fn once(&mut self, warning: &str) {
        if !self.said.insert(warning.to_owned()) {
            return;
        }
        let warn = || match self.context.progress {
            Mode::Json => self.context.progress.status(warning),
            _ => self.context.out.warn(warning),
        };
        match &self.step {
            Some((_, step)) => step.aside(warn),
            None => warn(),
        }
    }
}

/// The host of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}
