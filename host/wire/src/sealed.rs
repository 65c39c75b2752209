//! Samples in a memory file that nobody can change any more, mapped.
//!
//! A receiver maps only what is sealed against writing, growing and shrinking: in what is not, the sender could change
//! samples that were looked at already, or cut the file under the mapping, which kills whoever reads there.

use crate::{Error, Result, limits};
use rustix::fs::{FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;

/// Samples in a sealed memory file, at least one.
pub struct Sealed {
    /// Of samples that are to be sent. What came is mapped and needs none: descriptors are few, and requests last long.
    file: Option<File>,
    map: map::Map,
}

fn seals() -> SealFlags {
    SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK
}

impl Sealed {
    /// Copies samples into a memory file and seals it.
    ///
    /// # Errors
    /// When memory is not enough, or the system refuses; for no samples at all.
    pub fn new(samples: &[f32]) -> io::Result<Self> {
        let mut file = memory_file()?;
        file.write_all(bytemuck::cast_slice(samples))?;
        rustix::fs::fcntl_add_seals(&file, seals() | SealFlags::SEAL)?;
        let map = map::Map::new(&file, samples.len())?;
        Ok(Self { file: Some(file), map })
    }

    /// Maps a file that came from the other side, which says that it holds `count` samples.
    pub(crate) fn receive(file: File, count: u64) -> Result<Self> {
        let garbage = |what: &str| Error::Garbage(format!("samples in {what}"));
        let count = usize::try_from(count).ok().filter(|count| (1..=limits::SAMPLES).contains(count));
        let count = count.ok_or_else(|| garbage("a memory file of none, or of more than may be"))?;
        let sealed = rustix::fs::fcntl_get_seals(&file).map_err(|_| garbage("a file that is no memory file"))?;
        if !sealed.contains(seals()) {
            return Err(garbage("a memory file that is not sealed"));
        }
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !regular || u64::try_from(stat.st_size).ok() != Some((count * size_of::<f32>()) as u64) {
            return Err(Error::Garbage(format!("{count} samples in a memory file of {} bytes", stat.st_size)));
        }
        let map = map::Map::new(&file, count)?;
        Ok(Self { file: None, map })
    }

    /// The memory file; `None` where the samples came from the other side.
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

impl Deref for Sealed {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.map.samples()
    }
}

/// An empty memory file that can be sealed.
fn memory_file() -> io::Result<File> {
    let create = |flags| rustix::fs::memfd_create(c"tenon-samples", MemfdFlags::CLOEXEC | flags);
    let file = match create(MemfdFlags::NOEXEC_SEAL | MemfdFlags::ALLOW_SEALING) {
        // Kernels before 6.3 do not know it.
        Err(Errno::INVAL) => create(MemfdFlags::ALLOW_SEALING),
        created => created,
    };
    Ok(File::from(file?))
}

/// The only part that needs `unsafe`.
#[allow(unsafe_code)]
mod map {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    use std::fs::File;
    use std::io;
    use std::ptr::NonNull;

    /// A read-only mapping of the samples at the beginning of a file.
    pub struct Map {
        start: NonNull<f32>,
        count: usize,
    }

    // SAFETY: nobody writes to the mapping.
    unsafe impl Send for Map {}
    // SAFETY: as above.
    unsafe impl Sync for Map {}

    impl Map {
        /// The file is sealed against writing, growing and shrinking, and holds `count` samples, at least one.
        pub(super) fn new(file: &File, count: usize) -> io::Result<Self> {
            let size = count.checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
            // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
            let start = unsafe { mmap(std::ptr::null_mut(), size, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
            let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { start, count })
        }

        pub(super) fn samples(&self) -> &[f32] {
            // SAFETY: as many samples are mapped, at a page boundary, until `drop`; the seals keep them as they are
            // and the file as long as it is. Every pattern of bits is an `f32`.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
        }
    }

    impl Drop for Map {
        fn drop(&mut self) {
            // SAFETY: mapped by `new` with this size, and no slice of it outlives `self`.
            let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.count * size_of::<f32>()) };
            debug_assert!(unmapped.is_ok());
        }
    }
}
