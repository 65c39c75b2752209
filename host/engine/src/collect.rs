//! From what a backend emits to an answer and the events on the way to it.

use crate::answer::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::host::Sink;
use crate::plugin::item::Output;
use crate::stream::Outlet;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tenon_tasks::{Finished, Language, Note, Segment, Token, Usage};

/// What was emitted so far.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub text: String,
    pub segments: Vec<Segment>,
    pub tokens: Vec<Token>,
    pub language: Option<Language>,
    pub embeddings: Vec<Option<Vec<f32>>>,
    pub finish: Option<Finished>,
    pub usage: Usage,
    pub notes: Vec<Note>,
    /// From the start of the request to the first output.
    pub first: Option<Duration>,
    joiner: Joiner,
}

impl Collected {
    /// Checks that what the input asks for is there, once the backend said that it is done.
    pub(crate) fn complete(&self) -> Result<()> {
        let given = self.embeddings.iter().flatten().count();
        if given == self.embeddings.len() {
            return Ok(());
        }
        let message = format!("the backend gave {given} embeddings for {} texts", self.embeddings.len());
        Err(Error::new(ErrorKind::Plugin, message))
    }
}

/// Collects outputs, and hands them on as events where somebody listens.
pub(crate) struct Collector {
    collected: Arc<Mutex<Collected>>,
    outlet: Option<Outlet>,
    started: Instant,
}

impl Collector {
    /// `texts`: how many texts are to be embedded.
    pub(crate) fn new(started: Instant, texts: usize, outlet: Option<Outlet>) -> Self {
        let collected = Collected { embeddings: vec![None; texts], ..Collected::default() };
        Self { collected: Arc::new(Mutex::new(collected)), outlet, started }
    }

    /// A second hand on the same collection, for the plugin's side.
    pub(crate) fn sink(&self) -> Box<dyn Sink> {
        let (collected, outlet) = (Arc::clone(&self.collected), self.outlet.clone());
        Box::new(Self { collected, outlet, started: self.started })
    }

    /// What was collected; an incomplete code point at the end of the text is replaced.
    pub(crate) fn finish(self) -> Result<Collected> {
        let mut collected = std::mem::take(&mut *self.collected.lock().unwrap_or_else(PoisonError::into_inner));
        let rest = collected.joiner.finish();
        if !rest.is_empty() {
            collected.text.push_str(&rest);
            self.tell(Event::Text(rest))?;
        }
        if collected.text.is_empty() {
            collected.text = collected.segments.iter().map(|segment| segment.text.as_str()).collect();
        }
        Ok(collected)
    }

    fn tell(&self, event: Event) -> Result<()> {
        self.outlet.as_ref().map_or(Ok(()), |outlet| outlet.send(event))
    }
}

impl Sink for Collector {
    fn take(&mut self, output: Output) -> Result<()> {
        let event = {
            let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
            collected.first.get_or_insert_with(|| self.started.elapsed());
            collected.add(output, self.outlet.is_some())?
        };
        // Not under the lock: a slow reader makes this wait.
        event.map_or(Ok(()), |event| self.tell(event))
    }
}

impl Collected {
    /// Adds an output; the event that tells of it, where `listened` says that somebody wants to know.
    fn add(&mut self, output: Output, listened: bool) -> Result<Option<Event>> {
        Ok(match output {
            Output::Text(bytes) => {
                let piece = self.joiner.push(&bytes);
                self.text.push_str(&piece);
                (listened && !piece.is_empty()).then_some(Event::Text(piece))
            }
            Output::Segment(segment) => {
                let event = listened.then(|| Event::Segment(segment.clone()));
                self.segments.push(segment);
                event
            }
            Output::Token(token) => {
                let event = listened.then(|| Event::Token(token.clone()));
                self.tokens.push(token);
                event
            }
            Output::Usage(usage) => {
                self.usage = usage;
                None
            }
            Output::Embedding { index, values } => self.embedding(index, values, listened)?,
            Output::Document { name, text } => self.document(&name, &text)?.filter(|_| listened),
        })
    }

