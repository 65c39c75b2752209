//! Opening a shared library that was hashed, on each system so that no other file can take its place, and for ever.

use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::io;
use std::path::Path;

#[cfg(unix)]
use libloading::os::unix as os;
#[cfg(windows)]
use libloading::os::windows as os;

/// An open library. Never closed: plugin threads may still run its code, and the system's loader knows it by the name
/// of its descriptor, which must not come to mean another file.
pub(super) struct Library(std::mem::ManuallyDrop<os::Library>);

impl Library {
    /// The function of this name, if the library exports it.
    ///
    /// # Safety
    /// `T` is the type of a function pointer, and the symbol, where there is one, is a function of that type.
    pub(super) unsafe fn get<T: Copy>(&self, name: &str) -> Option<T> {
        // SAFETY: promised by the caller.
        unsafe { self.0.get::<T>(name) }.ok().map(|symbol| *symbol)
    }
}

/// Opens the file so that, where the system can do that, nobody may write to it meanwhile.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        const FILE_SHARE_READ: u32 = 1;
        options.share_mode(FILE_SHARE_READ);
    }
    let not_plain = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file");
    // Opening a pipe would wait for its other end for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(not_plain());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_plain()) }
}

/// What the system's loader knows a file by: device and inode on Unix, else the path.
pub(super) type Identity = String;

/// The identity of an open file.
pub(super) fn identity(file: &File, path: &Path) -> Option<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let _ = path;
        file.metadata().ok().map(|metadata| format!("{}:{}", metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        super::load::absolute(path).ok().map(|path| path.to_string_lossy().to_lowercase())
    }
}

/// Opens the library that `file` is; `path` is where it lies.
pub(super) fn open(file: File, path: &Path) -> Result<Library> {
    let library = open_same(&file, path)?;
    // The descriptor stays open for ever: its number is part of the name by which the loader remembers the library.
    std::mem::forget(file);
    Ok(Library(std::mem::ManuallyDrop::new(library)))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open_same(file: &File, path: &Path) -> Result<os::Library> {
    use std::os::fd::AsRawFd;
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: loading runs the library's constructors. The file's SHA-256 is the one that its sidecar names: whoever
    // sealed it vouches for them.
    unsafe { os::Library::open(Some(&same), flags()) }.map_err(|error| refused(path, &error))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn open_same(file: &File, path: &Path) -> Result<os::Library> {
    let before = state_of(file.metadata(), path)?;
    let path = super::load::absolute(path)?;
    // SAFETY: as on Linux, except that the file could be swapped between hashing and here, which is looked for below.
    let library = unsafe { os::Library::open(Some(&path), flags()) }.map_err(|error| refused(&path, &error))?;
    match state_of(std::fs::metadata(&path), &path)? == before {
        true => Ok(library),
        false => {
            let message = format!("{} was replaced while it was being loaded: end this process", path.display());
            Err(Error::new(ErrorKind::HashMismatch, message))
        }
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn state_of(metadata: io::Result<std::fs::Metadata>, path: &Path) -> Result<(u64, u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = metadata.map_err(|error| super::sidecar::io_error("look at", path, error))?;
    Ok((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.ctime()))
}

#[cfg(unix)]
fn flags() -> std::ffi::c_int {
    // RTLD_NODELETE has no name in libloading.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const NODELETE: std::ffi::c_int = 0x1000;
    #[cfg(target_vendor = "apple")]
    const NODELETE: std::ffi::c_int = 0x80;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    const NODELETE: std::ffi::c_int = 0;
    os::RTLD_NOW | os::RTLD_LOCAL | NODELETE
}

#[cfg(windows)]
fn open_same(_file: &File, path: &Path) -> Result<os::Library> {
    let path = super::load::absolute(path)?;
    let flags = os::LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | os::LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: loading runs the library's initialisers. The file was hashed and is held open without sharing writes, so
    // it is the one that its sidecar names: whoever sealed it vouches for them.
    let library = unsafe { os::Library::load_with_flags(&path, flags) }.map_err(|error| refused(&path, &error))?;
    library.pin().map_err(|error| refused(&path, &error))?;
    Ok(library)
}

fn refused(path: &Path, error: &libloading::Error) -> Error {
    // The system's words stand in the source of the error, where libloading has one.
    let native = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let message = format!("the system cannot load {}: {native}", path.display());
    Error::new(ErrorKind::Plugin, message).with_detail("file", path.display().to_string()).with_detail("native", native)
}

/// Runs the layout check on a plugin that carries a witness: one built in Rust.
pub(super) fn check_witness(library: &Library, id: &str) -> Result<()> {
    // SAFETY: the symbol is not called and nothing is read here; only its address is taken.
    let Ok(symbol) = (unsafe { library.0.get::<*const std::ffi::c_void>(tenon_witness::SYMBOL) }) else {
        return Ok(());
    };
    // SAFETY: the address is that of the witness of a library that stays mapped until the process ends.
    match unsafe { tenon_witness::check(symbol.as_raw_ptr()) } {
        Ok(tenon_witness::Witness::Agrees) => Ok(()),
        Ok(tenon_witness::Witness::Absent(reason)) => {
            tracing::warn!(plugin = id, reason, "the witness of the plugin's layout cannot be read");
            Ok(())
        }
        Err(difference) => {
            let message = format!("plugin \"{id}\" was built for another layout of the contract: {difference}");
            Err(Error::new(ErrorKind::AbiMismatch, message))
        }
    }
}
