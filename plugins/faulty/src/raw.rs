//! The faults that the SDK would not let anybody commit: raw items, raw statuses, and ways to end the process.

use crate::faults::RunFault;
use crate::tables::UNKNOWN_STATUS;
use std::sync::{Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use tenon_abi::*;

/// The threads that faults left behind.
static THREADS: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Commits a fault and says what the run returns, or leaves the fault to the backend on the SDK.
pub fn misbehave(host: &'static Host, call: *mut Call, fault: RunFault, seconds: Option<f64>) -> Option<Status> {
    Some(match fault {
        RunFault::Panic | RunFault::PanicTwice | RunFault::Hang => return None,
        RunFault::UnknownStatus => UNKNOWN_STATUS,
        RunFault::NegativeStatus => -1,
        RunFault::Nothing => status::OK,
        RunFault::ErrorWithoutMessage => status::E_BACKEND,
        RunFault::ErrorBrokenMessage => fail(host, call, b"br\xffken"),
        RunFault::ErrorHugeMessage => fail(host, call, &vec![b'x'; 8 << 20]),
        RunFault::OddProgress => odd_progress(host, call),
        RunFault::EmitAfterReturn => emit_after_return(host, call),
        RunFault::EmitAfterStop => emit_after_stop(host, call),
        RunFault::Flood => flood(host, call),
        RunFault::IgnoreCancel => ignore_cancel(host, call, seconds),
        RunFault::Abort => std::process::abort(),
        RunFault::Segfault => segfault(),
        RunFault::Exit => std::process::exit(77),
        RunFault::StackOverflow => overflow(1) as Status,
        RunFault::Leak => leak(host, call),
        RunFault::NullItem
        | RunFault::NullPayload
        | RunFault::UnknownKind
        | RunFault::InputKind
        | RunFault::WrongSize
        | RunFault::MisalignedPayload => odd_item(host, call, fault),
        RunFault::BrokenText | RunFault::EndlessText | RunFault::NullText => odd_text(host, call, fault),
        RunFault::EmbeddingNotANumber | RunFault::EmbeddingEndless | RunFault::EmbeddingOddIndex => {
            odd_embedding(host, call, fault)
        }
        RunFault::UsageNegative => odd_usage(host, call),
        RunFault::UnknownDocument => document(host, call, "horoscope", "{\"luck\": true}"),
        RunFault::DocumentNoJson => document(host, call, "finish", "{\"reason\": oops"),
        RunFault::DocumentOddShape => document(host, call, "finish", "[1, 2, 3]"),
        RunFault::SegmentBrokenText
        | RunFault::SegmentNegativeTimes
        | RunFault::SegmentEndlessWords
        | RunFault::SegmentNullWords
        | RunFault::SegmentOddConfidence => odd_segment(host, call, fault),
    })
}

/// Waits for the threads that were left behind.
pub fn join_threads() {
    let threads = std::mem::take(&mut *THREADS.lock().unwrap_or_else(PoisonError::into_inner));
    for thread in threads {
        // A thread of a fault that panicked has said so to the log.
        let _ = thread.join();
    }
}

/// Emits a document.
pub fn document(host: &Host, call: *mut Call, name: &str, text: &str) -> Status {
    emit(host, call, KIND_DOCUMENT, &Document { name: str(name.as_bytes()), text: str(text.as_bytes()) })
}

fn str(bytes: &[u8]) -> Str {
    Str { ptr: bytes.as_ptr().cast(), len: bytes.len() }
}

fn emit<T>(host: &Host, call: *mut Call, kind: u32, payload: &T) -> Status {
    emit_item(host, call, &Item { kind, size: size_of::<T>() as u32, data: std::ptr::from_ref(payload).cast() })
}

fn emit_item(host: &Host, call: *mut Call, item: *const Item) -> Status {
    let emit = host.emit.expect("the SDK checked the host");
    // SAFETY: not safe on purpose; what the host makes of it is the question.
    unsafe { emit(call, item) }
}

fn fail(host: &Host, call: *mut Call, message: &[u8]) -> Status {
    let fail = host.fail.expect("the SDK checked the host");
    // SAFETY: the message lives until `fail` returns.
    unsafe { fail(call, status::E_BACKEND, str(message)) }
}

fn cancelled(host: &Host, call: *mut Call) -> bool {
    let cancelled = host.cancelled.expect("the SDK checked the host");
    // SAFETY: a function of the host's table.
    unsafe { cancelled(call) != 0 }
}

fn piece(text: &[u8]) -> Text {
    Text { role: str(b""), text: str(text) }
}

fn odd_item(host: &Host, call: *mut Call, fault: RunFault) -> Status {
    let text = piece(b"odd");
    let (data, size) = (std::ptr::from_ref(&text).cast::<std::ffi::c_void>(), size_of::<Text>() as u32);
    let item = match fault {
        RunFault::NullItem => return emit_item(host, call, std::ptr::null()),
        RunFault::NullPayload => Item { kind: KIND_TEXT, size, data: std::ptr::null() },
        RunFault::UnknownKind => Item { kind: 99, size, data },
        RunFault::InputKind => Item { kind: KIND_AUDIO, size: size_of::<Audio>() as u32, data },
        RunFault::WrongSize => Item { kind: KIND_TEXT, size: 8, data },
        _ => Item { kind: KIND_TEXT, size, data: data.wrapping_byte_add(1) },
    };
    emit_item(host, call, &item)
}

fn odd_text(host: &Host, call: *mut Call, fault: RunFault) -> Status {
    let text = match fault {
        RunFault::BrokenText => str(b"bro\xff\xfeken"),
        RunFault::EndlessText => Str { len: usize::MAX, ..str(b"endless") },
        _ => Str { ptr: std::ptr::null(), len: 7 },
    };
    emit(host, call, KIND_TEXT, &Text { role: str(b""), text })
}

fn odd_segment(host: &Host, call: *mut Call, fault: RunFault) -> Status {
    let word = Word { start_us: 0, end_us: 1, text: str(b"word"), confidence: 1.0, reserved: 0 };
    let mut segment = Segment {
        start_us: 0,
        end_us: 1_000_000,
        text: str(b" all is well"),
        words: std::ptr::null(),
        word_count: 0,
        token_count: 0,
        tokens: std::ptr::null(),
        confidence: f32::NAN,
        no_speech: f32::NAN,
        reserved: [0; 2],
    };
    match fault {
        RunFault::SegmentBrokenText => segment.text = str(b"bro\xff\xfeken"),
        RunFault::SegmentNegativeTimes => (segment.start_us, segment.end_us) = (-5, i64::MIN),
        RunFault::SegmentEndlessWords => (segment.words, segment.word_count) = (&word, u32::MAX),
        RunFault::SegmentNullWords => segment.word_count = 3,
        _ => segment.confidence = 7.0,
    }
    emit(host, call, KIND_SEGMENT, &segment)
}

fn odd_embedding(host: &Host, call: *mut Call, fault: RunFault) -> Status {
    let values = [f32::NAN, f32::INFINITY];
    let fine = [1.0, 0.0];
    let mut embedding = Embedding { values: fine.as_ptr(), count: 2, index: 0, reserved: 0 };
    match fault {
        RunFault::EmbeddingNotANumber => embedding.values = values.as_ptr(),
        RunFault::EmbeddingEndless => embedding.count = 1 << 63,
        _ => embedding.index = 12_345,
    }
    emit(host, call, KIND_EMBEDDING, &embedding)
}

fn odd_usage(host: &Host, call: *mut Call) -> Status {
    let usage = Usage {
        prompt_tokens: u64::MAX,
        cached_tokens: u64::MAX,
        generated_tokens: 0,
        audio_us: -1,
        prompt_us: i64::MIN,
        generate_us: -1,
    };
    emit(host, call, KIND_USAGE, &usage)
}

fn odd_progress(host: &Host, call: *mut Call) -> Status {
    let progress = host.progress.expect("the SDK checked the host");
    for fraction in [f32::NAN, -3.0, 7.0, f32::INFINITY] {
        // SAFETY: a function of the host's table.
        unsafe { progress(call, fraction) };
    }
    emit(host, call, KIND_TEXT, &piece(b"all is well"))
}

/// Leaves a thread behind that uses the call when it is over.
fn emit_after_return(host: &'static Host, call: *mut Call) -> Status {
    let address = call.expose_provenance();
    let late = std::thread::spawn(move || {
        let call = std::ptr::with_exposed_provenance_mut(address);
        for _ in 0..20 {
            sleep(Duration::from_millis(10));
            emit(host, call, KIND_TEXT, &piece(b"too late"));
            fail(host, call, b"too late");
            cancelled(host, call);
        }
    });
    THREADS.lock().unwrap_or_else(PoisonError::into_inner).push(late);
    emit(host, call, KIND_TEXT, &piece(b"in time"))
}

fn emit_after_stop(host: &Host, call: *mut Call) -> Status {
    let mut stopped = 0;
    while stopped < 1000 {
        let status = emit(host, call, KIND_TEXT, &piece(b"more "));
        stopped += usize::from(status != status::OK);
    }
    status::OK
}

fn flood(host: &Host, call: *mut Call) -> Status {
    loop {
        let status = emit(host, call, KIND_TEXT, &piece(b"more "));
        if status != status::OK {
            return status;
        }
    }
}

fn ignore_cancel(host: &Host, call: *mut Call, seconds: Option<f64>) -> Status {
    let patience = Duration::from_secs_f64(seconds.unwrap_or(2.0).clamp(0.0, 60.0));
    let start = Instant::now();
    while !cancelled(host, call) && start.elapsed() < patience {
        sleep(Duration::from_millis(1));
    }
    emit(host, call, KIND_TEXT, &piece(b"cancelled? never"));
    status::OK
}

fn leak(host: &Host, call: *mut Call) -> Status {
    const PIECE: usize = 4 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    while taken.len() * PIECE < 2 << 30 {
        // Not zeros, which would be no memory until somebody writes to it.
        taken.push(vec![0x5a; PIECE]);
    }
    fail(host, call, b"nothing stopped the leak")
}

fn segfault() -> Status {
    let nowhere = std::ptr::with_exposed_provenance_mut::<u32>(8);
    // SAFETY: none; that is the fault.
    unsafe { nowhere.write_volatile(1) };
    status::OK
}

#[expect(unconditional_recursion, reason = "that is the fault")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    frame[1] + overflow(std::hint::black_box(depth + 1))
}
