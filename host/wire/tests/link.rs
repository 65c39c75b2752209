//! Frames and descriptors over a real socket.
#![cfg(unix)]

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::fs::File;
use std::io::{IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use tenon_wire::{
    Error, FileEntry, Item, Library, Link, Message, Order, Output, Received, Receiver, Reply, RunOrder, Samples,
    Sandbox, Sender, Start, limits,
};

const SOON: Duration = Duration::from_millis(20);
const GENEROUS: Duration = Duration::from_secs(60);

type Ends = (Sender<Order>, Receiver<Reply>, Sender<Reply>, Receiver<Order>);

fn ends() -> Ends {
    let (link, theirs) = Link::pair().unwrap();
    let (orders, replies) = link.split();
    let (reply, order) = Link::<Reply, Order>::from(theirs).split();
    (orders.with_timeout(GENEROUS), replies, reply.with_timeout(GENEROUS), order)
}

/// The raw end of somebody who need not keep to the rules, and the receiver of the other end.
fn hostile<R: Message>() -> (UnixStream, Receiver<R>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (theirs, Link::<Order, R>::from(OwnedFd::from(ours)).split().1)
}

fn next<M: Message + std::fmt::Debug>(receiver: &mut Receiver<M>) -> M {
    match receiver.receive(Some(GENEROUS)).unwrap() {
        Received::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn garbage<M: Message + std::fmt::Debug>(receiver: &mut Receiver<M>) -> String {
    match receiver.receive(Some(GENEROUS)) {
        Err(Error::Garbage(what)) => what,
        other => panic!("{other:?}"),
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes(), body].concat()
}

fn send_with(socket: &UnixStream, bytes: &[u8], files: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); 4096];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(files)));
    // No NOSIGNAL, which macOS lacks: Rust programs ignore SIGPIPE.
    assert_eq!(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap(), bytes.len());
}

/// A file that holds `text`, at its beginning.
fn file_of(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// A pipe whose reader sees the end once the given writer is gone everywhere.
fn alarm() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

fn assert_closed(mut reader: std::io::PipeReader) {
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
}

fn run_of(samples: &[f32]) -> Order {
    let audio = Item::Audio { rate: 16_000, samples: Samples::new(samples).unwrap() };
    let text = Item::Text { role: "prompt".to_owned(), text: "what is said".to_owned() };
    Order::Run(Box::new(RunOrder {
        call: 3,
        session: 1,
        task: "transcribe".to_owned(),
        options: "{}".to_owned(),
        deadline_us: None,
        credit: limits::CREDIT,
        live_rate: None,
        items: vec![text, audio],
    }))
}

fn audio_of(order: Order) -> Samples {
    let Order::Run(run) = order else { panic!("{order:?}") };
    let mut items = run.items;
    match items.pop() {
        Some(Item::Audio { samples, .. }) => samples,
        other => panic!("{other:?}"),
    }
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|index| index as f32 / count as f32).collect()
}

#[test]
fn frames_cross_both_ways_in_their_order() {
    let (orders, mut replies, reply, mut order) = ends();
    for serial in 0..100 {
        orders.send(&Order::Ping { serial }).unwrap();
        reply.send(&Reply::Pong { serial, activity: 1 }).unwrap();
    }
    for expected in 0..100 {
        assert!(matches!(next(&mut order), Order::Ping { serial } if serial == expected));
        assert_eq!(next(&mut replies), Reply::Pong { serial: expected, activity: 1 });
    }
}

#[test]
fn descriptors_arrive_with_their_frame_among_others() {
    let (orders, _replies, _reply, mut order) = ends();
    orders.send(&Order::Ping { serial: 1 }).unwrap();
    for name in ["first", "second"] {
        let file = |text: String| file_of(&text);
        let entry = |role: &str| FileEntry {
            role: role.to_owned(),
            name: format!("{role}.bin"),
            size: 5,
            sha256: [7; 32],
            file: file(format!("{name} {role}")),
        };
        let start = Start {
            plugin: Library { name: name.to_owned(), file: file(format!("{name} library")) },
            files: vec![entry("model"), entry("vad")],
            sandbox: Sandbox::Require,
            memory_limit: Some(1 << 30),
            log_level: 3,
        };
        orders.send(&Order::Start(Box::new(start))).unwrap();
        orders.send(&Order::Ping { serial: 2 }).unwrap();
    }
    assert!(matches!(next(&mut order), Order::Ping { serial: 1 }));
    for name in ["first", "second"] {
        let Order::Start(start) = next(&mut order) else { panic!("it is another order") };
        let text = |mut file: &File| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((start.plugin.name.as_str(), text(&start.plugin.file)), (name, format!("{name} library")));
        assert_eq!(text(&start.files[0].file), format!("{name} model"));
        assert_eq!(text(&start.files[1].file), format!("{name} vad"));
        let inherited = rustix::io::fcntl_getfd(&start.plugin.file).unwrap();
        assert!(inherited.contains(rustix::io::FdFlags::CLOEXEC), "a program that is started later would get it");
        assert!(matches!(next(&mut order), Order::Ping { serial: 2 }));
    }
}

