//! Why a worker is no more, and the error for those whom it concerns.

use crate::error::{Error, ErrorKind};
use std::time::Duration;

/// How the lines begin that a worker writes when it catches the signal that ends it.
const CRASH: &str = "tenon-worker: crash ";
/// What follows when there was nothing left under its memory limit.
const AT_LIMIT: &str = "memory-limit";
/// What follows otherwise, before the signal's number.
const BY_SIGNAL: &str = "signal=";
/// Most of a worker's last line that an error's message repeats.
const LAST_WORDS: usize = 200;

/// The end of a worker.
#[derive(Clone, Debug)]
pub(super) struct Death {
    /// The plugin that it ran.
    pub backend: String,
    pub pid: u32,
    pub cause: Cause,
    /// What it said last.
    pub log: String,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It was told to.
    Told,
    /// The engine killed it.
    Killed(Verdict),
    /// It reached its memory limit, bytes where they are known.
    MemoryLimit(Option<u64>),
    /// A signal that the engine did not send.
    Signal(i32),
    /// It ended by itself.
    Exit(i32),
    /// Somebody else in this process took its exit status.
    Unknown,
}

/// What the engine killed a worker for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What it sent cannot be: what is wrong with it.
    Garbage(String),
    /// A call did not end in this time after it was told to, and why it was.
    NotEnding(Duration, ErrorKind),
    /// It did not answer the engine's question for this long.
    Silent(Duration),
    /// A call showed no sign of life for this long.
    Stalled(Duration),
    /// It did not read what it was sent.
    Deaf(String),
    /// It was not ready in this time.
    Late(Duration),
    /// It closed its connection and went on running.
    HungUp,
    /// The engine's own code that reads from it panicked.
    Fault,
}

impl Death {
    /// Whether starting another one at once may end the same way.
    pub fn is_failure(&self) -> bool {
        self.cause != Cause::Told
    }

    /// The error for a call that ran in it.
    pub fn error(&self) -> Error {
        self.error_when("")
    }

    /// The same for what it did at that time: the beginning of a sentence.
    pub fn error_when(&self, when: &str) -> Error {
        let sentence = format!("{when}{}", self.sentence());
        let message = match self.last_words() {
            Some(words) => format!("{sentence}; it last said: {words}"),
            None => sentence,
        };
        let error = Error::new(ErrorKind::WorkerDied, message).with_detail("worker_pid", self.pid.to_string());
        let error = match self.cause {
            Cause::Signal(number) => error.with_detail("signal", signal_name(number)),
            Cause::Exit(code) => error.with_detail("exit_code", code.to_string()),
            _ => error,
        };
        if self.log.is_empty() { error } else { error.with_detail("log", &*self.log) }
    }

    /// What happened, without what it said.
    pub fn sentence(&self) -> String {
        format!("the worker of backend \"{}\" {}", self.backend, self.predicate())
    }

    fn predicate(&self) -> String {
        match &self.cause {
            Cause::Told => "was ended".to_owned(),
            Cause::Killed(verdict) => verdict.predicate(),
            Cause::MemoryLimit(Some(limit)) => format!("exceeded its memory limit of {limit} bytes"),
            Cause::MemoryLimit(None) => "exceeded its memory limit".to_owned(),
            Cause::Signal(libc::SIGKILL) => {
                "was killed by SIGKILL, perhaps by the system for want of memory".to_owned()
            }
            Cause::Signal(number @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT)) => {
                format!("was ended by somebody else with {}", signal_name(*number))
            }
            Cause::Signal(number) => format!("crashed with {}", signal_name(*number)),
            Cause::Exit(code) => format!("ended by itself with exit code {code}"),
            Cause::Unknown => "is gone, and its exit status was taken by another part of this program".to_owned(),
        }
    }

    /// Its last line, but for the one that only names the signal.
    fn last_words(&self) -> Option<&str> {
        let line = self.log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(CRASH))?;
        let end = line.char_indices().nth(LAST_WORDS).map_or(line.len(), |(end, _)| end);
        Some(&line[..end])
    }
}

impl Verdict {
    fn predicate(&self) -> String {
        match self {
            Self::Garbage(what) => format!("sent garbage and was killed: {what}"),
            Self::NotEnding(grace, reason) => {
                let after = match reason {
                    ErrorKind::Deadline => "after the deadline",
                    ErrorKind::Cancelled => "after the request was cancelled",
                    ErrorKind::Shutdown => "after the engine began to shut down",
                    _ => "after it was told to stop",
                };
                format!("did not end within {} {after} and was killed", seconds(*grace))
            }
            Self::Silent(time) => format!("did not answer for {} and was killed", seconds(*time)),
            Self::Stalled(time) => format!("gave no sign of life for {} and was killed", seconds(*time)),
            Self::Deaf(how) => format!("does not take what it is sent and was killed: {how}"),
            Self::Late(time) => format!("was not ready within {} and was killed", seconds(*time)),
            Self::HungUp => "closed its connection, went on running and was killed".to_owned(),
            Self::Fault => "was killed because the engine's own thread panicked: please report it".to_owned(),
        }
    }
}

