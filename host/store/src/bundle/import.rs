//! Reading a bundle. Nothing of it can be seen before all of it was read and found good: blobs wait as parts, plugins
//! under names that nothing looks at, and the references come last.

use super::archive::Reader;
use super::index::{self, BundledBlob, BundledPlugin, Content, Index};
use super::plugins::{Fit, Incoming, fit};
use super::{Meter, Stage, Watch, refused};
use crate::part::{Part, Receive};
use crate::references::MODELS;
use crate::{Entry, ErrorKind, Manifest, Progress, Result, Store, Trust};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

/// A bundle whose index and manifests were read. They come first, so that it can be shown, and asked about, before
/// anything is written.
pub struct Bundle<'r> {
    reader: Reader<'r>,
    index: Index,
    manifests: Vec<Manifest>,
}

/// How to import a bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Import {
    /// Leave its plugins out.
    pub without_plugins: bool,
    /// Put its plugins in the place of others of the same id.
    pub replace_plugins: bool,
    /// Put its manifests in the place of other references of the same name.
    pub replace_models: bool,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Names of the models that the store has now.
    pub models: Vec<String>,
    /// Bytes of the blobs that it did not have before.
    pub new_bytes: u64,
    /// Bytes of the blobs that it had already.
    pub known_bytes: u64,
    /// Ids of the plugins that it did not have before.
    pub new_plugins: Vec<String>,
    /// Ids of the plugins that it had already.
    pub known_plugins: Vec<String>,
}

/// Says what is wrong with a plugin's sidecar, which only an engine can read.
pub type Vouch<'v> = dyn FnMut(&BundledPlugin, &str) -> std::result::Result<(), String> + 'v;

impl<'r> Bundle<'r> {
    /// Reads index and manifests. `path` is what errors call the bundle; `trust` decides on signatures, as if the
    /// manifests lay in `store`'s folder of references already.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] for what is no bundle, or one that cannot be; [`ErrorKind::Signature`].
    pub fn open(from: &'r mut dyn Read, path: &'r Path, store: &Store, trust: &Trust) -> Result<Self> {
        let mut reader = Reader::new(from, path);
        let text = reader.first(index::NAME, index::LONGEST)?;
        let check = Content::of(Index::check_of(&text).as_bytes());
        reader.small(index::CHECK, check.size, &check.sha256)?;
        let index = Index::parse(&text).map_err(|problem| refused(path, format!("is no bundle: {problem}")))?;
        let mut manifests = Vec::new();
        for model in &index.models {
            let name = model.path();
            let text = reader.small(&name, model.manifest.size, &model.manifest.sha256)?;
            let mut manifest = manifest_of(&text, &path.join(&name))?;
            if let Some(content) = &model.signature {
                let signed = reader.small(&model.signature_path(), content.size, &content.sha256)?;
                let signed = String::from_utf8_lossy(&signed).into_owned();
                manifest.sign(trust.signature(&text, signed, manifest.path())?);
            }
            trust.check(&manifest, &store.folder().join(MODELS))?;
            manifests.push(manifest);
        }
        match index.disagreement(&manifests) {
            Some(problem) => Err(refused(path, format!("cannot be a bundle: {problem}"))),
            None => Ok(Self { reader, index, manifests }),
        }
    }

