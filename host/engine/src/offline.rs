//! What an engine does for machines that are never online, and for those that must not change by themselves: bundles,
//! and the lock file.

use crate::engine::{Engine, Found};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::Sidecar;
use crate::plugin::cpu::CpuNeed;
use crate::plugin::{load, sidecar};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenon_store::bundle::{self, Bundle, BundledPlugin, Import, Imported, Index, PLUGINS, PluginSource, Watch};
use tenon_store::{LockFile, LockedModel, LockedPlugin, Manifest, State, VerifyMode};

/// How to import a bundle.
///
/// ```
/// let how = tenon::BundleImport { accept_license: true, ..Default::default() };
/// assert!(!how.without_plugins);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BundleImport {
    /// Take models whose licence restricts their use.
    pub accept_license: bool,
    /// Leave its plugins out, which another target or CPU needs.
    pub without_plugins: bool,
    /// Put its plugins in the place of others of the same id.
    pub replace_plugins: bool,
    /// Put its manifests in the place of other references of the same name.
    pub replace_models: bool,
}

/// What importing a bundle did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BundleReport {
    /// What the store has now.
    pub imported: Imported,
    /// What was imported and something else, which is searched before it, hides: sentences.
    pub hidden: Vec<String>,
}

impl Engine {
    /// Refuses a model that may not come into the store: one that the lock file does not pin, or that lacks the
    /// signature which a reference must have.
    ///
    /// # Errors
    /// `HashMismatch` for both.
    pub fn check_pinned(&self, manifest: &Manifest) -> Result<()> {
        self.refuse_unpinned(manifest)?;
        Ok(self.trust().check(manifest, &self.locations().store.join("models"))?)
    }

    /// Refuses a model that the lock file does not pin, or pins otherwise.
    pub(crate) fn refuse_unpinned(&self, manifest: &Manifest) -> Result<()> {
        Ok(self.locked().map_or(Ok(()), |lock| lock.check_model(manifest))?)
    }

    /// Refuses a plugin that the lock file does not pin, or pins otherwise.
    pub(crate) fn refuse_unpinned_plugin(&self, sidecar: &Sidecar) -> Result<()> {
        Ok(self.locked().map_or(Ok(()), |lock| lock.check_plugin(&pinned(sidecar)))?)
    }

    /// Without a hash nobody knows whether a file is what was pinned.
    pub(crate) fn refuse_unverified(&self, mode: VerifyMode) -> Result<()> {
        match self.locked() {
            Some(lock) if mode == VerifyMode::Never => {
                let message = format!(
                    "{} pins what may be loaded, and never to verify it was asked for too: leave one of them out",
                    lock.path().display()
                );
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            _ => Ok(()),
        }
    }

    /// Pins models, and the plugins that run them: those of these names, or all that are here. The libraries of the
    /// plugins are hashed unless they are known; model files are not looked at.
    ///
    /// # Errors
    /// As [`Engine::manifest`]; `Plugin` when a plugin is missing or broken, `HashMismatch` when a library is not what
    /// its sidecar says.
    pub fn lock(&self, names: &[String]) -> Result<LockFile> {
        let manifests = self.manifests_of(names)?;
        let plugins = self.sidecars_of(manifests.iter().map(|manifest| manifest.backend.as_str()))?;
        plugins.iter().try_for_each(|sidecar| self.check_library(sidecar))?;
        let models = manifests.iter().map(|manifest| LockedModel::of(manifest)).collect();
        Ok(LockFile::new(models, plugins.iter().map(|sidecar| pinned(sidecar)).collect()))
    }

    /// Everything in which this engine differs from a lock file: what is pinned and missing or otherwise here. Model
    /// files are not looked at: [`Engine::verify`] does that.
    pub fn compare(&self, lock: &LockFile) -> Vec<Error> {
        let catalog = self.catalog();
        let models = lock.models.iter().map(|model| Ok(lock.check_model(catalog.get(&model.name)?)?));
        let plugins = lock.plugins.iter().map(|plugin| {
            let sidecar = self.sidecar_of(&plugin.id)?;
            lock.check_plugin(&pinned(&sidecar))?;
            self.check_library(&sidecar)
        });
        models.chain(plugins).filter_map(Result::err).collect()
    }

    /// The manifests of these names, or of all models that are here.
    fn manifests_of(&self, names: &[String]) -> Result<Vec<Arc<Manifest>>> {
        if !names.is_empty() {
            return names.iter().map(|name| self.manifest(name)).collect();
        }
        let models = self.models();
        if let Some(problem) = models.iter().find_map(|model| model.problem.clone()) {
            return Err(problem);
        }
        let here = models.iter().filter(|model| model.state != State::Missing);
        here.map(|model| self.manifest(&model.name)).collect()
    }

    /// The sidecars of the plugins that provide these backends, each once. Backends that are linked into the program
    /// have none and are left out.
    fn sidecars_of<'b>(&self, backends: impl Iterator<Item = &'b str>) -> Result<Vec<Arc<Sidecar>>> {
        let backends: BTreeSet<&str> = backends.collect();
        let linked = |id: &&str| !matches!(self.found(id), Some(Found::Loaded(plugin)) if plugin.digest().is_none());
        backends.into_iter().filter(linked).map(|id| self.sidecar_of(id)).collect()
    }

