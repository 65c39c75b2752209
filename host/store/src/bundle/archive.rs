//! The tar format, as narrow as a bundle needs it: plain files with known names and sizes, one after the other.
//!
//! The reader does not interpret what stands in an archive: it knows which file comes next, makes the header that the
//! writer would have written for it, and refuses every other. Links, folders, long names, sparse files, owners and
//! whatever else tar knows can therefore not stand in a bundle.

use super::refused;
use crate::names::quoted;
use crate::{Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};
use std::path::Path;
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Read and write this much at a time.
const BUFFER: usize = 256 * 1024;

/// The one header of a file of this name and size.
fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

/// Zeroes behind a file of this size, up to the next block.
fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Writes an archive.
pub(super) struct Writer<'w> {
    out: &'w mut dyn Write,
    path: &'w Path,
}

impl<'w> Writer<'w> {
    /// `path` is what errors call it.
    pub(super) fn new(out: &'w mut dyn Write, path: &'w Path) -> Self {
        Self { out, path }
    }

    /// A file that is in memory.
    pub(super) fn small(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.begin(name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.put(&[0; BLOCK][..padding(bytes.len() as u64)])
    }

    /// A file of exactly this size. Gives the digest of its bytes; `step` hears of each piece.
    pub(super) fn copy(
        &mut self,
        name: &str,
        size: u64,
        from: &mut dyn Read,
        source: &Path,
        step: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Digest> {
        self.begin(name, size)?;
        let mut buffer = vec![0; BUFFER];
        let mut hasher = Sha256::new();
        let mut left = size;
        while left > 0 {
            let piece = &mut buffer[..left.min(BUFFER as u64) as usize];
            from.read_exact(piece).map_err(|error| Error::io(source, "read", error))?;
            hasher.update(&*piece);
            self.put(piece)?;
            left -= piece.len() as u64;
            step(piece.len())?;
        }
        self.put(&[0; BLOCK][..padding(size)])?;
        Ok(Digest::from(<[u8; 32]>::from(hasher.finalize())))
    }

    /// The end of the archive.
    pub(super) fn finish(mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(|error| Error::io(self.path, "write", error))
    }

    fn begin(&mut self, name: &str, size: u64) -> Result<()> {
        let header = header(name, size).map_err(|error| Error::io(self.path, "write", error))?;
        self.put(header.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| Error::io(self.path, "write", error))
    }
}

/// Reads an archive.
pub(super) struct Reader<'r> {
    from: &'r mut dyn Read,
    path: &'r Path,
    buffer: Vec<u8>,
}

impl<'r> Reader<'r> {
    /// `path` is what errors call it.
    pub(super) fn new(from: &'r mut dyn Read, path: &'r Path) -> Self {
        Self { from, path, buffer: vec![0; BUFFER] }
    }

    /// What errors call it.
    pub(super) fn path(&self) -> &'r Path {
        self.path
    }

    /// The first file, which must have this name and at most so many bytes.
    pub(super) fn first(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let block = self.block()?;
        let no_bundle = |why: String| refused(self.path, format!("is no bundle: {why}"));
        let size = Header::from_byte_slice(&block).entry_size();
        let size = size.map_err(|_| no_bundle("it does not begin as a tar archive does".to_owned()))?;
        if header(name, size).is_ok_and(|wanted| wanted.as_bytes() != &block) {
            return Err(no_bundle(format!("its first file must be a plain {name}")));
        }
        if size > limit {
            return Err(no_bundle(format!("its {name} has {size} bytes, more than {limit}")));
        }
        self.bytes(size)
    }

    /// The next file, which must have this name, size and digest; it is small.
    pub(super) fn small(&mut self, name: &str, size: u64, sha256: &Digest) -> Result<Vec<u8>> {
        self.expect(name, size)?;
        let bytes = self.bytes(size)?;
        self.same(name, sha256, &Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// The next file, which must have this name, size and digest; `sink` gets it in pieces, before the digest is known.
    pub(super) fn stream(
        &mut self,
        name: &str,
        size: u64,
        sha256: &Digest,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.expect(name, size)?;
        let mut hasher = Sha256::new();
        let mut left = size;
        while left > 0 {
            let length = left.min(BUFFER as u64) as usize;
            read(self.from, &mut self.buffer[..length], self.path)?;
            hasher.update(&self.buffer[..length]);
            sink(&self.buffer[..length])?;
            left -= length as u64;
        }
        self.skip_padding(size)?;
        self.same(name, sha256, &Digest::from(<[u8; 32]>::from(hasher.finalize())))
    }

    /// The end: two blocks of zeroes, and nothing behind them.
    pub(super) fn end(&mut self) -> Result<()> {
        for _ in 0..2 {
            let block = self.block()?;
            if block != [0; BLOCK] {
                let what = describe(&block);
                return Err(refused(self.path, format!("holds {what}, which its index does not name: {CHANGED}")));
            }
        }
        match self.from.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(refused(self.path, format!("goes on behind its end: {CHANGED}"))),
            Err(error) => Err(Error::io(self.path, "read", error)),
        }
    }

    fn expect(&mut self, name: &str, size: u64) -> Result<()> {
        let block = self.block()?;
        let wanted = header(name, size).map_err(|error| Error::io(self.path, "read", error))?;
        if wanted.as_bytes() == &block {
            return Ok(());
        }
        let what = describe(&block);
        Err(refused(self.path, format!("holds {what} where its index says {name} of {size} bytes: {CHANGED}")))
    }

    fn bytes(&mut self, size: u64) -> Result<Vec<u8>> {
        // The caller knows the size to be small.
        let mut bytes = vec![0; size as usize];
        read(self.from, &mut bytes, self.path)?;
        self.skip_padding(size)?;
        Ok(bytes)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let mut zeroes = [0; BLOCK];
        let zeroes = &mut zeroes[..padding(size)];
        read(self.from, zeroes, self.path)?;
        match zeroes.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(refused(self.path, format!("hides bytes between its files: {CHANGED}"))),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        read(self.from, &mut block, self.path)?;
        Ok(block)
    }

    fn same(&self, name: &str, expected: &Digest, actual: &Digest) -> Result<()> {
        if expected == actual {
            return Ok(());
        }
        let problem = format!("holds {name} with the SHA-256 {actual}, not the {expected} of its index: {CHANGED}");
        Err(refused(self.path, problem))
    }
}

const CHANGED: &str = "it was changed, get it again";

fn read(from: &mut dyn Read, buffer: &mut [u8], path: &Path) -> Result<()> {
    from.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused(path, "ends too early: it was cut, get it again"),
        _ => Error::io(path, "read", error),
    })
}

/// What a header that should not be there says, for a message.
fn describe(block: &[u8; BLOCK]) -> String {
    if *block == [0; BLOCK] {
        return "its end".to_owned();
    }
    let header = Header::from_byte_slice(block);
    let name = quoted(&String::from_utf8_lossy(&header.path_bytes()));
    match header.entry_type() {
        EntryType::Regular => match header.entry_size() {
            Ok(size) => format!("the file {name} of {size} bytes"),
            Err(_) => format!("the file {name}"),
        },
        EntryType::Symlink | EntryType::Link => format!("the link {name}"),
        EntryType::Directory => format!("the folder {name}"),
        _ => format!("something that is no plain file, {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_what_octal_digits_hold_has_a_header_that_says_so() {
        let size = 20 << 30;
        let header = header("blobs/x", size).unwrap();
        assert_eq!(header.entry_size().unwrap(), size);
    }

    #[test]
    fn padding_goes_to_the_next_block() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
