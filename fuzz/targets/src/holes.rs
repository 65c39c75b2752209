//! Files that are mostly zeros, as inputs of a few bytes: the weights of a model are such, and nothing here reads them.
//!
//! An input is a row of pieces: two bytes that say how many bytes follow, these bytes, and three bytes that say how many
//! zeros come after them. The numbers are little-endian; a piece whose bytes end early is the last one.

use crate::bytes::Bytes;
use std::io::{self, Read, Seek, SeekFrom};

/// Longest file that an input may stand for, beside the bytes that it holds itself.
const LONGEST: u64 = 64 << 20;

/// A file with holes.
#[derive(Clone, Debug)]
pub(crate) struct Holes<'a> {
    /// Where each piece starts, and its bytes.
    pieces: Vec<(u64, &'a [u8])>,
    length: u64,
    at: u64,
}

impl<'a> Holes<'a> {
    /// The file that an input stands for.
    pub fn new(input: &'a [u8]) -> Self {
        let mut input = Bytes(input);
        let (mut pieces, mut length) = (Vec::new(), 0);
        while !input.is_empty() && length < LONGEST {
            let count = input.u16();
            let piece = input.take(count.into());
            pieces.push((length, piece));
            let number = input.take(3);
            let zeros = number.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            length += piece.len() as u64 + zeros;
        }
        Self { pieces, length, at: 0 }
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The same file with another length: cut, or with zeros behind it.
    pub fn with_length(mut self, length: u64) -> Self {
        self.length = length;
        self
    }
}

impl Read for Holes<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let out = &mut out[..count];
        out.fill(0);
        let first = self.pieces.partition_point(|(start, _)| *start <= self.at).saturating_sub(1);
        for (start, piece) in &self.pieces[first.min(self.pieces.len())..] {
            if *start >= self.at + count as u64 {
                break;
            }
            let skip = usize::try_from(self.at.saturating_sub(*start)).unwrap_or(usize::MAX).min(piece.len());
            let to = usize::try_from(start.saturating_sub(self.at)).unwrap_or(count);
            let fits = (piece.len() - skip).min(count - to);
            out[to..to + fits].copy_from_slice(&piece[skip..skip + fits]);
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Holes<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(more) => self.length.checked_add_signed(more),
            SeekFrom::Current(more) => self.at.checked_add_signed(more),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The input that stands for a file.
pub fn with_holes(file: &[u8]) -> Vec<u8> {
    /// As many zeros are worth a piece of their own.
    const WORTH: usize = 16;
    let (mut input, mut rest) = (Vec::new(), file);
    while !rest.is_empty() {
        let zeros_at = |at: &usize| rest[*at..].iter().take(WORTH).filter(|byte| **byte == 0).count() == WORTH;
        let count = (0..rest.len()).find(zeros_at).unwrap_or(rest.len()).min(usize::from(u16::MAX));
        let zeros = rest[count..].iter().take((1 << 24) - 1).take_while(|byte| **byte == 0).count();
        input.extend((count as u16).to_le_bytes());
        input.extend(&rest[..count]);
        input.extend(&(zeros as u32).to_le_bytes()[..3]);
        rest = &rest[count + zeros..];
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_from_its_input() {
        let file = tenon_precheck::hostile::smallest_whisper();
        let input = with_holes(&file);
        assert!(input.len() < 16 << 10, "{} bytes", input.len());
        let mut back = Vec::new();
        Holes::new(&input).read_to_end(&mut back).unwrap();
        assert!(back == file);
    }

    #[test]
    fn it_can_be_read_from_anywhere_and_in_small_pieces() {
        let file: Vec<u8> = (0..200).flat_map(|byte| vec![byte; usize::from(byte) % 40]).collect();
        let input = with_holes(&file);
        for start in 0..file.len() {
            let mut holes = Holes::new(&input);
            holes.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut piece = [7; 23];
            let count = holes.read(&mut piece).unwrap();
            assert_eq!(piece[..count], file[start..(start + 23).min(file.len())]);
        }
    }
}
