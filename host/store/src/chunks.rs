//! Digests of the chunks of a file, by which a broken range is found without having the whole file again.
//!
//! [`crate::Manifest`] reads and writes them; [`crate::Store::demote`] uses them.

use crate::Digest;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range, RangeInclusive};

/// How large a chunk may be, in bytes. Smaller ones would make manifests longer than they may be, and larger ones save
/// nothing over the whole file.
pub(crate) const CHUNK_SIZES: RangeInclusive<u64> = (64 << 10)..=(1 << 30);

/// Most chunks of a file: what a manifest has room for.
const MOST_CHUNKS: u64 = 2048;

/// The digests of the chunks of a file. All chunks have one size, the last one what remains.
///
/// ```
/// use tenon_store::Chunks;
///
/// let bytes = vec![7; 100_000];
/// let chunks = Chunks::of(&mut &bytes[..], 65_536, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
/// assert_eq!((chunks.size(), chunks.digests().len()), (65_536, 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    size: u64,
    digests: Vec<Digest>,
}

impl Chunks {
    /// Chunks of `size` bytes of a file of `of` bytes; what is wrong with them otherwise.
    pub fn new(size: u64, digests: Vec<Digest>, of: u64) -> Result<Self, String> {
        if !CHUNK_SIZES.contains(&size) {
            let (least, most) = (CHUNK_SIZES.start(), CHUNK_SIZES.end());
            return Err(format!("a chunk has {least} to {most} bytes, not {size}"));
        }
        let wanted = of.div_ceil(size);
        if digests.len() as u64 != wanted {
            return Err(format!("{of} bytes are {wanted} chunks of {size}, not {}", digests.len()));
        }
        Ok(Self { size, digests })
    }

    /// Hashes all that `reader` gives. `hook` gets the bytes hashed since its last call and may stop: then the error's
    /// kind is [`io::ErrorKind::Interrupted`].
    pub fn of(reader: &mut dyn Read, size: u64, hook: &mut dyn FnMut(u64) -> ControlFlow<()>) -> io::Result<Self> {
        let mut digests = Vec::new();
        loop {
            let hashed = crate::hash_reader(&mut (&mut *reader).take(size), hook)?;
            if hashed.size > 0 {
                digests.push(hashed.digest);
            }
            if hashed.size < size {
                return Ok(Self { size, digests });
            }
        }
    }

    /// A size of chunks that suits a file of this many bytes: 4 MiB, or more where that would be too many chunks.
    pub fn fitting_size(of: u64) -> u64 {
        let mut size = 4 << 20;
        while of.div_ceil(size) > MOST_CHUNKS && size < *CHUNK_SIZES.end() {
            size *= 2;
        }
        size
    }

    /// Bytes of each chunk but the last.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of each chunk, in order.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The ranges of a file that are what they should be, in order, neighbours joined. `of` is the size that the file
    /// should have; what is missing at its end is not good. `hook` is as for [`Chunks::of`].
    pub(crate) fn good_ranges(
        &self,
        reader: &mut dyn Read,
        of: u64,
        hook: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> io::Result<Vec<Range<u64>>> {
        let mut good: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for digest in &self.digests {
            let end = (at + self.size).min(of);
            let hashed = crate::hash_reader(&mut (&mut *reader).take(end - at), hook)?;
            if hashed.size == end - at && hashed.digest == *digest {
                match good.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => good.push(at..end),
                }
            }
            at = end;
        }
        Ok(good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 << 10;

    fn go_on(_: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|index| (index / 1000) as u8).collect()
    }

    #[test]
    fn as_many_chunks_as_the_file_has_and_no_other_number() {
        let one = Digest::of(b"");
        assert!(Chunks::new(SIZE, vec![one; 2], SIZE + 1).is_ok());
        assert!(Chunks::new(SIZE, vec![one; 2], SIZE * 2).is_ok());
        for (size, count, of) in
            [(SIZE, 2, SIZE), (SIZE, 1, SIZE + 1), (SIZE, 0, 1), (SIZE - 1, 1, 1), (u64::MAX, 1, 1)]
        {
            assert!(Chunks::new(size, vec![one; count], of).is_err(), "{size} {count} {of}");
        }
    }

    #[test]
    fn a_whole_file_is_one_good_range_and_each_broken_chunk_a_hole_in_it() {
        let good = bytes(5 * SIZE as usize + 10);
        let of = good.len() as u64;
        let chunks = Chunks::of(&mut &good[..], SIZE, &mut go_on).unwrap();
        assert_eq!(chunks, Chunks::new(SIZE, chunks.digests.clone(), of).unwrap());
        let ranges = |bytes: &[u8]| chunks.good_ranges(&mut &bytes[..], of, &mut go_on).unwrap();
        assert_eq!(ranges(&good), vec![0..of]);
        let mut bad = good.clone();
        bad[SIZE as usize] ^= 1;
        bad[5 * SIZE as usize] ^= 1;
        assert_eq!(ranges(&bad), vec![0..SIZE, 2 * SIZE..5 * SIZE]);
        assert_eq!(ranges(&good[..good.len() - 1]), vec![0..5 * SIZE]);
        assert_eq!(ranges(&good[..SIZE as usize + 1]), vec![0..SIZE]);
        assert!(ranges(b"").is_empty());
        let longer = [&good[..], b"more"].concat();
        assert_eq!(ranges(&longer), vec![0..of]);
    }

    #[test]
    fn a_fitting_size_is_allowed_and_gives_no_more_chunks_than_a_manifest_holds() {
        for of in [1, 4 << 20, 5 << 30, 700 << 30] {
            let size = Chunks::fitting_size(of);
            assert!(CHUNK_SIZES.contains(&size) && of.div_ceil(size) <= MOST_CHUNKS, "{of}: {size}");
        }
    }
}
