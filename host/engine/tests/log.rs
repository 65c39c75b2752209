//! Where the log of an engine goes: engines side by side do not hear each other, whatever thread speaks.

use tenon::{Engine, ErrorKind, Load, Options, Request};
use tenon_testkit::{Home, Lines};
use tracing::Level;

fn options(json: &str) -> Options {
    Options::from_json(json).unwrap()
}

fn panics() -> Request {
    Request::generate("x").options(options(r#"{"fault": "panic"}"#))
}

/// An engine on `home`, and what it logs.
fn logged(home: &Home, level: Level) -> (Engine, Lines) {
    let lines = Lines::new(level);
    (home.builder().log(lines.dispatch()).build().unwrap(), lines)
}

#[test]
fn two_engines_with_two_sinks_do_not_mix() {
    let home = Home::with_faulty();
    let (first, second) = (logged(&home, Level::INFO), logged(&home, Level::INFO));
    std::thread::scope(|scope| {
        for ((engine, _), times) in [(&first, 3), (&second, 5)] {
            scope.spawn(move || {
                let mut session = engine.load("faulty", Load::new()).unwrap().session().unwrap();
                for _ in 0..times {
                    assert_eq!(session.run(&panics()).unwrap_err().kind(), ErrorKind::Panic);
                    assert!(session.stream(panics()).unwrap().all(|event| event.is_err()));
                }
            });
        }
    });
    for ((_, lines), times) in [(&first, 3), (&second, 5)] {
        let panics = lines.of("tenon::plugin").iter().filter(|line| line.contains("asked to panic")).count();
        assert_eq!(panics, 2 * times, "{:?}", lines.all());
        assert_eq!(lines.all().iter().filter(|line| line.contains("engine started")).count(), 1);
        assert_eq!(lines.all().iter().filter(|line| line.contains("model loaded")).count(), 1);
    }
}

#[test]
fn an_engine_without_a_sink_logs_to_its_threads_own_and_to_no_other_engine() {
    let home = Home::with_faulty();
    let (_other, others) = logged(&home, Level::TRACE);
    let before = others.all().len();
    let own = Lines::new(Level::INFO);
    tracing::dispatcher::with_default(&own.dispatch(), || {
        let engine = home.engine();
        let mut session = engine.load("faulty", Load::new()).unwrap().session().unwrap();
        session.run(&panics()).unwrap_err();
    });
    assert!(own.all().iter().any(|line| line.contains("engine started")));
    assert!(own.all().iter().any(|line| line.contains("model loaded")));
    assert_eq!(others.all().len(), before, "{:?}", others.all());
}

#[test]
fn what_is_said_when_things_are_closed_reaches_the_sink() {
    let home = Home::with_faulty();
    let (engine, lines) = logged(&home, Level::WARN);
    for fault in ["close-panic", "session-close-panic"] {
        let load = Load::new().options(options(&format!(r#"{{"fault": "{fault}"}}"#)));
        let model = engine.load("faulty", load).unwrap();
        let session = model.session().unwrap();
        std::thread::spawn(move || drop((session, model))).join().unwrap();
    }
    drop(engine);
    let lines = lines.of("tenon::plugin");
    assert!(lines.iter().any(|line| line.contains("closing was asked to panic")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("closing a session was asked to panic")), "{lines:?}");
}

#[test]
fn what_the_threads_of_an_engine_say_reaches_its_sink_and_only_what_it_wants() {
    let home = Home::with_faulty();
    let (engine, lines) = logged(&home, Level::WARN);
    let load = Load::new().options(options(r#"{"fault": "reset-error"}"#));
    let mut session = engine.load("faulty", load).unwrap().session().unwrap();
    session.run(&Request::generate("x").options(options(r#"{"fault": "error-without-message"}"#))).unwrap_err();
    session.run(&Request::generate("x")).unwrap();
    assert!(lines.all().iter().any(|line| line.contains("cannot be reset and is opened anew")), "{:?}", lines.all());
    assert!(lines.all().iter().all(|line| !line.contains("model loaded")));
}