#[test]
fn few_samples_cross_inside_and_many_in_a_sealed_file() {
    let (orders, _replies, _reply, mut order) = ends();
    for count in [1, limits::INLINE_SAMPLES, limits::INLINE_SAMPLES + 1, 500_000] {
        let samples = ramp(count);
        orders.send(&run_of(&samples)).unwrap();
        let arrived = audio_of(next(&mut order));
        assert!(*arrived == samples[..], "{count} samples");
        assert_eq!(
            matches!(arrived, Samples::Inline(_)),
            count <= limits::INLINE_SAMPLES || cfg!(not(target_os = "linux"))
        );
    }
}

#[test]
fn the_largest_frames_cross_a_socket_that_holds_less() {
    let (orders, mut replies, reply, mut order) = ends();
    let text = "x".repeat(limits::TEXT);
    let output = Output::Document { name: "d".to_owned(), text: text.clone() };
    std::thread::scope(|scope| {
        scope.spawn(|| orders.send(&Order::OpenModel { call: 1, options: text.clone() }).unwrap());
        scope.spawn(|| reply.send(&Reply::Output { call: 1, output: output.clone() }).unwrap());
        assert!(matches!(next(&mut order), Order::OpenModel { options, .. } if options == text));
        assert_eq!(next(&mut replies), Reply::Output { call: 1, output: output.clone() });
    });
}

#[test]
fn frames_of_many_threads_stay_whole() {
    let (_orders, mut replies, reply, _order) = ends();
    let reply = &reply;
    std::thread::scope(|scope| {
        for call in 1..=4u32 {
            scope.spawn(move || {
                let bytes = vec![call as u8; 3000 * call as usize];
                for _ in 0..100 {
                    reply.send(&Reply::Output { call, output: Output::Text(bytes.clone()) }).unwrap();
                }
            });
        }
        for _ in 0..400 {
            let Reply::Output { call, output: Output::Text(bytes) } = next(&mut replies) else { panic!() };
            assert!(bytes.len() == 3000 * call as usize && bytes.iter().all(|byte| u32::from(*byte) == call));
        }
    });
}

#[test]
fn the_end_between_frames_is_an_end_and_inside_of_one_an_error() {
    let (mut peer, mut replies) = hostile::<Reply>();
    let frame = framed(&Reply::Pong { serial: 1, activity: 1 }.encode().unwrap());
    peer.write_all(&frame).unwrap();
    drop(peer);
    assert_eq!(next(&mut replies), Reply::Pong { serial: 1, activity: 1 });
    assert!(matches!(replies.receive(None), Ok(Received::Closed)));
    for cut in 1..frame.len() {
        let (mut peer, mut replies) = hostile::<Reply>();
        peer.write_all(&frame[..cut]).unwrap();
        drop(peer);
        assert!(matches!(replies.receive(None), Err(Error::Cut)), "{cut}");
    }
}

#[test]
fn a_worker_that_dies_with_orders_unread_is_an_end_all_the_same() {
    let (orders, mut replies, reply, order) = ends();
    orders.send(&Order::Ping { serial: 1 }).unwrap();
    reply.send(&Reply::Pong { serial: 9, activity: 1 }).unwrap();
    drop((reply, order));
    assert_eq!(next(&mut replies), Reply::Pong { serial: 9, activity: 1 });
    assert!(matches!(replies.receive(None), Ok(Received::Closed)));
    assert!(matches!(orders.send(&Order::Quit), Err(Error::Closed)));
}

