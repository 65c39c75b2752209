//! Every frame there and back, and what comes of frames that were tampered with.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fs::File;
use tenon_tasks::{Segment, Token, Usage, Word};
use tenon_wire::{
    Error, FileEntry, Hello, Item, Library, Order, Outcome, Output, Reply, RunOrder, Samples, Sandbox, SandboxReport,
    Start, Started, limits,
};

/// Any open file will do as a descriptor.
fn file() -> File {
    File::open(std::env::current_exe().unwrap()).unwrap()
}

fn descriptors(order: &Order) -> Vec<File> {
    match order {
        Order::Start(start) => (0..=start.files.len()).map(|_| file()).collect(),
        _ => Vec::new(),
    }
}

fn name() -> impl Strategy<Value = String> {
    "[a-zäß€-]{0,12}"
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn times() -> impl Strategy<Value = (i64, i64)> {
    (0..=limits::LATEST_US, 0..=limits::LATEST_US).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

fn probability() -> impl Strategy<Value = Option<f32>> {
    option::of(0.0f32..=1.0)
}

fn samples() -> impl Strategy<Value = Samples> {
    vec(-1.0f32..1.0, 1..50).prop_map(Samples::Inline)
}

fn file_entry() -> impl Strategy<Value = FileEntry> {
    (name(), name(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(role, name, size, sha256)| FileEntry {
        role,
        name,
        size,
        sha256,
        file: file(),
    })
}

fn start() -> impl Strategy<Value = Order> {
    let sandbox = prop_oneof![Just(Sandbox::On), Just(Sandbox::Require), Just(Sandbox::Off)];
    (name(), vec(file_entry(), 0..4), sandbox, option::of(any::<u64>()), 0..=limits::LOG_LEVEL).prop_map(
        |(name, files, sandbox, memory_limit, log_level)| {
            let plugin = Library { name, file: file() };
            Order::Start(Box::new(Start { plugin, files, sandbox, memory_limit, log_level }))
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        (name(), text()).prop_map(|(role, text)| Item::Text { role, text }),
        (1..=u32::MAX, samples()).prop_map(|(rate, samples)| Item::Audio { rate, samples }),
    ]
}

fn run() -> impl Strategy<Value = Order> {
    let ids = (1..=u32::MAX, any::<u32>());
    let limits = (option::of(any::<u64>()), 1..=limits::CREDIT, option::of(1..=u32::MAX));
    (ids, name(), text(), limits, vec(item(), 0..4)).prop_map(
        |((call, session), task, options, (deadline_us, credit, live_rate), items)| {
            let run = RunOrder { call, session, task, options, deadline_us, credit, live_rate, items };
            Order::Run(Box::new(run))
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let call = 1..=u32::MAX;
    prop_oneof![
        start(),
        run(),
        (call.clone(), text()).prop_map(|(call, options)| Order::Estimate { call, options }),
        (call.clone(), text()).prop_map(|(call, options)| Order::OpenModel { call, options }),
        (call.clone(), any::<u32>(), text()).prop_map(|(call, session, options)| Order::OpenSession {
            call,
            session,
            options
        }),
        (call.clone(), any::<u32>()).prop_map(|(call, session)| Order::ResetSession { call, session }),
        any::<u32>().prop_map(|session| Order::CloseSession { session }),
        (call.clone(), any::<i32>()).prop_map(|(call, status)| Order::Cancel { call, status }),
        (call.clone(), 1..=limits::CREDIT).prop_map(|(call, count)| Order::Credit { call, count }),
        (call.clone(), samples()).prop_map(|(call, samples)| Order::Block { call, samples }),
        (call, any::<i32>()).prop_map(|(call, status)| Order::NoBlock { call, status }),
        (0..=limits::LOG_LEVEL).prop_map(|level| Order::LogLevel { level }),
        any::<u32>().prop_map(|serial| Order::Ping { serial }),
        Just(()).prop_map(|()| Order::Quit),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    (any::<i32>(), text(), option::of(-100.0f32..=0.0), option::of(times())).prop_map(|(id, text, logprob, times)| {
        Token { id, text, logprob, start_us: times.map(|(start, _)| start), end_us: times.map(|(_, end)| end) }
    })
}

fn word() -> impl Strategy<Value = Word> {
    (times(), text(), probability()).prop_map(|((start_us, end_us), text, confidence)| Word {
        start_us,
        end_us,
        text,
        confidence,
    })
}

fn segment() -> impl Strategy<Value = Segment> {
    (times(), text(), probability(), probability(), vec(word(), 0..4), vec(token(), 0..4)).prop_map(
        |((start_us, end_us), text, confidence, no_speech, words, tokens)| Segment {
            start_us,
            end_us,
            text,
            confidence,
            no_speech,
            words,
            tokens,
        },
    )
}

fn usage() -> impl Strategy<Value = Usage> {
    (any::<[u64; 3]>(), [0..=limits::LATEST_US, 0..=limits::LATEST_US, 0..=limits::LATEST_US]).prop_map(
        |([prompt_tokens, cached_tokens, generated_tokens], [audio_us, prompt_us, generate_us])| Usage {
            prompt_tokens,
            cached_tokens,
            generated_tokens,
            audio_us,
            prompt_us,
            generate_us,
        },
    )
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Output::Text),
        segment().prop_map(Output::Segment),
        token().prop_map(Output::Token),
        usage().prop_map(Output::Usage),
        ("[a-z]{1,64}", text()).prop_map(|(name, text)| Output::Document { name, text }),
        (any::<u32>(), vec(-1e9f32..1e9, 1..40)).prop_map(|(index, values)| Output::Embedding { index, values }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (any::<i32>(), option::of(text()), vec((name(), text()), 0..4)).prop_map(|(status, message, details)| Outcome {
        status,
        message,
        details,
    })
}

fn started() -> impl Strategy<Value = Reply> {
    let sandbox = (option::of(1..=u32::MAX), any::<bool>(), option::of(text()))
        .prop_map(|(landlock, seccomp, missing)| SandboxReport { landlock, seccomp, missing });
    (name(), name(), any::<(u16, u16)>(), text(), any::<u32>(), text(), any::<bool>(), sandbox).prop_map(
        |(id, version, abi, build_info, caps, description, has_estimate, sandbox)| {
            let started = Started { id, version, abi, build_info, caps, description, has_estimate, sandbox };
            Reply::Started(Box::new(started))
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    let call = 1..=u32::MAX;
    prop_oneof![
        4 => (call.clone(), output()).prop_map(|(call, output)| Reply::Output { call, output }),
        1 => (any::<u32>(), name(), any::<u32>()).prop_map(|(protocol, version, pid)| {
            Reply::Hello(Hello { protocol, version, pid })
        }),
        1 => started(),
        1 => outcome().prop_map(Reply::Refused),
        1 => (call.clone(), 0.0f32..=1.0).prop_map(|(call, fraction)| Reply::Progress { call, fraction }),
        1 => (call.clone(), any::<i64>()).prop_map(|(call, timeout_us)| Reply::Pull { call, timeout_us }),
        1 => (call, outcome()).prop_map(|(call, outcome)| Reply::Done { call, outcome }),
        1 => (1..=limits::LOG_LEVEL, name(), text()).prop_map(|(level, backend, message)| {
            Reply::Log { level, backend, message }
        }),
        1 => (any::<u32>(), any::<u64>()).prop_map(|(serial, activity)| Reply::Pong { serial, activity }),
    ]
}

/// What came of bytes is an error, or a frame that stays what it is.
fn check_order(frame: &[u8], files: impl Fn() -> Vec<File>) -> Result<(), TestCaseError> {
    if let Ok(order) = Order::decode(frame, files()) {
        let again = order.encode().unwrap();
        prop_assert_eq!(Order::decode(&again, files()).unwrap().encode().unwrap(), again);
    }
    Ok(())
}

fn check_reply(frame: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(reply) = Reply::decode(frame) {
        prop_assert_eq!(Reply::decode(&reply.encode().unwrap()).unwrap(), reply);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn orders_arrive_as_they_were_sent(order in order()) {
        let frame = order.encode().unwrap();
        let arrived = Order::decode(&frame, descriptors(&order)).unwrap();
        prop_assert_eq!(arrived.encode().unwrap(), frame);
    }

    #[test]
    fn replies_arrive_as_they_were_sent(reply in reply()) {
        prop_assert_eq!(Reply::decode(&reply.encode().unwrap()).unwrap(), reply);
    }

    #[test]
    fn a_cut_order_is_an_error_wherever_it_is_cut(order in order()) {
        let frame = order.encode().unwrap();
        for length in 0..frame.len() {
            let decoded = Order::decode(&frame[..length], descriptors(&order));
            prop_assert!(matches!(decoded, Err(Error::Garbage(_))), "{} of {:?}", length, frame);
        }
    }

    #[test]
    fn a_cut_reply_is_an_error_wherever_it_is_cut(reply in reply()) {
        let frame = reply.encode().unwrap();
        for length in 0..frame.len() {
            prop_assert!(matches!(Reply::decode(&frame[..length]), Err(Error::Garbage(_))), "{length} of {frame:?}");
        }
    }

    #[test]
    fn a_byte_more_is_an_error(order in order(), reply in reply(), byte: u8) {
        let longer = |mut frame: Vec<u8>| { frame.push(byte); frame };
        prop_assert!(Order::decode(&longer(order.encode().unwrap()), descriptors(&order)).is_err());
        prop_assert!(Reply::decode(&longer(reply.encode().unwrap())).is_err());
    }

    #[test]
    fn a_changed_byte_gives_an_error_or_another_frame(order in order(), reply in reply(), by in 1..=255u8) {
        let mut frame = order.encode().unwrap();
        for place in 0..frame.len() {
            frame[place] ^= by;
            check_order(&frame, || descriptors(&order))?;
            frame[place] ^= by;
        }
        let mut frame = reply.encode().unwrap();
        for place in 0..frame.len() {
            frame[place] ^= by;
            check_reply(&frame)?;
            frame[place] ^= by;
        }
    }

    #[test]
    fn any_bytes_give_an_error_or_a_frame(kind in 0..=130u8, call in 0..3u32, payload in vec(0..5u8, 0..60)) {
        let mut frame = vec![kind];
        frame.extend(call.to_le_bytes());
        frame.extend(payload);
        check_order(&frame, Vec::new)?;
        check_reply(&frame)?;
    }
}

fn garbage<T: std::fmt::Debug>(decoded: Result<T, Error>) -> String {
    match decoded {
        Err(Error::Garbage(what)) => what,
        other => panic!("{other:?}"),
    }
}

fn encoded(output: Output) -> Vec<u8> {
    Reply::Output { call: 1, output }.encode().unwrap()
}

fn some_segment() -> Segment {
    let word = Word { start_us: 1, end_us: 2, text: "a".to_owned(), confidence: Some(0.5) };
    let (confidence, no_speech) = (Some(1.0), Some(0.0));
    Segment { start_us: 1, end_us: 2, text: " a".to_owned(), confidence, no_speech, words: vec![word], tokens: vec![] }
}

#[test]
fn a_frame_of_one_side_is_none_of_the_other() {
    let order = Order::Credit { call: 1, count: 1 }.encode().unwrap();
    assert_eq!(garbage(Reply::decode(&order)), "a reply of the unknown type 9");
    let reply = Reply::Pong { serial: 1, activity: 1 }.encode().unwrap();
    assert_eq!(garbage(Order::decode(&reply, Vec::new())), "an order of the unknown type 108");
}

#[test]
fn descriptors_too_few_or_too_many_are_refused() {
    let start = Start {
        plugin: Library { name: "echo".to_owned(), file: file() },
        files: Vec::new(),
        sandbox: Sandbox::On,
        memory_limit: None,
        log_level: 0,
    };
    let frame = Order::Start(Box::new(start)).encode().unwrap();
    assert_eq!(garbage(Order::decode(&frame, Vec::new())), "a frame without its descriptor");
    assert_eq!(garbage(Order::decode(&frame, vec![file(), file()])), "descriptors that belong to no frame");
    let quit = Order::Quit.encode().unwrap();
    assert_eq!(garbage(Order::decode(&quit, vec![file()])), "descriptors that belong to no frame");
}

#[test]
fn times_that_run_backwards_or_out_of_range_are_refused() {
    for (start_us, end_us) in [(2, 1), (-1, 1), (0, limits::LATEST_US + 1), (i64::MIN, i64::MAX)] {
        let segment = Segment { start_us, end_us, ..some_segment() };
        let what = garbage(Reply::decode(&encoded(Output::Segment(segment.clone()))));
        assert_eq!(what, format!("a segment from {start_us} to {end_us} µs"));
        let words = vec![Word { start_us, end_us, text: String::new(), confidence: None }];
        let what = garbage(Reply::decode(&encoded(Output::Segment(Segment { words, ..some_segment() }))));
        assert_eq!(what, format!("a word from {start_us} to {end_us} µs"));
    }
    let token = Token { id: 1, text: String::new(), logprob: None, start_us: Some(1), end_us: None };
    assert_eq!(garbage(Reply::decode(&encoded(Output::Token(token)))), "a token from 1 to -1 µs");
    let usage = Usage { audio_us: -1, ..Usage::default() };
    assert_eq!(garbage(Reply::decode(&encoded(Output::Usage(usage)))), "a time of -1 µs");
}

#[test]
fn numbers_that_are_no_probability_progress_or_vector_are_refused() {
    for value in [-0.1, 1.1, f32::INFINITY] {
        let segment = Segment { no_speech: Some(value), ..some_segment() };
        assert_eq!(garbage(Reply::decode(&encoded(Output::Segment(segment)))), format!("a probability of {value}"));
        let progress = Reply::Progress { call: 1, fraction: value };
        assert_eq!(garbage(Reply::decode(&progress.encode().unwrap())), format!("a progress of {value}"));
    }
    let progress = Reply::Progress { call: 1, fraction: f32::NAN };
    assert_eq!(garbage(Reply::decode(&progress.encode().unwrap())), "a progress of NaN");
    let token = |logprob| Token { id: 1, text: String::new(), logprob, start_us: None, end_us: None };
    let infinite = encoded(Output::Token(token(Some(f32::NEG_INFINITY))));
    assert_eq!(garbage(Reply::decode(&infinite)), "a probability of infinity");
    for value in [f32::NAN, f32::INFINITY] {
        let frame = encoded(Output::Embedding { index: 3, values: vec![0.0, value] });
        assert_eq!(garbage(Reply::decode(&frame)), "an embedding for text 3 that holds NaN or infinity");
    }
    let frame = encoded(Output::Embedding { index: 3, values: Vec::new() });
    assert_eq!(garbage(Reply::decode(&frame)), format!("0 values; there are 1 to {}", limits::VALUES));
}

#[test]
fn text_that_is_not_utf8_is_refused_where_text_stands_and_kept_where_pieces_stand() {
    let token = Token { id: 1, text: "ab".to_owned(), logprob: None, start_us: None, end_us: None };
    let mut frame = encoded(Output::Token(token));
    let place = frame.windows(2).position(|two| two == b"ab").unwrap();
    frame[place] = 0xff;
    assert_eq!(garbage(Reply::decode(&frame)), "a token's text that is not UTF-8");
    let piece = Output::Text(vec![0xe2, 0x82]);
    assert_eq!(Reply::decode(&encoded(piece.clone())).unwrap(), Reply::Output { call: 1, output: piece });
}

#[test]
fn a_frame_of_a_call_names_it_and_others_name_none() {
    assert!(matches!(Reply::Pull { call: 0, timeout_us: 1 }.encode(), Err(Error::TooLarge(_))));
    let mut frame = Reply::Pull { call: 1, timeout_us: 1 }.encode().unwrap();
    frame[1] = 0;
    assert_eq!(garbage(Reply::decode(&frame)), "a frame of type 105 for no call");
    let mut frame = Order::Quit.encode().unwrap();
    frame[1] = 7;
    assert_eq!(garbage(Order::decode(&frame, Vec::new())), "a frame of type 14 for the call 7");
}

#[test]
fn credit_outside_its_bounds_and_empty_blocks_are_refused() {
    for count in [0, limits::CREDIT + 1, u32::MAX] {
        let frame = Order::Credit { call: 1, count }.encode().unwrap();
        assert_eq!(garbage(Order::decode(&frame, Vec::new())), format!("credit of {count}"));
    }
    let frame = Order::Block { call: 1, samples: Samples::Inline(Vec::new()) }.encode().unwrap();
    assert_eq!(garbage(Order::decode(&frame, Vec::new())), "a block of no samples");
}

#[test]
fn what_no_frame_holds_is_not_sent() {
    let longest = "x".repeat(limits::TEXT);
    let options = Order::OpenModel { call: 1, options: longest.clone() };
    assert!(Order::decode(&options.encode().unwrap(), Vec::new()).is_ok());
    for order in [
        Order::OpenModel { call: 1, options: longest.clone() + "x" },
        Order::Block { call: 1, samples: Samples::Inline(vec![0.0; limits::FRAME / 4]) },
    ] {
        assert!(matches!(order.encode(), Err(Error::TooLarge(_))));
    }
    let words = vec![some_segment().words.remove(0); limits::PARTS + 1];
    let reply = Reply::Output { call: 1, output: Output::Segment(Segment { words, ..some_segment() }) };
    let Err(Error::TooLarge(what)) = reply.encode() else { panic!("it was encoded") };
    assert_eq!(what, "65537 words; the most is 65536");
}

#[test]
fn what_people_read_is_cut_rather_than_not_sent() {
    let long = "ß".repeat(limits::MESSAGE);
    let details = vec![("key".to_owned(), long.clone()); limits::DETAILS + 1];
    let outcome = Outcome { status: -13, message: Some(long.clone()), details };
    let frame = Reply::Done { call: 1, outcome }.encode().unwrap();
    let Reply::Done { outcome, .. } = Reply::decode(&frame).unwrap() else { panic!("it is another frame") };
    assert_eq!(outcome.message.unwrap().len(), limits::MESSAGE);
    assert_eq!(outcome.details.len(), limits::DETAILS);
    assert!(outcome.details.iter().all(|(_, value)| long.starts_with(value.as_str())));
}

#[test]
fn the_sandbox_in_one_word_and_in_a_phrase() {
    let report = |landlock, seccomp, missing: Option<&str>| {
        let report = SandboxReport { landlock, seccomp, missing: missing.map(str::to_owned) };
        assert!(report.to_string().starts_with(report.level()));
        report.to_string()
    };
    assert_eq!(report(Some(7), true, None), "full (Landlock 7, seccomp)");
    assert_eq!(report(Some(1), true, Some("no bar to TCP")), "partial (Landlock 1, seccomp, no bar to TCP)");
    assert_eq!(report(None, true, None), "partial (seccomp)");
    assert_eq!(report(None, false, Some("switched off")), "none (switched off)");
    assert_eq!(report(None, false, None), "none");
}

#[test]
fn a_description_has_a_limit_of_its_own_on_both_sides() {
    let started = |bytes: usize| {
        let description = "d".repeat(bytes);
        let sandbox = SandboxReport::default();
        Reply::Started(Box::new(Started {
            id: "echo".to_owned(),
            version: "1".to_owned(),
            abi: (1, 1),
            build_info: String::new(),
            caps: 0,
            description,
            has_estimate: false,
            sandbox,
        }))
    };
    let mut frame = started(limits::DESCRIPTION).encode().unwrap();
    assert_eq!(Reply::decode(&frame).unwrap(), started(limits::DESCRIPTION));
    assert!(matches!(started(limits::DESCRIPTION + 1).encode(), Err(Error::TooLarge(_))));
    // The same from a worker that does not care.
    let text = frame.windows(2).position(|pair| pair == b"dd").unwrap();
    frame.insert(text, b'd');
    frame[text - 4..text].copy_from_slice(&(limits::DESCRIPTION as u32 + 1).to_le_bytes());
    let error = Reply::decode(&frame).unwrap_err().to_string();
    assert!(error.contains("a description of 262145 bytes"), "{error}");
}
