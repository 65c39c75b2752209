//! The C library: what its files are called, and what pkg-config and cmake must be told of it.

use super::VERSION;
use super::files::{copy, copy_as, copy_matching, fill, link, read, remove_folder, write};
use super::stage::Layout;
use crate::artifacts;
use crate::process::{self, output, root, run};
use std::path::Path;

/// The names of the library's files on the system that this runs on.
struct Names {
    /// What cargo builds.
    built: &'static str,
    /// The shared library in a package.
    shared: String,
    /// Links to it: the name that the dynamic linker looks for, and the one for `-ltenon`.
    links: Vec<String>,
    /// The static library, built and in a package.
    archive: &'static str,
    /// A file that the linker reads in place of the shared library.
    import: Option<&'static str>,
    /// What cmake must know of the shared library beside its place.
    property: String,
}

impl Names {
    fn here() -> Self {
        let abi = abi();
        let unix = |built, shared: String, links: Vec<String>, property| Self {
            built,
            shared,
            links,
            archive: "libtenon.a",
            import: None,
            property,
        };
        if cfg!(windows) {
            let property = "IMPORTED_IMPLIB \"${_tenon_libraries}/tenon.dll.lib\"".to_owned();
            let import = Some("tenon.dll.lib");
            Self { archive: "tenon.lib", import, ..unix("tenon.dll", "tenon.dll".to_owned(), Vec::new(), property) }
        } else if cfg!(target_os = "macos") {
            let (name, file) = (format!("libtenon.{abi}.dylib"), format!("libtenon.{VERSION}.dylib"));
            let property = format!("IMPORTED_SONAME \"@rpath/{name}\"");
            unix("libtenon.dylib", file, vec![name, "libtenon.dylib".to_owned()], property)
        } else {
            let (name, file) = (format!("libtenon.so.{abi}"), format!("libtenon.so.{VERSION}"));
            let property = format!("IMPORTED_SONAME \"{name}\"");
            unix("libtenon.so", file, vec![name, "libtenon.so".to_owned()], property)
        }
    }
}

/// The part of the version that a program is bound to: before 1.0 the minor version is of it.
pub fn abi() -> String {
    let mut parts = VERSION.split('.');
    match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
        ("0", minor) => format!("0.{minor}"),
        (major, _) => major.to_owned(),
    }
}

/// Puts the library into a package, with headers and with what pkg-config and cmake read.
pub fn install(layout: &Layout) -> Result<(), String> {
    let names = Names::here();
    let (release, folder) = (artifacts::release_folder(), layout.libraries());
    copy_as(&release.join(names.built), &folder.join(&names.shared))?;
    copy_as(&release.join(names.archive), &folder.join(names.archive))?;
    if let Some(import) = names.import {
        copy(&release.join(import), &folder)?;
    }
    let mut target = names.shared.clone();
    for name in &names.links {
        link(&folder, &target, name)?;
        target.clone_from(name);
    }
    strip(&folder.join(names.archive))?;
    copy_matching(&root().join("include"), &layout.include(), &["h", "hpp"])?;
    describe(layout, &names, &folder)
}

/// Takes the debugging information of Rust's standard library out of the static library.
fn strip(archive: &Path) -> Result<(), String> {
    if cfg!(windows) {
        return Ok(());
    }
    let option = if cfg!(target_os = "macos") { "-S" } else { "--strip-debug" };
    run(process::command("strip").arg(option).arg(archive))
}

/// Writes what pkg-config and cmake read.
fn describe(layout: &Layout, names: &Names, folder: &Path) -> Result<(), String> {
    let packaging = root().join("packaging");
    let flags = system_libraries()?;
    // From LIBDIR/cmake/Tenon up to the prefix.
    let up = vec![".."; layout.library_folder.split('/').count() + 2].join("/");
    let values = [
        ("VERSION", VERSION.to_owned()),
        ("LIBDIR", layout.library_folder.clone()),
        ("PREFIX", layout.pkg_config_prefix.clone()),
        ("SYSTEM_LIBRARY_LIST", flags.replace(' ', ";")),
        ("SYSTEM_LIBRARIES", flags),
        ("UP", up),
        ("EXE", std::env::consts::EXE_SUFFIX.to_owned()),
        ("SHARED_FILE", names.shared.clone()),
        ("SHARED_NAME", names.property.clone()),
        ("STATIC_FILE", names.archive.to_owned()),
        ("COMPATIBLE", format!("{}\\\\.", abi().replace('.', "\\\\."))),
        ("POINTER_SIZE", size_of::<usize>().to_string()),
    ];
    let templates = [
        ("tenon.pc", "pkgconfig"),
        ("tenon-static.pc", "pkgconfig"),
        ("cmake/TenonConfig.cmake", ""),
        ("cmake/TenonConfigVersion.cmake", ""),
    ];
    for (name, to) in templates {
        let file = name.replace("cmake/", "cmake/Tenon/");
        write(&folder.join(to).join(file), fill(&packaging.join(format!("{name}.in")), &values)?)?;
    }
    copy(&packaging.join("cmake/plugin.map"), &folder.join("cmake/Tenon"))
}

/// The flags of the system's libraries that the static library needs. No crate of it names a library of its own, so
/// they are those of Rust's standard library: what an empty crate needs.
fn system_libraries() -> Result<String, String> {
    let folder = root().join("target/dist/empty-crate");
    let (list, archive) = (folder.join("list"), folder.join("archive"));
    write(&list, "")?;
    let mut command = process::command("rustc");
    command.args(["--crate-name", "empty", "--crate-type", "staticlib", "-o"]).arg(archive);
    command.arg(format!("--print=native-static-libs={}", list.display()));
    // The source is standard input, which is empty.
    output(command.arg("-").stdin(std::process::Stdio::null()))?;
    let flags = read(&list)?.trim().to_owned();
    remove_folder(&folder)?;
    Ok(flags)
}