#[test]
fn waiting_ends_when_the_time_is_over_and_goes_on_afterwards() {
    let (mut peer, mut replies) = hostile::<Reply>();
    assert!(matches!(replies.receive(Some(Duration::ZERO)), Ok(Received::Timeout)));
    let frame = framed(&Reply::Pong { serial: 5, activity: 1 }.encode().unwrap());
    let (one, other) = frame.split_at(6);
    peer.write_all(one).unwrap();
    assert!(matches!(replies.receive(Some(SOON)), Ok(Received::Timeout)));
    assert!(!replies.is_ready());
    peer.write_all(other).unwrap();
    assert_eq!(next(&mut replies), Reply::Pong { serial: 5, activity: 1 });
}

#[test]
fn frames_that_came_along_are_ready_without_the_socket() {
    let (mut peer, mut replies) = hostile::<Reply>();
    let frame = framed(&Reply::Pong { serial: 5, activity: 1 }.encode().unwrap());
    peer.write_all(&[&frame[..], &frame[..], &[255, 255, 255, 255]].concat()).unwrap();
    assert!(!replies.is_ready());
    next(&mut replies);
    assert!(replies.is_ready());
    next(&mut replies);
    assert!(replies.is_ready(), "an error is ready too");
    assert_eq!(garbage(&mut replies), "a frame of 4294967295 bytes; it has 5 to 17825792");
}

#[test]
fn impossible_lengths_are_refused_before_anything_of_the_frame_comes() {
    for length in [0u32, 4, limits::FRAME as u32 + 1, u32::MAX] {
        let (mut peer, mut replies) = hostile::<Reply>();
        peer.write_all(&length.to_le_bytes()).unwrap();
        assert_eq!(garbage(&mut replies), format!("a frame of {length} bytes; it has 5 to {}", limits::FRAME));
    }
}

#[test]
fn a_peer_that_does_not_read_stops_the_sender_only_for_a_while() {
    let (link, _theirs) = Link::pair().unwrap();
    let orders = link.split().0.with_timeout(SOON);
    let order = Order::OpenModel { call: 1, options: "x".repeat(limits::TEXT) };
    assert!(matches!(orders.send(&order), Err(Error::Stalled(SOON))));
    assert!(matches!(orders.send(&Order::Quit), Err(Error::Closed)), "half a frame must not be followed by another");
}

#[test]
fn what_is_too_large_leaves_the_link_as_it_was() {
    let (orders, _replies, _reply, mut order) = ends();
    let too_large = Order::OpenModel { call: 1, options: "x".repeat(limits::TEXT + 1) };
    assert!(matches!(orders.send(&too_large), Err(Error::TooLarge(_))));
    orders.send(&Order::Quit).unwrap();
    assert!(matches!(next(&mut order), Order::Quit));
}

#[test]
fn a_shut_down_link_ends_both_receivers_and_a_sender_that_waits() {
    let (orders, mut replies, _reply, mut order) = ends();
    let filling = Order::OpenModel { call: 1, options: "x".repeat(limits::TEXT) };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| orders.send(&filling));
        let receiver = scope.spawn(move || replies.receive(None));
        orders.shutdown();
        assert!(matches!(sender.join().unwrap(), Err(Error::Closed)));
        assert!(matches!(receiver.join().unwrap(), Ok(Received::Closed)));
    });
    assert!(matches!(order.receive(None), Ok(Received::Closed) | Err(Error::Cut)));
}

#[test]
fn a_worker_that_sends_descriptors_is_refused_and_they_are_closed() {
    let (peer, mut replies) = hostile::<Reply>();
    let (reader, writer) = alarm();
    send_with(&peer, &framed(&Reply::Pong { serial: 5, activity: 1 }.encode().unwrap()), &[writer.as_fd()]);
    drop(writer);
    assert_eq!(garbage(&mut replies), "descriptors that belong to no frame");
    assert_closed(reader);
}

#[test]
fn surplus_descriptors_of_an_order_are_refused_and_closed() {
    let frame = framed(&Order::Quit.encode().unwrap());
    for count in [1, 2, limits::DESCRIPTORS, limits::DESCRIPTORS + 1, 200] {
        let (peer, mut orders) = hostile::<Order>();
        let (reader, writer) = alarm();
        send_with(&peer, &frame, &vec![writer.as_fd(); count]);
        drop(writer);
        assert_eq!(garbage(&mut orders), "descriptors that belong to no frame", "{count}");
        drop(orders);
        assert_closed(reader);
    }
}

