//! What happens to a part while it grows: its bytes are hashed as far as they are whole, and sent to the disk early.
//!
//! A follower reads what the writers wrote, mostly from the system's cache, on a thread of its own. The network, the
//! hash and the disk so work at the same time, and a commit finds nearly all of it done.

use super::Shared;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// Bytes hashed at a time: what a second-level cache holds.
const BUFFER: usize = 512 * 1024;

/// Bytes that may wait in memory before they are sent to the disk. Less would make small files wait for the disk twice.
const UNSENT: u64 = 64 << 20;

/// The threads that follow a part.
#[derive(Debug)]
pub(super) struct Followers(Vec<JoinHandle<()>>);

impl Followers {
    pub(super) fn start(shared: &Arc<Shared>, size: u64) -> io::Result<Self> {
        let mut followers = Self(Vec::new());
        let spawn = |name: &str, work: fn(&Shared)| {
            let shared = Arc::clone(shared);
            Builder::new().name(name.to_owned()).spawn(move || work(&shared))
        };
        followers.0.push(spawn("tenon-part-hash", hash)?);
        if size > UNSENT {
            followers.0.push(spawn("tenon-part-send", send)?);
        }
        Ok(followers)
    }

    /// Waits for the threads to end; they have been told to.
    pub(super) fn join(&mut self) {
        for thread in self.0.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Hashes the part from its start, as far as it is whole.
fn hash(shared: &Shared) {
    let mut buffer = vec![0; BUFFER];
    let mut hasher = Sha256::new();
    let mut generation = 0;
    loop {
        let mut state = shared.wait_while(|state| {
            !state.stopped
                && (state.digest.is_some() || state.hashed == state.held.prefix() && state.hashed < shared.size)
        });
        if state.stopped {
            return;
        }
        if state.generation != generation {
            (hasher, generation) = (Sha256::new(), state.generation);
        }
        let (at, whole) = (state.hashed, state.held.prefix());
        if at == shared.size {
            state.digest = Some(<[u8; 32]>::from(hasher.finalize_reset()).into());
            shared.changed.notify_all();
            continue;
        }
        drop(state);
        let count = usize::try_from(whole - at).unwrap_or(BUFFER).min(BUFFER);
        let read = read_exact_at(&shared.file, &mut buffer[..count], at);
        match read {
            Ok(()) => hasher.update(&buffer[..count]),
            Err(error) => return shared.fail(error),
        }
        let mut state = shared.lock();
        if state.generation == generation {
            state.hashed += count as u64;
            shared.changed.notify_all();
        }
    }
}

/// Sends to the disk what was written, again and again, so that little is left for the end.
fn send(shared: &Shared) {
    loop {
        let mut state = shared.wait_while(|state| !state.stopped && state.unsent < UNSENT);
        if state.stopped {
            return;
        }
        state.unsent = 0;
        drop(state);
        if let Err(error) = shared.file.sync_data() {
            // The system tells of lost writes once, and whoever asks again is told that all is well.
            return shared.fail(error);
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        let count = file.seek_read(buffer, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        at += count as u64;
    }
    Ok(())
}
