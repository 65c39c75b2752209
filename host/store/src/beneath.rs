//! Opens plain files beneath a folder, and nothing else: no `..`, no absolute path, no link that leads out.

use crate::names::file_name_problem;
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Opens the file at `components` beneath `root` for reading; `None` when there is no such file or no such root.
///
/// `root` itself may be a link: whoever names a folder means it. What lies in it is followed only while it stays in
/// there.
pub(crate) fn open(root: &Path, components: &[&str]) -> Result<Option<File>> {
    let relative: PathBuf = components.iter().collect();
    if let Some(problem) = components.iter().find_map(|name| file_name_problem(name)) {
        return Err(Error::unsafe_path(&root.join(relative), problem));
    }
    let whole = root.join(&relative);
    let Some(file) = open_in(root, &relative, &whole)? else { return Ok(None) };
    let metadata = file.metadata().map_err(|error| Error::io(&whole, "open", error))?;
    match metadata.is_file() {
        true => Ok(Some(file)),
        false if metadata.is_dir() => Err(Error::unsafe_path(&whole, "is a folder, not a file")),
        false => Err(Error::unsafe_path(&whole, "is not a plain file")),
    }
}

/// The absolute path of an open file, links resolved; `opened_at` is where it was opened.
pub(crate) fn real_path(file: &File, opened_at: &Path) -> PathBuf {
    #[cfg(target_os = "linux")]
    if let Ok(path) = std::fs::read_link(descriptor_path(file))
        && path.is_absolute()
    {
        return path;
    }
    let _ = file;
    std::fs::canonicalize(opened_at).unwrap_or_else(|_| opened_at.to_owned())
}

/// The path by which this process opens the very file that `file` is.
#[cfg(target_os = "linux")]
pub(crate) fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(target_os = "linux")]
fn open_in(root: &Path, relative: &Path, whole: &Path) -> Result<Option<File>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;

    let folder = match rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    {
        Ok(folder) => folder,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Error::io(root, "open", error.into())),
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel answers AGAIN when a rename elsewhere kept it from being sure.
    for _ in 0..64 {
        match rustix::fs::openat2(&folder, relative, for_reading(), Mode::empty(), resolve) {
            Ok(file) => return Ok(Some(File::from(file))),
            Err(Errno::AGAIN) => continue,
            // Kernels before 5.6 lack the call, and some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => return open_step_by_step(root, whole),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::XDEV) => return Err(leads_out(root, whole)),
            Err(Errno::LOOP) => return Err(Error::unsafe_path(whole, "is a symbolic link that leads nowhere safe")),
            Err(error) => return Err(Error::io(whole, "open", error.into())),
        }
    }
    open_step_by_step(root, whole)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn open_in(root: &Path, _: &Path, whole: &Path) -> Result<Option<File>> {
    open_step_by_step(root, whole)
}

/// No waiting for the other end of a pipe, no terminal taken.
#[cfg(unix)]
fn for_reading() -> rustix::fs::OFlags {
    use rustix::fs::OFlags;
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
}

/// Resolves the links first, and then walks down from the root without following any.
#[cfg(unix)]
fn open_step_by_step(root: &Path, whole: &Path) -> Result<Option<File>> {
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::io::Errno;

    let Some((root, relative)) = resolved(root, whole)? else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at =
        rustix::fs::openat(CWD, &root, flags, Mode::empty()).map_err(|e| Error::io(&root, "open", e.into()))?;
    let names: Vec<_> = relative.iter().collect();
    for (index, name) in names.iter().enumerate() {
        let flags = if index + 1 == names.len() { for_reading() } else { flags };
        at = match rustix::fs::openat(&at, *name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            // It was no link when it was resolved.
            Err(Errno::LOOP) => return Err(leads_out(&root, whole)),
            Err(error) => return Err(Error::io(whole, "open", error.into())),
        };
    }
    Ok(Some(File::from(at)))
}

#[cfg(windows)]
fn open_in(root: &Path, _: &Path, whole: &Path) -> Result<Option<File>> {
    use std::os::windows::fs::OpenOptionsExt;
    /// Others may read; nobody may write, rename or delete while the file is open.
    const FILE_SHARE_READ: u32 = 1;

    let Some((root, relative)) = resolved(root, whole)? else { return Ok(None) };
    let path = root.join(relative);
    let file = std::fs::OpenOptions::new()
        .read(true)
        .share_mode(FILE_SHARE_READ)
        .open(&path)
        .map_err(|error| Error::io(whole, "open", error))?;
    // The file itself can no longer move. A folder above it may have been swapped for a link in between.
    match resolved(&root, &path)? {
        Some((_, again)) if root.join(&again) == path => Ok(Some(file)),
        _ => Err(leads_out(&root, whole)),
    }
}