#[test]
fn descriptors_do_not_pile_up_for_a_frame_that_never_ends() {
    let (peer, mut orders) = hostile::<Order>();
    let (_reader, writer) = alarm();
    let mut bytes = framed(&Order::OpenModel { call: 1, options: "x".repeat(100) }.encode().unwrap()).into_iter();
    for _ in 0..4 {
        send_with(&peer, &[bytes.next().unwrap()], &vec![writer.as_fd(); limits::DESCRIPTORS]);
    }
    assert_eq!(garbage(&mut orders), "descriptors that belong to no frame");
}

#[cfg(target_os = "linux")]
mod sealing {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

    const COUNT: u64 = 20_000;

    /// A frame that says that its descriptor holds this many samples.
    fn block(count: u64) -> Vec<u8> {
        // Type, call, kind of samples, count.
        framed(&[&[10, 1, 0, 0, 0, 1][..], &count.to_le_bytes()].concat())
    }

    fn memory_file(size: u64, seals: SealFlags) -> OwnedFd {
        let file = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, size).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file
    }

    fn received(count: u64, file: impl AsFd) -> Result<Received<Order>, Error> {
        let (peer, mut orders) = hostile::<Order>();
        send_with(&peer, &block(count), &[file.as_fd()]);
        orders.receive(Some(GENEROUS))
    }

    fn refused(count: u64, file: impl AsFd) -> String {
        match received(count, file) {
            Err(Error::Garbage(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_memory_file_that_is_not_wholly_sealed_is_refused() {
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        let Ok(Received::Message(Order::Block { samples, .. })) = received(COUNT, memory_file(COUNT * 4, all)) else {
            panic!("the sealed one is not refused")
        };
        assert_eq!((samples.len() as u64, samples[9]), (COUNT, 0.0));
        for missing in [SealFlags::WRITE, SealFlags::GROW, SealFlags::SHRINK, all] {
            let file = memory_file(COUNT * 4, all - missing);
            assert_eq!(refused(COUNT, file), "samples in a memory file that is not sealed", "{missing:?}");
        }
    }

    #[test]
    fn a_file_on_a_disk_or_a_pipe_is_refused() {
        let file = file_of(&"x".repeat(COUNT as usize * 4));
        let what = refused(COUNT, &file);
        assert!(
            what == "samples in a file that is no memory file" || what == "samples in a memory file that is not sealed"
        );
        assert_eq!(refused(COUNT, alarm().1), "samples in a file that is no memory file");
    }

    #[test]
    fn a_memory_file_of_another_size_is_refused() {
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK;
        for size in [0, 4, COUNT * 4 - 1, COUNT * 4 + 1] {
            let what = refused(COUNT, memory_file(size, all));
            assert_eq!(what, format!("{COUNT} samples in a memory file of {size} bytes"));
        }
        for count in [0, limits::SAMPLES as u64 + 1, u64::MAX / 4 + 2, u64::MAX] {
            let what = refused(count, memory_file(4, all));
            assert_eq!(what, "samples in a memory file of none, or of more than may be", "{count}");
        }
    }

    #[test]
    fn nobody_can_change_what_was_sealed() {
        let samples = tenon_wire::Sealed::new(&ramp(COUNT as usize)).unwrap();
        let mut file = samples.file().unwrap();
        assert!(file.write_all(&[1]).is_err());
        assert!(file.set_len(0).is_err());
        assert_eq!(samples[1], 1.0 / COUNT as f32);
    }

    #[test]
    fn what_came_keeps_no_descriptor_and_can_be_sent_on() {
        let (orders, _replies, _reply, mut order) = ends();
        orders.send(&run_of(&ramp(COUNT as usize))).unwrap();
        let Samples::Mapped(samples) = audio_of(next(&mut order)) else { panic!("they came inside") };
        assert!(samples.file().is_none());
        orders.send(&Order::Block { call: 1, samples: Samples::Mapped(samples) }).unwrap();
        let Order::Block { samples, .. } = next(&mut order) else { panic!("another order") };
        assert_eq!(samples[..], ramp(COUNT as usize)[..]);
    }
}
