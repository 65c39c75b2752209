//! The licences of everything bundled: which crates and native sources the packages are made of, and their texts.
//!
//! The list comes from cargo, the texts from the sources that were compiled. Whatever has no text is an error, but for
//! the exceptions below, each with its reason.

use super::files::{self, read, write};
use crate::process::{self, cargo, output, root};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The crates that packages are made of.
const PACKED: &[&str] = &["tenon-cli", "tenon-capi", "tenon-worker", "tenon-echo", "tenon-whisper", "tenon-llama"];

/// How the names of files with licence texts begin.
const TEXTS: &[&str] = &["LICENSE", "LICENCE", "COPYING", "UNLICENSE"];
/// The same for what must be passed on beside a licence.
const NOTICES: &[&str] = &["NOTICE", "COPYRIGHT"];

/// Where the text of a component is that does not bring one.
enum Text {
    /// The text of another crate.
    Of(&'static str),
    /// A file of this repository.
    Here(&'static str),
    /// A file in the crate's sources.
    File(&'static str),
    /// The comment at the head of a file in the crate's sources.
    Head(&'static str),
}

/// Crates whose packages bring no text: which one holds, and why.
const WITHOUT_TEXT: &[(&str, Text, &str)] = &[
    ("abi_stable", Text::Here("LICENSE-APACHE"), "used under Apache-2.0, whose text is the same for everybody"),
    ("abi_stable_shared", Text::Here("LICENSE-APACHE"), "used under Apache-2.0, whose text is the same for everybody"),
    ("core_extensions", Text::Here("LICENSE-APACHE"), "used under Apache-2.0, whose text is the same for everybody"),
    ("llama-cpp-2", Text::Here("LICENSE-APACHE"), "used under Apache-2.0, whose text is the same for everybody"),
    ("llama-cpp-sys-2", Text::Here("LICENSE-APACHE"), "used under Apache-2.0, whose text is the same for everybody"),
    ("jsonschema-regex", Text::Of("jsonschema"), "from the same repository"),
    ("jsonschema-value", Text::Of("jsonschema"), "from the same repository"),
    ("whisper-rs-sys", Text::Of("whisper-rs"), "from the same repository"),
    ("repr_offset", Text::Of("tstr"), "by the same author under the same licence"),
    ("uuid-simd", Text::Of("outref"), "by the same author under the same licence"),
    ("vsimd", Text::Of("outref"), "by the same author under the same licence"),
];

/// Sources by others that lie inside a crate and are compiled into a plugin.
struct Inside {
    of: &'static str,
    name: &'static str,
    licence: &'static str,
    source: &'static str,
    /// A file that is there as long as the crate bundles it.
    mark: &'static str,
    text: Text,
}

const INSIDE: &[Inside] = &[
    Inside {
        of: "whisper-rs-sys",
        name: "whisper.cpp with ggml",
        licence: "MIT",
        source: "https://github.com/ggml-org/whisper.cpp",
        mark: "whisper.cpp/LICENSE",
        text: Text::File("whisper.cpp/LICENSE"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "llama.cpp with ggml",
        licence: "MIT",
        source: "https://github.com/ggml-org/llama.cpp",
        mark: "llama.cpp/LICENSE",
        text: Text::File("llama.cpp/LICENSE"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "JSON for Modern C++",
        licence: "MIT",
        source: "https://github.com/nlohmann/json",
        mark: "llama.cpp/vendor/nlohmann/json.hpp",
        text: Text::Here("packaging/licenses/nlohmann-json.txt"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "matrix multiplication of llamafile",
        licence: "MIT",
        source: "https://github.com/Mozilla-Ocho/llamafile",
        mark: "llama.cpp/ggml/src/ggml-cpu/llamafile/sgemm.cpp",
        text: Text::Head("llama.cpp/ggml/src/ggml-cpu/llamafile/sgemm.cpp"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "YaRN in ggml",
        licence: "MIT",
        source: "https://github.com/jquesnelle/yarn",
        mark: "llama.cpp/ggml/src/ggml-cpu/ops.cpp",
        text: Text::Here("packaging/licenses/yarn.txt"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "base64.hpp",
        licence: "Unlicense",
        source: "https://github.com/ggml-org/llama.cpp",
        mark: "llama.cpp/common/base64.hpp",
        text: Text::Head("llama.cpp/common/base64.hpp"),
    },
    Inside {
        of: "llama-cpp-sys-2",
        name: "subprocess.h",
        licence: "Unlicense",
        source: "https://github.com/sheredom/subprocess.h",
        mark: "llama.cpp/vendor/sheredom/subprocess.h",
        text: Text::Head("llama.cpp/vendor/sheredom/subprocess.h"),
    },
];

/// Something that is bundled.
struct Component {
    name: String,
    version: String,
    licence: String,
    source: String,
    /// What is to be said about its text.
    remark: String,
    texts: Vec<String>,
}

/// Writes Tenon's own licences, those of all components, and that of Rust's standard library.
pub fn install(folder: &Path) -> Result<(), String> {
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        files::copy(&root().join(file), folder)?;
    }
    write(&folder.join("THIRD-PARTY.txt"), document(&components()?))?;
    let sysroot = output(process::command("rustc").args(["--print", "sysroot"]))?;
    let notices = Path::new(sysroot.trim()).join("share/doc/rust/COPYRIGHT-library.html");
    // A compiler from elsewhere than rustup may not bring it; THIRD-PARTY.txt names the standard library in any case.
    if notices.is_file() { files::copy_as(&notices, &folder.join("rust-standard-library.html")) } else { Ok(()) }
}

/// Asserts that everything bundled has a text.
pub fn check() -> Result<(), String> {
    components().map(|_| ())
}

/// All components, by name.
fn components() -> Result<Vec<Component>, String> {
    let folders = folders()?;
    let mut components = vec![standard_library()?];
    let mut wrong = Vec::new();
    for line in tree()?.lines() {
        let mut fields = line.split('|');
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let (package, licence, source) = (field(), field(), field());
        let Some((name, version)) = package.split_once(" v") else { continue };
        let Some(folder) = folders.get(&(name.to_owned(), version.to_owned())) else {
            wrong.push(format!("the sources of {package} are not here: cargo fetch --locked"));
            continue;
        };
        match texts(name, folder, &folders) {
            Ok((texts, remark)) => {
                let (name, version) = (name.to_owned(), version.to_owned());
                components.push(Component { name, version, licence, source, remark, texts });
            }
            Err(error) => wrong.push(error),
        }
        for inside in INSIDE.iter().filter(|inside| inside.of == name) {
            match inside.component(folder, version) {
                Ok(component) => components.push(component),
                Err(error) => wrong.push(error),
            }
        }
    }
    if wrong.is_empty() { Ok(components) } else { Err(wrong.join("; ")) }
}

/// The crates of others that packages are made of on this system: `NAME vVERSION|LICENCE|REPOSITORY` a line. Build
/// scripts and macros are programs of the build, and not bundled.
fn tree() -> Result<String, String> {
    let mut command = cargo(&["tree", "--locked", "--edges", "no-dev,no-build,no-proc-macro", "--prefix", "none"]);
    for package in PACKED {
        command.args(["--package", package]);
    }
    let tree = output(command.args(["--no-dedupe", "--format", "{p}|{l}|{r}"]))?;
    // A crate of this workspace is shown with its folder.
    let foreign = tree.lines().filter(|line| line.contains('|') && !line.contains(" ("));
    let unique: std::collections::BTreeSet<&str> = foreign.collect();
    Ok(unique.into_iter().collect::<Vec<&str>>().join("\n"))
}

/// Where the sources of each crate are, by name and version.
fn folders() -> Result<BTreeMap<(String, String), PathBuf>, String> {
    let triple = super::target()?;
    let metadata =
        output(&mut cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", triple.as_str()]))?;
    let manifests = metadata.split("\"manifest_path\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut folders = BTreeMap::new();
    for manifest in manifests {
        let manifest = PathBuf::from(manifest.replace("\\\\", "\\"));
        let text = read(&manifest)?;
        if let (Some(name), Some(version), Some(folder)) =
            (first_value(&text, "name"), first_value(&text, "version"), manifest.parent())
        {
            folders.insert((name, version), folder.to_owned());
        }
    }
    Ok(folders)
}

/// The first `key = "value"` of a manifest, which in a published one is that of its package.
fn first_value(manifest: &str, key: &str) -> Option<String> {
    let value =
        |line: &str| Some(line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().trim_matches('"').to_owned());
    manifest.lines().find_map(value)
}

/// The texts of a crate, and what is to be said about them.
fn texts(
    name: &str,
    folder: &Path,
    folders: &BTreeMap<(String, String), PathBuf>,
) -> Result<(Vec<String>, String), String> {
    let (mut texts, has_licence) = texts_in(folder)?;
    let exception = WITHOUT_TEXT.iter().find(|(known, ..)| *known == name);
    match (has_licence, exception) {
        (true, None) => Ok((texts, String::new())),
        (true, Some(_)) => {
            Err(format!("{name} brings a text now: take it off WITHOUT_TEXT in xtask/src/dist/licences.rs"))
        }
        (false, None) => Err(format!("{name} brings no licence text: see WITHOUT_TEXT in xtask/src/dist/licences.rs")),
        (false, Some((_, text, reason))) => {
            texts.extend(text.read(folder, folders)?);
            Ok((texts, format!("its package brings no text: {reason}")))
        }
    }
}

/// The texts in a folder, and whether there is a licence among them.
fn texts_in(folder: &Path) -> Result<(Vec<String>, bool), String> {
    let (mut texts, mut has_licence) = (Vec::new(), false);
    for path in files::entries(folder)? {
        let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase()).unwrap_or_default();
        let begins = |list: &[&str]| list.iter().any(|known| name.starts_with(known));
        // A source file may be called copyright.rs.
        if !begins(TEXTS) && !begins(NOTICES) || name.ends_with(".RS") {
            continue;
        }
        let found = if path.is_dir() { files::all(&path)? } else { vec![path] };
        has_licence |= begins(TEXTS) && !found.is_empty();
        for file in found {
            texts.push(read(&file)?);
        }
    }
    Ok((texts, has_licence))
}

impl Text {
    fn read(&self, folder: &Path, folders: &BTreeMap<(String, String), PathBuf>) -> Result<Vec<String>, String> {
        match self {
            Self::Of(other) => {
                let found = folders.iter().find(|((name, _), _)| name == other);
                let (_, folder) = found.ok_or_else(|| format!("{other}, whose text another crate needs, is gone"))?;
                texts_in(folder).map(|(texts, _)| texts)
            }
            Self::Here(path) => Ok(vec![read(&root().join(path))?]),
            Self::File(path) => Ok(vec![read(&folder.join(path))?]),
            Self::Head(path) => Ok(vec![head(&folder.join(path))?]),
        }
    }
}

impl Inside {
    fn component(&self, folder: &Path, version: &str) -> Result<Component, String> {
        if !folder.join(self.mark).exists() {
            return Err(format!("{} no longer holds {}: see INSIDE in xtask/src/dist/licences.rs", self.of, self.mark));
        }
        let texts = self.text.read(folder, &BTreeMap::new())?;
        Ok(Component {
            name: self.name.to_owned(),
            version: format!("in {} {version}", self.of),
            licence: self.licence.to_owned(),
            source: self.source.to_owned(),
            remark: String::new(),
            texts,
        })
    }
}

/// The comment at the head of a source file that is its licence, without its marks.
fn head(path: &Path) -> Result<String, String> {
    let text = read(path)?;
    let comments: Vec<String> = if text.starts_with("/*") {
        text.split("/*").skip(1).filter_map(|rest| rest.split("*/").next()).map(str::to_owned).collect()
    } else {
        vec![text.lines().map_while(|line| line.strip_prefix("//")).collect::<Vec<_>>().join("\n")]
    };
    let licence = comments.iter().take(3).find(|comment| comment.contains("WITHOUT WARRANTY"));
    let licence = licence.ok_or_else(|| format!("{} no longer begins with a licence", path.display()))?;
    Ok(licence.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
}

/// Rust's standard library is in every program and library.
fn standard_library() -> Result<Component, String> {
    let version = output(process::command("rustc").arg("--version"))?;
    Ok(Component {
        name: "Rust standard library".to_owned(),
        version: version.split(' ').nth(1).unwrap_or_default().to_owned(),
        licence: "MIT OR Apache-2.0".to_owned(),
        source: "https://github.com/rust-lang/rust".to_owned(),
        remark: "used under Apache-2.0; rust-standard-library.html has the notices of what it is made of".to_owned(),
        texts: vec![read(&root().join("LICENSE-APACHE"))?],
    })
}

/// The list of components, then each text once.
fn document(components: &[Component]) -> String {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts: Vec<(String, Vec<&str>)> = Vec::new();
    let mut list = String::new();
    for component in components {
        let mut of_it = Vec::new();
        for text in &component.texts {
            let text = text.replace("\r\n", "\n").trim().to_owned();
            // The same text may be broken into other lines.
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let number = *numbers.entry(words).or_insert_with(|| {
                texts.push((text, Vec::new()));
                texts.len()
            });
            texts[number - 1].1.push(&component.name);
            of_it.push(number.to_string());
        }
        let Component { name, version, licence, source, remark, .. } = component;
        let _ = writeln!(
            list,
            "{name} {version}\n  licence  {licence}\n  source   {source}\n  texts    {}",
            of_it.join(", ")
        );
        if !remark.is_empty() {
            let _ = writeln!(list, "  note     {remark}");
        }
    }
    let mut document = format!(
        "What the program tenon, the library libtenon and the bundled plugins are made of beside Tenon itself.\n\
         {} components, then the {} texts that they name.\n\n{list}",
        components.len(),
        texts.len()
    );
    for (number, (text, names)) in texts.iter().enumerate() {
        let line = "-".repeat(100);
        let _ = writeln!(document, "\n{line}\nText {} of {}\n{line}\n\n{text}", number + 1, names.join(", "));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_bundled_has_the_text_of_its_licence() {
        let components = components().unwrap();
        for component in &components {
            assert!(!component.licence.is_empty(), "{} has no licence expression", component.name);
            assert!(component.texts.iter().any(|text| text.len() > 200), "{} has no text", component.name);
        }
        for name in ["whisper.cpp with ggml", "llama.cpp with ggml", "serde", "Rust standard library"] {
            assert!(components.iter().any(|component| component.name == name), "{name}");
        }
    }

    #[test]
    fn every_exception_is_needed() {
        let components = components().unwrap();
        for (name, ..) in WITHOUT_TEXT {
            assert!(components.iter().any(|component| component.name == *name), "{name} is not bundled any more");
        }
    }

    /// Files with a copyright line of their own, by the end of their path, that are in INSIDE or need not be.
    const KNOWN: &[&str] = &["llamafile/sgemm.cpp", "ggml-cpu/ops.cpp", "common/base64.hpp"];
    /// Folders that are not compiled: for other processors.
    const LEFT_OUT: &[&str] = &["kleidiai"];
    /// Folders of llama.cpp's vendor/: compiled in and in INSIDE, or not linked (server, images, audio, hashes).
    const VENDORED: &[&str] = &["nlohmann", "sheredom", "cpp-httplib", "hash", "miniaudio", "stb"];

    #[test]
    fn no_engine_holds_the_work_of_others_that_the_list_does_not_name() {
        let folders = folders().unwrap();
        let folder = |wanted: &str| {
            let found = folders.iter().find(|((name, _), _)| name == wanted);
            found.map(|(_, folder)| folder.clone()).unwrap()
        };
        let (whisper, llama) =
            (folder("whisper-rs-sys").join("whisper.cpp"), folder("llama-cpp-sys-2").join("llama.cpp"));
        let compiled = ["src", "include", "ggml/src/ggml-cpu"];
        let mut sources: Vec<PathBuf> = Vec::new();
        for folder in
            compiled.iter().flat_map(|part| [whisper.join(part), llama.join(part)]).chain([llama.join("common")])
        {
            sources.extend(files::all(&folder).unwrap());
        }
        for engine in [&whisper, &llama] {
            sources.extend(files::entries(&engine.join("ggml/src")).unwrap().into_iter().filter(|path| path.is_file()));
        }
        for source in sources {
            let place = source.to_string_lossy().replace('\\', "/");
            let known =
                KNOWN.iter().any(|end| place.ends_with(end)) || LEFT_OUT.iter().any(|part| place.contains(part));
            let text = String::from_utf8_lossy(&std::fs::read(&source).unwrap()).to_lowercase();
            assert!(known || !text.contains("copyright"), "{place} has a copyright of its own");
        }
        for vendored in files::entries(&llama.join("vendor")).unwrap().iter().filter(|path| path.is_dir()) {
            let name = vendored.file_name().unwrap().to_string_lossy();
            assert!(VENDORED.contains(&name.as_ref()), "{} is new", vendored.display());
        }
    }

    #[test]
    fn a_text_stands_once_however_its_lines_are_broken() {
        let component = |name: &str, text: &str| Component {
            name: name.to_owned(),
            version: "1".to_owned(),
            licence: "MIT".to_owned(),
            source: String::new(),
            remark: String::new(),
            texts: vec![text.to_owned()],
        };
        let document = document(&[component("a", "one two\nthree"), component("b", "one\r\ntwo three\n")]);
        assert!(document.contains("2 components, then the 1 texts"), "{document}");
        assert!(document.contains("Text 1 of a, b"), "{document}");
        assert_eq!(document.matches("three").count(), 1, "{document}");
    }
}
