//! What the engine and a worker say to each other, read by the side that must not believe it.
//!
//! An input of `replies` is what a worker wrote to its socket. One of `orders` is the same for the engine, with a byte
//! in front that says how many descriptors come along.

use crate::memory::in_proportion;
use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tenon_wire::{Error, Link, Message, Order, Received, Receiver, Reply, Samples, limits};

/// Fits what a socket holds before anybody reads.
const LONGEST: usize = 64 << 10;

/// What a worker sends: each frame gives a reply that stays what it is, or ends the connection.
pub fn replies(input: &[u8]) {
    let input = &input[..input.len().min(LONGEST)];
    let expected = frames(input, |frame| {
        let reply = in_proportion(frame.len(), || Reply::decode(frame))?;
        let again = reply.encode().expect("what came in a frame fits one");
        assert_eq!(Reply::decode(&again).expect("what was encoded is decoded"), reply);
        Ok(reply)
    });
    let received = received::<Reply>(input);
    assert_eq!(received.messages, expected.messages);
    assert_eq!(received.end, expected.end);
}

/// What the engine sends, with descriptors: each frame gives an order that stays what it is, or an error.
pub fn orders(input: &[u8]) {
    let Some((count, input)) = input.split_first() else { return };
    let input = &input[..input.len().min(LONGEST)];
    let count = usize::from(*count) % (limits::DESCRIPTORS + 2);
    let expected = frames(input, |frame| {
        let order = in_proportion(frame.len(), || Order::decode(frame, descriptors(count)))?;
        let again = order.encode().expect("what came in a frame fits one");
        // Samples that came in a memory file are sent on inside the frame.
        let decoded = Order::decode(&again, descriptors(count)).or_else(|_| Order::decode(&again, Vec::new()));
        let decoded = decoded.expect("what was encoded is decoded");
        assert_eq!(decoded.encode().expect("it was encoded before"), again);
        samples_hold(&order);
        Ok(again)
    });
    if count == 0 {
        let received = received::<Order>(input);
        let messages: Vec<_> = received.messages.iter().map(|order| order.encode().expect("it fits")).collect();
        assert_eq!(messages, expected.messages);
        assert_eq!(received.end, expected.end);
    }
}

/// That many descriptors of a memory file of four samples.
fn descriptors(count: usize) -> Vec<File> {
    thread_local! {
        static FILE: Option<File> = sealed();
    }
    FILE.with(|file| {
        let file = file.as_ref();
        (0..count).filter_map(|_| file.map(|file| file.try_clone().expect("a descriptor is free"))).collect()
    })
}

#[cfg(target_os = "linux")]
fn sealed() -> Option<File> {
    let sealed = tenon_wire::Sealed::new(&[0.5; 4]).expect("a memory file");
    sealed.file().map(|file| file.try_clone().expect("a descriptor is free"))
}

#[cfg(not(target_os = "linux"))]
fn sealed() -> Option<File> {
    Some(File::open("/dev/null").expect("it is always there"))
}

/// Samples in a memory file are those that are in it.
fn samples_hold(order: &Order) {
    let hold = |samples: &Samples| match samples {
        #[cfg(target_os = "linux")]
        Samples::Mapped(mapped) => assert_eq!(mapped[..], [0.5; 4]),
        Samples::Inline(_) => {}
    };
    match order {
        Order::Block { samples, .. } => hold(samples),
        Order::Run(run) => run.items.iter().for_each(|item| match item {
            tenon_wire::Item::Audio { samples, .. } => hold(samples),
            tenon_wire::Item::Text { .. } => {}
        }),
        _ => {}
    }
}

/// What came of a stream.
struct Came<T> {
    messages: Vec<T>,
    end: &'static str,
}

/// The word for how a stream ended.
fn word(error: &Error) -> &'static str {
    match error {
        Error::Garbage(what) => {
            assert!(!what.is_empty() && !what.ends_with('.'), "{what}");
            "garbage"
        }
        Error::Cut => "cut",
        other => panic!("memory cannot end like this: {other}"),
    }
}

/// Cuts a stream into frames by itself, and reads each one.
fn frames<T>(mut stream: &[u8], mut read: impl FnMut(&[u8]) -> Result<T, Error>) -> Came<T> {
    let mut messages = Vec::new();
    let end = loop {
        let Some((length, rest)) = stream.split_first_chunk() else {
            break if stream.is_empty() { "closed" } else { "cut" };
        };
        let length = u32::from_le_bytes(*length) as usize;
        if !(5..=limits::FRAME).contains(&length) {
            break "garbage";
        }
        let Some((frame, behind)) = rest.split_at_checked(length) else { break "cut" };
        match read(frame) {
            Ok(message) => messages.push(message),
            Err(error) => break word(&error),
        }
        stream = behind;
    };
    Came { messages, end }
}

/// Sends a stream over a socket and receives it.
fn received<M: Message + Debug>(stream: &[u8]) -> Came<M> {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    theirs.write_all(stream).expect("the socket holds it");
    drop(theirs);
    let mut receiver: Receiver<M> = Link::<Order, M>::from(OwnedFd::from(ours)).split().1;
    let mut messages = Vec::new();
    loop {
        match receiver.receive(None) {
            Ok(Received::Message(message)) => messages.push(message),
            Ok(Received::Closed) => return Came { messages, end: "closed" },
            Ok(Received::Timeout) => panic!("there was no time limit"),
            Err(error) => return Came { messages, end: word(&error) },
        }
    }
}
