//! Streams.

use crate::boundary::{self, Sized_, array, c_text, duration, free, out, quick, run, value};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::request::{Builder, channel_count, tenon_request};
use crate::result::{Given, probability, tenon_result};
use crate::session::{Open, tenon_session};
use crate::wakeup::Wakeup;
use host::{Answer, CancelToken, Error, ErrorKind, Event, LiveInput, Result, Stream};
use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;
use tenon_abi::{Status, status};

pub use crate::wakeup::tenon_wakeup_fn;

/// A request that runs, read event by event. One thread at a time may read it; any thread may cancel it, and push
/// audio.
pub struct tenon_stream {
    _opaque: [u8; 0],
}

/// Event: a piece of a transcript: `text`, `start_us`, `end_us`, `confidence`, `no_speech`.
pub const TENON_EVENT_SEGMENT: i32 = 1;
/// Event: a piece of generated text, whole code points: `text`.
pub const TENON_EVENT_TEXT: i32 = 2;
/// Event: a token, where they were asked for: `text`, `token`, `logprob`; `start_us`, `end_us` where it is timed.
pub const TENON_EVENT_TOKEN: i32 = 3;
/// Event: the vector of the input text `index`: `values`, `value_count`.
pub const TENON_EVENT_EMBEDDING: i32 = 4;
/// Event: the language that was detected or used: `text` is its code, `confidence` its probability.
pub const TENON_EVENT_LANGUAGE: i32 = 5;
/// Event: how far the request is: `fraction`. Only the latest is kept when the reader is slow.
pub const TENON_EVENT_PROGRESS: i32 = 6;
/// Event: what the reader should know about this answer: `text`.
pub const TENON_EVENT_NOTE: i32 = 7;

/// What happens while a request runs. Fields that a kind does not name are 0 or NULL; `text` is "" then.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct tenon_event {
    /// `sizeof(tenon_event)`, set by the caller.
    pub struct_size: u32,
    /// `TENON_EVENT_*`. Skip kinds that you do not know: later versions may send others.
    pub kind: i32,
    /// Text, whole valid UTF-8, ended by a NUL; valid until the next call with this stream.
    pub text: *const c_char,
    /// Bytes of the text, without the NUL.
    pub text_size: usize,
    /// Start, microseconds from the beginning of the audio.
    pub start_us: i64,
    /// End, microseconds.
    pub end_us: i64,
    /// Probability, 0 to 1; negative when the backend tells none.
    pub confidence: f32,
    /// Probability that this is no speech, 0 to 1; negative when the backend tells none.
    pub no_speech: f32,
    /// How far the request is, 0 to 1.
    pub fraction: f32,
    /// Natural logarithm of the token's probability; 1 when the backend tells none.
    pub logprob: f32,
    /// Id of the token in the model's vocabulary.
    pub token: i32,
    /// Which input text the vector belongs to, from 0.
    pub index: u32,
    /// The vector; valid until the next call with this stream.
    pub values: *const f32,
    /// Its size.
    pub value_count: usize,
    /// The event as one JSON object, with all that it has (words of a segment, code of a note); valid until the next
    /// call with this stream.
    pub json: *const c_char,
}

// SAFETY: repr(C), begins with a u32, and zeroes are valid in every field.
unsafe impl Sized_ for tenon_event {
    const NAME: &str = "tenon_event";
}

/// A stream in C's hands.
pub(crate) struct Flow {
    reader: Mutex<Reader>,
    /// How the request ended, once that was read. Not the reader's, since any number of threads may ask for it.
    end: OnceLock<Result<Box<Answer>>>,
    cancel: CancelToken,
    input: Option<LiveInput>,
    wakeup: Arc<Wakeup>,
}

struct Reader {
    /// `None` once the handle was freed. Dropped before what it may still call.
    stream: Option<Stream>,
    /// What the latest event points to.
    text: CString,
    json: CString,
    values: Vec<f32>,
    hooked: bool,
}

impl Object for Flow {
    const KIND: Kind = Kind::Stream;
    type Handle = tenon_stream;

    fn close(&self) {
        self.wakeup.set(None, std::ptr::null_mut());
        // A thread that reads leaves soon, since the request was cancelled. Its share of this object may live longer
        // than this call, so the stream, which waits for its backend, is dropped here and not with the last share.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        drop(reader.stream.take());
    }
}

