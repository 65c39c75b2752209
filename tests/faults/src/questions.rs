//! What is asked, and what must be answered: each request has an input of its own, so that an answer that belongs to
//! another request shows.

use crate::{Outcome, home::Home};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tenon::{Answer, AudioSource, Load, Message, Options, Request, Role, Segment};
use tenon_fault_tests::random::Random;

const RATE: u32 = 16_000;

/// A request and the essence of its answer.
#[derive(Clone)]
pub struct Question {
    /// What is asked.
    pub request: Request,
    /// What [`essence`] says of the answer.
    pub wanted: String,
}

/// Where questions come from.
pub enum Bank {
    /// Made from numbers; the answers of echo are known.
    Echo(AtomicU64),
    /// Always the same small answer.
    Faulty,
    /// Questions whose answers were made in process before the campaign.
    Known(Vec<Question>),
}

impl Bank {
    /// The next question.
    pub fn draw(&self, random: &mut Random) -> Question {
        match self {
            Self::Echo(serial) => echo(serial.fetch_add(1, Ordering::Relaxed), random),
            Self::Faulty => Question { request: Request::generate("well?"), wanted: of_text("all is well", &[]) },
            Self::Known(questions) => random.pick(questions).clone(),
        }
    }
}

/// What must be equal: text, ids of tokens, segments with their times, embeddings bit by bit.
pub fn essence(answer: &Answer) -> String {
    let ids: Vec<i32> = answer.tokens.iter().map(|token| token.id).collect();
    if !answer.segments.is_empty() {
        return of_segments(&answer.segments);
    }
    if !answer.embeddings.is_empty() {
        return of_embeddings(&answer.embeddings);
    }
    of_text(&answer.text, &ids)
}

fn of_text(text: &str, ids: &[i32]) -> String {
    json!([text, ids]).to_string()
}

fn of_embeddings(vectors: &[Vec<f32>]) -> String {
    let bits: Vec<Vec<u32>> =
        vectors.iter().map(|vector| vector.iter().map(|value| value.to_bits()).collect()).collect();
    json!(bits).to_string()
}

fn of_segments(segments: &[Segment]) -> String {
    let ids = |segment: &Segment| segment.tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    let parts = segments.iter().map(|one| json!([one.start_us, one.end_us, one.text, ids(one)]));
    json!(parts.collect::<Vec<_>>()).to_string()
}

fn options(value: serde_json::Value) -> Options {
    let mut options = Options::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        options.set(key, value.clone());
    }
    options
}

/// A question for echo: words, sounds or texts to embed.
fn echo(serial: u64, random: &mut Random) -> Question {
    match random.below(10) {
        0..6 => echo_words(serial, random),
        6..9 => echo_sounds(random),
        _ => echo_embeddings(serial),
    }
}

fn echo_words(serial: u64, random: &mut Random) -> Question {
    let count = 4 + random.below(30);
    let words: Vec<String> = (0..count).map(|_| random.below(100_000).to_string()).collect();
    let text = format!("request {serial} says {}", words.join(" "));
    let ids: Vec<i32> = (0..text.split(' ').count() as i32).collect();
    let asked = json!({"tokens": true, "delay_ms": random.below(2)});
    let wanted = of_text(&text, &ids);
    Question { request: Request::generate(text).options(options(asked)), wanted }
}

/// Up to four seconds, each of another loudness; more than one and a half of them cross in a memory file.
fn echo_sounds(random: &mut Random) -> Question {
    let seconds = 1 + random.below(4);
    let peaks: Vec<f32> = (0..seconds).map(|_| (1 + random.below(99)) as f32 / 100.0).collect();
    let samples: Vec<f32> = peaks.iter().flat_map(|peak| std::iter::repeat_n(*peak, RATE as usize)).collect();
    let said = |(index, peak): (usize, &f32)| {
        let start = index as i64 * 1_000_000;
        json!([start, start + 1_000_000, format!(" second {} peak {:.0}", index + 1, peak * 100.0), Vec::<i32>::new()])
    };
    let wanted = json!(peaks.iter().enumerate().map(said).collect::<Vec<_>>()).to_string();
    let asked = json!({"delay_ms": random.below(5)});
    Question { request: Request::transcribe(AudioSource::mono(samples, RATE)).options(options(asked)), wanted }
}

fn echo_embeddings(serial: u64) -> Question {
    let texts: Vec<String> = (0..3).map(|index| format!("text {index} of request {serial}")).collect();
    let vectors: Vec<Vec<f32>> = texts.iter().map(|text| echo_vector(text)).collect();
    Question { request: Request::embed(texts), wanted: of_embeddings(&vectors) }
}

/// What echo makes of a text: its bytes, added up in turn, at length one.
fn echo_vector(text: &str) -> Vec<f32> {
    let mut values = vec![0.0_f32; 8];
    text.bytes().enumerate().for_each(|(place, byte)| values[place % 8] += f32::from(byte));
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.iter_mut().for_each(|value| *value /= length);
    values
}

/// Questions about the shipped recordings, answered by the speech model in process.
pub fn speech(home: &Home) -> Outcome<Vec<Question>> {
    let mut requests = Vec::new();
    for name in ["light", "timer", "music", "list", "message"] {
        let samples = home.recording(name)?;
        // The whole, and what is left without its end: other texts or at least other times.
        for part in [100, 75, 55] {
            let samples: Arc<[f32]> = samples[..samples.len() * part / 100].into();
            let asked = options(json!({"tokens": true, "threads": 1, "audio_ctx": 256, "window_s": 5}));
            requests.push(Request::transcribe(AudioSource::mono(samples, RATE)).preset("fast").options(asked));
        }
    }
    answered(home, "speech", requests)
}

/// Commands for the text model, answered in process: most likely tokens, and drawn by a seed.
pub fn text(home: &Home) -> Outcome<Vec<Question>> {
    let timers = (2..14).map(|minutes| format!("set a timer for {minutes} minutes"));
    let others = ["turn on the light", "play some music", "wake me up at half past six", "close the blinds"];
    let chat = |(seed, text): (usize, String)| {
        let temperature = if seed.is_multiple_of(3) { 0.8 } else { 0.0 };
        let asked = json!({"tokens": true, "threads": 1, "max_tokens": 40, "temperature": temperature, "seed": seed});
        Request::chat(vec![Message { role: Role::User, content: text }]).options(options(asked))
    };
    let texts = timers.chain(others.map(str::to_owned));
    answered(home, "text", texts.enumerate().map(chat).collect())
}

/// Runs the requests in process. Of questions with one answer the first is kept.
fn answered(home: &Home, model: &str, requests: Vec<Request>) -> Outcome<Vec<Question>> {
    let engine = home.engine("tenon-worker")?;
    let manifest = home.manifest(model, "process", "")?;
    let mut session = engine.load_manifest(manifest, Load::new())?.session()?;
    let mut questions: Vec<Question> = Vec::new();
    for request in requests {
        let wanted = essence(&session.run(&request)?);
        if questions.iter().all(|question| question.wanted != wanted) {
            questions.push(Question { request, wanted });
        }
    }
    match questions.len() {
        0..4 => {
            Err(format!("the model {model} answers nearly always the same: mixed-up answers would not show").into())
        }
        _ => Ok(questions),
    }
}
