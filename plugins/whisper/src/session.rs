//! A session: working memory for one request at a time, and the three tasks.

use crate::decoding::{Decoding, Plan, RATE};
use crate::job::{self, Stragglers};
use crate::languages::LanguageId;
use crate::model::{Model, VAD_ROLE};
use crate::native::{self, Abort, Counts, Event, MIN_SAMPLES, SpeechDetector, State};
use crate::options::WhisperOptions;
use crate::samples::Samples;
use crate::silence::{self, Speech, TimeMap};
use crate::transcript::{Place, Writer};
use crate::windows::{Window, Windows};
use std::ffi::CString;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;
use tenon_plugin::{Call, Error, Input, Result, log};
use tenon_tasks::{DetectLanguageOptions, FinishReason, Usage, task};

/// whisper listens to 30 seconds at a time, and to no more to know a language.
const CHUNK: usize = 30 * RATE;

/// Working memory on a model.
pub struct Session {
    /// Waited for before the model may go.
    stragglers: Stragglers,
    model: Arc<Model>,
    state: Option<State>,
    detector: Option<SpeechDetector>,
}

impl Session {
    /// Allocates the working memory at once, so that a lack of it is known now.
    pub fn open(model: &Arc<Model>) -> Result<Self> {
        let state = Some(State::open(&model.context, Abort::default())?);
        Ok(Self { stragglers: Stragglers::default(), model: Arc::clone(model), state, detector: None })
    }

    fn transcribe(&mut self, call: &Call, input: Input<'_>, options: &WhisperOptions, translate: bool) -> Result<()> {
        let model = Arc::clone(&self.model);
        let plan = Plan::new(options, &model.info, &model.vocabulary, model.threads, translate)?;
        if plan.speech.is_some() && model.vad.is_none() {
            let message = format!("the option vad needs a VAD model: give the manifest a file of role \"{VAD_ROLE}\"");
            return Err(Error::options(message).detail("option", "vad"));
        }
        if self.state.as_ref().is_some_and(|state| !state.is_as_new(plan.decoding.audio_ctx)) {
            self.give_up_state();
        }
        let mut windows = Windows::new(input, plan.window);
        if let Some(language) = plan.language {
            call.emit_language(&language.describe(None))?;
        }
        let mut run = Run::new(call, &model, plan);
        while windows.consumed() < run.plan.end {
            let Some(window) = windows.next(call)? else { break };
            run.total = windows.total();
            self.window(&mut run, window)?;
        }
        run.finish(windows.consumed())
    }

    /// Transcribes what the request wants of a window.
    fn window(&mut self, run: &mut Run<'_>, window: Window) -> Result<()> {
        let Some(mut part) = run.part(window) else { return Ok(()) };
        if let Some((options, overlap)) = run.plan.speech {
            let samples = Arc::new(std::mem::take(&mut part.samples));
            let stretches = self.stretches(run.call, &samples, options)?;
            let Speech { samples, times, skipped } = silence::join(&samples, &stretches, overlap)?;
            run.skipped += skipped as u64;
            (part.samples, part.place.times) = (samples, times);
        }
        if part.samples.is_empty() {
            return Ok(());
        }
        part.pad()?;
        let samples = Arc::new(part.samples);
        if run.plan.language.is_none() {
            let (language, probability) = self.language(run.call, &samples, run.plan.decoding.threads)?;
            run.set_language(language);
            run.call.emit_language(&language.describe(Some(probability)))?;
        }
        let decoding =
            Decoding { offset_ms: part.offset_ms, duration_ms: part.duration_ms, ..run.plan.decoding.clone() };
        let began = Instant::now();
        let counts = self.decode(run, decoding, samples, &part.place)?;
        run.add(counts, began);
        Ok(())
    }

    fn decode(
        &mut self,
        run: &mut Run<'_>,
        decoding: Decoding,
        samples: Arc<Samples>,
        place: &Place,
    ) -> Result<Counts> {
        let (call, (abort, open)) = (run.call, self.take_state());
        let work = move |events: &Sender<Event>| {
            let mut state = open()?;
            let counts = state.transcribe(&decoding, samples, events)?;
            Ok((state, counts))
        };
        let outcome: Result<_> = job::run(call, &abort, &self.stragglers, work, |event| run.event(event, place))?;
        let (state, counts) = outcome?;
        self.state = Some(state);
        run.writer.end_window();
        Ok(counts)
    }

    /// The language of the first 30 seconds, among those that the model knows.
    fn language(&mut self, call: &Call, samples: &Arc<Samples>, threads: i32) -> Result<(LanguageId, f32)> {
        if self.state.as_ref().is_some_and(|state| !state.is_as_new_for_languages()) {
            self.give_up_state();
        }
        let (abort, open) = self.take_state();
        let languages = self.model.info.languages().cast_signed();
        let samples = Arc::clone(samples);
        let work = move |_: &Sender<Event>| {
            let mut state = open()?;
            let scores = state.languages(&samples, threads, languages)?;
            Ok((state, scores))
        };
        let outcome: Result<_> = job::run(call, &abort, &self.stragglers, work, |_| Ok(()))?;
        let (state, scores) = outcome?;
        self.state = Some(state);
        most_likely(&scores).ok_or_else(|| Error::backend("whisper.cpp: the language has no probability"))
    }

