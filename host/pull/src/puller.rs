//! Brings the files of a manifest into a store: file by file, address by address, try by try.

use crate::client::Trouble;
use crate::network::Network;
use crate::transfer::{Plan, Transfer};
use crate::url::Url;
use crate::watch::Watch;
use crate::{Error, ErrorKind, Event, Pulled, Result, retry};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tenon_store::{Manifest, ManifestFile, Part, Receive, Store, VerifiedFile, VerifyMode};

/// Gets what happens, and cancels by breaking.
pub type Events<'e> = dyn FnMut(&Event) -> ControlFlow<()> + 'e;

/// Brings the files of manifests into a store.
#[derive(Debug)]
pub struct Puller<'a> {
    store: &'a Store,
    network: &'a Network,
}

impl<'a> Puller<'a> {
    /// Into this store, over this network.
    pub fn new(store: &'a Store, network: &'a Network) -> Self {
        Self { store, network }
    }

    /// Brings all files of a manifest, in its order. Those that are somewhere already, and are what the manifest says, are
    /// not fetched; an optional one that is nowhere and has no address is left out. Nothing is written but parts and blobs.
    ///
    /// `events` is called on this thread, at least some ten times a second, and cancels by breaking: what was fetched
    /// then stays for the next time, as it does after an error.
    pub fn pull(&self, manifest: &Manifest, events: &mut Events<'_>) -> Result<Vec<Pulled>> {
        let found = self.there(manifest, events)?;
        let wanted = |file: &ManifestFile| !(file.optional && file.urls.is_empty());
        let missing = manifest.files.iter().zip(&found).filter(|(file, found)| found.is_none() && wanted(file));
        let missing = missing.map(|(file, _)| file);
        self.check_addresses(manifest, missing.clone())?;
        let need = missing.map(|file| file.size.saturating_sub(self.store.taken_by_part(file.sha256)));
        self.store.room_for(need.fold(0, u64::saturating_add))?;
        let mut pulled = Vec::new();
        for (file, found) in manifest.files.iter().zip(found) {
            let (path, fetched) = match found {
                Some(path) => (path, 0),
                None if !wanted(file) => continue,
                None => self.fetch(file, events)?,
            };
            let (role, name) = (file.role.clone(), file.name.clone());
            pulled.push(Pulled { role, file: name, digest: file.sha256, size: file.size, path, fetched });
        }
        Ok(pulled)
    }

    /// Where each file lies that is there and good.
    fn there(&self, manifest: &Manifest, events: &mut Events<'_>) -> Result<Vec<Option<PathBuf>>> {
        let found = self.store.examine(manifest, VerifyMode::Cached, &mut |progress| {
            let (done, total) = (progress.done, progress.total);
            events(&Event::Verifying { file: manifest.name.clone(), done, total })
        });
        found.into_iter().map(|one| one.map_or(Ok(None), usable)).collect()
    }

    /// Refuses, before the first byte, what can never be had.
    fn check_addresses<'m>(
        &self,
        manifest: &Manifest,
        mut missing: impl Iterator<Item = &'m ManifestFile>,
    ) -> Result<()> {
        missing.try_for_each(|file| {
            let (name, model) = (&file.name, &manifest.name);
            if file.urls.is_empty() {
                let problem = "the manifest names no address: put it into the folder of models, or import it";
                let message = format!("file {name:?} of model {model:?} is missing, and {problem}");
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            if self.network.offline {
                let size = file.size;
                return Err(Error::network(format!(
                    "file {name:?} of model {model:?} ({size} bytes) is missing, and the network may not be used \
                     (offline): allow it, or import the file"
                )));
            }
            file.urls.iter().try_for_each(|url| self.network.address(url).map(drop))
        })
    }

    /// Fetches a file from the first address that gives it. How many bytes came, too.
    fn fetch(&self, file: &ManifestFile, events: &mut Events<'_>) -> Result<(PathBuf, u64)> {
        let mut one = Fetch { puller: self, file, events, fetched: 0 };
        let mut failed: Vec<Error> = Vec::new();
        for url in &file.urls {
            if let Some(reason) = failed.last() {
                one.tell(&Event::Mirror { file: file.name.clone(), reason: reason.to_string(), url: url.clone() })?;
            }
            match one.from(url) {
                Ok(path) => {
                    let (name, digest, total) = (file.name.clone(), file.sha256, file.size);
                    one.tell(&Event::Done { file: name, digest, total })?;
                    return Ok((path, one.fetched));
                }
                Err(error) if is_the_addresses_fault(&error) => failed.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(all_failed(file, failed))
    }
}

/// The path of a file that is good; `None` for one that is to be fetched.
fn usable(found: tenon_store::Result<VerifiedFile>) -> Result<Option<PathBuf>> {
    use tenon_store::ErrorKind::{Changed, HashMismatch, NotFound, SizeMismatch};
    match found {
        Ok(file) => Ok(Some(file.path().to_owned())),
        Err(error) => match error.kind() {
            NotFound { .. } | SizeMismatch { .. } | HashMismatch { .. } | Changed { .. } => Ok(None),
            _ => Err(error.into()),
        },
    }
}

/// Whether another address may do better.
fn is_the_addresses_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Network | ErrorKind::NotFound | ErrorKind::HashMismatch)
}

