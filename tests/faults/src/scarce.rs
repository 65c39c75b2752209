//! Want of descriptors in this process, and of disk space in a child's.
//!
//! Descriptors: the soft limit of the process is lowered to what is open and a few more, for a moment. Disk: a child of
//! this program may write no byte to any file (`RLIMIT_FSIZE`), memory files included; that needs no right that a test
//! does not have.

use crate::home::{Home, Places};
use crate::questions::{Bank, essence};
use crate::stage::{Campaign, Hit, Stage};
use crate::{Outcome, strike};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tenon::{Error, ErrorKind, Load};
use tenon_fault_tests::random::Random;

/// The times in which the process had no descriptors to spare.
#[derive(Default)]
pub struct Scarcity {
    /// Held for reading by whatever needs descriptors and is no lane; for writing while there are none.
    pub works: RwLock<()>,
    times: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Scarcity {
    fn times(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Option<Instant>)>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request that was begun then may have failed for want of descriptors, and says so.
    pub fn explains(&self, began: Instant, error: &Error) -> bool {
        error.message().contains("open files") && self.times().iter().any(|(_, end)| end.is_none_or(|end| end >= began))
    }

    fn begin(&self) {
        self.times().push((Instant::now(), None));
    }

    fn end(&self) {
        if let Some(last) = self.times().last_mut() {
            last.1 = Some(Instant::now());
        }
    }
}

/// Takes all descriptors but `spare` away, kills a worker meanwhile, and gives them back after `time`.
pub fn descriptors(campaign: &Campaign, stage: &Stage, spare: u64, time: Duration) {
    let _turn = stage.turn.lock();
    let Some(victim) = strike::a_worker(stage, 0) else { return };
    let since = {
        let _alone = campaign.scarcity.works.write().unwrap_or_else(PoisonError::into_inner);
        let before = getrlimit(Resource::Nofile);
        let Ok(lowest) = lowest_free() else { return };
        campaign.scarcity.begin();
        let less = Rlimit { current: Some(lowest + spare), ..before };
        if let Err(error) = setrlimit(Resource::Nofile, less) {
            campaign.report.broken(format!("the limit of descriptors cannot be lowered: {error}"));
        }
        stage.note(Hit { pid: victim, names: vec!["SIGKILL".to_owned()] });
        strike::send(victim, Signal::KILL);
        std::thread::sleep(time);
        if let Err(error) = setrlimit(Resource::Nofile, before) {
            campaign.report.broken(format!("the limit of descriptors cannot be raised again: {error}"));
        }
        campaign.scarcity.end();
        Instant::now()
    };
    if stage.served_since(since).is_none() {
        campaign.report.broken(format!("{}: nothing was served after a want of descriptors", stage.name));
    }
}

/// The number that the next descriptor would have.
fn lowest_free() -> std::io::Result<u64> {
    use std::os::fd::AsRawFd;
    let file = std::fs::File::open("/dev/null")?;
    Ok(u64::try_from(file.as_raw_fd()).unwrap_or(u64::MAX))
}

/// Runs a child that may write nothing, and looks at what it says.
pub fn disk(campaign: &Campaign, home: &Home, number: u64) -> Outcome<()> {
    let Places { plugins, faulty, worker } = home.places();
    let state = home.path(&format!("state-without-disk-{number}"));
    std::fs::create_dir(&state)?;
    // The signal that a write past the limit brings would end the child before it sees the error.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe()?)
        .arg("without-disk")
        .args([plugins, faulty, worker, &state, &home.path("")])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || !text.ends_with("served\n") {
        let errors = String::from_utf8_lossy(&output.stderr);
        campaign.report.broken(format!("without disk: {} {text}{errors}", output.status));
    }
    std::fs::remove_dir_all(state)?;
    Ok(())
}

/// The child: an engine over the campaign's folder whose ledger lies where nothing can be written. What fits into
/// frames is served; what needs a memory file is refused with an error, and the session goes on.
pub fn without_disk(words: &[String]) -> Outcome<()> {
    let paths: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
    let [plugins, faulty, worker, state, folder] = paths.as_slice() else {
        return Err("without-disk takes five words".into());
    };
    let places = Places { plugins: plugins.clone(), faulty: faulty.clone(), worker: worker.clone() };
    let home = Home::borrowed(places, folder);
    let engine = home.builder(worker, state).build()?;
    setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: Some(0) })?;
    let mut session = engine.load_manifest(home.manifest("echo", "worker", "")?, Load::new())?.session()?;
    let (mut random, bank) = (Random::new(1, "without disk"), Bank::Echo(AtomicU64::new(0)));
    let (mut served, mut refused) = (0, 0);
    for _ in 0..20 {
        let question = bank.draw(&mut random);
        match session.run(&question.request) {
            Ok(answer) if essence(&answer) == question.wanted => served += 1,
            Ok(answer) => return Err(format!("{} came for {}", essence(&answer), question.wanted).into()),
            // Samples that want a memory file.
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::OutOfMemory) => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    match (served, refused) {
        (1.., 1..) => println!("served"),
        _ => return Err(format!("{served} were served and {refused} refused").into()),
    }
    Ok(())
}
