//! Transcript file formats: `txt srt vtt lrc csv tsv json` and whisper.cpp's own JSON.
//!
//! Every writer starts from [`cues`], which puts segments in order and clips what overlaps, so that no format can
//! hold a cue that ends before it starts. SRT, VTT, LRC and CSV are byte for byte what whisper-cli writes, text with
//! its leading space included, as long as the text needs no escaping.

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use tenon_tasks::{Segment, Token};

/// How a transcript is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One trimmed line per segment
    Txt,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
    /// Lyrics with a time per line
    Lrc,
    /// Start and end in milliseconds, and the text, as RFC 4180
    Csv,
    /// Start and end in milliseconds, and the text, separated by tabs
    Tsv,
    /// Everything that is known about the transcript
    Json,
    /// The layout of whisper-cli --output-json
    WhisperJson,
    /// The layout of whisper-cli --output-json-full, with tokens
    WhisperJsonFull,
}

impl Format {
    /// The extension of a file of this format, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Txt => "txt",
            Self::Srt => "srt",
            Self::Vtt => "vtt",
            Self::Lrc => "lrc",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json | Self::WhisperJson | Self::WhisperJsonFull => "json",
        }
    }
}

/// A transcript as the formats see it.
pub struct Transcript<'a> {
    /// Its segments, as the model gave them.
    pub segments: &'a [Segment],
    /// ISO 639-1 code of the language, if it is known.
    pub language: Option<&'a str>,
    /// Name of the model.
    pub model: &'a str,
    /// The speech was translated into English.
    pub translated: bool,
    /// The document that [`Format::Json`] prints.
    pub document: &'a Value,
}

impl Transcript<'_> {
    /// The whole text of a file of this format.
    pub fn write(&self, format: Format) -> String {
        let cues = cues(self.segments);
        match format {
            Format::Txt => txt(&cues),
            Format::Srt => srt(&cues),
            Format::Vtt => vtt(&cues),
            Format::Lrc => lrc(&cues),
            Format::Csv => csv(&cues),
            Format::Tsv => tsv(&cues),
            Format::Json => pretty(self.document, b"  "),
            Format::WhisperJson => pretty(&self.whisper_json(&cues, false), b"\t"),
            Format::WhisperJsonFull => pretty(&self.whisper_json(&cues, true), b"\t"),
        }
    }

    /// whisper.cpp's layout, without what only whisper.cpp knows (`systeminfo` and the model's dimensions).
    fn whisper_json(&self, cues: &[Cue], full: bool) -> Value {
        let entries: Vec<Value> = cues.iter().map(|cue| whisper_cue(cue, full)).collect();
        json!({
            "model": {"type": self.model},
            "params": {
                "model": self.model,
                "language": self.language.unwrap_or_default(),
                "translate": self.translated,
            },
            "result": {"language": self.language.unwrap_or_default()},
            "transcription": entries,
        })
    }
}

/// A segment made fit for a subtitle: not negative, ordered, not overlapping the next one, on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue<'a> {
    /// Start in milliseconds.
    pub start_ms: i64,
    /// End in milliseconds; not before the start and not after the start of the next cue.
    pub end_ms: i64,
    /// The text, without line breaks; never blank.
    pub text: String,
    /// Its tokens, when they were asked for.
    pub tokens: &'a [Token],
}

/// The cues of these segments. Segments without text make none.
pub fn cues(segments: &[Segment]) -> Vec<Cue<'_>> {
    let mut cues: Vec<Cue> = segments.iter().map(cue).filter(|cue| !cue.text.trim().is_empty()).collect();
    cues.sort_by_key(|cue| cue.start_ms);
    for index in 1..cues.len() {
        let next_start = cues[index].start_ms;
        let cue = &mut cues[index - 1];
        cue.end_ms = cue.end_ms.min(next_start);
    }
    cues
}