impl Flow {
    fn new(stream: Stream) -> Self {
        let (cancel, input) = (stream.cancel_token(), stream.input());
        let (stream, text, json) = (Some(stream), CString::default(), CString::default());
        let reader = Reader { stream, text, json, values: Vec::new(), hooked: false };
        Self { reader: Mutex::new(reader), end: OnceLock::new(), cancel, input, wakeup: Arc::default() }
    }

    fn reader(&self) -> Result<MutexGuard<'_, Reader>> {
        match self.reader.try_lock() {
            Ok(reader) => Ok(reader),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::Busy, "the stream is being read by another thread"))
            }
        }
    }

    fn input(&self) -> Result<&LiveInput> {
        self.input.as_ref().ok_or_else(|| {
            let message = "this request takes no live audio: ask for it with tenon_request_add_live_audio";
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }

    /// Sets what is told when there is something to read, and tells it at once if there is something now. Nothing is
    /// set when another thread reads the stream.
    fn hook<T>(&self, set: impl FnOnce(&Wakeup) -> Result<T>) -> Result<T> {
        let mut reader = self.reader()?;
        // Once, since most streams have no hooks.
        if !std::mem::replace(&mut reader.hooked, true) {
            let wakeup = Arc::clone(&self.wakeup);
            reader.stream()?.set_wakeup(Some(Box::new(move || wakeup.fire())));
        }
        let (set, ready) = (set(&self.wakeup)?, reader.stream()?.is_ready());
        // Called without the lock: it may ask whether the stream is ready.
        drop(reader);
        if ready {
            self.wakeup.fire();
        }
        Ok(set)
    }

    /// The next event; an error of the kind `Timeout` when there is none, `None` after the end.
    fn next(&self, reader: &mut Reader, timeout: Option<Duration>) -> Option<Result<Event>> {
        let next = |reader: &mut Reader, timeout| match (reader.stream(), timeout) {
            (Ok(stream), Some(timeout)) => stream.next_timeout(timeout),
            (Ok(stream), None) => stream.next(),
            (Err(freed), _) => Some(Err(freed)),
        };
        let mut event = next(reader, timeout);
        if nothing(&event) {
            // What comes after this is raised again, and what came before it is seen here.
            self.wakeup.lower();
            event = next(reader, Some(Duration::ZERO));
        }
        event
    }
}

fn nothing(event: &Option<Result<Event>>) -> bool {
    matches!(event, Some(Err(error)) if error.kind() == ErrorKind::Timeout)
}

impl Reader {
    /// The stream. A thread that found it by its handle may come here when another one has freed it.
    fn stream(&mut self) -> Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| Error::new(ErrorKind::StaleHandle, "this tenon_stream was freed"))
    }

    /// Keeps what the event points to and gives it to C.
    fn show(&mut self, event: Event) -> tenon_event {
        let mut shown = EMPTY;
        self.json = c_text(&event.to_json());
        let mut text = String::new();
        match event {
            Event::Segment(segment) => {
                shown.kind = TENON_EVENT_SEGMENT;
                (shown.start_us, shown.end_us) = (segment.start_us, segment.end_us);
                shown.confidence = probability(segment.confidence);
                shown.no_speech = probability(segment.no_speech);
                text = segment.text;
            }
            Event::Text(piece) => (shown.kind, text) = (TENON_EVENT_TEXT, piece),
            Event::Token(token) => {
                (shown.kind, shown.token) = (TENON_EVENT_TOKEN, token.id);
                shown.logprob = token.logprob.unwrap_or(1.0);
                (shown.start_us, shown.end_us) = (token.start_us.unwrap_or(0), token.end_us.unwrap_or(0));
                text = token.text;
            }
            Event::Embedding { index, values } => {
                (shown.kind, shown.index) = (TENON_EVENT_EMBEDDING, u32::try_from(index).unwrap_or(u32::MAX));
                self.values = values;
                (shown.values, shown.value_count) = (self.values.as_ptr(), self.values.len());
            }
            Event::Language(language) => {
                (shown.kind, text) = (TENON_EVENT_LANGUAGE, language.code);
                shown.confidence = probability(language.probability);
            }
            Event::Progress(fraction) => (shown.kind, shown.fraction) = (TENON_EVENT_PROGRESS, fraction),
            Event::Note(note) => (shown.kind, text) = (TENON_EVENT_NOTE, note.message),
            _ => {}
        }
        self.text = c_text(&text);
        (shown.text, shown.text_size) = (self.text.as_ptr(), self.text.as_bytes().len());
        shown.json = self.json.as_ptr();
        shown
    }
}

