//! Requests.

use crate::boundary::{array, duration, free, optional, out, run, text, utf8};
use crate::error::tenon_error;
use crate::handle::{self, Kind, Object};
use crate::options::{Document, tenon_options};
use host::audio::{Converter, Wanted};
use host::{AudioSource, Error, ErrorKind, Input, Message, Options, Request, Result, Role, task};
use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenon_abi::Status;

/// What is asked of a session. Built step by step; whoever runs it copies it, so it may be changed and used again.
pub struct tenon_request {
    _opaque: [u8; 0],
}

/// Most samples that one request takes whole: one gibibyte of them. Longer audio comes as a file or live.
const MOST_SAMPLES: usize = 1 << 28;
/// Most bytes that one text or one file in memory may have.
const MOST_BYTES: usize = 1 << 30;

/// A request in C's hands.
pub(crate) struct Builder(Mutex<Parts>);

#[derive(Clone)]
struct Parts {
    task: String,
    texts: Vec<(String, String)>,
    audio: Option<AudioSource>,
    options: Options,
    preset: Option<String>,
    deadline: Option<Duration>,
}

impl Object for Builder {
    const KIND: Kind = Kind::Request;
    type Handle = tenon_request;
}

impl Builder {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request as it is now.
    pub(crate) fn request(&self) -> Result<Request> {
        let parts = self.parts().clone();
        let input = input(&parts)?;
        let mut request = Request::new(parts.task, input).options(parts.options);
        if let Some(preset) = parts.preset {
            request = request.preset(preset);
        }
        if let Some(deadline) = parts.deadline {
            request = request.deadline(deadline);
        }
        Ok(request)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// The input of the kind that the task takes; nothing that was added is left out.
fn input(parts: &Parts) -> Result<Input> {
    match (&parts.audio, parts.texts.as_slice()) {
        (Some(_), [_, ..]) => Err(invalid("the request has audio and text, and no task takes both")),
        (Some(audio), []) => Ok(Input::Audio(audio.clone())),
        (None, texts) => match parts.task.as_str() {
            task::CHAT => texts.iter().map(message).collect::<Result<_>>().map(Input::Messages),
            task::EMBED => Ok(Input::Texts(texts.iter().map(|(_, text)| text.clone()).collect())),
            _ => match texts {
                [(_, text)] => Ok(Input::Prompt(text.clone())),
                [] => Err(invalid(format!("the request for {} has no input: add text or audio", parts.task))),
                [..] => Err(invalid(format!("{} takes one text, and there are {}", parts.task, texts.len()))),
            },
        },
    }
}

fn message((role, content): &(String, String)) -> Result<Message> {
    let role = [Role::System, Role::User, Role::Assistant].into_iter().find(|known| known.name() == role);
    let role = role.ok_or_else(|| invalid("a chat has the roles system, user and assistant"))?;
    Ok(Message { role, content: content.clone() })
}

/// Makes a request for a task: "transcribe", "translate", "detect-language", "generate", "chat", "embed", or another
/// one of the model's backend. Free it with `tenon_request_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_new(
    task: *const c_char,
    request: *mut *mut tenon_request,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        let place = out(request, std::ptr::null_mut(), "request");
        run(error, || {
            let place = place?;
            let parts = Parts {
                task: text(task, "task")?.to_owned(),
                texts: Vec::new(),
                audio: None,
                options: Options::new(),
                preset: None,
                deadline: None,
            };
            *place = handle::put(Builder(Mutex::new(parts)))?;
            Ok(())
        })
    }
}

/// Adds a text, which is copied. `role` is "system", "user" or "assistant" for chat, in the order of the conversation;
/// for generate (one text) and embed (any number) it may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_text(
    request: *mut tenon_request,
    role: *const c_char,
    content: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || add_text(request, optional(role, "role")?, text(content, "content")?)) }
}

/// As `tenon_request_add_text`, for a text of `size` bytes that no NUL ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_text_n(
    request: *mut tenon_request,
    role: *const c_char,
    content: *const c_char,
    size: usize,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let role = optional(role, "role")?;
            bounded(size, MOST_BYTES, "content", "bytes")?;
            add_text(request, role, utf8(array(content.cast::<u8>(), size, "content")?, "content")?)
        })
    }
}

fn add_text(request: *mut tenon_request, role: Option<&str>, content: &str) -> Result<()> {
    let builder = handle::get::<Builder>(request)?;
    bounded(content.len(), MOST_BYTES, "content", "bytes")?;
    let mut parts = builder.parts();
    let role = role.unwrap_or("user").to_owned();
    if parts.task == task::CHAT {
        message(&(role.clone(), String::new()))?;
    }
    parts.texts.push((role, content.to_owned()));
    Ok(())
}

fn bounded(count: usize, most: usize, name: &str, unit: &str) -> Result<()> {
    if count > most {
        return Err(invalid(format!("{name} has {count} {unit}, and the most is {most}")));
    }
    Ok(())
}

