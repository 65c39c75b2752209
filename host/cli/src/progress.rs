//! How far a long step is: a bar where somebody watches, else lines or JSON on standard error.

use crate::output::{say, size, watched};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};
use tenon::Digest;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A bar on a terminal, else lines
    #[default]
    Auto,
    /// Lines, at most one in five seconds
    Plain,
    /// One JSON object per line
    Json,
    /// Nothing
    None,
}

/// At most one plain line in this time.
const PLAIN_PAUSE: Duration = Duration::from_secs(5);

impl Mode {
    /// What `auto` comes to here and now.
    pub fn settle(self, quiet: bool) -> Self {
        match self {
            _ if quiet => Self::None,
            Self::Auto if watched() => Self::Auto,
            Self::Auto => Self::Plain,
            mode => mode,
        }
    }

    /// Says what is being done, where that takes no time that could be measured.
    pub fn status(self, status: &str) {
        self.status_with(status, &json!({}));
    }

    /// As [`Mode::status`], with more for those who read JSON.
    pub fn status_with(self, status: &str, more: &Value) {
        match self {
            Self::Auto | Self::Plain => say(status),
            Self::Json => {
                let mut object = json!({"status": status});
                more.as_object().into_iter().flatten().for_each(|(key, value)| object[key] = value.clone());
                say(&object.to_string());
            }
            Self::None => {}
        }
    }
}

/// A step that takes a while. Dropping it takes its bar away.
pub struct Step {
    label: String,
    digest: Option<Digest>,
    begun: Instant,
    /// What was done before the step began.
    before: u64,
    sink: Sink,
}

enum Sink {
    Bar(ProgressBar),
    Plain { last: Instant, told: Option<u64> },
    Json { last: Option<u64> },
    None,
}

impl Step {
    /// A step with this name, such as `verifying whisper-base`. `mode` is settled.
    pub fn begin(mode: Mode, label: impl Into<String>) -> Self {
        let label = label.into();
        let sink = match mode {
            Mode::Auto => Sink::Bar(bar(&label)),
            Mode::Plain => Sink::Plain { last: Instant::now(), told: None },
            Mode::Json => Sink::Json { last: None },
            Mode::None => Sink::None,
        };
        Self { label, digest: None, begun: Instant::now(), before: 0, sink }
    }

    /// A file on its way into the store: `pulling 8934d96d3f08…`. Of its `total` bytes, `held` are here already.
    pub fn pulling(mode: Mode, digest: Digest, held: u64, total: u64) -> Self {
        let dots = if mode == Mode::Auto { "…" } else { "" };
        let mut step = Self::begin(mode, format!("pulling {}{dots}", digest.short()));
        (step.digest, step.before) = (Some(digest), held);
        if let Sink::Bar(bar) = &step.sink {
            // Bytes of an earlier pull are no speed of this one.
            bar.set_position(held);
            bar.reset_eta();
        }
        step.now(held, total);
        step
    }

    /// Bytes done, of how many.
    pub fn bytes(&mut self, done: u64, total: u64) {
        self.show(done, total, true);
    }

    /// Part done, 0 to 1.
    pub fn fraction(&mut self, fraction: f32) {
        // Not a number becomes 0 here, and everything else a percentage.
        self.show((f64::from(fraction).clamp(0.0, 1.0) * 100.0) as u64, 100, false);
    }

    /// Runs `print` while the bar is out of the way.
    pub fn aside<R>(&self, print: impl FnOnce() -> R) -> R {
        match &self.sink {
            Sink::Bar(bar) => bar.suspend(print),
            _ => print(),
        }
    }

    /// Everything is done: the bar stays where it is, full.
    pub fn finish(mut self, total: u64) {
        self.now(total, total);
        if let Sink::Bar(bar) = &self.sink {
            bar.finish();
        }
        self.sink = Sink::None;
    }

    /// Shows bytes without waiting for the next turn.
    fn now(&mut self, done: u64, total: u64) {
        if let Sink::Plain { last, told } = &mut self.sink
            && *told != Some(done)
            && let Some(due) = Instant::now().checked_sub(PLAIN_PAUSE)
        {
            *last = due;
        }
        self.show(done, total, true);
    }

    fn show(&mut self, done: u64, total: u64, bytes: bool) {
        let percent = percent(done, total);
        match &mut self.sink {
            Sink::Bar(bar) => {
                bar.set_style(style(bytes));
                bar.set_length(total);
                bar.set_position(done);
            }
            Sink::Plain { last, told } if last.elapsed() >= PLAIN_PAUSE => {
                (*last, *told) = (Instant::now(), Some(done));
                say(&self.plain(done, total, bytes));
            }
            Sink::Json { last } if *last != Some(percent) => {
                *last = Some(percent);
                say(&self.json(done, total).to_string());
            }
            _ => {}
        }
    }

