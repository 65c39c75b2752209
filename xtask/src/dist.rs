//! Packages in target/dist: a relocatable archive, with dpkg-deb a Debian package, with Python a wheel.
//!
//! All are made of one tree: [`stage`] fills it, [`library`] knows the names of the C library's files, [`licences`]
//! collects the texts of everything bundled, [`debian`] adds what Debian asks for. The templates are in packaging/;
//! `tests/packages` unpacks the results and builds programs with them.

mod debian;
mod files;
mod library;
pub mod licences;
mod stage;

use crate::artifacts;
use crate::process::{self, find, output, root, run as run_command};
use stage::Layout;
use std::path::{Path, PathBuf};

/// The version of everything that is packed.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How much time packing may take.
#[derive(Clone, Copy)]
pub enum Effort {
    /// For tests: packed quickly.
    Little,
    /// For those who fetch the packages: packed small.
    Much,
}

impl Effort {
    /// The level of gzip's and zip's compression.
    fn deflate(self) -> &'static str {
        match self {
            Self::Little => "1",
            Self::Much => "9",
        }
    }
}

/// Builds and packs everything and tries the packed program.
pub fn run() -> Result<(), String> {
    artifacts::build()?;
    let stage = pack(Effort::Much)?;
    // The stage is what the archive unpacks to; its program must find its own models and plugins.
    run_command(process::command(stage.join("bin/tenon")).args(["demo", "--quiet"]))
}

/// Packs what was built: `target/dist/tenon-VERSION-TARGET.tar.gz`, `target/dist/tenon_VERSION_ARCH.deb` and a wheel.
/// Gives the folder that the archive was made of.
pub fn pack(effort: Effort) -> Result<PathBuf, String> {
    let target = target()?;
    let dist = root().join("target/dist");
    let name = format!("tenon-{VERSION}-{target}");
    let layout = Layout::relocatable(dist.join(&name));
    // What an earlier version left would be taken for this one's.
    files::remove_folder(&dist)?;
    stage::fill(&layout)?;
    files::set_modes(&layout.root)?;
    println!("{}", archive(&dist, &name, effort)?.display());
    debian_package(&dist, &target, effort)?;
    wheel(&dist, &layout.root, effort)?;
    Ok(layout.root)
}

/// Makes the Debian package, or says why not.
fn debian_package(dist: &Path, target: &str, effort: Effort) -> Result<(), String> {
    match debian::Architecture::of(target) {
        Some(architecture) if find("dpkg-deb").is_some() => {
            println!("{}", debian::pack(dist, &architecture, effort)?.display());
        }
        Some(_) => eprintln!("dist: no Debian package is made, because there is no dpkg-deb here"),
        None => eprintln!("dist: no Debian package is made for {target}"),
    }
    Ok(())
}

/// Makes the Python wheel, or says why not.
fn wheel(dist: &Path, stage: &Path, effort: Effort) -> Result<(), String> {
    if find("python3").is_none() {
        eprintln!("dist: no Python wheel is made, because there is no python3 here");
        return Ok(());
    }
    let mut command = process::command("python3");
    command.arg(root().join("python/build_wheel.py")).arg("--stage").arg(stage).arg("--out").arg(dist);
    run_command(command.args(["--compression", effort.deflate()]))
}

/// Packs a folder of `dist`. The same tree gives the same bytes where tar and gzip are GNU's.
fn archive(dist: &Path, name: &str, effort: Effort) -> Result<PathBuf, String> {
    let archive = dist.join(format!("{name}.tar.gz"));
    let mut command = process::command("tar");
    command.arg("-C").arg(dist);
    let about = output(process::command("tar").arg("--version")).unwrap_or_default();
    if about.contains("GNU tar") {
        command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
        command.arg(format!("--use-compress-program=gzip -n -{}", effort.deflate()));
        command.arg(format!("--mtime=@{}", moment()));
        run_command(command.arg("-cf").arg(&archive).arg(name))?;
    } else {
        run_command(command.arg("-czf").arg(&archive).arg(name))?;
    }
    Ok(archive)
}

/// The time that packed files bear, in seconds since 1970: SOURCE_DATE_EPOCH, or that of the last commit, or 0.
fn moment() -> u64 {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let commit = || {
        let text = output(process::command("git").args(["log", "-1", "--format=%ct"])).ok()?;
        text.trim().parse().ok()
    };
    given.or_else(commit).unwrap_or(0)
}

/// The target triple of the compiler in use.
fn target() -> Result<String, String> {
    let about = output(process::command("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}
