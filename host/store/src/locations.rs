//! Where manifests, plugins, model files and the store are.
//!
//! A pure function of an [`Environment`], so that the folders of all systems are tested on each. The current folder
//! never counts: what a stranger's archive unpacks to must not become part of the engine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The system whose habits decide on the folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux and the other systems that follow XDG.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

impl Os {
    /// The one that this program was built for.
    pub const fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

/// What the locations depend on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The system.
    pub os: Os,
    /// Environment variables.
    pub variables: BTreeMap<String, OsString>,
    /// The running program, links resolved.
    pub executable: Option<PathBuf>,
    /// The library that the engine lies in, links resolved, where it is not the program itself.
    pub library: Option<PathBuf>,
    /// Tells whether a folder exists.
    pub is_folder: fn(&Path) -> bool,
}

impl Environment {
    /// That of this process.
    pub fn of_this_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let executable = std::env::current_exe().ok();
        Self {
            os: Os::here(),
            variables: variables.collect(),
            executable: executable.map(|path| std::fs::canonicalize(&path).unwrap_or(path)),
            library: None,
            is_folder: Path::is_dir,
        }
    }

    /// The files that a checkout or an installation may lie around.
    fn homes(&self) -> impl Iterator<Item = &PathBuf> {
        self.executable.iter().chain(&self.library)
    }

    /// A variable that is set to something.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(name).filter(|value| !value.is_empty())
    }

    /// A folder in a variable. The XDG rules say that a relative one is to be ignored.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| self.is_absolute(path))
    }

    fn is_absolute(&self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        match self.os {
            Os::Windows => text.get(1..3).is_some_and(|two| two == ":\\" || two == ":/") || text.starts_with("\\\\"),
            Os::Linux | Os::MacOs => text.starts_with('/'),
        }
    }

    /// The folders of a list variable such as `TENON_MODELS`; empty parts, which elsewhere mean the current folder,
    /// are left out.
    fn folders(&self, name: &str) -> Vec<PathBuf> {
        let separator = if self.os == Os::Windows { ';' } else { ':' };
        let Some(value) = self.variable(name) else { return Vec::new() };
        match value.to_str() {
            Some(text) => text.split(separator).filter(|part| !part.is_empty()).map(PathBuf::from).collect(),
            // Splitting is the system's own affair where the text is not Unicode.
            None => std::env::split_paths(value).filter(|path| !path.as_os_str().is_empty()).collect(),
        }
    }
}

/// Where things are. Lists stand in the order in which they are searched; their folders need not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations {
    /// Folders of manifests.
    pub manifests: Vec<PathBuf>,
    /// Folders of plugins.
    pub plugins: Vec<PathBuf>,
    /// Folders of model files.
    pub models: Vec<PathBuf>,
    /// The folder of model files where a missing one is to be put.
    pub downloads: PathBuf,
    /// The store; blobs lie in it as `blobs/sha256-<hex>`, references as `models/<name>.toml`.
    pub store: PathBuf,
    /// Stores of others that are searched after it and never written to.
    pub stores: Vec<PathBuf>,
    /// The cache of the Hugging Face tools, which is searched last and never written to; empty when there is none.
    pub hub: PathBuf,
    /// What is kept from one start to the next, such as the ledger. Nothing is lost with it but time.
    pub state: PathBuf,
    /// What can be made again.
    pub cache: PathBuf,
    /// Where the configuration lies; empty for none.
    pub config: PathBuf,
    /// The checkout that the running program was built in, if it was.
    pub checkout: Option<PathBuf>,
}

impl Locations {
    /// The standard places: those named by the environment, then a checkout or an installation around the running
    /// program or else the engine's library, then the user's, then the system's.
    pub fn standard(environment: &Environment) -> Self {
        let named = Place {
            manifests: environment.folders("TENON_MANIFESTS"),
            plugins: environment.folders("TENON_PLUGIN_PATH"),
            models: environment.folders("TENON_MODELS"),
        };
        let user = User::of(environment);
        let checkout = checkout_around(environment);
        let downloads = named.models.first().cloned();
        let downloads = downloads.or_else(|| checkout.as_ref().map(|root| root.join("models")));
        let around = match &checkout {
            Some(root) => Place::checkout(root),
            None => installation_around(environment).map(|prefix| Place::installation(&prefix)).unwrap_or_default(),
        };
        let mut all = Self {
            downloads: downloads.unwrap_or_else(|| user.data.join("models")),
            store: environment.variable("TENON_STORE").map_or_else(|| user.data.clone(), PathBuf::from),
            stores: shared_stores(environment),
            hub: hub_of(environment).unwrap_or_default(),
            state: user.state.clone(),
            cache: user.cache.clone(),
            config: user.config.clone(),
            checkout,
            ..Self::default()
        };
        for place in [named, around, user.place(), Place::system(environment.os)] {
            add(&mut all.manifests, place.manifests);
            add(&mut all.plugins, place.plugins);
            add(&mut all.models, place.models);
        }
        all
    }

