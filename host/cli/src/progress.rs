//! How far a long step is: a bar where somebody watches, else lines or JSON on standard error.

use crate::output::{say, watched};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::time::{Duration, Instant};

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
}

/// A step that takes a while. Dropping it takes its bar away.
pub struct Step {
    label: String,
    sink: Sink,
}

enum Sink {
    Bar(ProgressBar),
    Plain { last: Instant },
    Json { last: Option<u64> },
    None,
}

impl Step {
    /// A step with this name, such as `verifying whisper-base`. `mode` is settled.
    pub fn begin(mode: Mode, label: impl Into<String>) -> Self {
        let label = label.into();
        let sink = match mode {
            Mode::Auto => Sink::Bar(bar(&label)),
            Mode::Plain => Sink::Plain { last: Instant::now() },
            Mode::Json => Sink::Json { last: None },
            Mode::None => Sink::None,
        };
        Self { label, sink }
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

    fn show(&mut self, done: u64, total: u64, bytes: bool) {
        let percent = (u128::from(done) * 100 / u128::from(total.max(1))).min(100) as u64;
        match &mut self.sink {
            Sink::Bar(bar) => {
                bar.set_style(style(bytes));
                bar.set_length(total);
                bar.set_position(done);
            }
            Sink::Plain { last } if last.elapsed() >= PLAIN_PAUSE => {
                *last = Instant::now();
                say(&format!("{} {percent}%", self.label));
            }
            Sink::Json { last } if *last != Some(percent) => {
                *last = Some(percent);
                say(&json!({"status": self.label, "completed": done, "total": total}).to_string());
            }
            _ => {}
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

fn bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
    bar.set_style(style(false));
    bar.set_message(label.to_owned());
    bar
}

fn style(bytes: bool) -> ProgressStyle {
    let template = match bytes {
        true => "{msg} {percent:>3}% ▕{bar:20}▏ {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
        false => "{msg} {percent:>3}% ▕{bar:20}▏ {eta}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌ ")
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
    fn templates_of_both_bars_are_understood() {
        for bytes in [true, false] {
            let bar = ProgressBar::hidden();
            bar.set_style(style(bytes));
            bar.set_length(10);
            bar.set_position(5);
        }
        assert!(ProgressStyle::with_template("{decimal_total_bytes} {eta} {bar:20}").is_ok());
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
}