    /// What it holds.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The manifests of its models, by name.
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// Reads the rest, and takes it all into the store: blobs, plugins, and last the references of its models.
    ///
    /// `vouch` gets the sidecar of each plugin. Whoever calls has asked about licences, target and CPU before.
    ///
    /// # Errors
    /// [`ErrorKind::Bundle`] for what is not what the index says, [`ErrorKind::Exists`] for what is there already and
    /// was not to be replaced, [`ErrorKind::NoSpace`], [`ErrorKind::Io`], [`ErrorKind::Cancelled`] when `watch` breaks.
    /// After each of them the store holds nothing new that can be seen, unless the disk failed while the files, all of
    /// them good by then, got their names: then there may be blobs without a reference.
    pub fn import(
        mut self,
        store: &Store,
        how: Import,
        vouch: &mut Vouch<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Imported> {
        self.check_references(store, how)?;
        let plugins = self.check_plugins(store, how)?;
        store.room_for(self.missing(store))?;
        let claims: Vec<_> = self.manifests.iter().map(|manifest| store.claim(manifest)).collect::<Result<_>>()?;
        let mut staged = Staging::default();
        let read = self.stage(store, &plugins, &mut staged, vouch, watch);
        if let Err(error) = read {
            staged.discard();
            return Err(error);
        }
        let mut done = staged.finish(watch)?;
        for claim in claims {
            claim.refer()?;
        }
        done.models = self.manifests.iter().map(|manifest| manifest.name.clone()).collect();
        done.plugins(&self.index.plugins, &plugins);
        Ok(done)
    }

    /// Refuses a model that would take the place of another of its name.
    fn check_references(&self, store: &Store, how: Import) -> Result<()> {
        let references = if how.replace_models { Vec::new() } else { store.references()? };
        let differs = |entry: &&Entry| {
            let ours = self.manifests.iter().find(|manifest| manifest.name == entry.name);
            ours.is_some_and(|ours| entry.manifest.as_ref().ok() != Some(ours))
        };
        match references.iter().find(differs) {
            None => Ok(()),
            Some(entry) => {
                let problem = "says something else than the manifest of the same name in the bundle: --replace-models \
                               puts that in its place"
                    .to_owned();
                Err(ErrorKind::Exists { path: entry.path.clone(), problem }.into())
            }
        }
    }

    /// What is to become of each plugin; `None` for one that is left out.
    fn check_plugins(&self, store: &Store, how: Import) -> Result<Vec<Option<Fit>>> {
        let plugins = self.index.plugins.iter();
        plugins
            .map(|plugin| match how.without_plugins {
                true => Ok(None),
                false => fit(store.folder(), plugin, how.replace_plugins).map(Some),
            })
            .collect()
    }

    /// Bytes of the blobs that the store does not have.
    fn missing(&self, store: &Store) -> u64 {
        let away = self.index.blobs.iter().filter(|blob| !store.blob_path(blob.sha256).exists());
        away.map(|blob| blob.size.saturating_sub(store.taken_by_part(blob.sha256))).fold(0, u64::saturating_add)
    }

    /// Reads the rest of the archive, and writes it where nobody sees it.
    fn stage(
        &mut self,
        store: &Store,
        plugins: &[Option<Fit>],
        staged: &mut Staging,
        vouch: &mut Vouch<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut meter = Meter::begin(watch, Stage::Reading, self.index.size())?;
        for blob in &self.index.blobs {
            stage_blob(&mut self.reader, blob, store, staged, &mut meter)?;
        }
        if plugins.contains(&Some(Fit::New)) {
            let waits = &mut || still(&mut meter);
            staged.incoming = Some(Incoming::begin(store.folder(), waits)?);
        }
        for (plugin, fit) in self.index.plugins.iter().zip(plugins) {
            let incoming = staged.incoming.as_mut().filter(|_| *fit == Some(Fit::New));
            stage_plugin(&mut self.reader, plugin, fit.is_some(), incoming, vouch, &mut meter)?;
        }
        self.reader.end()
    }
}

/// Tells that nothing goes on, for who waits.
fn still(meter: &mut Meter<'_, '_>) -> ControlFlow<()> {
    if meter.tell().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn manifest_of(text: &[u8], path: &Path) -> Result<Manifest> {
    let text = std::str::from_utf8(text).map_err(|_| refused(path, "is no manifest: it is not UTF-8 text"))?;
    Manifest::parse(text, path).map_err(|diagnostics| ErrorKind::Manifest { diagnostics }.into())
}

/// What was read, where nobody sees it.
#[derive(Debug, Default)]
struct Staging {
    parts: Vec<Part>,
    incoming: Option<Incoming>,
    known_bytes: u64,
}

impl Staging {
    fn discard(self) {
        for part in self.parts {
            let path = part.path().to_owned();
            if let Err(error) = part.discard() {
                tracing::warn!(path = %path.display(), %error, "a part of a refused bundle stays behind");
            }
        }
    }

    /// Makes parts blobs, and plugins plugins.
    fn finish(self, watch: &mut Watch<'_>) -> Result<Imported> {
        let new_bytes: u64 = self.parts.iter().map(Part::size).sum();
        let mut done = 0;
        for part in self.parts {
            let size = part.size();
            part.commit(&mut |how_far| {
                // It is too late to stop: half of a bundle is worse than a moment's wait.
                let _ = watch(Stage::Verifying, &Progress { done: done + how_far.done, total: new_bytes });
                ControlFlow::Continue(())
            })?;
            done += size;
        }
        self.incoming.map_or(Ok(()), Incoming::install)?;
        Ok(Imported { new_bytes, known_bytes: self.known_bytes, ..Imported::default() })
    }
}

impl Imported {
    fn plugins(&mut self, plugins: &[BundledPlugin], fits: &[Option<Fit>]) {
        for (plugin, fit) in plugins.iter().zip(fits) {
            match fit {
                Some(Fit::New) => self.new_plugins.push(plugin.id.clone()),
                Some(Fit::Same) => self.known_plugins.push(plugin.id.clone()),
                None => {}
            }
        }
    }
}

/// A blob that the store has is read all the same: it may be the bundle's lie.
fn stage_blob(
    reader: &mut Reader<'_>,
    blob: &BundledBlob,
    store: &Store,
    staged: &mut Staging,
    meter: &mut Meter<'_, '_>,
) -> Result<()> {
    let received = store.receive(blob.sha256, blob.size, &mut || still(meter))?;
    let mut writer = match received {
        Receive::Present(_) => {
            staged.known_bytes += blob.size;
            None
        }
        Receive::Part(part) => {
            part.restart()?;
            let writer = part.writer(0..blob.size);
            staged.parts.push(part);
            Some(writer?)
        }
    };
    reader.stream(&blob.path(), blob.size, &blob.sha256, &mut |piece| {
        writer.as_mut().map_or(Ok(()), |writer| writer.write(piece))?;
        meter.add(piece.len())
    })
}

/// Reads sidecar and library; writes them where there is `incoming`.
fn stage_plugin(
    reader: &mut Reader<'_>,
    plugin: &BundledPlugin,
    wanted: bool,
    mut incoming: Option<&mut Incoming>,
    vouch: &mut Vouch<'_>,
    meter: &mut Meter<'_, '_>,
) -> Result<()> {
    let (name, content) = (plugin.sidecar_path(), &plugin.sidecar);
    let sidecar = reader.small(&name, content.size, &content.sha256)?;
    if wanted {
        let text = std::str::from_utf8(&sidecar).map_err(|_| "is not UTF-8 text".to_owned());
        let vouched = text.and_then(|text| vouch(plugin, text));
        vouched.map_err(|problem| refused(reader.path(), format!("holds a {name} that cannot be: {problem}")))?;
    }
    let mut library = incoming.as_mut().map(|incoming| incoming.stage(&plugin.file)).transpose()?;
    let (name, content) = (plugin.library_path(), &plugin.library);
    reader.stream(&name, content.size, &content.sha256, &mut |piece| {
        library.as_mut().map_or(Ok(()), |library| library.write(piece))?;
        meter.add(piece.len())
    })?;
    library.map_or(Ok(()), |library| library.settle())?;
    match incoming {
        None => Ok(()),
        Some(incoming) => {
            let mut staged = incoming.stage(&plugin.sidecar_name())?;
            staged.write(&sidecar)?;
            staged.settle()
        }
    }
}