    fn sidecar_of(&self, id: &str) -> Result<Arc<Sidecar>> {
        match self.found(id) {
            Some(Found::Sidecar(_, sidecar)) => sidecar,
            Some(Found::Loaded(_)) => {
                let message = format!("plugin \"{id}\" has no sidecar, and only a sidecar says what is to be pinned");
                Err(Error::new(ErrorKind::Plugin, message))
            }
            None => Err(self.no_plugin(id)),
        }
    }

    /// That a library is what its sidecar says.
    fn check_library(&self, sidecar: &Sidecar) -> Result<()> {
        let path = &sidecar.library;
        let file = File::open(path).map_err(|error| sidecar::io_error("open", path, error))?;
        let digest = self.store().digest_of(&file, path, sidecar.sha256, VerifyMode::Cached)?;
        if digest == sidecar.sha256 {
            return Ok(());
        }
        let message = format!(
            "{} has the SHA-256 {digest}, not the {} of its sidecar: get the plugin again",
            path.display(),
            sidecar.sha256
        );
        Err(load::other_digest(message, path, &sidecar.sha256, &digest))
    }

    /// Writes a bundle of these models into a new file; with the plugins that run them unless told otherwise.
    ///
    /// # Errors
    /// As [`Engine::lock`]; `NotFound` and `HashMismatch` for a file that is missing or corrupt, `InvalidArgument` when
    /// the bundle is there already, `Cancelled` when `watch` breaks. Then there is no bundle.
    pub fn export_bundle(
        &self,
        names: &[String],
        with_plugins: bool,
        path: &Path,
        watch: &mut Watch<'_>,
    ) -> Result<Index> {
        let (manifests, plugins) = self.to_export(names, with_plugins)?;
        let manifests: Vec<&Manifest> = manifests.iter().map(AsRef::as_ref).collect();
        self.within(|| Ok(bundle::export_file(self.store(), &manifests, &plugins, path, watch)?))
    }

    /// As [`Engine::export_bundle`], to a writer. What was written before an error is no bundle.
    ///
    /// # Errors
    /// As [`Engine::export_bundle`].
    pub fn export_bundle_to(
        &self,
        names: &[String],
        with_plugins: bool,
        out: &mut dyn Write,
        watch: &mut Watch<'_>,
    ) -> Result<Index> {
        let (manifests, plugins) = self.to_export(names, with_plugins)?;
        let manifests: Vec<&Manifest> = manifests.iter().map(AsRef::as_ref).collect();
        let path = Path::new("the bundle");
        self.within(|| Ok(bundle::export(self.store(), &manifests, &plugins, out, path, watch)?))
    }

