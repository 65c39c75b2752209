//! Where the program `tenon-worker` is.

use super::settings::WorkerSettings;
use crate::error::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The environment variable that names the program.
const VARIABLE: &str = "TENON_WORKER";
/// Its file.
const NAME: &str = "tenon-worker";

/// The program: the one that the settings or the environment names, or else the first that is in one of its places.
pub(super) fn program(settings: &WorkerSettings) -> Result<PathBuf> {
    let named = settings.program.clone().map(|path| (path, "the engine's settings name"));
    let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let named =
        named.or_else(|| variable().map(|path| (PathBuf::from(path), "the environment variable TENON_WORKER names")));
    if let Some((path, who)) = named {
        let path = settings.folder.as_ref().map_or_else(|| path.clone(), |folder| folder.join(&path));
        return usable(&path).ok_or_else(|| missing(format!("{who} {}, which is no program", path.display())));
    }
    let places = places(&homes());
    places.iter().find_map(|path| usable(path)).ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        missing(format!("it is none of {}", looked.join(", ")))
    })
}

/// The path as the worker's start needs it, whose folder is another: absolute.
fn usable(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.is_file())
}

fn missing(why: String) -> Error {
    let message = format!(
        "isolation = \"worker\" needs the program {NAME}: {why}: \
         install it, or name it with TENON_WORKER or in the engine's settings"
    );
    Error::new(ErrorKind::NotFound, message).with_detail("program", NAME)
}

/// The folders of the library that contains this code and of the running program.
fn homes() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = Vec::new();
    for file in [own_library(), std::env::current_exe().ok()].into_iter().flatten() {
        // Where the file is a link, what lies beside the link counts as well.
        let real = file.canonicalize().ok();
        for folder in [Some(&file), real.as_ref()].into_iter().flatten().filter_map(|file| file.parent()) {
            if folder.is_absolute() && homes.iter().all(|home| home != folder) {
                homes.push(folder.to_owned());
            }
        }
    }
    homes
}

/// Where the program lies relative to whoever starts it, the nearest first.
fn places(homes: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for home in homes {
        places.push(home.join(NAME));
        // Private folders of an installation: bin/ and lib/ beside libexec/, lib/<machine>/ a step deeper.
        places.push(home.join("tenon").join(NAME));
        for up in home.ancestors().skip(1).take(2) {
            places.push(up.join("libexec/tenon").join(NAME));
        }
        // Cargo puts tests and examples into folders of their own.
        if home.file_name().is_some_and(|name| name == "deps" || name == "examples") {
            places.extend(home.parent().map(|folder| folder.join(NAME)));
        }
    }
    places
}

/// The file that this code was loaded from: a library, or the program where it is linked in.
fn own_library() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut info = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let here: fn(&WorkerSettings) -> Result<PathBuf> = program;
    // SAFETY: an address of this library and a place for the answer.
    let known = unsafe { libc::dladdr(here as *const std::ffi::c_void, &raw mut info) } != 0;
    if !known || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the linker's own text, which stays as long as the library.
    let name = unsafe { std::ffi::CStr::from_ptr(info.dli_fname) };
    // For the program itself this may be what it was called by, and for a library what the linker was asked for from a
    // folder that is another by now. The kernel knows where it is.
    let named = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
    if named.is_absolute() { Some(named) } else { mapped_at((here as *const std::ffi::c_void).addr()) }
}

/// The file that is mapped at an address, where the system lists such things.
fn mapped_at(address: usize) -> Option<PathBuf> {
    let holds = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        (number(start)?..number(end)?).contains(&address).then_some(())
    };
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| holds(line).is_some())?;
    line.find('/').map(|path| PathBuf::from(&line[path..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_beside_the_engine_and_in_private_folders() {
        let looked = places(&[PathBuf::from("/usr/lib/machine"), PathBuf::from("/t/debug/deps")]);
        let wanted = [
            "/usr/lib/machine/tenon-worker",
            "/usr/lib/machine/tenon/tenon-worker",
            "/usr/lib/libexec/tenon/tenon-worker",
            "/usr/libexec/tenon/tenon-worker",
            "/t/debug/deps/tenon-worker",
            "/t/debug/deps/tenon/tenon-worker",
            "/t/debug/libexec/tenon/tenon-worker",
            "/t/libexec/tenon/tenon-worker",
            "/t/debug/tenon-worker",
        ];
        assert_eq!(looked, wanted.map(PathBuf::from));
    }

    #[test]
    fn this_code_knows_where_it_is() {
        let program = std::env::current_exe().unwrap();
        assert!(homes().contains(&program.parent().unwrap().to_owned()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_knows_where_this_code_is_too() {
        let here: fn(&WorkerSettings) -> Result<PathBuf> = program;
        let found = mapped_at((here as *const std::ffi::c_void).addr());
        assert_eq!(found, std::env::current_exe().ok());
        assert_eq!(mapped_at(1), None);
    }

    #[test]
    fn a_relative_name_means_the_folder_of_when_the_settings_were_taken() {
        let program = |folder: &Path, name: &Path| {
            program(&WorkerSettings { folder: Some(folder.to_owned()), ..WorkerSettings::new().program(name) })
        };
        let exe = std::env::current_exe().unwrap().canonicalize().unwrap();
        let name = Path::new(exe.file_name().unwrap());
        assert_eq!(program(exe.parent().unwrap(), name).unwrap(), exe);
        // An absolute one is what it is.
        assert_eq!(program(Path::new("/nowhere"), &exe).unwrap(), exe);
        let error = program(Path::new("/nowhere"), name).unwrap_err();
        assert!(error.message().contains("settings name /nowhere/"), "{error}");
    }

    #[test]
    fn a_program_that_is_named_and_missing_is_not_replaced_by_another() {
        let settings = WorkerSettings::new().program("/nowhere/tenon-worker");
        let error = program(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("the engine's settings name /nowhere/tenon-worker"), "{error}");
    }
}