    fn plain(&self, done: u64, total: u64, bytes: bool) -> String {
        let line = format!("{} {}%", self.label, percent(done, total));
        if !bytes || self.digest.is_none() {
            return line;
        }
        let speed = done.saturating_sub(self.before) as f64 / self.begun.elapsed().as_secs_f64();
        match speed.is_finite() && speed >= 1.0 {
            true => format!("{line} {}/{} {}/s", size(done), size(total), size(speed as u64)),
            false => format!("{line} {}/{}", size(done), size(total)),
        }
    }

    fn json(&self, done: u64, total: u64) -> Value {
        match self.digest {
            Some(digest) => {
                let digest = format!("sha256:{digest}");
                json!({"status": self.label, "digest": digest, "total": total, "completed": done})
            }
            None => json!({"status": self.label, "completed": done, "total": total}),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Sink::Bar(bar) = &self.sink {
            bar.finish_and_clear();
        }
    }
}

/// Whole percents, never more than 100.
fn percent(done: u64, total: u64) -> u64 {
    (u128::from(done) * 100 / u128::from(total.max(1))).min(100) as u64
}

fn bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
    bar.set_style(style(false));
    bar.set_message(label.to_owned());
    bar
}

fn style(bytes: bool) -> ProgressStyle {
    let template = match bytes {
        true => "{msg} {percent}% ▕{wide_bar}▏ {amount}  {speed}  {left}",
        false => "{msg} {percent}% ▕{wide_bar}▏ {left}",
    };
    let amount = |state: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "{}/{}", size(state.pos()), size(state.len().unwrap_or_default()));
    };
    let speed = |state: &ProgressState, out: &mut dyn Write| {
        let _ = write!(out, "{}/s", size(state.per_sec().clamp(0.0, 1e18) as u64));
    };
    let left = |state: &ProgressState, out: &mut dyn Write| {
        // Nothing comes any more: nobody knows how long that takes.
        let stands = state.eta().is_zero() && state.len().is_some_and(|total| total > state.pos());
        let _ = if stands { Ok(()) } else { out.write_str(&short(state.eta())) };
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("amount", amount).with_key("speed", speed).with_key("left", left).progress_chars("█▌ ")
}

/// `40s`, `1m40s`, `2h05m`.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_silences_every_mode_and_nobody_watching_turns_bars_into_lines() {
        for mode in [Mode::Auto, Mode::Plain, Mode::Json, Mode::None] {
            assert_eq!(mode.settle(true), Mode::None);
        }
        assert_eq!(Mode::Json.settle(false), Mode::Json);
        if !watched() {
            assert_eq!(Mode::Auto.settle(false), Mode::Plain);
        }
    }

    #[test]
    fn a_bar_shows_amount_speed_and_the_time_that_is_left() {
        let bar = ProgressBar::with_draw_target(Some(4_700_000_000), ProgressDrawTarget::hidden());
        bar.set_style(style(true));
        bar.set_message("pulling 8934d96d3f08…");
        bar.set_position(1_200_000_000);
        assert_eq!(format!("{}/{}", size(bar.position()), size(bar.length().unwrap())), "1.2 GB/4.7 GB");
        for template in [true, false] {
            bar.set_style(style(template));
            bar.tick();
        }
    }

    #[test]
    fn times_that_are_left_are_short() {
        let shown: Vec<String> =
            [0, 59, 60, 100, 7500, 400_000].into_iter().map(|seconds| short(Duration::from_secs(seconds))).collect();
        assert_eq!(shown, ["0s", "59s", "1m00s", "1m40s", "2h05m", ""]);
    }

    #[test]
    fn json_says_every_percent_once_and_impossible_figures_do_no_harm() {
        let mut step = Step::begin(Mode::Json, "testing");
        step.bytes(1, 1000);
        step.bytes(2, 1000);
        assert!(matches!(step.sink, Sink::Json { last: Some(0) }));
        step.bytes(u64::MAX, u64::MAX);
        assert!(matches!(step.sink, Sink::Json { last: Some(100) }));
        step.bytes(7, 0);
        step.fraction(f32::NAN);
        assert!(matches!(step.sink, Sink::Json { last: Some(0) }));
    }

    #[test]
    fn a_pulled_file_is_named_by_its_digest() {
        let digest = Digest::of(b"abc");
        let step = Step::pulling(Mode::Json, digest, 3, 10);
        assert_eq!(
            step.json(5, 10),
            json!({"status": "pulling ba7816bf8f01", "digest": format!("sha256:{digest}"), "total": 10, "completed": 5})
        );
        let mut step = Step::begin(Mode::None, "pulling ba7816bf8f01");
        (step.digest, step.before) = (Some(digest), 500);
        assert_eq!(step.plain(500, 1000, true), "pulling ba7816bf8f01 50% 500 B/1.0 KB");
    }
}