/// The error when no address gave the file.
fn all_failed(file: &ManifestFile, mut failed: Vec<Error>) -> Error {
    let kinds = || failed.iter().map(Error::kind);
    let kind = match () {
        () if kinds().any(|kind| matches!(kind, ErrorKind::HashMismatch)) => ErrorKind::HashMismatch,
        () if kinds().all(|kind| matches!(kind, ErrorKind::NotFound)) => ErrorKind::NotFound,
        () => ErrorKind::Network,
    };
    if failed.len() == 1 {
        return failed.remove(0);
    }
    let reasons: Vec<String> = failed.iter().map(Error::to_string).collect();
    let count = failed.len();
    Error::new(kind, format!("none of {count} addresses gave {:?}: {}", file.name, reasons.join("; ")))
}

/// One file being fetched.
struct Fetch<'p, 'e, 'f> {
    puller: &'p Puller<'p>,
    file: &'p ManifestFile,
    events: &'e mut Events<'f>,
    fetched: u64,
}

impl Fetch<'_, '_, '_> {
    fn tell(&mut self, event: &Event) -> Result<()> {
        retry::tell(&mut *self.events, event)
    }

    /// Fetches the file from one address, to the verified blob.
    fn from(&mut self, url: &str) -> Result<PathBuf> {
        let address = self.puller.network.address(url)?;
        let mut may_be_stale = true;
        loop {
            let part = match self.receive()? {
                Receive::Present(path) => return Ok(path),
                Receive::Part(part) => part,
            };
            let is_patched = self.fill(&part, url, &address)?;
            match self.commit(part) {
                // Bytes of an earlier try may be to blame, so the address gets one from the first byte.
                Err(error) if is_mismatch(&error) && is_patched && may_be_stale => {
                    may_be_stale = false;
                    retry::pause(&self.file.name, &error, Duration::ZERO, 1, &mut *self.events)?;
                }
                Err(error) if is_mismatch(&error) => return Err(self.mismatch(&error, &address)),
                other => return other,
            }
        }
    }

    fn receive(&mut self) -> Result<Receive> {
        let waiting = Event::Waiting { file: self.file.name.clone() };
        let events = &mut *self.events;
        Ok(self.puller.store.receive(self.file.sha256, self.file.size, &mut || events(&waiting))?)
    }

    fn commit(&mut self, part: Part) -> Result<PathBuf> {
        let file = self.file.name.clone();
        let events = &mut *self.events;
        let committed = part.commit(&mut |progress| {
            events(&Event::Verifying { file: file.clone(), done: progress.done, total: progress.total })
        });
        Ok(committed?)
    }

    fn mismatch(&self, error: &Error, address: &Url) -> Error {
        let name = &self.file.name;
        let (expected, actual) = match error.kind() {
            ErrorKind::Store(store) => match store.kind() {
                tenon_store::ErrorKind::HashMismatch { expected, actual, .. } => (*expected, *actual),
                _ => return error.clone(),
            },
            _ => return error.clone(),
        };
        let from = address.without_query();
        let message = format!(
            "{from} gave a file with the SHA-256 {actual}, not the {expected} that the manifest names for {name:?}: the \
             address or the manifest is wrong"
        );
        Error::new(ErrorKind::HashMismatch, message)
    }

    /// Tries an address until the part is whole. Whether its bytes are those of more than one try.
    fn fill(&mut self, part: &Part, url: &str, address: &Url) -> Result<bool> {
        let network = self.puller.network;
        let mut plan = Plan { connections: network.connections, ..Plan::default() };
        let mut attempt = 0;
        loop {
            let before = part.held();
            let Err(trouble) = self.attempt(part, url, address, &mut plan) else { return Ok(before > 0) };
            let gained = part.held().saturating_sub(before);
            // A try that brought the file on shows that going on is worth while.
            attempt = if gained >= (1 << 20).min(part.size() / 8).max(1) { 1 } else { attempt + 1 };
            retry::again(network, &self.file.name, trouble, attempt, &mut *self.events)?;
        }
    }

    /// One try: threads fetch, and this one tells how far they are.
    fn attempt(&mut self, part: &Part, url: &str, address: &Url, plan: &mut Plan) -> std::result::Result<(), Trouble> {
        let (file, digest, total) = (self.file.name.clone(), part.digest(), part.size());
        let done = part.held();
        if done > 0 {
            self.tell(&Event::Resuming { file: file.clone(), done, total }).map_err(Trouble::Final)?;
        }
        let watch = Arc::new(Watch::new(self.puller.network.rate_limit));
        let transfer = Transfer::new(self.puller.network, watch, part, url, address, plan.clone());
        let asking = Event::Connecting { file: file.clone(), url: address.without_query() };
        self.tell(&asking).map_err(Trouble::Final)?;
        let outcome = transfer.run(&mut |begun| match begun {
            true => (self.events)(&Event::Progress { file: file.clone(), digest, done: part.held(), total }),
            false => (self.events)(&asking),
        });
        self.fetched += transfer.fetched();
        *plan = transfer.next_plan(outcome.is_err());
        outcome
    }
}

fn is_mismatch(error: &Error) -> bool {
    let ErrorKind::Store(error) = error.kind() else { return false };
    matches!(error.kind(), tenon_store::ErrorKind::HashMismatch { .. })
}
