//! Audio on its way to a backend: decoded on a thread of its own, converted to the backend's rate, in bounded memory.

use crate::answer::AudioDamage;
use crate::cancel::StopSigns;
use crate::crew::{Crew, Member};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::host::{Feed, Pulled};
use crate::request::AudioSource;
use crate::threads::Lease;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tenon_audio::{Converter, Decoder, Source, Wanted, is_sample};

/// Seconds of audio that may lie between the decoder, or a microphone, and the backend.
const BUFFERED_SECONDS: usize = 30;
/// Most audio that is gathered for a backend that takes it whole: one gibibyte of samples.
const MOST_SAMPLES: usize = 1 << 28;
/// How often a waiting thread looks at its stop signs.
const LOOK: Duration = Duration::from_millis(10);
/// How long a request waits for the thread that reads a pipe: it may be in the middle of a read that nothing ends.
const PIPE_PATIENCE: Duration = Duration::from_millis(50);

/// Blocks of samples between whoever makes them and the backend.
pub(crate) struct Blocks {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct State {
    blocks: VecDeque<Vec<f32>>,
    samples: usize,
    /// Set by whoever makes the samples: no more come, and why.
    end: Option<Result<()>>,
    /// Set by the reader: none are wanted.
    closed: bool,
    damage: Vec<AudioDamage>,
    /// Time spent on decoding.
    work: Duration,
}

impl Blocks {
    pub(crate) fn new(rate: u32) -> Arc<Self> {
        let capacity = BUFFERED_SECONDS * rate as usize;
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), capacity })
    }

    /// Waits while the backend is behind. An error of the kind `End` when nobody wants samples any more.
    fn push(&self, block: Vec<f32>, stop: &StopSigns) -> Result<()> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Error::new(ErrorKind::End, "the request has ended: no more audio is wanted"));
            }
            stop.check()?;
            // One block always fits, however large it is.
            if state.samples == 0 || state.samples + block.len() <= self.capacity {
                break;
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !block.is_empty() {
            state.samples += block.len();
            state.blocks.push_back(block);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// No more samples come; the first reason counts.
    fn finish(&self, end: Result<()>) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// No more samples are wanted.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.blocks.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// What of the audio was lost so far, and the time spent on decoding it.
    pub(crate) fn report(&self) -> (Vec<AudioDamage>, Duration) {
        let state = self.lock();
        (state.damage.clone(), state.work)
    }

    fn try_pull(&self) -> Option<Pulled> {
        let mut state = self.lock();
        if let Some(block) = state.blocks.pop_front() {
            state.samples -= block.len();
            drop(state);
            self.changed.notify_all();
            return Some(Pulled::Block(block));
        }
        match &state.end {
            // The request is over, but a thread of the plugin still asks.
            _ if state.closed => Some(Pulled::End),
            None => None,
            Some(Ok(())) => Some(Pulled::End),
            Some(Err(error)) => Some(Pulled::Failed(error.clone())),
        }
    }

    fn wait(&self, until: Option<Instant>, stop: &StopSigns) {
        let mut state = self.lock();
        while state.blocks.is_empty() && state.end.is_none() && !state.closed && stop.reason().is_none() {
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The backend's end of [`Blocks`]. While it waits, the request's threads are lent to others.
pub(crate) struct BlockFeed {
    pub blocks: Arc<Blocks>,
    pub stop: StopSigns,
    pub lease: Arc<Lease>,
    /// The threads are lent right now.
    pub lent: bool,
}

impl BlockFeed {
    fn take_back(&mut self, pulled: Pulled) -> Pulled {
        if !std::mem::take(&mut self.lent) {
            return pulled;
        }
        self.lease.take_back(&self.stop).map_or_else(Pulled::Failed, |()| pulled)
    }
}

impl Feed for BlockFeed {
    fn pull(&mut self, timeout: Option<Duration>) -> Pulled {
        let pulled = self.pull_on(timeout);
        self.take_back(pulled)
    }

    fn pull_on(&mut self, timeout: Option<Duration>) -> Pulled {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(pulled) = self.blocks.try_pull() {
                return self.take_back(pulled);
            }
            if let Err(error) = self.stop.check() {
                return self.take_back(Pulled::Failed(error));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Pulled::Timeout;
            }
            if !std::mem::replace(&mut self.lent, true) {
                self.lease.lend();
            }
            self.blocks.wait(until, &self.stop);
        }
    }
}

/// Audio that comes while a request runs. Dropping it says that no more is wanted, and ends the thread that decodes.
pub(crate) struct Incoming {
    blocks: Arc<Blocks>,
    decoder: Option<Decoding>,
}

/// The thread that decodes.
struct Decoding {
    thread: Member,
    /// How long it may take to end once it is asked to.
    patience: Duration,
    source: AudioSource,
}

impl Incoming {
    /// What a caller pushes.
    pub(crate) fn live(blocks: Arc<Blocks>) -> Self {
        Self { blocks, decoder: None }
    }

    /// What a thread of `crew` decodes. The thread ends when the source does or no more is wanted; one that hangs in
    /// reading a pipe owns nothing but the pipe and its end of the blocks.
    pub(crate) fn decoded(
        source: &AudioSource,
        wanted: Wanted,
        stop: &StopSigns,
        crew: &Arc<Crew>,
        patience: Duration,
    ) -> Result<Self> {
        let (opened, blocks) = (open(source)?, Blocks::new(wanted.rate));
        let (target, stop) = (Arc::clone(&blocks), stop.clone());
        let body = move || {
            let decode = || decode_all(opened, wanted, &target, &stop);
            let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
            target.finish(decoded.unwrap_or_else(|payload| Err(crate::plugin::call::host_panic(payload))));
        };
        let thread = crew.spawn("tenon-audio", None, body)?;
        let patience = if may_hang(source) { patience.min(PIPE_PATIENCE) } else { patience };
        Ok(Self { blocks, decoder: Some(Decoding { thread, patience, source: source.clone() }) })
    }

    pub(crate) fn blocks(&self) -> &Arc<Blocks> {
        &self.blocks
    }

    /// All of it, for a backend that takes it whole.
    pub(crate) fn gather(self, rate: u32, stop: &StopSigns) -> Result<Whole> {
        let mut samples = Vec::new();
        loop {
            stop.check()?;
            match self.blocks.try_pull() {
                Some(Pulled::Block(block)) => {
                    samples.extend(block);
                    check_length(samples.len(), rate)?;
                }
                Some(Pulled::Failed(error)) => return Err(error),
                Some(Pulled::End) => return Ok(Whole { samples: samples.into(), damage: self.end().0 }),
                Some(Pulled::Timeout) | None => self.blocks.wait(None, stop),
            }
        }
    }

    /// No more is wanted. What of the audio was lost, and the time spent on decoding it.
    pub(crate) fn end(mut self) -> (Vec<AudioDamage>, Duration) {
        self.close();
        self.blocks.report()
    }

    fn close(&mut self) {
        self.blocks.close();
        if let Some(Decoding { thread, patience, source }) = self.decoder.take()
            && !thread.join_within(patience)
        {
            tracing::warn!(?source, "the thread that decodes does not end with its request and is left behind");
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether reading a source may take for ever: what is neither in memory nor a plain file.
pub(crate) fn may_hang(source: &AudioSource) -> bool {
    match source {
        AudioSource::Path(path) => std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()),
        AudioSource::Reader(_) => true,
        _ => false,
    }
}

fn decode_all(source: Source, wanted: Wanted, blocks: &Blocks, stop: &StopSigns) -> Result<()> {
    let mut work = Instant::now();
    let mut decoder = Decoder::open(source, wanted)?;
    loop {
        let mut block = Vec::new();
        let more = decoder.read(&mut block)?;
        let mut state = blocks.lock();
        state.work += work.elapsed();
        state.damage = decoder.damage().iter().map(AudioDamage::from).collect();
        drop(state);
        if !more {
            return Ok(());
        }
        blocks.push(block, stop)?;
        work = Instant::now();
    }
}

/// Audio that crosses whole.
pub(crate) struct Whole {
    pub samples: Arc<[f32]>,
    pub damage: Vec<AudioDamage>,
}

/// All samples of a source at the wanted rate. Samples that are already so are not copied.
pub(crate) fn gather(source: &AudioSource, wanted: Wanted, stop: &StopSigns) -> Result<Whole> {
    if let AudioSource::Samples { samples, rate, channels } = source {
        return convert(samples, *rate, *channels, wanted);
    }
    let mut decoder = Decoder::open(open(source)?, wanted)?;
    let mut samples = Vec::new();
    while decoder.read(&mut samples)? {
        stop.check()?;
        check_length(samples.len(), wanted.rate)?;
    }
    Ok(Whole { samples: samples.into(), damage: decoder.damage().iter().map(AudioDamage::from).collect() })
}

fn check_length(samples: usize, rate: u32) -> Result<()> {
    if samples <= MOST_SAMPLES {
        return Ok(());
    }
    let seconds = MOST_SAMPLES / rate as usize;
    let message = format!("the audio is longer than {seconds} s, and the backend takes it only whole: cut it");
    Err(Error::new(ErrorKind::Audio, message))
}

/// The source that a decoder reads.
pub(crate) fn open(source: &AudioSource) -> Result<Source> {
    match source {
        AudioSource::Path(path) => Ok(Source::Path(path.clone())),
        AudioSource::Bytes(bytes) => Ok(Source::Bytes(Arc::clone(bytes))),
        AudioSource::Reader(reader) => reader.take().map(Source::Reader).ok_or_else(|| {
            let message = "an earlier request has consumed this reader: give each request its own";
            Error::new(ErrorKind::InvalidArgument, message)
        }),
        AudioSource::Samples { .. } | AudioSource::Live => {
            Err(Error::new(ErrorKind::Internal, "samples need no decoder: please report it"))
        }
    }
}

fn convert(samples: &Arc<[f32]>, rate: u32, channels: u16, wanted: Wanted) -> Result<Whole> {
    if samples.is_empty() {
        return Err(Error::new(ErrorKind::Audio, "the audio holds no sample"));
    }
    if rate == wanted.rate && channels == 1 {
        return Ok(finite(samples));
    }
    let mut converter = Converter::new(rate, channels, wanted)?;
    let mut out = Vec::new();
    converter.push(samples, &mut out);
    let damage = not_finite(converter.not_finite()).into_iter().collect();
    converter.finish(&mut out);
    Ok(Whole { samples: out.into(), damage })
}

/// The contract promises finite samples, so the rare numbers that are none become silence.
fn finite(samples: &Arc<[f32]>) -> Whole {
    let bad = samples.iter().filter(|sample| !is_sample(**sample)).count() as u64;
    let samples = match bad {
        0 => Cow::Borrowed(samples),
        _ => Cow::Owned(samples.iter().map(|sample| if is_sample(*sample) { *sample } else { 0.0 }).collect()),
    };
    Whole { samples: samples.into_owned(), damage: not_finite(bad).into_iter().collect() }
}

fn not_finite(count: u64) -> Option<AudioDamage> {
    let message = format!("{count} samples were NaN, infinite or beyond 1e12 and became 0");
    (count > 0).then(|| AudioDamage { kind: "not-finite".to_owned(), at_us: 0, lost_us: None, message })
}

impl From<&tenon_audio::Damage> for AudioDamage {
    fn from(damage: &tenon_audio::Damage) -> Self {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        Self {
            kind: damage.kind.as_str().to_owned(),
            at_us: micros(damage.at),
            lost_us: damage.lost.map(micros),
            message: damage.message.clone(),
        }
    }
}

/// The way in for live audio of one request. Clones share it.
#[derive(Clone)]
pub struct LiveInput {
    blocks: Arc<Blocks>,
    wanted: Wanted,
    stop: StopSigns,
    source: Arc<Mutex<Live>>,
}

#[derive(Default)]
struct Live {
    converter: Option<(u32, u16, Converter)>,
    finished: bool,
}

impl LiveInput {
    pub(crate) fn new(blocks: &Arc<Blocks>, wanted: Wanted, stop: StopSigns) -> Self {
        Self { blocks: Arc::clone(blocks), wanted, stop, source: Arc::default() }
    }

    /// Hands over interleaved samples; frames may be cut anywhere between calls. Waits while the backend is behind by
    /// more than the buffer holds (30 seconds).
    ///
    /// # Errors
    /// `InvalidArgument` when the rate or the number of channels changes or the input was finished, `Audio` when they
    /// are not accepted, `End` when the request has ended, a stop kind when it is about to.
    pub fn push(&self, samples: &[f32], rate: u32, channels: u16) -> Result<()> {
        self.push_with(rate, channels, |converter, block| converter.push(samples, block))
    }

    /// As [`LiveInput::push`], for 16-bit samples.
    ///
    /// # Errors
    /// As [`LiveInput::push`].
    pub fn push_i16(&self, samples: &[i16], rate: u32, channels: u16) -> Result<()> {
        self.push_with(rate, channels, |converter, block| converter.push_i16(samples, block))
    }

    fn push_with(&self, rate: u32, channels: u16, push: impl FnOnce(&mut Converter, &mut Vec<f32>)) -> Result<()> {
        let mut live = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if live.finished {
            return Err(Error::new(ErrorKind::InvalidArgument, "the input was finished: no audio can follow"));
        }
        let mut block = Vec::new();
        push(live.converter(rate, channels, self.wanted)?, &mut block);
        // Under the lock, so that blocks of two threads keep the order of their conversion.
        self.blocks.push(block, &self.stop)
    }

    /// Says that no more audio comes. A second time does nothing.
    ///
    /// # Errors
    /// As [`LiveInput::push`], for what the conversion still held.
    pub fn finish(&self) -> Result<()> {
        let mut live = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut live.finished, true) {
            return Ok(());
        }
        let mut rest = Vec::new();
        if let Some((_, _, converter)) = live.converter.take() {
            self.blocks.lock().damage = not_finite(converter.not_finite()).into_iter().collect();
            converter.finish(&mut rest);
        }
        let pushed = if rest.is_empty() { Ok(()) } else { self.blocks.push(rest, &self.stop) };
        self.blocks.finish(Ok(()));
        pushed
    }
}

impl Live {
    /// The converter of this input; rate and channels must stay as they were.
    fn converter(&mut self, rate: u32, channels: u16, wanted: Wanted) -> Result<&mut Converter> {
        if self.converter.is_none() {
            self.converter = Some((rate, channels, Converter::new(rate, channels, wanted)?));
        }
        match &mut self.converter {
            Some((known, count, converter)) if (*known, *count) == (rate, channels) => Ok(converter),
            _ => {
                let message = "rate and channels of live audio must stay as they were in the first block";
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
        }
    }
}

impl std::fmt::Debug for LiveInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveInput").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::{Budget, Want};

    #[test]
    fn threads_stay_lent_while_a_backend_waits_on_and_are_back_with_what_it_gets() {
        let (budget, stop, blocks) = (Budget::new(2), StopSigns::default(), Blocks::new(8_000));
        let lease = Arc::new(budget.lease(Want::Exactly(2), &stop).unwrap());
        let mut feed = BlockFeed { blocks: Arc::clone(&blocks), stop: stop.clone(), lease, lent: false };
        let is_free = || {
            let soon = Some(Instant::now() + Duration::from_millis(20));
            budget.lease(Want::Exactly(2), &StopSigns { deadline: soon, ..StopSigns::default() }).is_ok()
        };
        let moment = Duration::from_millis(1);
        assert!(!is_free());
        assert!(matches!(feed.pull_on(Some(moment)), Pulled::Timeout) && is_free());
        assert!(matches!(feed.pull_on(Some(moment)), Pulled::Timeout) && is_free());
        // The backend goes on without a block.
        assert!(matches!(feed.pull(Some(moment)), Pulled::Timeout) && !is_free());
        assert!(matches!(feed.pull_on(Some(moment)), Pulled::Timeout) && is_free());
        blocks.finish(Ok(()));
        assert!(matches!(feed.pull_on(None), Pulled::End) && !is_free());
    }

    #[test]
    fn what_is_gathered_on_another_thread_is_what_is_gathered_here() {
        let samples: Vec<f32> = (0..8_000 * (BUFFERED_SECONDS + 10)).map(|at| (at % 200) as f32 / 400.0).collect();
        let mut file = tenon_testkit::wav(&samples, 8_000);
        file.truncate(file.len() - 1_000);
        let (source, stop) = (AudioSource::Bytes(file.into()), StopSigns::default());
        let (wanted, crew) = (Wanted::mono(8_000), Arc::new(Crew::default()));
        let here = gather(&source, wanted, &stop).unwrap();
        let there = Incoming::decoded(&source, wanted, &stop, &crew, Duration::from_secs(60)).unwrap();
        let there = there.gather(8_000, &stop).unwrap();
        assert_eq!((there.samples, there.damage), (here.samples, here.damage));
        assert_eq!(crew.wait(Duration::ZERO), 0);
    }

    #[test]
    fn a_decoder_that_nobody_listens_to_any_more_ends_and_is_joined() {
        // More than fits between the decoder and the backend.
        let file = tenon_testkit::wav(&vec![0.5; 8_000 * (BUFFERED_SECONDS + 10)], 8_000);
        let (source, crew, stop) = (AudioSource::Bytes(file.into()), Arc::new(Crew::default()), StopSigns::default());
        let patience = Duration::from_secs(60);
        let incoming = Incoming::decoded(&source, Wanted::mono(8_000), &stop, &crew, patience).unwrap();
        incoming.blocks().wait(None, &stop);
        assert_eq!(crew.wait(Duration::ZERO), 1);
        drop(incoming);
        assert_eq!(crew.wait(Duration::ZERO), 0);
    }
}