    /// The folders where manifests lie: those of manifests, and after them the references of the stores.
    pub fn manifest_folders(&self) -> Vec<PathBuf> {
        let mut folders = self.manifests.clone();
        add(&mut folders, self.reference_folders());
        folders
    }

    /// The folders of the references of the store and of the shared stores.
    pub fn reference_folders(&self) -> Vec<PathBuf> {
        let stores = std::iter::once(&self.store).chain(&self.stores);
        let mut folders = Vec::new();
        add(&mut folders, stores.filter(|store| !store.as_os_str().is_empty()).map(|s| s.join("models")).collect());
        folders
    }

    /// The standard places of this process.
    pub fn of_this_process() -> Self {
        Self::standard(&Environment::of_this_process())
    }
}

fn add(list: &mut Vec<PathBuf>, more: Vec<PathBuf>) {
    for path in more {
        if !list.contains(&path) {
            list.push(path);
        }
    }
}

/// The folders of one level of the search.
#[derive(Default)]
struct Place {
    manifests: Vec<PathBuf>,
    plugins: Vec<PathBuf>,
    models: Vec<PathBuf>,
}

impl Place {
    fn checkout(root: &Path) -> Self {
        Self {
            manifests: vec![root.join("manifests")],
            plugins: vec![root.join("target").join("release"), root.join("target").join("debug")],
            models: vec![root.join("models")],
        }
    }

    fn installation(prefix: &Path) -> Self {
        let share = prefix.join("share").join("tenon");
        Self {
            manifests: vec![share.join("manifests")],
            plugins: vec![prefix.join("lib").join("tenon").join("plugins")],
            models: vec![share.join("models")],
        }
    }

    /// The system's folders. Windows has none that only an administrator can fill without further ado.
    fn system(os: Os) -> Self {
        if os == Os::Windows {
            return Self::default();
        }
        let mut system = Self { manifests: vec![PathBuf::from("/etc/tenon/models.d")], ..Self::default() };
        for prefix in ["/usr/local", "/usr"] {
            let place = Self::installation(Path::new(prefix));
            system.manifests.extend(place.manifests);
            system.plugins.extend(place.plugins);
            system.models.extend(place.models);
        }
        system
    }
}

/// The user's folders.
struct User {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    cache: PathBuf,
}

impl User {
    fn of(environment: &Environment) -> Self {
        match environment.os {
            Os::Linux => Self::xdg(environment).unwrap_or_else(Self::service),
            Os::MacOs => Self::mac(environment).unwrap_or_else(Self::service),
            Os::Windows => Self::windows(environment),
        }
    }