const EMPTY: tenon_event = tenon_event {
    struct_size: 0,
    kind: 0,
    text: std::ptr::null(),
    text_size: 0,
    start_us: 0,
    end_us: 0,
    confidence: 0.0,
    no_speech: 0.0,
    fraction: 0.0,
    logprob: 0.0,
    token: 0,
    index: 0,
    values: std::ptr::null(),
    value_count: 0,
    json: std::ptr::null(),
};

/// Starts a request whose events are read while it runs. The request may be changed and freed at once. Free the stream
/// with `tenon_stream_free`. Errors here are those that can be told before the backend runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_start(
    session: *mut tenon_session,
    request: *const tenon_request,
    stream: *mut *mut tenon_stream,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(stream, std::ptr::null_mut(), "stream");
        run(error, || {
            let place = place?;
            let open = handle::get::<Open>(session)?;
            let request = handle::get::<Builder>(request)?.request()?;
            let flow = Flow::new(open.lock()?.stream(request)?);
            *place = handle::put(flow)?;
            Ok(())
        })
    }
}

/// Waits for the next event, but at most `timeout_us` microseconds (0: not at all; negative: as long as it takes), and
/// puts it into a struct whose `struct_size` is set.
///
/// `TENON_E_TIMEOUT` when none came, after which the stream goes on; `TENON_E_END` at the end of a request that
/// succeeded, and from then on; its result is that of `tenon_stream_result`. Neither of the two makes a `tenon_error`.
/// A request that fails gives its error once, after its last event, and then `TENON_E_END`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_next(
    stream: *mut tenon_stream,
    timeout_us: i64,
    event: *mut tenon_event,
    error: *mut *mut tenon_error,
) -> Status {
    let mut calm = status::OK;
    // SAFETY: the header says what these pointers are.
    let status = unsafe {
        run(error, || {
            // Before anything is taken out of the stream, so that nothing is lost.
            boundary::write(event, &EMPTY)?;
            let flow = handle::get::<Flow>(stream)?;
            let mut reader = flow.reader()?;
            match flow.next(&mut reader, duration(timeout_us)) {
                Some(Ok(Event::End(answer))) => {
                    let _ = flow.end.set(Ok(answer));
                    calm = status::E_END;
                }
                Some(Ok(happened)) => boundary::write(event, &reader.show(happened))?,
                Some(Err(error)) if error.kind() == ErrorKind::Timeout => calm = status::E_TIMEOUT,
                Some(Err(error)) => {
                    let _ = flow.end.set(Err(error.clone()));
                    return Err(error);
                }
                None => calm = status::E_END,
            }
            Ok(())
        })
    };
    if status == status::OK { calm } else { status }
}

/// Hands over live audio: `frames` frames of `channels` interleaved samples at `rate` frames per second, which are copied.
/// Rate and channels, with the limits of `tenon_request_add_audio` (else `TENON_E_AUDIO`), must stay as they were in
/// the first call. Waits while the backend is more than 30 seconds behind. Any thread, also while another one reads the
/// stream.
///
/// `TENON_E_INVALID_ARGUMENT` once the input was finished, also when the request has ended since; otherwise
/// `TENON_E_END` when the request has ended, and `TENON_E_CANCELLED`, `TENON_E_DEADLINE` or `TENON_E_SHUTDOWN` when it
/// was asked to end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_push_audio(
    stream: *mut tenon_stream,
    samples: *const f32,
    frames: usize,
    rate: u32,
    channels: u32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let (count, channels) = size(frames, channels)?;
            let flow = handle::get::<Flow>(stream)?;
            flow.input()?.push(array(samples, count, "samples")?, rate, channels)
        })
    }
}