    fn stretches(
        &mut self,
        call: &Call,
        samples: &Arc<Samples>,
        options: native::SpeechOptions,
    ) -> Result<Vec<(i64, i64)>> {
        let mut detector = match (self.detector.take(), &self.model.vad) {
            (Some(detector), _) => detector,
            (None, Some(bytes)) => SpeechDetector::open(bytes)?,
            (None, None) => return Err(Error::internal("a plan asks for VAD without a model")),
        };
        let abort = detector.arm();
        let samples = Arc::clone(samples);
        let work = move |_: &Sender<Event>| {
            let stretches = detector.speech(&samples, &options);
            (detector, stretches)
        };
        let (detector, stretches) = job::run(call, &abort, &self.stragglers, work, |_| Ok(()))?;
        let stretches = stretches?;
        self.detector = Some(detector);
        Ok(stretches)
    }

    /// Frees the working memory, so that new memory is made when it is needed next.
    fn give_up_state(&mut self) {
        self.state = None;
        native::give_back_memory();
    }

    /// What ends the work on the state, and what gives the state: the one that is there, or a new one. Allocating it
    /// is slow, so it is for the thread that works.
    fn take_state(&mut self) -> (Abort, impl FnOnce() -> Result<State> + Send + use<>) {
        let (state, context) = (self.state.take(), Arc::clone(&self.model.context));
        let abort = state.as_ref().map_or_else(Abort::default, State::arm);
        let given = abort.clone();
        (abort, move || state.map_or_else(|| State::open(&context, given), Ok))
    }

    fn detect_language(&mut self, call: &Call, input: Input<'_>, options: &DetectLanguageOptions) -> Result<()> {
        if !self.model.info.is_multilingual() {
            return Err(Error::unsupported("the model knows English only, so there is no language to detect"));
        }
        let windows = Windows::new(input, CHUNK);
        let Some(mut samples) = windows.beginning(call)? else { return Err(Error::audio("the audio is empty")) };
        let heard = samples.len();
        samples.pad(MIN_SAMPLES)?;
        let began = Instant::now();
        let threads = options.threads.unwrap_or(self.model.threads).clamp(1, 256).cast_signed();
        let (language, probability) = self.language(call, &Arc::new(samples), threads)?;
        call.emit_language(&language.describe(Some(probability)))?;
        call.emit_usage(&Usage {
            audio_us: to_us(heard as u64),
            prompt_us: micros(began),
            generated_tokens: 1,
            ..Usage::default()
        })
    }
}

impl tenon_plugin::Session for Session {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        self.stragglers.wait(call)?;
        match task {
            task::TRANSCRIBE => self.transcribe(call, input, &tenon_plugin::options(options)?, false),
            task::TRANSLATE => self.transcribe(call, input, &tenon_plugin::options(options)?, true),
            task::DETECT_LANGUAGE => self.detect_language(call, input, &tenon_plugin::options(options)?),
            other => Err(Error::unsupported(format!("whisper has no task \"{other}\""))),
        }
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        self.detector = None;
        self.state = None;
        self.state = Some(State::open(&self.model.context, Abort::default())?);
        Ok(())
    }
}

/// One transcription, over all its windows.
struct Run<'a> {
    call: &'a Call,
    plan: Plan,
    writer: Writer<'a>,
    counts: Counts,
    /// Time in the engine, microseconds.
    engine_us: i64,
    /// Samples that were wanted.
    heard: u64,
    /// Samples of silence that were left out.
    skipped: u64,
    /// Samples of the whole audio, once known, and of the present window.
    total: Option<u64>,
    window: (u64, u64),
}

/// What is wanted of a window, ready for the engine.
struct Part {
    samples: Samples,
    place: Place,
    offset_ms: i32,
    duration_ms: i32,
}

