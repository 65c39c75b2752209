//! The Debian package: unpacked beside the system, installed into a root of its own, and looked at by lintian.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tenon_package_tests::{Place, complaint, debian_package, recording, said, shown, succeed};
use tenon_testkit::{installed, skip};

/// The package, unpacked into a folder; `None`, said loudly, without dpkg-deb.
fn unpacked(place: &Place, test: &str) -> Option<PathBuf> {
    if !installed("dpkg-deb", test) {
        return None;
    }
    let root = place.path().join("root");
    succeed(place.command("dpkg-deb").arg("-x").arg(debian_package()).arg(&root));
    Some(root)
}

/// The folder of libraries of this machine, under the prefix.
fn libraries(root: &Path) -> PathBuf {
    let folders = fs::read_dir(root.join("usr/lib")).unwrap().flatten().map(|entry| entry.path());
    folders.into_iter().find(|path| path.join("pkgconfig").is_dir()).expect("a folder of libraries")
}

#[test]
fn the_program_runs_from_a_folder_that_the_package_is_unpacked_into() {
    let place = Place::new();
    let Some(root) = unpacked(&place, "running the program of the Debian package") else { return };
    let mut command = place.command(root.join("usr/bin/tenon"));
    command.args(["transcribe", "-m", "commands-en"]).arg(recording(&root.join("usr"), "timer.wav"));
    let text = said(&succeed(&mut command));
    assert!(text.contains("can you set a five hour timer"), "{text}");
    assert_eq!(said(&succeed(command.args(["--isolation", "worker"]))), text, "its worker is found");
}

#[test]
fn programs_are_built_with_what_the_package_tells_pkg_config_and_cmake() {
    let test = "building with the Debian package";
    if !["cc", "pkg-config", "cmake"].iter().all(|tool| installed(tool, test)) {
        return;
    }
    let place = Place::new();
    let Some(root) = unpacked(&place, test) else { return };
    let (usr, libraries) = (root.join("usr"), libraries(&root));
    let source = place.path().join("app");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("app.c"), shown(&usr, "c")).unwrap();
    let project = "cmake_minimum_required(VERSION 3.16)\nproject(app LANGUAGES C)\nfind_package(Tenon REQUIRED)\n\
                   add_executable(app app.c)\ntarget_link_libraries(app PRIVATE Tenon::tenon)\n";
    fs::write(source.join("CMakeLists.txt"), project).unwrap();
    let build = place.cmake(&source, &usr, &[]);

    let mut shell = place.command("sh");
    shell.env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &root);
    // Both are told about /usr, where the package belongs, and not about this folder.
    let flags = said(&succeed(shell.args(["-euc", "pkg-config --cflags --libs --define-variable=prefix=/usr tenon"])));
    assert!(flags.contains("-ltenon"), "{flags}");

    let mut app = place.command(build.join("app"));
    app.arg(recording(&usr, "timer.wav")).env("LD_LIBRARY_PATH", &libraries);
    app.env("TENON_PLUGIN_PATH", usr.join("lib/tenon/plugins"));
    app.env("TENON_MANIFESTS", usr.join("share/tenon/manifests")).env("TENON_MODELS", usr.join("share/tenon/models"));
    let text = said(&succeed(&mut app));
    assert!(text.contains("timer.set"), "{text}");
}

#[test]
fn what_the_package_says_about_itself_holds() {
    let place = Place::plain();
    let Some(root) = unpacked(&place, "the fields of the Debian package") else { return };
    let field = |name: &str| said(&succeed(place.command("dpkg-deb").arg("-f").arg(debian_package()).arg(name)));
    let depends = field("Depends");
    for package in ["libc6 (>= 2.", "libgcc-s1", "libstdc++6 (>= "] {
        assert!(depends.contains(package), "{depends}");
    }
    succeed(place.command("dpkg-deb").arg("-e").arg(debian_package()).arg(place.path().join("control")));
    let sums = place.path().join("control/md5sums");
    succeed(place.command("md5sum").args(["--check", "--quiet"]).arg(&sums).current_dir(&root));
    let copyright = fs::read_to_string(root.join("usr/share/doc/tenon/copyright")).unwrap();
    assert!(copyright.contains("THIRD-PARTY.txt.gz"), "{copyright}");
    assert!(root.join("usr/share/doc/tenon/licenses/THIRD-PARTY.txt.gz").is_file());
}

#[test]
fn the_package_is_installed_and_removed_without_a_trace() {
    let test = "installing the Debian package";
    if !installed("dpkg", test) {
        return;
    }
    if said(&succeed(Command::new("id").arg("-u"))).trim() != "0" {
        skip(test, "dpkg installs for root alone, even into a folder");
        return;
    }
    let place = Place::plain();
    let root = place.path().join("system");
    fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |arguments: &[&str], what: &Path| {
        let mut command = place.command("dpkg");
        // What it depends on is not in that system, and nothing of it is configured by programs.
        command.arg(format!("--root={}", root.display())).args(["--force-depends", "--no-triggers"]);
        succeed(command.args(arguments).arg(what))
    };
    dpkg(&["--install"], &debian_package());
    assert!(root.join("usr/bin/tenon").is_file());
    dpkg(&["--purge"], Path::new("tenon"));
    let left = root.join("usr");
    assert!(!left.exists(), "{} is left", left.display());
}

#[test]
fn lintian_finds_no_error() {
    let test = "lintian on the Debian package";
    if !installed("lintian", test) {
        return;
    }
    let place = Place::plain();
    let output = place.command("lintian").args(["--fail-on", "error", "--allow-root"]).arg(debian_package()).output();
    let output = output.expect("lintian runs");
    assert!(output.status.success(), "{}{}", said(&output), complaint(&output));
}