fn cue(segment: &Segment) -> Cue<'_> {
    let start_ms = segment.start_us.max(0) / 1000;
    let end_ms = (segment.end_us.max(0) / 1000).max(start_ms);
    Cue { start_ms, end_ms, text: one_line(&segment.text), tokens: &segment.tokens }
}

/// Line breaks of every kind become spaces: an empty line would end a cue, a second line a row.
fn one_line(text: &str) -> String {
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\0');
    text.trim_end_matches(breaks).replace("\r\n", " ").replace(breaks, " ")
}

fn txt(cues: &[Cue]) -> String {
    cues.iter().fold(String::new(), |mut text, cue| {
        let _ = writeln!(text, "{}", cue.text.trim());
        text
    })
}

fn srt(cues: &[Cue]) -> String {
    let mut text = String::new();
    for (index, cue) in cues.iter().enumerate() {
        let (start, end) = (clock(cue.start_ms, ','), clock(cue.end_ms, ','));
        let _ = write!(text, "{}\n{start} --> {end}\n{}\n\n", index + 1, cue.text);
    }
    text
}

fn vtt(cues: &[Cue]) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for cue in cues {
        let escaped = cue.text.replace('&', "&amp;").replace('<', "&lt;").replace("-->", "--&gt;");
        let (start, end) = (clock(cue.start_ms, '.'), clock(cue.end_ms, '.'));
        let _ = write!(text, "{start} --> {end}\n{escaped}\n\n");
    }
    text
}

fn lrc(cues: &[Cue]) -> String {
    // whisper-cli's own header: players show it, scripts compare it.
    let mut text = "[by:whisper.cpp]\n".to_owned();
    for cue in cues {
        let (minutes, seconds) = (cue.start_ms / 60_000, cue.start_ms / 1000 % 60);
        let _ = writeln!(text, "[{minutes:02}:{seconds:02}.{:02}]{}", cue.start_ms % 1000 / 10, cue.text);
    }
    text
}

fn csv(cues: &[Cue]) -> String {
    let mut text = "start,end,text\n".to_owned();
    for cue in cues {
        let _ = writeln!(text, "{},{},\"{}\"", cue.start_ms, cue.end_ms, cue.text.replace('"', "\"\""));
    }
    text
}

fn tsv(cues: &[Cue]) -> String {
    let mut text = "start\tend\ttext\n".to_owned();
    for cue in cues {
        let _ = writeln!(text, "{}\t{}\t{}", cue.start_ms, cue.end_ms, cue.text.trim().replace('\t', " "));
    }
    text
}

/// `HH:MM:SS,mmm`; hours may take more than two digits.
pub fn clock(ms: i64, separator: char) -> String {
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{separator}{:03}", ms % 1000)
}

fn whisper_cue(cue: &Cue, full: bool) -> Value {
    let mut entry = whisper_times(cue.start_ms, cue.end_ms);
    entry.insert("text".into(), json!(cue.text));
    if full {
        let tokens: Vec<Value> = cue.tokens.iter().map(whisper_token).collect();
        entry.insert("tokens".into(), json!(tokens));
    }
    Value::Object(entry)
}

fn whisper_token(token: &Token) -> Value {
    let mut entry = Map::new();
    entry.insert("text".into(), json!(token.text));
    if let (Some(start), Some(end)) = (token.start_us, token.end_us) {
        entry.extend(whisper_times(start / 1000, end / 1000));
    }
    entry.insert("id".into(), json!(token.id));
    entry.insert("p".into(), json!(token.logprob.map_or(0.0, f32::exp)));
    entry.insert("t_dtw".into(), json!(-1));
    Value::Object(entry)
}

fn whisper_times(start_ms: i64, end_ms: i64) -> Map<String, Value> {
    let mut times = Map::new();
    times.insert("timestamps".into(), json!({"from": clock(start_ms, ','), "to": clock(end_ms, ',')}));
    times.insert("offsets".into(), json!({"from": start_ms, "to": end_ms}));
    times
}

/// JSON with this indentation and a final line break.
pub fn pretty(value: &Value, indent: &[u8]) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a `Value` into memory has no way to go wrong.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
