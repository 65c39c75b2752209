//! Writes the first inputs of the fuzzers, made from files of this repository: `seeds FOLDER`, a folder for each target.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use tenon_fuzz_targets::with_holes;
use tenon_precheck::hostile::{GGUF_KILLERS, GgufFile, ggml_corpus, gguf_corpus, smallest_vad, smallest_whisper};
use tenon_store::{Digest, LockFile, LockedModel, Manifest};
use tenon_tasks::{DetectLanguageOptions, EmbedOptions, GenerateOptions, TranscribeOptions, schema_of};

/// Largest seed.
const LARGEST: usize = 24 << 10;

/// Where the seeds of a target go.
struct Seeds(PathBuf);

impl Seeds {
    fn of(folder: &Path, target: &str) -> Result<Self> {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        fs::write(self.0.join(name.replace(['/', '.'], "-")), bytes)
    }
}

fn main() -> Result<()> {
    let out = PathBuf::from(std::env::args_os().nth(1).expect("seeds FOLDER"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    audio(&Seeds::of(&out, "audio")?, &root.join("host/audio/tests/fixtures"))?;
    models(&out)?;
    #[cfg(unix)]
    conversation::seeds(&out)?;
    texts(&out, &root)?;
    options(&Seeds::of(&out, "options")?)?;
    bundles(&out)?;
    misuse(&Seeds::of(&out, "capi")?)?;
    scripts(&Seeds::of(&out, "worker")?)?;
    Ok(())
}

/// The files of a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Each recording from a buffer and from a pipe.
fn audio(seeds: &Seeds, fixtures: &Path) -> Result<()> {
    for file in files(fixtures)? {
        let bytes = fs::read(&file)?;
        for (how, knobs) in [("buffer", 0), ("pipe", 0x50)] {
            let input: Vec<u8> = std::iter::once(knobs).chain(bytes.iter().copied()).take(LARGEST).collect();
            seeds.put(&format!("{}-{how}", name(&file)), &input)?;
        }
    }
    Ok(())
}

fn models(out: &Path) -> Result<()> {
    let ggml = Seeds::of(out, "ggml")?;
    for (kind, base) in [("whisper", smallest_whisper()), ("vad", smallest_vad())] {
        ggml.put(kind, &with_holes(&base))?;
        for sample in ggml_corpus(&base, 1).take(60) {
            ggml.put(&format!("{kind}-{}", sample.name), &with_holes(&sample.bytes))?;
        }
    }
    let gguf = Seeds::of(out, "gguf")?;
    let tiny = GgufFile::tiny().bytes();
    gguf.put("tiny", &head(&tiny))?;
    for sample in gguf_corpus(&tiny, 1) {
        gguf.put(&sample.name, &head(&sample.bytes))?;
    }
    for (name, lie) in GGUF_KILLERS {
        let mut file = GgufFile::tiny();
        lie(&mut file);
        gguf.put(name, &head(&file.bytes()))?;
    }
    Ok(())
}

/// A model of which everything behind the first 12 KiB is zeros: its weights.
fn head(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    if let Some(weights) = file.get_mut(12 << 10..) {
        weights.fill(0);
    }
    with_holes(&file)
}

/// Manifests, lock files and sidecars.
fn texts(out: &Path, root: &Path) -> Result<()> {
    let (manifests, locks, sidecars) =
        (Seeds::of(out, "manifest")?, Seeds::of(out, "lock_file")?, Seeds::of(out, "sidecar")?);
    for file in files(&root.join("manifests"))? {
        manifests.put(&name(&file), &fs::read(&file)?)?;
        if let Ok(manifest) = Manifest::read(&file) {
            let lock = LockFile::new(vec![LockedModel::of(&manifest)], Vec::new());
            locks.put(&name(&file), lock.to_toml().as_bytes())?;
        }
    }
    let digest = Digest::of(b"no library");
    for id in ["echo", "faulty", "llama", "whisper"] {
        let template = fs::read_to_string(root.join(format!("plugins/{id}/{id}.plugin.toml")))?;
        sidecars.put(&format!("{id}-template"), template.as_bytes())?;
        sidecars.put(id, format!("{template}\nfile = \"lib.so\"\nsha256 = \"{digest}\"\n").as_bytes())?;
    }
    let plugin = format!(
        "version = 1\n[[plugin]]\nid = \"echo\"\nversion = \"0.1.0\"\nabi = \"1.1\"\ncpu = \"any\"\nsha256 = \"{digest}\"\n"
    );
    locks.put("plugin", plugin.as_bytes())
}

/// The defaults of each struct against its schema, and a schema of the fuzzers' own.
fn options(seeds: &Seeds) -> Result<()> {
    let json = [
        serde_json::to_string(&TranscribeOptions::default())?,
        serde_json::to_string(&GenerateOptions::default())?,
        serde_json::to_string(&EmbedOptions::default())?,
        serde_json::to_string(&DetectLanguageOptions::default())?,
    ];
    for (which, json) in json.iter().enumerate() {
        seeds.put(&format!("{which}"), &[&[which as u8], json.as_bytes()].concat())?;
    }
    for (number, document) in [r#"{"top_k":5.0,"seed":0}"#, r#"{"max_tokens":null,"stop":["a"]}"#].iter().enumerate() {
        seeds.put(&format!("generate-{number}"), &[b"\x01", document.as_bytes()].concat())?;
    }
    let schema = serde_json::to_string(&schema_of::<GenerateOptions>())?;
    seeds.put("schema", &[b"\x04", schema.as_bytes(), b"\0", json[1].as_bytes()].concat())?;
    let choice = r#"{"properties":{"a":{"enum":["b","c"]},"d":{"anyOf":[{"oneOf":[{"const":"e"}]},{"type":"null"}]}}}"#;
    seeds.put("choice", &[b"\x04", choice.as_bytes(), b"\0", br#"{"a":"b","d":null}"#].concat())
}

/// Recipes of bundles, and minisign's own example of a signature.
fn bundles(out: &Path) -> Result<()> {
    let seeds = Seeds::of(out, "bundle")?;
    let head = format!("format = 1\ntarget = \"{}\"\n", tenon_store::bundle::TARGET);
    let manifest = |file: &str| format!("name = \"a\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n{file}");
    let model = "[[model]]\nname = \"a\"\nmanifest = @0\n";
    let bare = recipe(&format!("{head}{model}"), &[("models/a.toml", manifest("").as_bytes())]);
    let file = "[[file]]\nrole = \"model\"\nname = \"a.bin\"\nsha256 = \"#1\"\nsize = %1\n";
    let whole = recipe(
        &format!("{head}{model}[[blob]]\nsha256 = \"#1\"\nsize = %1\n"),
        &[("models/a.toml", manifest(file).as_bytes()), ("blobs/sha256-#1", b"weights")],
    );
    let plugin = "[[plugin]]\nid = \"echo\"\nversion = \"1\"\nabi = \"1.0\"\ncpu = \"any\"\nfile = \"lib.so\"\n";
    let plugged = recipe(
        &format!("{head}{model}{plugin}library = @2\nsidecar = @1\n"),
        &[
            ("models/a.toml", manifest("").as_bytes()),
            ("plugins/echo.plugin.toml", b"id = \"echo\"\n"),
            ("plugins/lib.so", b"no library"),
        ],
    );
    let example = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
        wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";
    let other = example.replace("RUQf6", "RUQg6");
    let signed = recipe(
        &format!("{head}{model}signature = @1\n"),
        &[("models/a.toml", manifest("").as_bytes()), ("models/a.toml.minisig", other.as_bytes())],
    );
    for (name, recipe) in [("bare", bare), ("whole", whole), ("plugged", plugged), ("signed", signed)] {
        seeds.put(name, &[b"\x01", recipe.as_slice()].concat())?;
        seeds.put(&format!("{name}-stopped"), &[b"\x31", recipe.as_slice()].concat())?;
    }
    let signatures = Seeds::of(out, "signature")?;
    signatures.put("example", example.as_bytes())?;
    signatures.put("other", other.as_bytes())
}

/// The recipe of an archive: its index, and its files.
fn recipe(index: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = (index.len() as u16).to_le_bytes().to_vec();
    out.extend(index.bytes());
    for (name, bytes) in files {
        out.push(name.len() as u8);
        out.extend(name.bytes());
        out.extend((bytes.len() as u16).to_le_bytes());
        out.extend(*bytes);
    }
    out
}

/// What a worker does: first the right thing, then one thing more.
fn scripts(seeds: &Seeds) -> Result<()> {
    // Waits for the model, the session and a request, and ends each but the last.
    const OPEN: [u8; 5] = [0, 3, 0, 3, 0];
    let steps: [(&str, &[u8]); 13] = [
        ("text", &[6, 2, b'a', b'b', 3]),
        ("token", &[38, 1, b'a', 7, 3]),
        ("segment", &[54, 0, 9, 1, b'a', 3, 3]),
        ("embedding", &[70, 0, 2, 0, 0, 128, 63, 0, 0, 0, 63, 3]),
        ("document", &[87, 1, b'a', 2, b'{', b'}', 3]),
        ("flood", &[70, 1, 0, 200]),
        ("progress", &[10, 128, 3]),
        ("pull", &[11, 50, 0, 11, 0, 0, 3]),
        ("log", &[12, 1, b'a', 2, b'b', b'c', 3]),
        ("failure", &[53, 254, 2, b'n', b'o', 1, b'k', 1, b'v']),
        ("exit", &[46, 3]),
        ("abort", &[62, 2, b'n', b'o']),
        ("noise", &[15, 6, 1, 2, 3, 4, 5, 6]),
    ];
    for (knobs, kind) in [(0, "generate"), (5, "embed"), (6, "transcribe")] {
        for (name, step) in steps {
            seeds.put(&format!("{kind}-{name}"), &[&[knobs], &OPEN[..], step].concat())?;
        }
    }
    Ok(())
}

/// Calls at random: no two inputs alike, and the same ones every time.
fn misuse(seeds: &Seeds) -> Result<()> {
    let mut state = 7_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for number in 0..48 {
        let length = 40 + usize::from(byte()) * 4;
        // Three of four inputs begin with an engine and all its models.
        let first = if number % 4 == 0 { byte() } else { 7 };
        let input: Vec<u8> = std::iter::once(first).chain((1..length).map(|_| byte())).collect();
        seeds.put(&format!("{number:02}"), &input)?;
    }
    Ok(())
}

/// One frame of each type, and all of them after one another.
#[cfg(unix)]
mod conversation {
    use super::Seeds;
    use std::fs::File;
    use std::io::Result;
    use std::path::Path;
    use tenon_tasks::{Segment, Token, Usage, Word};
    use tenon_wire::{
        FileEntry, Hello, Item, Library, Order, Outcome, Output, PROTOCOL, Reply, RunOrder, Samples, Sandbox,
        SandboxReport, Start, Started, VERSION, limits,
    };

    pub fn seeds(out: &Path) -> Result<()> {
        let frames: Vec<Vec<u8>> = replies().iter().map(|reply| framed(reply.encode())).collect();
        put(&Seeds::of(out, "replies")?, &[], &frames)?;
        let (with, without): (Vec<_>, Vec<_>) = orders()?.into_iter().partition(|(descriptors, _)| *descriptors > 0);
        let seeds = Seeds::of(out, "orders")?;
        let frames: Vec<Vec<u8>> = without.iter().map(|(_, order)| framed(order.encode())).collect();
        put(&seeds, &[0], &frames)?;
        for (descriptors, order) in with {
            let input = [vec![descriptors], framed(order.encode())].concat();
            seeds.put(&format!("with-{descriptors}-{}", input[5]), &input)?;
        }
        Ok(())
    }

    fn put(seeds: &Seeds, head: &[u8], frames: &[Vec<u8>]) -> Result<()> {
        for (number, frame) in frames.iter().enumerate() {
            seeds.put(&format!("{number:02}"), &[head, frame.as_slice()].concat())?;
        }
        seeds.put("all", &[head, frames.concat().as_slice()].concat())
    }

    fn framed(frame: tenon_wire::Result<Vec<u8>>) -> Vec<u8> {
        let frame = frame.expect("a small frame");
        [&(frame.len() as u32).to_le_bytes()[..], frame.as_slice()].concat()
    }

    fn run(items: Vec<Item>) -> Order {
        Order::Run(Box::new(RunOrder {
            call: 5,
            session: 2,
            task: "transcribe".to_owned(),
            options: r#"{"language":"de"}"#.to_owned(),
            deadline_us: Some(1_000_000),
            credit: limits::CREDIT,
            live_rate: Some(16_000),
            items,
        }))
    }

    fn start() -> Result<Order> {
        let file = || File::open("/dev/null");
        let (role, name) = ("model".to_owned(), "model.bin".to_owned());
        let entry = FileEntry { role, name, size: 7, sha256: [3; 32], file: file()? };
        let plugin = Library { name: "echo".to_owned(), file: file()? };
        let (sandbox, memory_limit) = (Sandbox::Require, Some(1 << 30));
        Ok(Order::Start(Box::new(Start { plugin, files: vec![entry], sandbox, memory_limit, log_level: 3 })))
    }

    /// Orders with how many descriptors each has.
    fn orders() -> Result<Vec<(u8, Order)>> {
        let text = Item::Text { role: "user".to_owned(), text: "Wie geht\u{2019}s?".to_owned() };
        let audio = |samples| Item::Audio { rate: 16_000, samples };
        let options = "{}".to_owned();
        #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "only Linux adds to them"))]
        let mut orders = vec![
            (2, start()?),
            (0, Order::Estimate { call: 1, options: options.clone() }),
            (0, Order::OpenModel { call: 2, options: options.clone() }),
            (0, Order::OpenSession { call: 3, session: 2, options }),
            (0, Order::ResetSession { call: 4, session: 2 }),
            (0, run(vec![text, audio(Samples::Inline(vec![0.25; 3]))])),
            (0, Order::Cancel { call: 5, status: -5 }),
            (0, Order::Credit { call: 5, count: 64 }),
            (0, Order::Block { call: 5, samples: Samples::Inline(vec![0.5; 2]) }),
            (0, Order::NoBlock { call: 5, status: -7 }),
            (0, Order::CloseSession { session: 2 }),
            (0, Order::LogLevel { level: 5 }),
            (0, Order::Ping { serial: 9 }),
            (0, Order::Quit),
        ];
        #[cfg(target_os = "linux")]
        {
            let mapped = || tenon_wire::Sealed::new(&[0.5; 4]).map(Samples::Mapped);
            orders.push((2, run(vec![audio(mapped()?), audio(mapped()?)])));
            orders.push((1, Order::Block { call: 5, samples: mapped()? }));
        }
        Ok(orders)
    }

    fn outputs() -> Vec<Output> {
        let token = Token { id: 7, text: " geht".to_owned(), logprob: Some(-0.5), start_us: Some(5), end_us: Some(9) };
        let word = Word { start_us: 5, end_us: 9, text: "geht".to_owned(), confidence: Some(0.75) };
        vec![
            Output::Text(vec![0xe2, 0x80]),
            Output::Token(Token { start_us: None, end_us: None, ..token.clone() }),
            Output::Segment(Segment {
                start_us: 0,
                end_us: 10,
                text: " Wie geht\u{2019}s?".to_owned(),
                confidence: Some(0.5),
                no_speech: None,
                words: vec![word],
                tokens: vec![token],
            }),
            Output::Usage(Usage { prompt_tokens: 3, generated_tokens: 2, generate_us: 900, ..Usage::default() }),
            Output::Document { name: "estimate".to_owned(), text: r#"{"bytes":7}"#.to_owned() },
            Output::Embedding { index: 1, values: vec![0.25, -1.5] },
        ]
    }

    fn replies() -> Vec<Reply> {
        let started = Started {
            id: "echo".to_owned(),
            version: VERSION.to_owned(),
            abi: (1, 1),
            build_info: "release".to_owned(),
            caps: 3,
            description: "{}".to_owned(),
            has_estimate: true,
            sandbox: SandboxReport { landlock: Some(7), seccomp: true, missing: None },
        };
        let details = vec![("native".to_owned(), "bad magic".to_owned())];
        let outcome = Outcome { status: -13, message: Some("no model".to_owned()), details };
        let mut replies = vec![
            Reply::Hello(Hello { protocol: PROTOCOL, version: VERSION.to_owned(), pid: 4711 }),
            Reply::Started(Box::new(started)),
            Reply::Refused(outcome.clone()),
            Reply::Progress { call: 5, fraction: 0.5 },
            Reply::Pull { call: 5, timeout_us: -1 },
            Reply::Done { call: 5, outcome },
            Reply::Log { level: 3, backend: "echo".to_owned(), message: "ready".to_owned() },
            Reply::Pong { serial: 9, activity: 12 },
        ];
        replies.extend(outputs().into_iter().map(|output| Reply::Output { call: 5, output }));
        replies
    }
}