/// What a worker that caught its signal wrote about it.
pub(super) fn crash_line(log: &str, memory_limit: Option<u64>) -> Option<Cause> {
    let said: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix(CRASH)).collect();
    if said.contains(&AT_LIMIT) {
        return Some(Cause::MemoryLimit(memory_limit));
    }
    let number = said.last()?.split_whitespace().find_map(|word| word.strip_prefix(BY_SIGNAL))?.parse().ok()?;
    SIGNALS.iter().any(|(known, _)| *known == number).then_some(Cause::Signal(number))
}

/// A duration in words.
pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// The signals that end processes, as far as they mean something here.
const SIGNALS: [(i32, &str); 15] = [
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGKILL, "SIGKILL"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGXCPU, "SIGXCPU"),
    (libc::SIGXFSZ, "SIGXFSZ"),
    (libc::SIGSYS, "SIGSYS"),
];

fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause, log: &str) -> Error {
        Death { backend: "echo".to_owned(), pid: 42, cause, log: log.to_owned() }.error()
    }

    #[test]
    fn the_message_names_the_signal_and_the_last_line_and_the_details_have_the_rest() {
        let log = "loading\nGGML_ASSERT(x) failed\n\ntenon-worker: crash signal=6";
        let error = error(crash_line(log, None).unwrap(), log);
        assert_eq!(error.kind(), ErrorKind::WorkerDied);
        let message = "the worker of backend \"echo\" crashed with SIGABRT; it last said: GGML_ASSERT(x) failed";
        assert_eq!(error.message(), message);
        assert_eq!(error.detail("signal"), Some("SIGABRT"));
        assert_eq!((error.detail("worker_pid"), error.detail("log")), (Some("42"), Some(log)));
    }

    #[test]
    fn every_end_has_a_sentence_of_its_own() {
        let causes = [
            (Cause::Told, "was ended"),
            (Cause::Exit(77), "with exit code 77"),
            (Cause::Signal(libc::SIGKILL), "perhaps by the system for want of memory"),
            (Cause::Signal(libc::SIGTERM), "by somebody else with SIGTERM"),
            (Cause::Signal(63), "crashed with signal 63"),
            (Cause::MemoryLimit(Some(1024)), "its memory limit of 1024 bytes"),
            (Cause::MemoryLimit(None), "exceeded its memory limit"),
            (Cause::Unknown, "its exit status was taken"),
            (Cause::Killed(Verdict::Garbage("a frame".to_owned())), "sent garbage and was killed: a frame"),
            (Cause::Killed(Verdict::NotEnding(Duration::from_millis(1500), ErrorKind::Deadline)), "within 1.5 s after"),
            (Cause::Killed(Verdict::NotEnding(Duration::ZERO, ErrorKind::Audio)), "after it was told to stop"),
            (Cause::Killed(Verdict::Silent(Duration::from_secs(15))), "did not answer for 15 s"),
            (Cause::Killed(Verdict::Stalled(Duration::from_secs(9))), "no sign of life for 9 s"),
            (Cause::Killed(Verdict::Late(Duration::from_secs(30))), "was not ready within 30 s"),
            (Cause::Killed(Verdict::HungUp), "closed its connection"),
            (Cause::Killed(Verdict::Deaf("why".to_owned())), "sent and was killed: why"),
        ];
        for (cause, says) in causes {
            let error = error(cause, "");
            assert!(error.message().contains(says), "{error}");
            assert!(!error.message().contains("last said") && error.detail("log").is_none(), "{error}");
        }
    }

    #[test]
    fn a_crash_line_counts_only_where_it_names_something() {
        let signal = "so\ntenon-worker: crash signal=11 address=0x8";
        assert_eq!(crash_line(signal, None), Some(Cause::Signal(libc::SIGSEGV)));
        let at_limit = "tenon-worker: crash memory-limit\ntenon-worker: crash signal=6";
        assert_eq!(crash_line(at_limit, Some(10)), Some(Cause::MemoryLimit(Some(10))));
        assert_eq!(crash_line("tenon-worker: crash signal=4711", None), None);
        assert_eq!(crash_line("tenon-worker: crash landing", None), None);
        assert_eq!(crash_line("the user: crash signal=11", None), None);
    }
}