    fn to_export(&self, names: &[String], with_plugins: bool) -> Result<(Vec<Arc<Manifest>>, Vec<PluginSource>)> {
        let manifests = names.iter().map(|name| self.manifest(name)).collect::<Result<Vec<_>>>()?;
        manifests.iter().try_for_each(|manifest| self.refuse_unpinned(manifest))?;
        let backends = manifests.iter().map(|manifest| manifest.backend.as_str());
        let sidecars = if with_plugins { self.sidecars_of(backends)? } else { Vec::new() };
        sidecars.iter().try_for_each(|sidecar| self.refuse_unpinned_plugin(sidecar))?;
        Ok((manifests, sidecars.iter().map(|sidecar| source(sidecar)).collect()))
    }

    /// Reads index and manifests of a bundle, to show what it holds and under which licences. `path` is what errors
    /// call it.
    ///
    /// # Errors
    /// `HashMismatch` for what is no bundle, or one that was changed, or a manifest without a signature that it needs.
    pub fn open_bundle<'r>(&self, from: &'r mut dyn Read, path: &'r Path) -> Result<Bundle<'r>> {
        Ok(Bundle::open(from, path, self.store(), self.trust())?)
    }

    /// Takes a bundle into the store, and shows its models and plugins from then on.
    ///
    /// A bundle whose plugins cannot run here is refused before anything is written, unless they are left out.
    ///
    /// # Errors
    /// `HashMismatch` for a bundle that is not what its index says or what the lock file pins, `Plugin` and
    /// `AbiMismatch` for plugins that cannot run here, `InvalidArgument` for a licence that was not accepted and for
    /// what is there already, `Cancelled` when `watch` breaks. After each of them nothing of the bundle can be seen.
    pub fn import_bundle(&self, bundle: Bundle<'_>, how: BundleImport, watch: &mut Watch<'_>) -> Result<BundleReport> {
        bundle.manifests().iter().try_for_each(|manifest| manifest.check_license(how.accept_license))?;
        bundle.manifests().iter().try_for_each(|manifest| self.check_pinned(manifest))?;
        let folder = self.locations().store.join(PLUGINS);
        let wanted = if how.without_plugins { Vec::new() } else { self.fitting(bundle.index(), &folder)? };
        let import = Import {
            without_plugins: how.without_plugins,
            replace_plugins: how.replace_plugins,
            replace_models: how.replace_models,
        };
        let mut vouch = |plugin: &BundledPlugin, text: &str| {
            let wanted = wanted.iter().find(|wanted| wanted.id == plugin.id).ok_or("nobody asked for it")?;
            vouch(wanted, text)
        };
        let imported = self.within(|| bundle.import(self.store(), import, &mut vouch, watch))?;
        self.refresh();
        self.refresh_plugins(&folder);
        Ok(BundleReport { hidden: self.hidden(&imported, &folder), imported })
    }

    /// The plugins of a bundle as their sidecars will have to say them, if they can run here.
    fn fitting(&self, index: &Index, folder: &Path) -> Result<Vec<Sidecar>> {
        const INSTEAD: &str = "--no-plugins imports the models alone";
        let Some(first) = index.plugins.first() else { return Ok(Vec::new()) };
        if index.target != bundle::TARGET {
            let message = format!(
                "plugin \"{}\" of the bundle is built for {}, and this program for {}: {INSTEAD}",
                first.id,
                index.target,
                bundle::TARGET
            );
            return Err(Error::new(ErrorKind::Plugin, message).with_detail("target", index.target.clone()));
        }
        let fits = |plugin: &BundledPlugin| {
            let sidecar = expected(plugin, folder)?;
            self.refuse_unpinned_plugin(&sidecar)?;
            let runs = sidecar.cpu.check(&sidecar.id).and_then(|()| load::check_contract(&sidecar));
            runs.map_err(|error| Error::new(error.kind(), format!("{error}; {INSTEAD}")).with_source(error))?;
            Ok(sidecar)
        };
        index.plugins.iter().map(fits).collect()
    }