#[cfg(not(any(unix, windows)))]
fn open_in(root: &Path, _: &Path, whole: &Path) -> Result<Option<File>> {
    let Some((root, relative)) = resolved(root, whole)? else { return Ok(None) };
    File::open(root.join(relative)).map(Some).map_err(|error| Error::io(whole, "open", error))
}

/// Root and path below it with all links resolved; `None` when either does not exist.
#[cfg_attr(target_os = "linux", allow(dead_code, reason = "only where openat2 is missing"))]
fn resolved(root: &Path, whole: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let real = |path: &Path| match std::fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io(path, "open", error)),
    };
    let (Some(real_root), Some(real_whole)) = (real(root)?, real(whole)?) else { return Ok(None) };
    match real_whole.strip_prefix(&real_root) {
        Ok(relative) => Ok(Some((real_root.clone(), relative.to_owned()))),
        Err(_) => Err(leads_out(root, whole)),
    }
}

fn leads_out(root: &Path, whole: &Path) -> Error {
    Error::unsafe_path(whole, format!("leads out of {}: put the file itself there, not a link", root.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// Both ways must agree, and the second is the one that other systems take.
    fn both(root: &Path, components: &[&str]) -> Result<Option<String>> {
        let read = |file: Option<File>| {
            file.map(|mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                text
            })
        };
        let first = open(root, components).map(read);
        let whole = root.join(components.iter().collect::<PathBuf>());
        if components.iter().all(|name| file_name_problem(name).is_none()) && !whole.is_dir() {
            let second = open_step_by_step(root, &whole).map(read);
            match (&first, &second) {
                (Ok(first), Ok(second)) => assert_eq!(first, second),
                (Err(first), Err(second)) => assert_eq!(is_unsafe(first), is_unsafe(second)),
                _ => panic!("{first:?} but {second:?}"),
            }
        }
        first
    }

    fn is_unsafe(error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::UnsafePath { .. })
    }

    #[test]
    fn opens_plain_files_and_links_that_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("deep folder")).unwrap();
        fs::write(root.path().join("deep folder/é 模型.bin"), "inside").unwrap();
        symlink("deep folder/é 模型.bin", root.path().join("link.bin")).unwrap();
        symlink("deep folder", root.path().join("other")).unwrap();
        for components in [&["deep folder", "é 模型.bin"][..], &["link.bin"], &["other", "é 模型.bin"]] {
            assert_eq!(both(root.path(), components).unwrap().as_deref(), Some("inside"), "{components:?}");
        }
        assert_eq!(both(root.path(), &["none.bin"]).unwrap(), None);
        assert_eq!(both(&root.path().join("none"), &["a.bin"]).unwrap(), None);
        assert_eq!(both(&root.path().join("link.bin"), &["a.bin"]).unwrap(), None);
    }

    #[test]
    fn refuses_links_that_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path().join("secret"), root.path().join("absolute")).unwrap();
        symlink(outside.path(), root.path().join("folder")).unwrap();
        let up = format!("../{}/secret", outside.path().file_name().unwrap().to_str().unwrap());
        symlink(up, root.path().join("relative")).unwrap();
        symlink("/proc/self/exe", root.path().join("magic")).unwrap();
        symlink("absolute", root.path().join("twice")).unwrap();
        for components in [&["absolute"][..], &["folder", "secret"], &["relative"], &["magic"], &["twice"]] {
            assert!(is_unsafe(&both(root.path(), components).unwrap_err()), "{components:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_plain_file() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("folder")).unwrap();
        assert!(is_unsafe(&open(root.path(), &["folder"]).unwrap_err()));
        symlink("loop", root.path().join("loop")).unwrap();
        assert!(open(root.path(), &["loop"]).is_err());
    }

    /// Of its own, because rustix makes no pipes by name on Apple's systems.
    #[cfg(not(target_vendor = "apple"))]
    #[test]
    fn refuses_a_pipe() {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let root = tempfile::tempdir().unwrap();
        let made = mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RUSR, makedev(0, 0));
        if made.is_ok() {
            assert!(is_unsafe(&open(root.path(), &["pipe"]).unwrap_err()));
        }
    }

    #[test]
    fn the_root_itself_may_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("real")).unwrap();
        fs::write(folder.path().join("real/a"), "a").unwrap();
        symlink("real", folder.path().join("root")).unwrap();
        assert_eq!(both(&folder.path().join("root"), &["a"]).unwrap().as_deref(), Some("a"));
    }
}