    fn xdg(environment: &Environment) -> Option<Self> {
        let home = environment.folder("HOME");
        let folder = |variable: &str, under_home: &str| {
            let base = environment.folder(variable).or_else(|| Some(home.as_ref()?.join(under_home)));
            base.map(|base| base.join("tenon"))
        };
        Some(Self {
            config: folder("XDG_CONFIG_HOME", ".config")?,
            data: folder("XDG_DATA_HOME", ".local/share")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
            cache: folder("XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// Apple's folders, and XDG's where somebody set them.
    fn mac(environment: &Environment) -> Option<Self> {
        let library = environment.folder("HOME").map(|home| home.join("Library"));
        let support = library.as_ref().map(|library| library.join("Application Support").join("tenon"));
        let folder = |variable: &str, apple: Option<PathBuf>| {
            environment.folder(variable).map(|base| base.join("tenon")).or(apple)
        };
        Some(Self {
            config: folder("XDG_CONFIG_HOME", support.clone())?,
            data: folder("XDG_DATA_HOME", support.clone())?,
            state: folder("XDG_STATE_HOME", support.map(|support| support.join("state")))?,
            cache: folder("XDG_CACHE_HOME", library.map(|library| library.join("Caches").join("tenon")))?,
        })
    }

    fn windows(environment: &Environment) -> Self {
        let profile = || environment.folder("USERPROFILE").map(|profile| profile.join("AppData").join("Local"));
        let base = environment.folder("LOCALAPPDATA").or_else(profile);
        let base = base.or_else(|| environment.folder("ProgramData")).unwrap_or_else(|| "C:\\ProgramData".into());
        let base = base.join("tenon");
        Self { config: base.clone(), state: base.join("state"), cache: base.join("cache"), data: base }
    }

    /// A service without a home.
    fn service() -> Self {
        Self {
            config: "/etc/tenon".into(),
            data: "/var/lib/tenon".into(),
            state: "/var/lib/tenon/state".into(),
            cache: "/var/cache/tenon".into(),
        }
    }

    fn place(&self) -> Place {
        Place {
            manifests: vec![self.config.join("models.d")],
            plugins: vec![self.data.join("plugins")],
            models: vec![self.data.join("models")],
        }
    }
}

/// The stores of `TENON_STORES`, and those that the system's administrator fills for everybody.
fn shared_stores(environment: &Environment) -> Vec<PathBuf> {
    let mut stores = environment.folders("TENON_STORES");
    if environment.os != Os::Windows {
        add(&mut stores, ["/var/lib/tenon", "/usr/local/share/tenon", "/usr/share/tenon"].map(PathBuf::from).to_vec());
    }
    stores
}

/// The folder of the hub's repositories, where the Hugging Face tools keep it.
fn hub_of(environment: &Environment) -> Option<PathBuf> {
    let home = || environment.folder(if environment.os == Os::Windows { "USERPROFILE" } else { "HOME" });
    let cache = || environment.folder("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")));
    let of_tools = || environment.folder("HF_HOME").or_else(|| Some(cache()?.join("huggingface")));
    environment.folder("HF_HUB_CACHE").or_else(|| Some(of_tools()?.join("hub")))
}

/// The checkout that the program lies in: the first folder upwards with the marks of one.
fn checkout_around(environment: &Environment) -> Option<PathBuf> {
    let is_checkout = |folder: &&Path| {
        let has = environment.is_folder;
        has(&folder.join("manifests")) && has(&folder.join("plugins").join("native"))
    };
    environment.homes().find_map(|file| file.ancestors().skip(1).find(is_checkout)).map(Path::to_owned)
}

/// The prefix that the program is installed under as `bin/` of it, or the library as `lib/` of it; Debian has one folder
/// more there, for the architecture.
fn installation_around(environment: &Environment) -> Option<PathBuf> {
    environment.homes().find_map(|file| {
        let is_home = |folder: &&Path| {
            folder.file_name().is_some_and(|name| ["bin", "lib", "lib64"].iter().any(|known| name == *known))
        };
        let prefix = file.ancestors().skip(1).take(2).find(is_home)?.parent()?;
        let has = environment.is_folder;
        let installed =
            has(&prefix.join("share").join("tenon")) || has(&prefix.join("lib").join("tenon").join("plugins"));
        installed.then(|| prefix.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(os: Os, executable: &str, variables: &[(&str, &str)], is_folder: fn(&Path) -> bool) -> Environment {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), OsString::from(value)));
        Environment {
            os,
            variables: variables.collect(),
            executable: Some(executable.into()),
            library: None,
            is_folder,
        }
    }

    fn paths(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_user_of_linux_has_xdg_folders_before_the_systems() {
        let found = Locations::standard(&environment(Os::Linux, "/opt/x/tenon", &[("HOME", "/home/é a")], |_| false));
        assert_eq!(
            found.manifests,
            paths(&[
                "/home/é a/.config/tenon/models.d",
                "/etc/tenon/models.d",
                "/usr/local/share/tenon/manifests",
                "/usr/share/tenon/manifests"
            ])
        );
        assert_eq!(
            found.plugins,
            paths(&["/home/é a/.local/share/tenon/plugins", "/usr/local/lib/tenon/plugins", "/usr/lib/tenon/plugins"])
        );
        assert_eq!(found.models[0], Path::new("/home/é a/.local/share/tenon/models"));
        assert_eq!(found.downloads, found.models[0]);
        assert_eq!(found.store, Path::new("/home/é a/.local/share/tenon"));
        assert_eq!(found.state, Path::new("/home/é a/.local/state/tenon"));
        assert_eq!(found.cache, Path::new("/home/é a/.cache/tenon"));
        assert_eq!(found.config, Path::new("/home/é a/.config/tenon"));
    }

    #[test]
    fn variables_move_the_users_folders_unless_they_are_relative_or_empty() {
        let variables = [
            ("HOME", "/h"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "relative"),
            ("XDG_STATE_HOME", ""),
            ("XDG_CACHE_HOME", "/k"),
        ];
        let found = Locations::standard(&environment(Os::Linux, "/x/tenon", &variables, |_| false));
        assert_eq!(found.manifests[0], Path::new("/c/tenon/models.d"));
        assert_eq!(found.store, Path::new("/h/.local/share/tenon"));
        assert_eq!(found.state, Path::new("/h/.local/state/tenon"));
        assert_eq!(found.cache, Path::new("/k/tenon"));
    }

    #[test]
    fn what_the_environment_names_comes_first_and_never_means_the_current_folder() {
        let variables = [("HOME", "/h"), ("TENON_MODELS", ":/a b::/c:"), ("TENON_MANIFESTS", "/m")];
        let found = Locations::standard(&environment(Os::Linux, "/x/tenon", &variables, |_| false));
        assert_eq!(found.models[..3], paths(&["/a b", "/c", "/h/.local/share/tenon/models"]));
        assert_eq!(found.manifests[0], Path::new("/m"));
        assert_eq!(found.downloads, Path::new("/a b"));
        for path in found.manifests.iter().chain(&found.plugins).chain(&found.models) {
            assert!(path.is_absolute(), "{path:?}");
        }
    }

    #[test]
    fn the_store_may_be_elsewhere_and_those_of_others_are_searched_after_it() {
        let variables = [("HOME", "/h"), ("TENON_STORE", "/s t"), ("TENON_STORES", "/a:/b"), ("HF_HOME", "/hf")];
        let found = Locations::standard(&environment(Os::Linux, "/x/tenon", &variables, |_| false));
        assert_eq!(found.store, Path::new("/s t"));
        let system = ["/var/lib/tenon", "/usr/local/share/tenon", "/usr/share/tenon"];
        assert_eq!(found.stores, paths(&[&["/a", "/b"], &system[..]].concat()));
        assert_eq!(found.manifest_folders()[..found.manifests.len()], found.manifests);
        assert_eq!(found.reference_folders()[..2], paths(&["/s t/models", "/a/models"]));
        assert_eq!(found.hub, Path::new("/hf/hub"));
        assert!(Locations::default().reference_folders().is_empty());
    }

    #[test]
    fn the_hubs_cache_is_where_its_tools_keep_it() {
        let hub = |os, variables: &[(&str, &str)]| {
            Locations::standard(&environment(os, "/x/tenon", variables, |_| false)).hub
        };
        assert_eq!(hub(Os::Linux, &[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(hub(Os::MacOs, &[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(hub(Os::Linux, &[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(hub(Os::Linux, &[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/u")]), Path::new("/u"));
        assert_eq!(hub(Os::Linux, &[]), Path::new(""));
        let profile = PathBuf::from(r"C:\Users\a").join(".cache").join("huggingface").join("hub");
        assert_eq!(hub(Os::Windows, &[("USERPROFILE", r"C:\Users\a")]), profile);
    }

    #[test]
    fn a_program_built_in_a_checkout_finds_the_checkouts_own() {
        let is_folder = |path: &Path| {
            let at: [&Path; 2] = ["/src/tenon/manifests".as_ref(), "/src/tenon/plugins/native".as_ref()];
            at.contains(&path)
        };
        let variables = [("HOME", "/h"), ("TENON_PLUGIN_PATH", "/p")];
        let executable = "/src/tenon/target/debug/deps/engine-0123";
        let found = Locations::standard(&environment(Os::Linux, executable, &variables, is_folder));
        assert_eq!(found.checkout.as_deref(), Some(Path::new("/src/tenon")));
        assert_eq!(found.manifests[..2], paths(&["/src/tenon/manifests", "/h/.config/tenon/models.d"]));
        assert_eq!(found.plugins[..3], paths(&["/p", "/src/tenon/target/release", "/src/tenon/target/debug"]));
        assert_eq!(found.models[0], Path::new("/src/tenon/models"));
        assert_eq!(found.downloads, Path::new("/src/tenon/models"));
        assert_eq!(found.state, Path::new("/h/.local/state/tenon"));
    }

    #[test]
    fn a_folder_with_half_the_marks_is_no_checkout() {
        let is_folder = |path: &Path| path.ends_with("manifests");
        let found = Locations::standard(&environment(Os::Linux, "/a/b/tenon", &[("HOME", "/h")], is_folder));
        assert_eq!(found.checkout, None);
    }

    #[test]
    fn an_installed_program_finds_what_was_installed_with_it() {
        let is_folder = |path: &Path| path == Path::new("/opt/tenon/share/tenon");
        let found = Locations::standard(&environment(Os::Linux, "/opt/tenon/bin/tenon", &[("HOME", "/h")], is_folder));
        assert_eq!(found.manifests[0], Path::new("/opt/tenon/share/tenon/manifests"));
        assert_eq!(found.plugins[0], Path::new("/opt/tenon/lib/tenon/plugins"));
        assert_eq!(found.models[0], Path::new("/opt/tenon/share/tenon/models"));
        assert_eq!(found.downloads, Path::new("/h/.local/share/tenon/models"));
    }

    #[test]
    fn a_program_elsewhere_finds_what_was_installed_with_the_library() {
        let is_folder = |path: &Path| path == Path::new("/opt/tenon/share/tenon");
        let program = environment(Os::Linux, "/home/a/app", &[("HOME", "/h")], is_folder);
        let found = Locations::standard(&Environment {
            library: Some("/opt/tenon/lib/libtenon.so.0.1".into()),
            ..program.clone()
        });
        assert_eq!(found.plugins[0], Path::new("/opt/tenon/lib/tenon/plugins"));
        assert_eq!(found.models[0], Path::new("/opt/tenon/share/tenon/models"));
        let debian = Some("/opt/tenon/lib/x86_64-linux-gnu/libtenon.so.0.1".into());
        let same = Locations::standard(&Environment { library: debian, ..program });
        assert_eq!(same, found);
    }

    #[test]
    fn a_system_installation_is_searched_once() {
        let found = Locations::standard(&environment(Os::Linux, "/usr/bin/tenon", &[("HOME", "/h")], |_| true));
        let same = |path: &&PathBuf| path.as_path() == Path::new("/usr/share/tenon/manifests");
        assert_eq!(found.manifests.iter().filter(same).count(), usize::from(found.checkout.is_none()).max(1));
    }

    #[test]
    fn a_user_of_macos_has_apples_folders_and_xdgs_where_set() {
        let found = Locations::standard(&environment(Os::MacOs, "/x/tenon", &[("HOME", "/Users/a")], |_| false));
        let support = Path::new("/Users/a/Library/Application Support/tenon");
        assert_eq!(found.manifests[0], support.join("models.d"));
        assert_eq!(found.store, support);
        assert_eq!(found.state, support.join("state"));
        assert_eq!(found.cache, Path::new("/Users/a/Library/Caches/tenon"));
        let variables = [("HOME", "/Users/a"), ("XDG_DATA_HOME", "/d")];
        let found = Locations::standard(&environment(Os::MacOs, "/x/tenon", &variables, |_| false));
        assert_eq!(found.store, Path::new("/d/tenon"));
        assert_eq!(found.manifests[0], support.join("models.d"));
    }

    #[test]
    fn a_user_of_windows_has_all_in_the_local_profile() {
        let local = r"C:\Users\Zoë Ω\AppData\Local";
        let variables = [("LOCALAPPDATA", local), ("TENON_MODELS", r"D:\models;E:\more")];
        let found = Locations::standard(&environment(Os::Windows, r"C:\x\tenon.exe", &variables, |_| false));
        let base = Path::new(local).join("tenon");
        assert_eq!(found.manifests, [base.join("models.d")]);
        assert_eq!(found.plugins, [base.join("plugins")]);
        assert_eq!(found.models, [PathBuf::from(r"D:\models"), r"E:\more".into(), base.join("models")]);
        assert_eq!((found.store, found.state), (base.clone(), base.join("state")));
        let profile = [("USERPROFILE", r"C:\Users\a")];
        let found = Locations::standard(&environment(Os::Windows, r"C:\x\tenon.exe", &profile, |_| false));
        assert_eq!(found.store, Path::new(r"C:\Users\a").join("AppData").join("Local").join("tenon"));
    }

    #[test]
    fn a_service_without_a_home_keeps_its_things_in_var() {
        let found = Locations::standard(&environment(Os::Linux, "/usr/bin/tenon", &[], |_| false));
        assert_eq!(found.store, Path::new("/var/lib/tenon"));
        assert_eq!(found.manifests[0], Path::new("/etc/tenon/models.d"));
    }

    #[test]
    fn this_program_was_built_in_a_checkout() {
        let found = Locations::of_this_process();
        if let Some(root) = &found.checkout {
            assert!(root.join("manifests").is_dir());
            assert_eq!(found.manifests.iter().filter(|path| path.starts_with(root)).count(), 1);
        }
        assert!(found.store.is_absolute());
    }
}
