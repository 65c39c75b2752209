//! Clocks and the report format that all sides of a benchmark share.
//!
//! Each side is a process that does the same work and prints one [`Report`]; `tenon-bench` runs the sides in turn and
//! compares. CPU time is the process's own, so that a busy neighbour shows in wall time only.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What one side did and what it cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Loading the model, without process start.
    pub load: Cost,
    /// CPU time from the start of the process until the model was loaded, in milliseconds.
    pub start_cpu_ms: f64,
    /// One entry per repetition of the work.
    pub runs: Vec<Cost>,
    /// Greatest resident memory of the process in MiB, its program and libraries included.
    pub peak_mib: f64,
    /// Memory of the process's own in MiB: what is resident and in no file.
    pub own_mib: f64,
    /// What came out. Two sides whose texts differ did not do the same work, and their figures are void.
    pub text: String,
    /// Tokens or segments that came out in one run.
    pub units: u64,
}

/// Time that a piece of work took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// By the clock on the wall.
    pub wall_ms: f64,
    /// Of the processors, all threads of the process together.
    pub cpu_ms: f64,
}

/// Measures a piece of work.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (wall, cpu) = (Instant::now(), cpu_ms());
    let value = work();
    (value, Cost { wall_ms: wall.elapsed().as_secs_f64() * 1e3, cpu_ms: cpu_ms() - cpu })
}

/// CPU time of this process so far, in milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

impl Report {
    /// A report whose process has just loaded its model at this cost, and spent `unrelated` milliseconds of CPU time
    /// on what is no part of a start.
    pub fn loaded(load: Cost, unrelated: f64) -> Self {
        Self { load, start_cpu_ms: cpu_ms() - unrelated, ..Self::default() }
    }

    /// Fills in the memory; before anything is done that the other side does not do.
    pub fn look_at_memory(&mut self) {
        (self.peak_mib, self.own_mib) = (status_mib("VmHWM:"), status_mib("RssAnon:"));
    }

    /// Prints the report as one line of JSON.
    pub fn print(self) {
        match serde_json::to_string(&self) {
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("error: {error}"),
        }
    }
}

/// A line of the kernel's word on this process, in MiB.
fn status_mib(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Mono 16-bit PCM of a wav file at 16 kHz, as samples from −1 to 1. Only what the benchmarks feed.
pub fn wav_samples(path: &str) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let start =
        bytes.windows(4).position(|window| window == b"data").ok_or_else(|| format!("{path}: no data chunk"))?;
    let pcm = bytes.get(start + 8..).unwrap_or_default();
    Ok(pcm.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).collect())
}

/// The same samples as a wav file of 16-bit PCM at 16 kHz.
pub fn wav_file(samples: &[f32]) -> Vec<u8> {
    let size = samples.len() as u32 * 2;
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend(b"RIFF");
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    for sample in samples {
        bytes.extend(((sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16).to_le_bytes());
    }
    bytes
}

/// CPU time of the children that this process has waited for, in milliseconds, in the kernel's steps of 10 ms.
pub fn children_cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields after the program's name, which may hold spaces; cutime and cstime are the 14th and 15th of them.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) * 10.0
}