fn set_audio(request: *mut tenon_request, audio: AudioSource) -> Result<()> {
    let builder = handle::get::<Builder>(request)?;
    let mut parts = builder.parts();
    if parts.audio.is_some() {
        return Err(invalid("the request has its audio: make another request, or join the audio first"));
    }
    parts.audio = Some(audio);
    Ok(())
}

/// # Safety
/// `samples` is NULL or points to `frames * channels` values.
unsafe fn samples<T: Copy>(
    samples: *const T,
    frames: usize,
    rate: u32,
    channels: u32,
    to_float: impl Fn(T) -> f32,
) -> Result<AudioSource> {
    let channels = channel_count(channels)?;
    let count = frames.saturating_mul(channels.into());
    bounded(count, MOST_SAMPLES, "samples", "values")?;
    // What no backend would be given is refused here already, by what would refuse it then.
    Converter::new(rate, channels, Wanted::mono(rate)).map_err(|problem| invalid(problem.to_string()))?;
    // SAFETY: as the caller of this function says.
    let samples = unsafe { array(samples, count, "samples") }?;
    Ok(AudioSource::Samples { samples: samples.iter().map(|sample| to_float(*sample)).collect(), rate, channels })
}

/// A number of channels that C passed in. How many are accepted is for what takes them.
pub(crate) fn channel_count(channels: u32) -> Result<u16> {
    let count = u16::try_from(channels).ok().filter(|count| *count > 0);
    count.ok_or_else(|| invalid(format!("channels is {channels}, which no audio has")))
}

/// A sample of 16 bits as a fraction of full scale.
fn from_i16(sample: i16) -> f32 {
    f32::from(sample) / 32768.0
}

/// Gives the request its audio: `frames` frames of `channels` interleaved samples each, nominally within -1 to 1, at
/// `rate` frames per second: 1000 to 768000 of them, and 1 to 64 channels. The samples are copied once, here; mono at
/// the backend's rate ("sample_rate" of `tenon_model_info`) is then never copied again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_audio(
    request: *mut tenon_request,
    samples: *const f32,
    frames: usize,
    rate: u32,
    channels: u32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set_audio(request, self::samples(samples, frames, rate, channels, |sample| sample)?)) }
}

/// As `tenon_request_add_audio`, for signed samples of 16 bits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_audio_i16(
    request: *mut tenon_request,
    samples: *const i16,
    frames: usize,
    rate: u32,
    channels: u32,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set_audio(request, self::samples(samples, frames, rate, channels, from_i16)?)) }
}

/// Gives the request its audio by the path of a file: wav, flac, mp3, ogg, opus, webm, m4a, aac or aiff, told by its
/// bytes and not by its name. The file is opened when the request runs, and read as it is needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_audio_file(
    request: *mut tenon_request,
    path: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set_audio(request, AudioSource::Path(PathBuf::from(text(path, "path")?)))) }
}

/// As `tenon_request_add_audio_file`, for a whole file in memory, which is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_audio_bytes(
    request: *mut tenon_request,
    bytes: *const u8,
    size: usize,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            bounded(size, MOST_BYTES, "the file", "bytes")?;
            set_audio(request, AudioSource::Bytes(Arc::from(array(bytes, size, "bytes")?)))
        })
    }
}

/// Says that the audio comes while the request runs, by `tenon_stream_push_audio`. Such a request needs a stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_add_live_audio(
    request: *mut tenon_request,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe { run(error, || set_audio(request, AudioSource::Live)) }
}

/// Asks for these options, which are copied and replace those set before. They lie over the preset's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_set_options(
    request: *mut tenon_request,
    options: *const tenon_options,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let options = handle::get::<Document>(options)?.copy();
            handle::get::<Builder>(request)?.parts().options = options;
            Ok(())
        })
    }
}

/// Takes the options of this preset of the manifest, such as "fast"; NULL for those of "default".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_set_preset(
    request: *mut tenon_request,
    preset: *const c_char,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            let preset = optional(preset, "preset")?.map(str::to_owned);
            handle::get::<Builder>(request)?.parts().preset = preset;
            Ok(())
        })
    }
}

/// Ends the request with `TENON_E_DEADLINE` when it is not done this many microseconds after its start; a negative
/// number takes the deadline away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_set_deadline(
    request: *mut tenon_request,
    after_us: i64,
    error: *mut *mut tenon_error,
) -> Status {
    // SAFETY: the header says what these pointers are.
    unsafe {
        run(error, || {
            handle::get::<Builder>(request)?.parts().deadline = duration(after_us);
            Ok(())
        })
    }
}

/// Frees a request. NULL does nothing. Runs and streams that were started with it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenon_request_free(request: *mut tenon_request) {
    free::<Builder>(request, |_| {});
}
