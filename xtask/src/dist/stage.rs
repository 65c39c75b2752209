//! The tree of a package, under whichever prefix.

use super::files::{copy, copy_as, copy_matching, copy_tree, read, remove, write};
use super::{library, licences};
use crate::artifacts::{self, PLUGINS};
use crate::process::{self, output, root};
use std::path::PathBuf;

/// The examples that are packed as sources, by folder under examples/.
const EXAMPLES: &[&str] = &["c", "cpp", "plugin-c", "plugin-cpp"];

/// Documents beside those in docs/, at their places, because links lead to them.
const DOCUMENTS: &[&str] = &["CHANGELOG.md", "benches/README.md", "models/README.md", "python/README.md"];

/// Links of the README to what has another place in a package.
const LINKS: &[(&str, &str)] = &[("](include)", "](../../../include)"), ("](manifests)", "](../../tenon/manifests)")];

/// Where the parts of a package go.
pub struct Layout {
    /// The folder that is packed.
    pub root: PathBuf,
    /// The prefix, under the root.
    pub prefix: &'static str,
    /// The folder of libraries, under the prefix.
    pub library_folder: String,
    /// The prefix as pkg-config is told it.
    pub pkg_config_prefix: String,
}

impl Layout {
    /// A tree that works wherever it is put.
    pub fn relocatable(root: PathBuf) -> Self {
        let pkg_config_prefix = "${pcfiledir}/../..".to_owned();
        Self { root, prefix: "", library_folder: "lib".to_owned(), pkg_config_prefix }
    }

    /// The prefix.
    pub fn prefix(&self) -> PathBuf {
        if self.prefix.is_empty() { self.root.clone() } else { self.root.join(self.prefix) }
    }

    /// Programs.
    pub fn programs(&self) -> PathBuf {
        self.prefix().join("bin")
    }

    /// Programs that only Tenon starts, where the engine looks for them: around its library and around `tenon`.
    pub fn private_programs(&self) -> PathBuf {
        self.prefix().join("libexec/tenon")
    }

    /// Libraries.
    pub fn libraries(&self) -> PathBuf {
        self.prefix().join(&self.library_folder)
    }

    /// Plugins and their sidecars, where `host/store` looks for them.
    pub fn plugins(&self) -> PathBuf {
        self.prefix().join("lib/tenon/plugins")
    }

    /// Headers.
    pub fn include(&self) -> PathBuf {
        self.prefix().join("include")
    }

    /// Manifests and models, where `host/store` looks for them.
    pub fn data(&self) -> PathBuf {
        self.prefix().join("share/tenon")
    }

    /// What people read.
    pub fn documents(&self) -> PathBuf {
        self.prefix().join("share/doc/tenon")
    }
}

/// Fills the tree.
pub fn fill(layout: &Layout) -> Result<(), String> {
    copy(&artifacts::program(), &layout.programs())?;
    copy(&artifacts::worker(), &layout.private_programs())?;
    plugins(layout)?;
    library::install(layout)?;
    let data = layout.data();
    copy_matching(&root().join("manifests"), &data.join("manifests"), &["toml", "json"])?;
    copy_matching(&root().join("models"), &data.join("models"), &["bin", "gguf", "json", "md"])?;
    copy_matching(&root().join("models/recordings"), &data.join("models/recordings"), &["wav", "toml"])?;
    documents(layout)?;
    manuals(layout)?;
    completions(layout)
}

fn plugins(layout: &Layout) -> Result<(), String> {
    for plugin in PLUGINS {
        let sidecar = artifacts::release_folder().join(format!("{plugin}.plugin.toml"));
        copy(&artifacts::library(plugin), &layout.plugins())?;
        copy(&sidecar, &layout.plugins())?;
    }
    Ok(())
}

fn documents(layout: &Layout) -> Result<(), String> {
    let folder = layout.documents();
    let readme = read(&root().join("README.md"))?;
    let readme = LINKS.iter().fold(readme, |text, (link, there)| text.replace(link, there));
    write(&folder.join("README.md"), readme)?;
    for file in DOCUMENTS {
        copy_as(&root().join(file), &folder.join(file))?;
    }
    copy_tree(&root().join("docs"), &folder.join("docs"))?;
    for example in EXAMPLES {
        copy_tree(&root().join("examples").join(example), &folder.join("examples").join(example))?;
    }
    licences::install(&folder.join("licenses"))
}

/// Writes the man pages, each into the folder of its section.
fn manuals(layout: &Layout) -> Result<(), String> {
    let manuals = layout.prefix().join("share/man");
    let pages = manuals.join("man1");
    std::fs::create_dir_all(&pages).map_err(|error| format!("{}: {error}", pages.display()))?;
    output(process::command(artifacts::program()).args(["man", "--quiet"]).arg(&pages))?;
    let formats = pages.join("tenon-manifest.5");
    if formats.is_file() {
        copy_as(&formats, &manuals.join("man5/tenon-manifest.5"))?;
        remove(&formats)?;
    }
    Ok(())
}

/// Writes the completions where the shells look for them.
fn completions(layout: &Layout) -> Result<(), String> {
    let places = [
        ("bash", "share/bash-completion/completions/tenon"),
        ("zsh", layout.zsh_completions()),
        ("fish", "share/fish/vendor_completions.d/tenon.fish"),
    ];
    for (shell, place) in places {
        let text = output(process::command(artifacts::program()).args(["completions", shell]))?;
        write(&layout.prefix().join(place), text)?;
    }
    Ok(())
}

impl Layout {
    /// Debian's zsh looks in a folder of its own for what packages bring.
    fn zsh_completions(&self) -> &'static str {
        if self.prefix == "usr" { "share/zsh/vendor-completions/_tenon" } else { "share/zsh/site-functions/_tenon" }
    }
}
