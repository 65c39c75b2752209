//! How frames are written and read: a type, the id of the call, and a payload of little-endian numbers and counted texts.

use crate::{Error, Result, limits};
use std::collections::VecDeque;
use std::fs::File;
use std::ops::RangeInclusive;

/// What has a frame.
pub trait Coded: Sized {
    /// Whether descriptors may come with it.
    const DESCRIPTORS: bool;

    /// Writes the frame.
    fn put<'a>(&'a self, to: &mut Writer<'a, '_>);

    /// Reads the frame, and nothing behind it.
    fn take(from: &mut Reader<'_>) -> Result<Self>;
}

/// The frame without its length.
pub(crate) fn encode<M: Coded>(message: &M) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    encode_to(message, &mut bytes)?;
    Ok(bytes)
}

/// Writes the frame without its length behind what is there; gives the descriptors that go with it.
pub(crate) fn encode_to<'a, M: Coded>(message: &'a M, bytes: &mut Vec<u8>) -> Result<Vec<&'a File>> {
    let start = bytes.len();
    let mut writer = Writer { start, bytes, files: Vec::new(), problem: None };
    message.put(&mut writer);
    writer.end()
}

/// Reads a frame without its length and uses up the descriptors.
pub(crate) fn decode<M: Coded>(frame: &[u8], files: Vec<File>) -> Result<M> {
    let mut files = VecDeque::from(files);
    let message = decode_from(frame, &mut files)?;
    match files.is_empty() {
        true => Ok(message),
        false => Err(too_many_descriptors()),
    }
}

/// Reads a frame without its length; takes its descriptors from the front.
pub(crate) fn decode_from<M: Coded>(frame: &[u8], files: &mut VecDeque<File>) -> Result<M> {
    let mut reader = Reader { bytes: frame, files };
    let message = M::take(&mut reader)?;
    match reader.bytes.len() {
        0 => Ok(message),
        more => Err(Error::Garbage(format!("a frame with {more} bytes behind its end"))),
    }
}

pub(crate) fn too_many_descriptors() -> Error {
    Error::Garbage("descriptors that belong to no frame".to_owned())
}

/// A frame that is being written. What does not fit is remembered and said at the end.
pub struct Writer<'a, 'b> {
    start: usize,
    bytes: &'b mut Vec<u8>,
    files: Vec<&'a File>,
    problem: Option<String>,
}

impl<'a> Writer<'a, '_> {
    pub(crate) fn head(&mut self, kind: u8, call: u32) {
        self.u8(kind);
        self.u32(call);
    }

    /// The head of a frame that belongs to a call.
    pub(crate) fn call_head(&mut self, kind: u8, call: u32) {
        if call == 0 {
            self.problem = Some("a call with the id 0".to_owned());
        }
        self.head(kind, call);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        match self.bytes.len() - self.start + bytes.len() <= limits::FRAME {
            true => self.bytes.extend_from_slice(bytes),
            false => _ = self.problem.get_or_insert_with(too_long),
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(value.into());
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn optional_f32(&mut self, value: Option<f32>) {
        self.f32(value.unwrap_or(f32::NAN));
    }

    pub(crate) fn optional_u64(&mut self, value: Option<u64>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.u64(value);
        }
    }

    pub(crate) fn count(&mut self, what: &str, count: usize, most: usize) {
        if count > most {
            self.problem.get_or_insert_with(|| too_many(what, count, most));
        }
        // A count above the limit is never sent.
        self.u32(count as u32);
    }

    pub(crate) fn bytes(&mut self, what: &str, bytes: &[u8], most: usize) {
        match bytes.len() <= most {
            true => {
                self.u32(bytes.len() as u32);
                self.raw(bytes);
            }
            false => _ = self.problem.get_or_insert_with(|| too_many_bytes(what, bytes.len(), most)),
        }
    }

    pub(crate) fn text(&mut self, what: &str, text: &str, most: usize) {
        self.bytes(what, text.as_bytes(), most);
    }

    /// A text for people, cut to what crosses.
    pub(crate) fn clipped(&mut self, text: &str, most: usize) {
        self.text("a text", &text[..text.floor_char_boundary(most)], most);
    }

    pub(crate) fn optional_clipped(&mut self, text: Option<&str>) {
        self.bool(text.is_some());
        if let Some(text) = text {
            self.clipped(text, limits::MESSAGE);
        }
    }

    /// The values alone; their count is written before.
    pub(crate) fn floats(&mut self, values: &[f32]) {
        if cfg!(target_endian = "little") {
            self.raw(bytemuck::cast_slice(values));
        } else {
            values.iter().for_each(|value| self.f32(*value));
        }
    }

    /// A descriptor that goes with the frame, in this place among the others.
    pub(crate) fn file(&mut self, file: &'a File) {
        if self.files.len() == limits::DESCRIPTORS {
            let problem = || too_many("descriptors", limits::DESCRIPTORS + 1, limits::DESCRIPTORS);
            self.problem.get_or_insert_with(problem);
            return;
        }
        self.files.push(file);
    }

    fn end(self) -> Result<Vec<&'a File>> {
        match self.problem {
            None => Ok(self.files),
            Some(problem) => {
                self.bytes.truncate(self.start);
                Err(Error::TooLarge(problem))
            }
        }
    }
}