/// As `tenon_stream_push_audio`, for signed samples of 16 bits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_push_audio_i16(
    stream: *mut tenon_stream,
    samples: *const i16,
    frames: usize,
    rate: u32,
    channels: u32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let (count, channels) = size(frames, channels)?;
            let flow = handle::get::<Flow>(stream)?;
            flow.input()?.push_i16(array(samples, count, "samples")?, rate, channels)
        })
    }
}

fn size(frames: usize, channels: u32) -> Result<(usize, u16)> {
    // An hour at 192 kHz: more in one call is a mistake, or belongs into a file.
    const MOST: usize = 3600 * 192_000;
    let channels = channel_count(channels)?;
    let count = frames.checked_mul(channels.into()).filter(|count| *count <= MOST).ok_or_else(|| {
        let message = format!("{frames} frames in one call are too many: push them in parts");
        Error::new(ErrorKind::InvalidArgument, message)
    })?;
    Ok((count, channels))
}

/// Says that no more live audio comes, so that the request can end. A second time does nothing. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_finish_input(stream: *mut tenon_stream, error: *mut *mut tenon_error) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || handle::get::<Flow>(stream)?.input()?.finish()) }
}

/// Has a function called whenever the stream has something to read, and at once if it has something now; NULL for none.
/// After this returns, the function set before is not running and never runs again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_set_wakeup(
    stream: *mut tenon_stream,
    wakeup: tenon_wakeup_fn,
    data: *mut c_void,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let flow = handle::get::<Flow>(stream)?;
            if wakeup.is_none() {
                flow.wakeup.set(None, data);
                return Ok(());
            }
            flow.hook(|hooks| {
                hooks.set(wakeup, data);
                Ok(())
            })
        })
    }
}

/// Gives a file descriptor to watch with poll, epoll, kqueue or select: it is readable while the stream may have
/// something to read, the end included. Read events with a timeout of 0 until `TENON_E_TIMEOUT` or `TENON_E_END`. The
/// descriptor belongs to the stream: never read, write or close it. `TENON_E_UNSUPPORTED` on Windows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_descriptor(
    stream: *mut tenon_stream,
    descriptor: *mut i32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(descriptor, -1, "descriptor");
        run(error, || {
            let place = place?;
            *place = handle::get::<Flow>(stream)?.hook(Wakeup::descriptor)?;
            Ok(())
        })
    }
}

/// Asks the request to end. Events that it has given out can still be read; its last word is then `TENON_E_CANCELLED`,
/// unless it was done before. Returns at once. Any thread, also a callback, any number of times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_cancel(stream: *const tenon_stream, error: *mut *mut tenon_error) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        quick(error, || {
            handle::get::<Flow>(stream)?.cancel.cancel();
            Ok(())
        })
    }
}

/// Gives the whole result after `TENON_E_END`, as often as it is asked for. Free it with `tenon_result_free`.
/// `TENON_E_BUSY` before the end; the request's own error when it failed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_result(
    stream: *const tenon_stream,
    result: *mut *mut tenon_result,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(result, std::ptr::null_mut(), "result");
        run(error, || {
            let place = place?;
            let flow = handle::get::<Flow>(stream)?;
            let answer = match flow.end.get() {
                Some(Ok(answer)) => answer.as_ref().clone(),
                Some(Err(error)) => return Err(error.clone()),
                None => {
                    let message = "the request has not ended: read its events until TENON_E_END";
                    return Err(Error::new(ErrorKind::Busy, message));
                }
            };
            *place = handle::put(Given::new(answer))?;
            Ok(())
        })
    }
}

/// Whether the stream can be read without waiting: 1 or 0. The end counts as something to read. 1 also while another
/// thread reads it, since nobody knows what that one leaves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_is_ready(stream: *const tenon_stream) -> i32 {
    value(0, || {
        let flow = handle::get::<Flow>(stream).ok()?;
        let ready = |mut reader: MutexGuard<'_, Reader>| reader.stream().map(|stream| stream.is_ready());
        Some(flow.reader().and_then(ready).unwrap_or(true).into())
    })
}

/// Frees a stream. NULL does nothing. A request that still runs is cancelled, and this waits until its backend has
/// ended, also where another thread is reading; in a callback another thread waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_stream_free(stream: *mut tenon_stream) {
    free::<Flow>(stream, |flow| {
        flow.wakeup.silence();
        flow.cancel.cancel();
    });
}
