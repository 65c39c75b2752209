//! The control groups of this process: the folders in which limits of theirs may stand. `threads` looks there for a quota
//! of processors, `memory` for a limit of memory.

use std::path::{Path, PathBuf};

/// Folders where the limits of a controller may stand: of each group of this process and of all above it, version 2 or
/// 1, whether or not they exist. `root` is `/` but for tests.
pub(crate) fn folders(root: &Path, controller: &str) -> Vec<PathBuf> {
    let membership = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut folders = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let mounts = match controllers {
            "" => ["", "unified"],
            names if names.split(',').any(|name| name == controller) => [controller, names],
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        for mount in mounts.map(|mount| root.join("sys/fs/cgroup").join(mount)) {
            folders.extend(group.ancestors().map(|group| mount.join(group)));
        }
    }
    folders
}

/// A folder with these files, to stand for `/`.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}
