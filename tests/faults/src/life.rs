//! Engines, models, sessions and streams that end in the middle of something, and in odd orders.

use crate::Outcome;
use crate::home::Home;
use crate::questions::{Bank, Question, essence};
use crate::stage::{Campaign, PATIENCE, running};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use tenon::{Answer, CancelToken, Engine, Error, ErrorKind, Event, Load, Model, Stream};
use tenon_fault_tests::random::Random;

/// Ends an engine and waits until none of its workers is left.
pub fn close(campaign: &Campaign, engine: &Engine, program: &str) {
    if let Err(error) = engine.shutdown_within(PATIENCE) {
        campaign.report.broken(format!("{program}: the engine does not end: {error}"));
    }
    let end = Instant::now() + PATIENCE;
    while !running(program).is_empty() {
        if Instant::now() > end {
            campaign.report.broken(format!("{program}: a worker outlives its engine"));
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open(home: &Home, program: &str) -> Outcome<(Engine, Model)> {
    let engine = home.engine(program)?;
    let model = engine.load_manifest(home.manifest("echo", "worker", "count = 2")?, Load::new())?;
    Ok((engine, model))
}

/// The answer of a stream, once it has ended.
fn rest(stream: Stream) -> Result<Answer, Error> {
    let mut answer = None;
    for event in stream {
        if let Event::End(end) = event? {
            answer = Some(*end);
        }
    }
    answer.ok_or_else(|| Error::new(ErrorKind::End, "a stream without an end"))
}

fn must_be(campaign: &Campaign, what: &str, question: &Question, outcome: Result<Answer, Error>) {
    match outcome {
        Ok(answer) if essence(&answer) == question.wanted => {}
        other => campaign.report.broken(format!("{what}: {other:?}")),
    }
}

/// An engine that is shut down while three threads ask it.
pub fn shutdown(campaign: &Campaign, home: &Home, program: &str, random: &mut Random) -> Outcome<()> {
    let (engine, model) = open(home, program)?;
    let (after, bank) = (random.time_below(40), Bank::Echo(random.number().into()));
    let seeds: Vec<u64> = (0..3).map(|_| random.number()).collect();
    let start = Barrier::new(seeds.len() + 1);
    std::thread::scope(|scope| {
        for seed in &seeds {
            let (model, bank, start) = (&model, &bank, &start);
            scope.spawn(move || {
                start.wait();
                ask_until_shutdown(campaign, model, bank, &mut Random::new(*seed, "shutdown"));
            });
        }
        start.wait();
        std::thread::sleep(after);
        engine.shutdown();
    });
    drop(model);
    close(campaign, &engine, program);
    Ok(())
}

fn ask_until_shutdown(campaign: &Campaign, model: &Model, bank: &Bank, random: &mut Random) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let question = bank.draw(random);
        let outcome = model.session().and_then(|mut session| match random.below(2) {
            0 => session.run(&question.request),
            _ => session.stream(question.request.clone()).and_then(rest),
        });
        match outcome {
            Err(error) if error.kind() == ErrorKind::Shutdown => return,
            other => must_be(campaign, "before a shutdown", &question, other),
        }
    }
    campaign.report.broken("an engine that was shut down goes on answering");
}

/// Models, sessions and streams are dropped in an order that nobody would choose.
pub fn odd_order(campaign: &Campaign, home: &Home, program: &str, random: &mut Random) -> Outcome<()> {
    let (engine, model) = open(home, program)?;
    let bank = Bank::Echo(random.number().into());
    let question = bank.draw(random);
    let mut session = model.session()?;
    match random.below(6) {
        0 => {
            // The stream keeps everything else.
            let stream = session.stream(question.request.clone())?;
            drop(session);
            drop(model);
            must_be(campaign, "a stream alone", &question, rest(stream));
        }
        1 => {
            let mut stream = session.stream(question.request.clone())?;
            stream.next();
            drop(stream);
            must_be(campaign, "after a dropped stream", &question, session.run(&question.request));
        }
        2 => {
            drop(model);
            must_be(campaign, "a session without its model", &question, session.run(&question.request));
        }
        3 => {
            let stream = session.stream(question.request.clone())?;
            let token = stream.cancel_token();
            std::thread::spawn(move || drop(stream)).join().map_err(|_| "the drop of a stream panicked")?;
            drop((session, model));
            token.cancel();
        }
        4 => {
            let mut others: Vec<_> = (0..4).map(|_| model.session()).collect::<Result<_, _>>()?;
            others.swap_remove(1);
            drop(session);
            let last = others.pop();
            drop((others, model));
            last.map(|mut session| session.run(&question.request))
                .into_iter()
                .for_each(|outcome| must_be(campaign, "the last session", &question, outcome));
        }
        _ => cancelled_load(campaign, home, &engine, random)?,
    }
    close(campaign, &engine, program);
    Ok(())
}

/// A load that is cancelled or too late, at whatever it is doing then.
fn cancelled_load(campaign: &Campaign, home: &Home, engine: &Engine, random: &mut Random) -> Outcome<()> {
    let (token, after) = (CancelToken::new(), random.time_below(60));
    let load = match random.below(2) {
        0 => Load::new().deadline(after),
        _ => Load::new().cancel(token.clone()),
    };
    let mut options = tenon::Options::new();
    options.set("delay_ms", 3);
    let (manifest, load) = (home.manifest("echo", "worker", "")?, load.options(options));
    let timer = std::thread::spawn(move || {
        std::thread::sleep(after);
        token.cancel();
    });
    match engine.load_manifest(manifest, load) {
        Ok(model) => drop(model),
        Err(error) if error.is_stop() => {}
        Err(error) => campaign.report.broken(format!("a load that was to end: {error:?}")),
    }
    timer.join().map_err(|_| "the timer panicked")?;
    Ok(())
}
