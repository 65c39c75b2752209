//! What a call through the C library costs over one of the Rust crate: the same work on the echo backend, which does
//! nothing but repeat, through both doors. The C side is `calls.c`, compiled here and linked with the release library.
//!
//! `cargo build --release -p tenon-capi -p tenon-echo`, seal the plugin (`tenon plugin seal`), then
//! `cargo run --release -p tenon-bench-capi`.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use tenon::{Engine, Load, Request, Session};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

// As in calls.c.
const RUNS: usize = 5000;
const WORDS: usize = 200_000;
const ENGINES: usize = 50;
const MANIFESTS: usize = 100;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome<()> {
    let release = std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let (one, hundred) = (folder.path().join("one"), folder.path().join("hundred"));
    fs::create_dir(&one)?;
    fs::create_dir(&hundred)?;
    write_manifest(&one, "bench")?;
    (0..MANIFESTS).try_for_each(|number| write_manifest(&hundred, &format!("bench-{number}")))?;
    let program = compile(&release, folder.path())?;
    // Twice in turn, so that neither side has the warmer caches.
    for _ in 0..2 {
        rust_side(&one, &hundred, &release)?;
        let status = Command::new(&program).arg(&one).arg(&hundred).arg(&release).status()?;
        if !status.success() {
            return Err(format!("{} ended with {status}", program.display()).into());
        }
    }
    let size = fs::metadata(release.join("libtenon.so"))?.len();
    println!("size  libtenon.so, stripped {size:>32} bytes");
    Ok(())
}

/// A model that needs no file.
fn write_manifest(folder: &Path, name: &str) -> std::io::Result<()> {
    let text = format!(
        "name = \"{name}\"\ntask = \"generate\"\nbackend = \"echo\"\nlicense = \"MIT\"\n\n[preset.default]\nseed = 1\n"
    );
    fs::write(folder.join(format!("{name}.toml")), text)
}

fn compile(release: &Path, folder: &Path) -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let program = folder.join("calls");
    // Programs look for the library by its soname.
    let library = folder.join(concat!("libtenon.so.0.", env!("CARGO_PKG_VERSION_MINOR")));
    fs::copy(release.join("libtenon.so"), &library)?;
    let mut command = Command::new("cc");
    command.args(["-std=c11", "-O2", "-I"]).arg(root.join("include")).arg(root.join("benches/capi/src/calls.c"));
    command.arg(&library).arg("-lpthread").arg(format!("-Wl,-rpath,{}", folder.display())).arg("-o").arg(&program);
    if !command.status()?.success() {
        return Err("cc cannot compile calls.c against target/release/libtenon.so: build tenon-capi first".into());
    }
    Ok(program)
}

fn engine_on(manifests: &Path, plugins: &Path) -> tenon::Result<Engine> {
    Engine::builder().manifest_dir(manifests).plugin_dir(plugins).state_dir(manifests).build()
}

fn rust_side(one: &Path, hundred: &Path, plugins: &Path) -> Outcome<()> {
    let start = Instant::now();
    for _ in 0..ENGINES {
        drop(engine_on(hundred, plugins)?);
    }
    print("engine on a hundred manifests", start, ENGINES, 1e3, "ms");
    let mut session = engine_on(one, plugins)?.load("bench", Load::new())?.session()?;
    runs(&mut session)?;
    streams(&mut session)
}

fn runs(session: &mut Session) -> Outcome<()> {
    let request = Request::generate("word");
    let start = Instant::now();
    for _ in 0..RUNS {
        black_box(session.run(&request)?);
    }
    print("run of one word", start, RUNS, 1e6, "us");
    Ok(())
}

fn streams(session: &mut Session) -> Outcome<()> {
    let request = Request::generate("word ".repeat(WORDS));
    let start = Instant::now();
    let mut events = 0;
    for event in session.stream(request)? {
        black_box(event?);
        events += 1;
    }
    print("event of a stream", start, events, 1e6, "us");
    Ok(())
}

fn print(what: &str, start: Instant, times: usize, unit: f64, unit_name: &str) {
    println!("Rust  {what:<44} {:>9.3} {unit_name}", start.elapsed().as_secs_f64() / times.max(1) as f64 * unit);
}