impl Part {
    /// Adds silence up to a second, which whisper.cpp needs. It still hears no more than there is, unless that is less
    /// than the tenth of a second under which it hears nothing at all.
    ///
    /// # Errors
    /// The system has no memory for it.
    fn pad(&mut self) -> Result<()> {
        let count = self.samples.len();
        if count >= MIN_SAMPLES {
            return Ok(());
        }
        self.samples.pad(MIN_SAMPLES)?;
        // Frames of 10 ms as whisper.cpp counts them.
        let frames = 1 + (count as i32 - 200) / 160;
        if self.duration_ms == 0 && frames > 10 {
            self.duration_ms = (frames * 10 - self.offset_ms).max(10);
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    fn new(call: &'a Call, model: &'a Model, plan: Plan) -> Self {
        let writer = Writer::new(call, &model.vocabulary, plan.words, plan.tokens);
        Self {
            call,
            plan,
            writer,
            counts: Counts::default(),
            engine_us: 0,
            heard: 0,
            skipped: 0,
            total: None,
            window: (0, 0),
        }
    }

    /// The part of a window that offset and duration leave. The engine itself starts at the offset, because the
    /// loudness of what lies before counts for it; what VAD gets is cut, because its times are its own.
    fn part(&mut self, window: Window) -> Option<Part> {
        let Window { mut samples, start } = window;
        let length = samples.len() as u64;
        self.window = (start, length);
        let begin = self.plan.begin.saturating_sub(start).min(length);
        let end = self.plan.end.saturating_sub(start).min(length);
        if begin >= end {
            return None;
        }
        // Less than a millisecond would be a duration of 0, which is all of the rest to whisper.cpp.
        let duration_ms = if end < length { to_ms(end - begin) } else { 0 };
        if self.plan.speech.is_none() && end < length && duration_ms == 0 {
            return None;
        }
        self.heard += end - begin;
        let mut place = Place { start_us: to_us(start), end_us: to_us(start + end), times: TimeMap::default() };
        if self.plan.speech.is_some() {
            place.start_us = to_us(start + begin);
            samples.truncate(end as usize);
            samples.drop_front(begin as usize);
            return Some(Part { samples, place, offset_ms: 0, duration_ms: 0 });
        }
        Some(Part { samples, place, offset_ms: to_ms(begin), duration_ms })
    }

    fn set_language(&mut self, language: LanguageId) {
        self.plan.language = Some(language);
        self.plan.decoding.language = CString::new(language.code()).unwrap_or_default();
    }

    fn event(&mut self, event: Event, place: &Place) -> Result<()> {
        match event {
            Event::Segment(segment) => self.writer.segment(&segment, place),
            Event::Progress(fraction) => {
                let (start, length) = self.window;
                if let Some(total) = self.total.filter(|total| *total > 0) {
                    self.call.progress((start as f32 + fraction * length as f32) / total as f32);
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, counts: Counts, began: Instant) {
        self.engine_us += micros(began);
        self.counts.windows += counts.windows;
        self.counts.windows_with_text += counts.windows_with_text;
        self.counts.fallbacks += counts.fallbacks;
        self.counts.encode_us += counts.encode_us;
    }

    /// Notes, usage and the end, once all audio is through.
    fn finish(self, consumed: u64) -> Result<()> {
        if consumed == 0 {
            return Err(Error::audio("the audio is empty"));
        }
        if self.heard == 0 {
            let (begin, end) = (self.plan.begin * 1000 / RATE as u64, consumed * 1000 / RATE as u64);
            let message = format!("offset_t {begin} is past the end of the audio, which is {end} ms long");
            return Err(Error::options(message).detail("option", "offset_t"));
        }
        let call = self.call;
        self.notes()?;
        call.emit_usage(&Usage {
            prompt_tokens: self.plan.decoding.prompt.len() as u64,
            cached_tokens: 0,
            generated_tokens: self.writer.generated,
            audio_us: to_us(self.heard),
            prompt_us: self.counts.encode_us,
            generate_us: (self.engine_us - self.counts.encode_us).max(0),
        })?;
        call.emit_finish(FinishReason::Stop, None)
    }

    fn notes(&self) -> Result<()> {
        let seconds = |samples: u64| samples as f64 / RATE as f64;
        let Counts { windows, windows_with_text, fallbacks, .. } = self.counts;
        log::debug(format_args!("{windows} encoder windows, {fallbacks} decodings repeated at a higher temperature"));
        if self.skipped > 0 {
            let message = format!("{:.1} s of silence were left out", seconds(self.skipped));
            self.call.emit_note("silence-skipped", message)?;
        }
        if windows > windows_with_text {
            let silent = windows - windows_with_text;
            let message = format!("{silent} of {windows} windows gave no text, so they hold no speech for the model");
            self.call.emit_note("windows-without-text", message)?;
        }
        if self.plan.unknown_bytes > 0 {
            let message = format!("{} bytes of the prompt have no token and were left out", self.plan.unknown_bytes);
            self.call.emit_note("prompt-cut", message)?;
        }
        Ok(())
    }
}

/// The index with the greatest score and its share of the softmax.
fn most_likely(scores: &[f32]) -> Option<(LanguageId, f32)> {
    let (index, top) = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let sum: f64 = scores.iter().map(|score| f64::from(score - top).exp()).sum();
    let probability = (1.0 / sum) as f32;
    LanguageId::at(index).filter(|_| probability.is_finite()).map(|language| (language, probability))
}

fn to_us(samples: u64) -> i64 {
    i64::try_from(samples * 1_000_000 / RATE as u64).unwrap_or(i64::MAX)
}

fn to_ms(samples: u64) -> i32 {
    i32::try_from(samples * 1000 / RATE as u64).unwrap_or(i32::MAX)
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}
