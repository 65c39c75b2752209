//! What verification costs: the first start against openssl and sha256sum, the second start against nothing.

use crate::{Outcome, flag};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tenon::{Digest, Engine, VerifyMode};

/// `[--size BYTES]`, by default 1 GB.
pub fn run(flags: &[&str]) -> Outcome<()> {
    let size: u64 = flag(flags, "--size").unwrap_or("1000000000").parse()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.bin");
    let digest = write_model(&path, size)?;
    let manifest = format!(
        "name = \"bench\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"unknown\"\n\n[[file]]\nrole = \"model\"\n\
         name = \"model.bin\"\nsha256 = \"{digest}\"\nsize = {size}\n"
    );
    std::fs::write(folder.path().join("bench.toml"), manifest)?;
    let engine =
        Engine::builder().manifest_dir(folder.path()).models_dir(folder.path()).state_dir(folder.path()).build()?;
    // Longer than the ledger's doubt about files that changed a moment ago.
    std::thread::sleep(std::time::Duration::from_secs(3));
    for (name, mode) in
        [("always", VerifyMode::Always), ("cached, first", VerifyMode::Cached), ("cached, second", VerifyMode::Cached)]
    {
        let start = Instant::now();
        let report = engine.verify("bench", mode, &mut |_, _| ControlFlow::Continue(()))?;
        if let Some(error) = report.error() {
            return Err(error.to_string().into());
        }
        print(name, start, size);
    }
    for program in [&["sha256sum"][..], &["openssl", "dgst", "-sha256"]] {
        let start = Instant::now();
        if Command::new(program[0]).args(&program[1..]).arg(&path).output().is_ok_and(|output| output.status.success())
        {
            print(&program.join(" "), start, size);
        }
    }
    Ok(())
}

/// A file of pseudo-random bytes that is not sparse.
pub fn write_model(path: &Path, size: u64) -> Outcome<Digest> {
    let mut block = vec![0_u8; 1 << 20];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for chunk in block.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut left = size;
    while left > 0 {
        let count = left.min(block.len() as u64);
        file.write_all(&block[..count as usize])?;
        left -= count;
    }
    file.into_inner()?.sync_all()?;
    Ok(tenon_store::hash_file(path)?.digest)
}

fn print(name: &str, start: Instant, size: u64) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:<22}{:>10.1} ms{:>10.2} GB/s", seconds * 1e3, size as f64 / 1e9 / seconds);
}