    fn embedding(&mut self, index: u32, values: Vec<f32>, listened: bool) -> Result<Option<Event>> {
        let count = self.embeddings.len();
        match self.embeddings.get_mut(index as usize) {
            Some(slot @ None) => {
                let event = listened.then(|| Event::Embedding { index: index as usize, values: values.clone() });
                *slot = Some(values);
                Ok(event)
            }
            Some(Some(_)) => Err(broken(format!("the backend gave two embeddings for text {index}"))),
            None => Err(broken(format!("the backend gave an embedding for text {index} of {count}"))),
        }
    }

    fn document(&mut self, name: &str, text: &str) -> Result<Option<Event>> {
        Ok(match name {
            "language" => {
                let language: Language = parse(name, text)?;
                self.language = Some(language.clone());
                Some(Event::Language(language))
            }
            "note" => {
                let note: Note = parse(name, text)?;
                self.notes.push(note.clone());
                Some(Event::Note(note))
            }
            "finish" => {
                self.finish = Some(parse(name, text)?);
                None
            }
            other => {
                // A plugin may be newer than this host and say more than it knows.
                tracing::debug!(name = other, "a document that this host does not know");
                None
            }
        })
    }
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| broken(format!("the backend emitted a document \"{name}\" that cannot be read: {error}")))
}

fn broken(message: String) -> Error {
    Error::new(ErrorKind::Plugin, message)
}

/// Joins code points that are cut between pieces of text, and replaces bytes that belong to none.
#[derive(Debug, Default)]
struct Joiner {
    /// The beginning of a code point whose end has not come yet: at most 3 bytes.
    pending: Vec<u8>,
}

impl Joiner {
    /// The whole code points that are there with this piece.
    fn push(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.pending);
        bytes.extend_from_slice(piece);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let last = chunks.peek().is_none();
            match chunk.invalid() {
                [] => {}
                // Could the next piece make these bytes a code point?
                rest if last && is_beginning(rest) => self.pending = rest.to_vec(),
                _ => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
        text
    }

    /// What is left at the end.
    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

/// Whether more bytes could complete these to a code point: they are wrong only because they end too early.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(pieces: &[&[u8]]) -> Vec<String> {
        let mut joiner = Joiner::default();
        let mut texts: Vec<String> = pieces.iter().map(|piece| joiner.push(piece)).collect();
        texts.push(joiner.finish());
        texts
    }

    #[test]
    fn a_code_point_that_is_cut_comes_whole() {
        let snowman = "☃".as_bytes();
        assert_eq!(join(&[&snowman[..1], &snowman[1..2], &snowman[2..], b"!"]), ["", "", "☃", "!", ""]);
        let text = "naïve 😀 ".as_bytes();
        for cut in 0..text.len() {
            assert_eq!(join(&[&text[..cut], &text[cut..]]).concat().as_bytes(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_code_point_are_replaced_and_nothing_else() {
        assert_eq!(join(&[b"a\xffb", b"c"]), ["a\u{fffd}b", "c", ""]);
        assert_eq!(join(&["☃".as_bytes().split_at(2).0, b"x"]), ["", "\u{fffd}x", ""]);
        assert_eq!(join(&[b"\xe2\x98"]), ["", "\u{fffd}"]);
    }

    #[test]
    fn each_text_gets_exactly_one_embedding() {
        let mut collected = Collected { embeddings: vec![None; 2], ..Collected::default() };
        collected.embedding(1, vec![1.0], false).unwrap();
        assert!(collected.embedding(1, vec![1.0], false).is_err());
        assert!(collected.embedding(2, vec![1.0], false).is_err());
        assert!(collected.complete().is_err());
        collected.embedding(0, vec![1.0], false).unwrap();
        assert!(collected.complete().is_ok());
    }
}
