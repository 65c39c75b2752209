//! A home with test plugins and models, and the program in it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use tenon_testkit::{Home, copied_out, echo, faulty, wav, worker};

/// The program, copied out of the checkout: beside its build folder it would find the checkout's own models.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| copied_out(Path::new(env!("CARGO_BIN_EXE_tenon"))))
}

/// What a run of the program gave.
pub struct Ran {
    /// The exit code; −1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    pub fn new(output: Output, home: &Path) -> Self {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
            text.replace(&*home.to_string_lossy(), "[HOME]")
        };
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Standard output as JSON; it must have gone well.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Each line of standard output as JSON.
    pub fn json_lines(&self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The error object on the last line of standard error.
    pub fn json_error(&self) -> Value {
        let line = self.err.lines().last().expect("an error");
        let error: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.err));
        error["error"].clone()
    }

    /// What a reader sees: both streams and the exit code, for golden files.
    pub fn page(&self) -> String {
        format!("{}--- stderr\n{}--- exit {}\n", self.out, self.err, self.code)
    }

    /// It went well; gives standard output on one line, whatever the width of the terminal.
    pub fn unwrapped(self) -> String {
        self.ok().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// It went well; gives standard output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }
}

/// A home, and the program in it.
pub struct Tenon {
    pub home: Home,
}

impl Tenon {
    /// With plugins echo and faulty, models for each task, and recordings of 2.5 and 0.5 s.
    pub fn new() -> Self {
        let home = Home::new();
        home.add_plugin(&echo());
        home.add_plugin(&faulty());
        let file = home.add_file("model", "speech.bin", b"weights of speech");
        let presets = "[preset.default]\nlanguage = \"en\"\n[preset.german]\nlanguage = \"de\"\n";
        home.add_manifest("speech", "transcribe", "echo", &format!("languages = [\"en\", \"de\"]\n{file}{presets}"));
        home.add_manifest("talk", "chat", "echo", "description = \"Repeats what it hears\"");
        home.add_manifest("text", "generate", "echo", "");
        home.add_manifest("vectors", "embed", "echo", "");
        home.add_manifest("broken-backend", "generate", "faulty", "");
        let away = "[[file]]\nrole = \"model\"\nname = \"away.bin\"\nurl = [\"https://example.org/away.bin\"]\n\
                    sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nsize = 5000000\n";
        home.add_manifest("away", "chat", "echo", away);
        let tenon = Self { home };
        tenon.write("a.wav", &wav(&tone(2.5), 16_000));
        tenon.write("b.wav", &wav(&tone(0.5), 8_000));
        tenon.write("bad.wav", b"this is no audio at all, whatever its name says");
        tenon
    }

    /// Writes a file into the home and gives its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    /// Reads a file of the home.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program with nothing of the caller's environment but PATH, in the home.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let home = self.home.path();
        let mut command = std::process::Command::new(program());
        command.args(args).current_dir(home).env_clear().env("TENON_WORKER", worker());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for name in ["SystemRoot", "TEMP", "TMP"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, folder) in [("HOME", "user"), ("LOCALAPPDATA", "user"), ("XDG_STATE_HOME", "state")] {
            command.env(name, home.join(folder));
        }
        for (name, folder) in
            [("TENON_MANIFESTS", "manifests"), ("TENON_PLUGIN_PATH", "plugins"), ("TENON_MODELS", "models")]
        {
            command.env(name, home.join(folder));
        }
        command
    }

    /// Runs the program with an empty standard input.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    /// Runs the program with this piped into it.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let output = assert_cmd::Command::from_std(self.command(args)).write_stdin(input).output();
        Ran::new(output.expect("the program runs"), self.home.path())
    }

    /// Runs the program with variables.
    pub fn run_env(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args);
        command.envs(variables.iter().copied()).stdin(std::process::Stdio::null());
        Ran::new(command.output().expect("the program runs"), self.home.path())
    }
}

/// A tone at half of full scale.
fn tone(seconds: f32) -> Vec<f32> {
    let rate = if seconds > 1.0 { 16_000.0 } else { 8_000.0 };
    (0..(seconds * rate) as usize).map(|index| (index as f32 * 0.3).sin() * 0.5).collect()
}
