//! A pull over loopback against `curl | sha256sum` and other ways of the same work, from the same server in turn.

use crate::{Outcome, flag, release_folder};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tenon_pull_tests::{Blob, Server};

/// What one way of fetching the file cost.
#[derive(Clone, Copy)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
    /// Most resident memory, in MiB; what a shell starts is not counted.
    peak_mib: f64,
}

/// Another way of the same work: its name, and the shell line of it. `$1` is the address, `$2` a file to write.
const OTHERS: &[(&str, &str)] = &[
    ("curl | sha256sum", "curl -sS \"$1\" | sha256sum"),
    ("curl | openssl dgst -sha256", "curl -sS \"$1\" | openssl dgst -r -sha256"),
    ("curl -o, then sha256sum", "curl -sS -o \"$2\" \"$1\" && sha256sum < \"$2\""),
    ("curl -o, sync, then openssl", "curl -sS -o \"$2\" \"$1\" && sync \"$2\" && openssl dgst -r -sha256 < \"$2\""),
];

/// How often the memory of the program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// `[--size BYTES] [--pairs N] [--folder DIR]`: 1 GiB, 5 pairs, and the folder for temporary files by default.
pub fn run(flags: &[&str]) -> Outcome<()> {
    let size: u64 = flag(flags, "--size").unwrap_or("1073741824").parse()?;
    let pairs: usize = flag(flags, "--pairs").unwrap_or("5").parse()?;
    let around = flag(flags, "--folder").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(around)?;
    let file = folder.path().join("served.bin");
    let digest = crate::verify::write_model(&file, size)?;
    let served = Served::start(&file)?;
    let manifest = format!(
        "name = \"bench\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"unknown\"\n\n[[file]]\nrole = \"model\"\n\
         name = \"model.bin\"\nurl = [\"{}\"]\nsha256 = \"{digest}\"\nsize = {size}\n",
        served.url
    );
    std::fs::create_dir(folder.path().join("manifests"))?;
    std::fs::write(folder.path().join("manifests/bench.toml"), manifest)?;
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!("{size} bytes, store in {}", folder.path().display());
    for (name, line) in OTHERS {
        compare(name, line, pairs, &served.url, &digest.to_string(), folder.path(), size)?;
    }
    Ok(())
}

/// `FILE`: serves the file until standard input ends. Prints its address.
pub fn serve(words: &[&str]) -> Outcome<()> {
    let [file] = words else { return Err("serve FILE".into()) };
    let server = Server::start();
    println!("{}", server.blob("/served.bin", Blob::file(*file)?));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// The server, in a process of its own.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(file: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("serve").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(child.stdout.take().ok_or("no pipe")?).read_line(&mut url)?;
        Ok(Self { child, url: url.trim_end().to_owned() })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both in turn, after one pair that warms the caches, and a line of figures.
fn compare(name: &str, line: &str, pairs: usize, url: &str, digest: &str, folder: &Path, size: u64) -> Outcome<()> {
    let mut costs = Vec::new();
    for pair in 0..=pairs {
        let ours = pull(folder, digest)?;
        let theirs = other(line, url, digest, folder)?;
        if pair > 0 {
            costs.push((ours, theirs));
        }
    }
    let median = |of: &dyn Fn(&(Cost, Cost)) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    let (ratio, least, most) = median(&|(ours, theirs)| theirs.seconds / ours.seconds);
    let rate = |seconds: f64| size as f64 / 1e6 / seconds;
    let (ours, theirs) = (median(&|pair| pair.0.seconds).0, median(&|pair| pair.1.seconds).0);
    let (our_cpu, their_cpu) = (median(&|pair| pair.0.cpu_seconds).0, median(&|pair| pair.1.cpu_seconds).0);
    let peak = median(&|pair| pair.0.peak_mib).2;
    println!(
        "{name:<28} speed {ratio:.2} ({least:.2} to {most:.2}): tenon {:.0} MB/s, {our_cpu:.2} s of CPU, peak {peak:.1} MiB; \
         other {:.0} MB/s, {their_cpu:.2} s of CPU",
        rate(ours),
        rate(theirs)
    );
    Ok(())
}

/// `tenon pull` into an empty store.
fn pull(folder: &Path, digest: &str) -> Outcome<Cost> {
    let home = tempfile::tempdir_in(folder)?;
    let place = |name: &str| home.path().join(name);
    let mut command = Command::new(release_folder()?.join(format!("tenon{}", std::env::consts::EXE_SUFFIX)));
    command.args(["pull", "bench", "--quiet"]).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("TENON_MANIFESTS", folder.join("manifests")).env("TENON_STORE", place("store"));
    command.env("HOME", place("user")).env("XDG_STATE_HOME", place("state")).env("TENON_MODELS", place("models"));
    let (cost, _) = measure(&mut command)?;
    let blob = place("store").join("blobs").join(format!("sha256-{digest}"));
    if !blob.is_file() {
        return Err(format!("{} is not there", blob.display()).into());
    }
    Ok(cost)
}

fn other(line: &str, url: &str, digest: &str, folder: &Path) -> Outcome<Cost> {
    let file = folder.join("fetched.bin");
    let mut command = Command::new("sh");
    let (cost, printed) = measure(command.args(["-c", line, "sh", url]).arg(&file))?;
    if !printed.starts_with(digest) {
        return Err(format!("{line}: printed {printed:?}, not {digest}").into());
    }
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    Ok(cost)
}

/// Runs a command to its end. Gives its cost, and what it printed.
fn measure(command: &mut Command) -> Outcome<(Cost, String)> {
    let cpu = tenon_bench_meter::children_cpu_ms();
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let (mut peak, status) = (0.0_f64, format!("/proc/{}/status", child.id()));
    let ended = loop {
        peak = peak.max(high_water_mib(&status));
        match child.try_wait()? {
            Some(ended) => break ended,
            None => std::thread::sleep(LOOK),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let mut printed = String::new();
    child.stdout.take().ok_or("no pipe")?.read_to_string(&mut printed)?;
    if !ended.success() {
        return Err(format!("{command:?}: {ended}").into());
    }
    let cpu_seconds = (tenon_bench_meter::children_cpu_ms() - cpu) / 1e3;
    Ok((Cost { seconds, cpu_seconds, peak_mib: peak }, printed))
}

/// The kernel's word on the most memory that a process had, which never falls; 0 once it is gone.
fn high_water_mib(status: &str) -> f64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
