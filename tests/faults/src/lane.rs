//! A thread that asks one question after another and looks at every answer.

use crate::questions::Question;
use crate::stage::{Campaign, Flight, Manner, Stage};
use std::time::{Duration, Instant};
use tenon::{Answer, CancelToken, Error, Event, Session};
use tenon_fault_tests::random::Random;

/// Asks until the stage is closed.
pub fn run(campaign: &Campaign, stage: &Stage, lane: usize) {
    let mut random = Random::new(campaign.seed, &format!("{} lane {lane}", stage.name));
    let mut session = None;
    while let Some(manner) = stage.next(&mut random) {
        let question = stage.bank.draw(&mut random);
        let deadline = matches!(manner, Manner::Deadline(_));
        let flight = Flight { began: Instant::now(), token: CancelToken::new(), deadline };
        stage.begin(lane, flight.clone());
        let outcome = ask(campaign, stage, &mut session, &question, &flight, manner);
        let end = stage.judge(campaign, &flight, &question, outcome);
        campaign.report.request(end);
        let calm = stage.end(lane, end).filter(|_| matches!(manner, Manner::Run | Manner::Stream));
        if let Some(took) = calm {
            campaign.report.undisturbed(stage.name, took);
        }
        // Now and then a new session, which is opened in whatever worker there is by then.
        if random.below(16) == 0 {
            session = None;
        }
        std::thread::sleep(random.time_below(30));
    }
}

/// One request; `None` when its stream was dropped.
pub fn ask(
    campaign: &Campaign,
    stage: &Stage,
    session: &mut Option<Session>,
    question: &Question,
    flight: &Flight,
    manner: Manner,
) -> Option<Result<Answer, Error>> {
    let session = match session {
        Some(session) => session,
        None => match stage.model.session() {
            Ok(opened) => session.insert(opened),
            Err(error) => return Some(Err(error)),
        },
    };
    let mut request = question.request.clone().cancel(flight.token.clone());
    if let Manner::Deadline(after) = manner {
        request = request.deadline(after);
    }
    match manner {
        Manner::Run | Manner::Deadline(_) => Some(session.run(&request)),
        Manner::Cancel(after) => {
            let token = flight.token.clone();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(after);
                    token.cancel();
                });
                Some(session.run(&request))
            })
        }
        Manner::Stream => read(campaign, stage, session, request, Duration::ZERO, u64::MAX),
        Manner::Slow(pause) => read(campaign, stage, session, request, pause, u64::MAX),
        Manner::Drop(after) => read(campaign, stage, session, request, Duration::ZERO, after),
    }
}

/// Reads a stream and checks that its pieces are its answer and that it has one end.
fn read(
    campaign: &Campaign,
    stage: &Stage,
    session: &mut Session,
    request: tenon::Request,
    pause: Duration,
    most: u64,
) -> Option<Result<Answer, Error>> {
    let mut stream = match session.stream(request) {
        Ok(stream) => stream,
        Err(error) => return Some(Err(error)),
    };
    let mut pieces = Pieces::default();
    let mut events = 0;
    let outcome = loop {
        if events == most {
            return None;
        }
        events += 1;
        std::thread::sleep(pause);
        match stream.next() {
            Some(Ok(Event::End(answer))) => {
                if let Some(differs) = pieces.differ(&answer) {
                    campaign.report.broken(format!("{}: {differs} of a stream are not its answer's", stage.name));
                }
                break Ok(*answer);
            }
            Some(Ok(event)) => pieces.add(event),
            Some(Err(error)) => break Err(error),
            None => {
                campaign.report.broken(format!("{}: a stream without an end", stage.name));
                break Err(Error::new(tenon::ErrorKind::End, "a stream without an end"));
            }
        }
    };
    if (0..2).any(|_| stream.next().is_some()) {
        campaign.report.broken(format!("{}: something came after the end of a stream", stage.name));
    }
    Some(outcome)
}

/// What came before the end.
#[derive(Default)]
struct Pieces {
    text: String,
    tokens: Vec<i32>,
    segments: Vec<tenon::Segment>,
    embeddings: usize,
}

impl Pieces {
    fn add(&mut self, event: Event) {
        match event {
            Event::Text(text) => self.text += &text,
            Event::Token(token) => self.tokens.push(token.id),
            Event::Segment(segment) => self.segments.push(segment),
            Event::Embedding { .. } => self.embeddings += 1,
            _ => {}
        }
    }

    /// What of it is not as in the answer.
    fn differ(&self, answer: &Answer) -> Option<&'static str> {
        let tokens = answer.tokens.iter().map(|token| token.id);
        let equal = [
            ("texts", !answer.segments.is_empty() || self.text == answer.text),
            ("tokens", tokens.eq(self.tokens.iter().copied())),
            ("segments", self.segments == answer.segments),
            ("embeddings", self.embeddings == answer.embeddings.len()),
        ];
        equal.iter().find(|(_, equal)| !equal).map(|(what, _)| *what)
    }
}
