//! What echo answers: the sound level of every second of audio, the words of a prompt, a few numbers for a text.

use crate::Slowly;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tenon_plugin::{AudioInput, Call, Error, Result, Segment, Text, Token, Word};
use tenon_tasks::{
    DetectLanguageOptions, EmbedOptions, FinishReason, GenerateOptions, Language, TranscribeOptions, Usage,
};

const RATE: usize = 16_000;
const SECOND_US: i64 = 1_000_000;

/// Waits, but not for a caller who has gone.
pub fn wait(call: &Call, delay_ms: u64) -> Result<()> {
    let end = Instant::now() + Duration::from_millis(delay_ms);
    loop {
        call.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(Duration::from_millis(2)));
    }
}

/// One segment per second of audio, as the audio comes.
pub fn transcribe(call: &Call, mut audio: AudioInput<'_>, options: &str, voice: fn(&str) -> String) -> Result<()> {
    let asked: Slowly<TranscribeOptions> = tenon_plugin::options(options)?;
    call.emit_language(&language(&asked.common.language))?;
    let mut heard: Vec<f32> = Vec::new();
    let mut seconds = 0;
    while let Some(piece) = audio.next()? {
        heard.extend_from_slice(piece.samples);
        while heard.len() >= RATE {
            say(call, &asked, seconds, &heard[..RATE], voice)?;
            heard.drain(..RATE);
            seconds += 1;
        }
    }
    if !heard.is_empty() {
        say(call, &asked, seconds, &heard, voice)?;
    }
    call.emit_usage(&Usage { audio_us: seconds * SECOND_US + duration_us(&heard), ..Usage::default() })
}

/// Emits the segment of one second, or of what is left at the end: ` second 3 peak 42`, the peak in percent.
fn say(
    call: &Call,
    asked: &Slowly<TranscribeOptions>,
    second: i64,
    heard: &[f32],
    voice: fn(&str) -> String,
) -> Result<()> {
    wait(call, asked.delay_ms)?;
    let peak = heard.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let text = voice(&format!(" second {} peak {:.0}", second + 1, peak * 100.0));
    let (start, length) = (second * SECOND_US, duration_us(heard));
    let spoken: Vec<&str> = text.split_whitespace().collect();
    let time = |index: usize| start + length * index as i64 / spoken.len() as i64;
    let timed = || spoken.iter().enumerate().map(|(index, word)| (index, *word, time(index), time(index + 1)));
    let words: Vec<Word<'_>> = timed().map(|(_, word, from, to)| Word::new(from, to, word).confidence(1.0)).collect();
    let tokens: Vec<Token<'_>> =
        timed().map(|(index, word, from, to)| Token::new(index as i32, word).logprob(0.0).times(from, to)).collect();
    let mut segment = Segment::new(start, start + length, &text).confidence(1.0).no_speech(1.0 - peak.min(1.0));
    if asked.common.words {
        segment = segment.words(&words);
    }
    if asked.common.tokens {
        segment = segment.tokens(&tokens);
    }
    call.emit_segment(&segment)
}

fn duration_us(samples: &[f32]) -> i64 {
    samples.len() as i64 * SECOND_US / RATE as i64
}

/// Everybody speaks English.
pub fn detect_language(call: &Call, mut audio: AudioInput<'_>, options: &str) -> Result<()> {
    let asked: Slowly<DetectLanguageOptions> = tenon_plugin::options(options)?;
    wait(call, asked.delay_ms)?;
    if audio.next()?.is_none() {
        return Err(Error::audio("there is no audio to detect a language in"));
    }
    call.emit_language(&Language { probability: Some(1.0), ..language("auto") })
}

fn language(asked: &str) -> Language {
    match asked {
        "auto" | "en" => Language { code: "en".into(), name: "english".into(), probability: None },
        other => Language { code: other.into(), name: other.into(), probability: None },
    }
}

/// The text again, word by word, up to the first stop text or `max_tokens` words.
pub fn generate(call: &Call, text: &str, options: &str) -> Result<()> {
    let asked: Slowly<GenerateOptions> = tenon_plugin::options(options)?;
    if asked.common.grammar.is_some() || asked.common.json_schema.is_some() {
        return Err(Error::unsupported("echo repeats the prompt and cannot follow a grammar or schema"));
    }
    let stops = asked.common.stop.iter().filter(|stop| !stop.is_empty());
    let stop = stops.filter_map(|stop| Some((text.find(stop)?, stop.as_str()))).min();
    let answer = &text[..stop.map_or(text.len(), |(place, _)| place)];
    let most = asked.common.max_tokens.map_or(usize::MAX, |most| most as usize);
    let words: Vec<&str> = answer.split_inclusive(' ').collect();
    for (id, word) in words.iter().take(most).enumerate() {
        wait(call, asked.delay_ms)?;
        if asked.common.tokens {
            call.emit_token(&Token::new(id as i32, word).logprob(0.0))?;
        }
        call.emit_text(word)?;
    }
    match stop {
        _ if words.len() > most => call.emit_finish(FinishReason::Length, None)?,
        stop => call.emit_finish(FinishReason::Stop, stop.map(|(_, stop)| stop))?,
    }
    let prompt_tokens = text.split_inclusive(' ').count() as u64;
    call.emit_usage(&Usage { prompt_tokens, generated_tokens: words.len().min(most) as u64, ..Usage::default() })
}

/// Eight numbers per text: its bytes, added up in turn.
pub fn embed(call: &Call, texts: &[Text<'_>], options: &str) -> Result<()> {
    let asked: Slowly<EmbedOptions> = tenon_plugin::options(options)?;
    for (index, text) in texts.iter().enumerate() {
        wait(call, asked.delay_ms)?;
        let mut values = [0.0_f32; 8];
        text.text.bytes().enumerate().for_each(|(place, byte)| values[place % 8] += f32::from(byte));
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if asked.common.normalize && length > 0.0 {
            values.iter_mut().for_each(|value| *value /= length);
        }
        call.emit_embedding(index as u32, &values)?;
    }
    let prompt_tokens = texts.iter().map(|text| text.text.split_whitespace().count() as u64).sum();
    call.emit_usage(&Usage { prompt_tokens, ..Usage::default() })
}
