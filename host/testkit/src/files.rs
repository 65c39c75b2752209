//! Files that a whole process of tests shares. Nothing drops what is static, so a folder of a random name would be left
//! behind by each run: these have names that the next run takes again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of this checkout's shared files, outside the checkout.
pub fn shared_folder() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    crate::workspace().hash(&mut hasher);
    let folder = std::env::temp_dir().join("tenon-tests").join(format!("{:016x}", hasher.finish()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The file of a name that all tests share: `make` writes it to the path that it gets, and only what is whole takes the
/// name, so that processes that make it at once do each other no harm.
pub fn shared_file(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    placed(&shared_folder(), name, make)
}

/// A copy of a program outside the checkout, whose models it would find from beside its build folder.
pub fn copied_out(program: &Path) -> PathBuf {
    let folder = shared_folder().join(program.parent().and_then(Path::file_name).expect("a build has a folder"));
    fs::create_dir_all(&folder).expect("a folder");
    let name = program.file_name().expect("a program has a name").to_string_lossy();
    placed(&folder, &name, |to| copy(program, to))
}

fn placed(folder: &Path, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let mine = tempfile::Builder::new().prefix("making-").tempdir_in(folder).expect("a folder");
    let (made, place) = (mine.path().join(name), folder.join(name));
    make(&made);
    if let Err(error) = fs::rename(&made, &place) {
        // Windows replaces no program that runs. Another process has made the same one then.
        let same = matches!((fs::read(&made), fs::read(&place)), (Ok(new), Ok(old)) if new == old);
        assert!(same, "{}: {error}", place.display());
    }
    place
}

/// Copies a program to where it can be started at once. On Unix another process does it: as long as one started meanwhile
/// by another test had this one's open file, the system would call the copy busy.
pub fn copy(from: &Path, to: &Path) {
    if cfg!(unix) {
        let status = Command::new("cp").arg("--").args([from, to]).status().expect("cp runs");
        assert!(status.success(), "{} cannot be copied", from.display());
    } else {
        fs::copy(from, to).expect("the program can be copied");
    }
}