    /// What another manifest or plugin hides that is searched before.
    fn hidden(&self, imported: &Imported, folder: &Path) -> Vec<String> {
        let catalog = self.catalog();
        let references = self.locations().store.join("models");
        let models = catalog.shadowed().iter().filter(|shadowed| {
            imported.models.contains(&shadowed.name) && shadowed.path.parent() == Some(references.as_path())
        });
        let models = models.map(|shadowed| {
            let (name, by) = (&shadowed.name, shadowed.by.display());
            format!(
                "model \"{name}\" of the bundle is hidden by {by}, which says something else and is searched before"
            )
        });
        let ids = imported.new_plugins.iter().chain(&imported.known_plugins);
        let plugins = ids.filter_map(|id| match self.found(id) {
            Some(Found::Sidecar(path, _)) if !path.parent().is_some_and(|found| same(found, folder)) => {
                let by = path.display();
                Some(format!("plugin \"{id}\" of the bundle is hidden by {by}, which is searched before"))
            }
            _ => None,
        });
        models.chain(plugins).collect()
    }
}

/// What is to be pinned of a plugin.
fn pinned(sidecar: &Sidecar) -> LockedPlugin {
    LockedPlugin {
        id: sidecar.id.clone(),
        version: sidecar.version.clone(),
        abi: sidecar.abi_text(),
        cpu: sidecar.cpu.to_string(),
        sha256: sidecar.sha256,
    }
}

fn source(sidecar: &Sidecar) -> PluginSource {
    PluginSource {
        id: sidecar.id.clone(),
        version: sidecar.version.clone(),
        abi: sidecar.abi_text(),
        cpu: sidecar.cpu.to_string(),
        library: sidecar.library.clone(),
        sha256: sidecar.sha256,
        sidecar: sidecar.path.clone(),
    }
}

/// What the sidecar of a bundled plugin has to say, by the bundle's index.
fn expected(plugin: &BundledPlugin, folder: &Path) -> Result<Sidecar> {
    let wrong =
        |problem: String| Error::new(ErrorKind::Plugin, format!("plugin \"{}\" of the bundle: {problem}", plugin.id));
    Ok(Sidecar {
        path: folder.join(format!("{}{}", plugin.id, sidecar::SUFFIX)),
        id: plugin.id.clone(),
        version: plugin.version.clone(),
        abi: sidecar::parse_abi(&plugin.abi).map_err(wrong)?,
        library: folder.join(&plugin.file),
        sha256: plugin.library.sha256,
        tasks: Vec::new(),
        cpu: CpuNeed::parse(&plugin.cpu).map_err(wrong)?,
        license: String::new(),
        description: String::new(),
    })
}

/// That a sidecar says what the index of its bundle says.
fn vouch(expected: &Sidecar, text: &str) -> std::result::Result<(), String> {
    let found = Sidecar::parse(text, &expected.path).map_err(|error| error.message().to_owned())?;
    let sides = |sidecar: &Sidecar| {
        let Sidecar { id, version, abi, library, sha256, cpu, .. } = sidecar.clone();
        (id, version, abi, library, sha256, cpu)
    };
    match sides(&found) == sides(expected) {
        true => Ok(()),
        false => Err("it says something else than the index".to_owned()),
    }
}

/// Where an engine looks for plugins: where it was told to, and last in its store.
pub(crate) fn with_plugins_of(store: &Path, mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let own = store.join(PLUGINS);
    if !store.as_os_str().is_empty() && !folders.contains(&own) {
        folders.push(own);
    }
    folders
}

/// Whether two names are of one folder: one may be relative, as a flag gave it.
fn same(one: &Path, other: &Path) -> bool {
    one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}
