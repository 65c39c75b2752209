//! A model file on its way into whisper.cpp, which reads a vocabulary by four bytes and weights by megabytes.
//!
//! Small reads go through a buffer; large ones go straight to where whisper.cpp wants them, into memory that nobody has
//! touched yet. `native` hands a [`Source`] to the engine.

use std::io;
use std::mem::MaybeUninit;

/// Reads of at least this many bytes are not buffered, so that little is read twice.
const BUFFER: usize = 32 * 1024;
/// Progress is told in steps of this size.
const STEP: f32 = 1.0 / 256.0;

/// What a model is read from.
pub trait Bytes {
    /// Fills the beginning of `out` and says how much of it; 0 at the end.
    fn read(&mut self, out: &mut [MaybeUninit<u8>]) -> io::Result<usize>;
}

#[cfg(unix)]
impl Bytes for std::fs::File {
    fn read(&mut self, out: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        Ok(rustix::io::read(&*self, out).map(|(read, _)| read.len())?)
    }
}

#[cfg(not(unix))]
impl Bytes for std::fs::File {
    fn read(&mut self, out: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let mut block = [0; BUFFER];
        let most = out.len().min(BUFFER);
        let count = io::Read::read(self, &mut block[..most])?;
        out[..count].write_copy_of_slice(&block[..count]);
        Ok(count)
    }
}

impl Bytes for &[u8] {
    fn read(&mut self, out: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let all: &[u8] = self;
        let (now, later) = all.split_at(out.len().min(all.len()));
        out[..now.len()].write_copy_of_slice(now);
        *self = later;
        Ok(now.len())
    }
}

/// A file of known size that is read once from its start. It was checked, so it is as long as it says; what cannot be
/// read after all reaches the engine as zeros, and [`Source::failure`] tells.
pub struct Source<'a> {
    bytes: &'a mut dyn Bytes,
    size: u64,
    /// Bytes that the engine has got.
    position: u64,
    buffer: Box<[MaybeUninit<u8>]>,
    /// The part of the buffer that was read and not yet handed on.
    waiting: std::ops::Range<usize>,
    failure: Option<io::Error>,
    progress: &'a mut dyn FnMut(f32),
    told: f32,
}

impl<'a> Source<'a> {
    /// A source of `size` bytes; `progress` hears how far it is, 0 to 1.
    pub fn new(bytes: &'a mut dyn Bytes, size: u64, progress: &'a mut dyn FnMut(f32)) -> Self {
        let buffer = Box::new_uninit_slice(BUFFER);
        Self { bytes, size, position: 0, buffer, waiting: 0..0, failure: None, progress, told: 0.0 }
    }

    /// Fills `out`, with zeros where there is nothing more.
    pub fn fill(&mut self, out: &mut [MaybeUninit<u8>]) {
        let mut filled = 0;
        while filled < out.len() && self.failure.is_none() && self.position < self.size {
            match self.read(&mut out[filled..]) {
                Ok(0) => self.fail(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.fail(error),
            }
        }
        out[filled..].fill(MaybeUninit::new(0));
        let fraction = self.position as f32 / self.size.max(1) as f32;
        if fraction > self.told && fraction >= (self.told + STEP).min(1.0) {
            self.told = fraction;
            (self.progress)(fraction);
        }
    }

    fn read(&mut self, out: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        if self.waiting.is_empty() {
            if out.len() >= BUFFER {
                return self.bytes.read(out);
            }
            self.waiting = 0..self.bytes.read(&mut self.buffer)?;
        }
        let count = out.len().min(self.waiting.len());
        let end = self.waiting.start + count;
        out[..count].copy_from_slice(&self.buffer[self.waiting.start..end]);
        self.waiting.start = end;
        Ok(count)
    }

    /// There is nothing more to read.
    pub fn is_at_end(&self) -> bool {
        self.failure.is_some() || self.position >= self.size
    }

    /// Remembers why reading ended early.
    pub fn fail(&mut self, error: io::Error) {
        self.failure = Some(error);
    }

    /// Why reading ended early, if it did.
    pub fn failure(self) -> Option<io::Error> {
        self.failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    /// Reads pieces of these sizes one after another.
    #[allow(unsafe_code)]
    fn pieces(source: &mut Source<'_>, sizes: &[usize]) -> Vec<u8> {
        let mut all = Vec::new();
        for size in sizes {
            let mut piece = vec![MaybeUninit::new(0xaa); *size];
            source.fill(&mut piece);
            // SAFETY: every byte was initialised when the piece was made.
            all.extend(piece.iter().map(|byte| unsafe { byte.assume_init() }));
        }
        all
    }

    fn content() -> Vec<u8> {
        (0..5 * BUFFER as u32 + 17).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn small_and_large_reads_give_the_file_in_order() {
        let content = content();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        file.rewind().unwrap();
        let sizes = [4, 3, BUFFER, 1, BUFFER + 5, 2 * BUFFER, 9, BUFFER - 5];
        let mut memory = &content[..];
        for bytes in [&mut file as &mut dyn Bytes, &mut memory] {
            let mut told = Vec::new();
            let mut progress = |fraction| told.push(fraction);
            let mut source = Source::new(bytes, content.len() as u64, &mut progress);
            assert_eq!(pieces(&mut source, &sizes), content);
            assert!(source.is_at_end() && source.failure().is_none());
            assert!(told.is_sorted() && told.last() == Some(&1.0), "{told:?}");
        }
    }

    #[test]
    fn what_is_missing_is_zero_and_is_told() {
        let mut memory = &b"abc"[..];
        let mut progress = |_| ();
        let mut source = Source::new(&mut memory, 10, &mut progress);
        assert_eq!(pieces(&mut source, &[2, 4, 1]), b"abc\0\0\0\0");
        assert!(source.is_at_end());
        assert_eq!(source.failure().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nothing_beyond_the_size_is_handed_on() {
        let mut memory = &b"abcdef"[..];
        let mut progress = |_| ();
        let mut source = Source::new(&mut memory, 4, &mut progress);
        assert_eq!(pieces(&mut source, &[4, 2]), b"abcd\0\0");
        assert!(source.failure().is_none());
    }
}
