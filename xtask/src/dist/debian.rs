//! The Debian package: the tree of the archive beneath /usr, and what Debian asks for beside it.

use super::files::{self, all, copy_as, fill, write};
use super::stage::{self, Layout};
use super::{Effort, VERSION, library, moment};
use crate::process::{self, output, root, run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What Debian calls a processor.
pub struct Architecture {
    name: &'static str,
    /// The folder of libraries under /usr/lib.
    triplet: &'static str,
}

impl Architecture {
    /// That of a target with glibc that Debian has a name for.
    pub fn of(target: &str) -> Option<Self> {
        let known = [
            ("x86_64-unknown-linux-gnu", "amd64", "x86_64-linux-gnu"),
            ("aarch64-unknown-linux-gnu", "arm64", "aarch64-linux-gnu"),
            ("riscv64gc-unknown-linux-gnu", "riscv64", "riscv64-linux-gnu"),
        ];
        let found = known.into_iter().find(|(known, ..)| *known == target);
        found.map(|(_, name, triplet)| Self { name, triplet })
    }
}

/// Packs `tenon_VERSION_ARCH.deb` into `dist` and gives its path.
pub fn pack(dist: &Path, architecture: &Architecture, effort: Effort) -> Result<PathBuf, String> {
    let name = format!("tenon_{VERSION}_{}", architecture.name);
    let layout = Layout {
        root: dist.join(&name),
        prefix: "usr",
        library_folder: format!("lib/{}", architecture.triplet),
        pkg_config_prefix: "/usr".to_owned(),
    };
    files::remove_folder(&layout.root)?;
    stage::fill(&layout)?;
    documents(&layout)?;
    files::set_modes(&layout.root)?;
    control(&layout, architecture)?;
    let package = dist.join(format!("{name}.deb"));
    let mut command = process::command("dpkg-deb");
    // Tests unpack it several times, too, which takes xz five times as long.
    let compression = match effort {
        Effort::Little => ["-Zgzip", "-z1"],
        Effort::Much => ["-Zxz", "-z6"],
    };
    command.env("SOURCE_DATE_EPOCH", moment().to_string()).arg("--root-owner-group").args(compression).arg("--build");
    run(command.arg(&layout.root).arg(&package))?;
    files::remove_folder(&layout.root)?;
    Ok(package)
}

/// Manuals and changelogs are packed, and the copyright stands where Debian's tools look for it.
fn documents(layout: &Layout) -> Result<(), String> {
    let folder = layout.documents();
    let seconds = format!("@{}", moment());
    let date = output(process::command("date").args(["--utc", "--rfc-email", "--date", &seconds]))?;
    let values = [("VERSION", VERSION.to_owned()), ("DATE", date.trim().to_owned())];
    let template = |name: &str| root().join("packaging/debian").join(name);
    write(&folder.join("changelog"), fill(&template("changelog.in"), &values)?)?;
    copy_as(&template("copyright"), &folder.join("copyright"))?;
    // Debian's own folder has the text, and `copyright` says so.
    files::remove(&folder.join("licenses/LICENSE-APACHE"))?;
    files::remove(&folder.join("licenses/LICENSE-MIT"))?;
    let mut packed = all(&layout.prefix().join("share/man"))?;
    packed.push(folder.join("changelog"));
    packed.push(folder.join("licenses/THIRD-PARTY.txt"));
    output(process::command("gzip").args(["-9", "--no-name", "--force"]).args(&packed)).map(drop)
}

/// Writes the folder DEBIAN, whose files the package is managed by.
fn control(layout: &Layout, architecture: &Architecture) -> Result<(), String> {
    let folder = layout.root.join("DEBIAN");
    let packed = all(&layout.root)?;
    let sizes = packed.iter().map(|path| path.symlink_metadata().map_or(0, |about| about.len().div_ceil(1024)));
    let values = [
        ("VERSION", VERSION.to_owned()),
        ("ARCHITECTURE", architecture.name.to_owned()),
        ("DEPENDS", depends(&packed)?),
        ("SIZE", sizes.sum::<u64>().to_string()),
    ];
    write(&folder.join("control"), fill(&root().join("packaging/debian/control.in"), &values)?)?;
    write(&folder.join("triggers"), "activate-noawait ldconfig\n")?;
    write(&folder.join("shlibs"), format!("libtenon {} tenon (>= {VERSION})\n", library::abi()))?;
    let mut command = process::command("md5sum");
    command.current_dir(&layout.root);
    for path in packed.iter().filter(|path| !path.is_symlink()) {
        command.arg(path.strip_prefix(&layout.root).unwrap_or(path));
    }
    write(&folder.join("md5sums"), output(&mut command)?)?;
    files::set_modes(&folder)
}

/// The packages that the programs and libraries among some files need, with their oldest versions.
fn depends(files: &[PathBuf]) -> Result<String, String> {
    let mut needs = Needs::default();
    for file in files.iter().filter(|file| !file.is_symlink() && is_elf(file)) {
        let mut command = process::command("readelf");
        let about = output(command.env("LC_ALL", "C").args(["--wide", "--dynamic", "--version-info"]).arg(file))?;
        needs.add(&about).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    needs.packages()
}

fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// Which package has a library.
const PACKAGES: &[(&str, &str)] = &[
    ("libc.so.6", "libc6"),
    ("libm.so.6", "libc6"),
    ("libdl.so.2", "libc6"),
    ("libpthread.so.0", "libc6"),
    ("librt.so.1", "libc6"),
    ("ld-linux", "libc6"),
    ("libgcc_s.so.1", "libgcc-s1"),
    ("libstdc++.so.6", "libstdc++6"),
];

/// Which version of gcc brought which version of the symbols of its C++ library.
const GLIBCXX: &[(&str, &str)] = &[
    ("3.4.21", "5"),
    ("3.4.22", "6"),
    ("3.4.23", "7"),
    ("3.4.24", "7.2"),
    ("3.4.25", "8"),
    ("3.4.26", "9"),
    ("3.4.27", "9.2"),
    ("3.4.28", "9.3"),
    ("3.4.29", "11"),
    ("3.4.30", "12"),
    ("3.4.31", "13"),
    ("3.4.32", "13.2"),
    ("3.4.33", "14"),
    ("3.4.34", "15"),
];

/// Packages that are needed, with the newest version of the symbols used of each.
#[derive(Default)]
struct Needs(BTreeMap<&'static str, Vec<u32>>);

impl Needs {
    /// Adds what readelf says about a file.
    fn add(&mut self, about: &str) -> Result<(), String> {
        for line in about.lines() {
            if let Some(library) = line.split("Shared library: [").nth(1).and_then(|rest| rest.split(']').next()) {
                let known = PACKAGES.iter().find(|(known, _)| library.starts_with(known));
                let (_, package) = known.ok_or_else(|| format!("which Debian package has {library} is not known"))?;
                self.0.entry(package).or_default();
            }
            if let Some(symbols) = line.split("Name: ").nth(1).and_then(|rest| rest.split_whitespace().next()) {
                self.add_symbols(symbols);
            }
        }
        Ok(())
    }

    /// Adds a version of symbols such as GLIBC_2.34.
    fn add_symbols(&mut self, name: &str) {
        let Some((kind, version)) = name.rsplit_once('_') else { return };
        let package = match kind {
            "GLIBC" => "libc6",
            "GCC" => "libgcc-s1",
            "GLIBCXX" => "libstdc++6",
            _ => return,
        };
        let version = numbers(version);
        let newest = self.0.entry(package).or_default();
        if version > *newest {
            *newest = version;
        }
    }

    fn packages(&self) -> Result<String, String> {
        let mut packages = Vec::new();
        for (package, symbols) in &self.0 {
            let version = match *package {
                "libstdc++6" => gcc_of(symbols)?,
                "libgcc-s1" => symbols.iter().take(2).map(u32::to_string).collect::<Vec<_>>().join("."),
                _ => symbols.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
            };
            packages.push(if version.is_empty() { package.to_string() } else { format!("{package} (>= {version})") });
        }
        Ok(packages.join(", "))
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// The version of gcc whose C++ library has symbols of a version.
fn gcc_of(symbols: &[u32]) -> Result<String, String> {
    let found = GLIBCXX.iter().find(|(known, _)| numbers(known).as_slice() >= symbols);
    let gcc = found.map(|(_, gcc)| gcc.to_string());
    gcc.ok_or_else(|| format!("which gcc brought GLIBCXX_{symbols:?} is not in GLIBCXX of xtask/src/dist/debian.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = "
 0x0000000000000001 (NEEDED)             Shared library: [libstdc++.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [libm.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
  0x0010:   Name: GLIBCXX_3.4.9  Flags: none  Version: 7
  0x0020:   Name: GLIBCXX_3.4.30  Flags: none  Version: 6
  0x0030:   Name: GLIBC_2.34  Flags: none  Version: 5
  0x0040:   Name: GLIBC_2.4  Flags: none  Version: 5
";

    #[test]
    fn the_newest_symbols_decide_on_the_oldest_package() {
        let mut needs = Needs::default();
        needs.add(ABOUT).unwrap();
        needs.add("  0x0010:   Name: GCC_4.2.0  Flags: none  Version: 7\n").unwrap();
        assert_eq!(needs.packages().unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2), libstdc++6 (>= 12)");
    }

    #[test]
    fn an_unknown_library_is_an_error_that_names_it() {
        let error = Needs::default().add(" (NEEDED)  Shared library: [libgomp.so.1]\n").unwrap_err();
        assert!(error.contains("libgomp.so.1"), "{error}");
    }

    #[test]
    fn symbols_newer_than_the_table_are_an_error() {
        let mut needs = Needs::default();
        needs.add("  0x0010:   Name: GLIBCXX_3.4.99  Flags: none  Version: 7\n").unwrap();
        assert!(needs.packages().is_err());
    }
}
