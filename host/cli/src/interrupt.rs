//! Ctrl-C and termination: the first one cancels what runs, the second one ends the program at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tenon::CancelToken;

/// What the signals act on. Clones share it.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: Option<CancelToken>,
    signal: Option<i32>,
}

impl Interrupt {
    /// Listens for signals from now on.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        listen(interrupt.clone())?;
        Ok(interrupt)
    }

    /// A token for the next thing that runs. Until the guard is dropped a signal cancels the token; at any other time
    /// it ends the program.
    pub fn guard(&self) -> Guard<'_> {
        let token = CancelToken::new();
        self.state().running = Some(token.clone());
        Guard { interrupt: self, token }
    }

    /// The exit code of the signal that cancelled something, if one did.
    pub fn exit_code(&self) -> Option<u8> {
        self.state().signal.and_then(|signal| u8::try_from(128 + signal).ok())
    }

    /// A chat goes on after Ctrl-C: forgets an interrupt and says whether there was one. Termination stays.
    pub fn forgive(&self) -> bool {
        let mut state = self.state();
        let interrupted = state.signal == Some(SIGINT);
        if interrupted {
            state.signal = None;
        }
        interrupted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, signal: i32) {
        let mut state = self.state();
        match &state.running {
            Some(token) if !token.is_cancelled() => {
                token.cancel();
                state.signal = Some(signal);
            }
            // Not `process::exit`: threads of plugins may be running, and exit handlers would pull the rug from them.
            _ => signal_hook::low_level::exit(128 + signal),
        }
    }
}

/// While it lives, a signal cancels its token.
pub struct Guard<'a> {
    interrupt: &'a Interrupt,
    token: CancelToken,
}

impl Guard<'_> {
    /// The token.
    pub fn token(&self) -> CancelToken {
        self.token.clone()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.interrupt.state().running = None;
    }
}

#[cfg(unix)]
fn listen(interrupt: Interrupt) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let listener = move || signals.forever().for_each(|signal| interrupt.act(signal));
    std::thread::Builder::new().name("signals".to_owned()).spawn(listener)?;
    Ok(())
}

/// Windows has no signals to wait for: its handlers set a number, which is looked at now and then.
#[cfg(not(unix))]
fn listen(interrupt: Interrupt) -> io::Result<()> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let seen = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_usize(signal, Arc::clone(&seen), signal as usize)?;
    }
    let listener = move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(20));
            match seen.swap(0, Ordering::AcqRel) {
                0 => {}
                signal => interrupt.act(signal as i32),
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listener)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_cancels_and_its_number_becomes_the_exit_code() {
        let interrupt = Interrupt::default();
        let guard = interrupt.guard();
        interrupt.act(SIGTERM);
        assert!(guard.token().is_cancelled());
        assert_eq!(interrupt.exit_code(), Some(143));
        assert!(!interrupt.forgive());
    }

    #[test]
    fn a_chat_forgives_an_interrupt_once() {
        let interrupt = Interrupt::default();
        let guard = interrupt.guard();
        interrupt.act(SIGINT);
        drop(guard);
        assert_eq!(interrupt.exit_code(), Some(130));
        assert!(interrupt.forgive());
        assert_eq!(interrupt.exit_code(), None);
        assert!(!interrupt.guard().token().is_cancelled());
    }
}