fn too_long() -> String {
    format!("what is to be sent has more than {} bytes, and no frame holds more", limits::FRAME)
}

fn too_many(what: &str, count: usize, most: usize) -> String {
    format!("{count} {what}; the most is {most}")
}

fn too_many_bytes(what: &str, count: usize, most: usize) -> String {
    format!("{what} of {count} bytes; the most is {most}")
}

/// A frame that is being read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    files: &'a mut VecDeque<File>,
}

impl<'a> Reader<'a> {
    /// Type and call.
    pub(crate) fn head(&mut self) -> Result<(u8, u32)> {
        Ok((self.u8()?, self.u32()?))
    }

    /// Whether the frame names a call where it must, and none where it cannot.
    pub(crate) fn check_call(&self, kind: u8, call: u32, inside: bool) -> Result<()> {
        match (inside, call) {
            (true, 0) => Err(Error::Garbage(format!("a frame of type {kind} for no call"))),
            (false, 1..) => Err(Error::Garbage(format!("a frame of type {kind} for the call {call}"))),
            _ => Ok(()),
        }
    }

    fn slice(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(cut)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(cut)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::Garbage(format!("{other} where 0 or 1 stands"))),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn f32(&mut self) -> Result<f32> {
        self.array().map(f32::from_le_bytes)
    }

    /// NaN stands for none.
    pub(crate) fn optional_f32(&mut self) -> Result<Option<f32>> {
        self.f32().map(|value| Some(value).filter(|value| !value.is_nan()))
    }

    pub(crate) fn optional_u64(&mut self) -> Result<Option<u64>> {
        self.bool()?.then(|| self.u64()).transpose()
    }

    pub(crate) fn u32_of(&mut self, what: &str, range: RangeInclusive<u32>) -> Result<u32> {
        let value = self.u32()?;
        match range.contains(&value) {
            true => Ok(value),
            false => Err(Error::Garbage(format!("{what} of {value}"))),
        }
    }

    pub(crate) fn log_level(&mut self, least: u8) -> Result<u8> {
        let level = self.u8()?;
        match (least..=limits::LOG_LEVEL).contains(&level) {
            true => Ok(level),
            false => Err(Error::Garbage(format!("a log level of {level}"))),
        }
    }

    pub(crate) fn bytes(&mut self, what: &str, most: usize) -> Result<&'a [u8]> {
        let count = self.u32()? as usize;
        match count <= most {
            true => self.slice(count),
            false => Err(Error::Garbage(too_many_bytes(what, count, most))),
        }
    }

    pub(crate) fn text(&mut self, what: &str, most: usize) -> Result<String> {
        let bytes = self.bytes(what, most)?;
        let text = str::from_utf8(bytes).map_err(|_| Error::Garbage(format!("{what} that is not UTF-8")))?;
        Ok(text.to_owned())
    }

    pub(crate) fn optional_message(&mut self) -> Result<Option<String>> {
        self.bool()?.then(|| self.text("a message", limits::MESSAGE)).transpose()
    }

    /// A count and as many elements, each of at least `least` bytes: room is made for no more than can be there.
    pub(crate) fn list<T>(
        &mut self,
        what: &str,
        most: usize,
        least: usize,
        mut one: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.u32()? as usize;
        if count > most {
            return Err(Error::Garbage(too_many(what, count, most)));
        }
        if count > self.bytes.len() / least {
            return Err(cut());
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(one(self)?);
        }
        Ok(list)
    }

    /// A count and as many values.
    pub(crate) fn floats(&mut self, what: &str, counts: RangeInclusive<usize>) -> Result<Vec<f32>> {
        let count = self.u32()? as usize;
        if !counts.contains(&count) {
            return Err(Error::Garbage(format!("{count} {what}; there are {} to {}", counts.start(), counts.end())));
        }
        let (values, _) = self.slice(count * size_of::<f32>())?.as_chunks();
        Ok(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    pub(crate) fn file(&mut self) -> Result<File> {
        self.files.pop_front().ok_or_else(|| Error::Garbage("a frame without its descriptor".to_owned()))
    }
}

fn cut() -> Error {
    Error::Garbage("a frame that ends before what it holds".to_owned())
}
