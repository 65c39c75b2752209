//! Names of whisper-cli, openai-whisper and llama-cli, rewritten to Tenon's before clap sees the command line.
//!
//! clap knows no flag of several letters behind one dash, so that `-osrt` would mean `-o srt`. The tables here are
//! the only place where foreign names stand; [`shorts`] finds them again for the help texts.

use std::ffi::{OsStr, OsString};

/// Foreign name, Tenon's name.
type Names = &'static [(&'static str, &'static str)];

/// For `tenon transcribe`.
const TRANSCRIBE: Names = &[
    ("-p", "--processors"),
    ("-ot", "--offset-t"),
    ("-on", "--offset-n"),
    ("-d", "--duration"),
    ("-mc", "--max-context"),
    ("-ml", "--max-len"),
    ("-sow", "--split-on-word"),
    ("-bo", "--best-of"),
    ("-bs", "--beam-size"),
    ("-ac", "--audio-ctx"),
    ("-wt", "--word-thold"),
    ("-et", "--entropy-thold"),
    ("-lpt", "--logprob-thold"),
    ("-nth", "--no-speech-thold"),
    ("-tp", "--temperature"),
    ("-tpi", "--temperature-inc"),
    ("-tr", "--translate"),
    ("-di", "--diarize"),
    ("-tdrz", "--tinydiarize"),
    ("-nf", "--no-fallback"),
    ("-otxt", "--output-txt"),
    ("-ovtt", "--output-vtt"),
    ("-osrt", "--output-srt"),
    ("-olrc", "--output-lrc"),
    ("-ocsv", "--output-csv"),
    ("-oj", "--output-json"),
    ("-ojf", "--output-json-full"),
    ("-of", "--output-file"),
    ("-np", "--quiet"),
    ("--no-prints", "--quiet"),
    ("-pc", "--print-colors"),
    ("-pp", "--progress=plain"),
    ("--print-progress", "--progress=plain"),
    ("-nt", "--no-timestamps"),
    ("-l", "--language"),
    ("-dl", "--detect-language"),
    ("-ng", "--no-gpu"),
    ("-dev", "--device"),
    ("-fa", "--flash-attn"),
    ("-sns", "--suppress-nst"),
    ("-vm", "--vad-model"),
    ("-vt", "--vad-threshold"),
    ("-vspd", "--vad-min-speech-duration-ms"),
    ("-vsd", "--vad-min-silence-duration-ms"),
    ("-vmsd", "--vad-max-speech-duration-s"),
    ("-vp", "--vad-speech-pad-ms"),
    ("-vo", "--vad-samples-overlap"),
    ("--initial-prompt", "--prompt"),
    ("--word-timestamps", "--words"),
];

/// For `tenon run`.
const RUN: Names = &[
    ("-sys", "--system"),
    ("--system-prompt", "--system"),
    ("-n", "--max-tokens"),
    ("--predict", "--max-tokens"),
    ("--n-predict", "--max-tokens"),
    ("-c", "--context-size"),
    ("--ctx-size", "--context-size"),
    ("-b", "--batch-size"),
    ("-ub", "--ubatch-size"),
    ("-fa", "--flash-attn"),
    ("-ngl", "--gpu-layers"),
    ("--n-gpu-layers", "--gpu-layers"),
    ("-s", "--seed"),
    ("--temp", "--temperature"),
    ("-j", "--json-schema"),
    ("-jf", "--json-schema-file"),
];

/// What llama-cli has and `tenon run` has not, with what to do instead. Refused by name: some of these begin with the
/// letter of another flag, such as the one for help.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-hft", "--hf-token", "-mu", "--model-url"],
        "`tenon pull` gets a model, such as hf:ORG/REPO, and `tenon run NAME` runs it",
    ),
    (&["-m", "--model"], "name the model as the first argument; `tenon import FILE` makes a model of a file"),
    (&["-dev"], "which device computes is the backend's choice; `tenon devices` shows them"),
    (&["-ctk", "-ctv"], "no backend that ships has caches of another type"),
    (&["-tb", "--threads-batch"], "--threads counts for the prompt, too"),
    (&["-ot", "--override-tensor"], "where tensors lie is the backend's choice"),
    (&["-md", "--model-draft", "-hfd", "--hf-repo-draft"], "no backend that ships drafts with a second model"),
    (&["-mm", "--mmproj"], "no backend that ships reads images or sounds beside a prompt"),
    (&["-i", "--interactive", "-if", "-cnv", "--conversation"], "without a prompt, in a terminal, it is a chat"),
    (&["-r", "--reverse-prompt"], "--stop TEXT ends an answer where the backend has it"),
];

/// Global flags that take a value in the next argument.
const GLOBALS_WITH_VALUE: &[&str] = &[
    "--isolation",
    "--log",
    "--manifests",
    "--models",
    "--plugins",
    "--progress",
    "--store",
    "--threads",
    "--verify",
    "-t",
];

/// The command line in Tenon's own names. Arguments that are not UTF-8 and everything after `--` stay as they are.
pub fn rewrite(args: Vec<OsString>) -> Vec<OsString> {
    let Some(command) = command_index(&args) else { return args };
    let names = match args[command].to_str() {
        Some("transcribe") => TRANSCRIBE,
        Some("run") => RUN,
        _ => return args,
    };
    let transcribe = args[command] == "transcribe";
    let mut rewritten: Vec<OsString> = args[..=command].to_vec();
    let mut rest = args[command + 1..].iter().peekable();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            rewritten.push(arg.clone());
            rewritten.extend(rest.cloned());
            break;
        }
        let is_dir = rest.peek().is_some_and(|next| !next.to_string_lossy().contains('='));
        rewritten.push(match arg.to_str() {
            Some("-o") if transcribe && is_dir => "--output-dir".into(),
            Some(text) if text.starts_with('-') => rename(text, names).into(),
            _ => arg.clone(),
        });
    }
    rewritten
}

/// A flag of llama-cli on the command line of `tenon run` that Tenon does not offer, and why.
pub fn refused(args: &[OsString]) -> Option<String> {
    let command = command_index(args).filter(|&index| args[index] == "run")?;
    let flags = args[command + 1..].iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str());
    flags.map(|flag| flag.split('=').next().unwrap_or_default()).find_map(|flag| {
        let (_, reason) = REFUSED.iter().find(|(names, _)| names.contains(&flag))?;
        Some(format!("{flag} of llama-cli is not supported: {reason}"))
    })
}

/// Where the command stands: the first argument that is neither a global flag nor the value of one.
pub fn command_index(args: &[OsString]) -> Option<usize> {
    let mut index = 1;
    while let Some(arg) = args.get(index).map(|arg| arg.to_string_lossy()) {
        match arg.as_ref() {
            flag if GLOBALS_WITH_VALUE.contains(&flag) => index += 2,
            flag if flag.starts_with('-') => index += 1,
            _ => return Some(index),
        }
    }
    None
}

/// The value of a flag on a command line that clap has not parsed yet: `--flag value`, `--flag=value`, `-fvalue` or
/// `-f=value`.
pub fn value_of<'a>(args: &'a [OsString], flags: &[&str]) -> Option<&'a OsStr> {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    for (index, arg) in args[..end].iter().enumerate() {
        if flags.iter().any(|flag| arg == flag) {
            return args[..end].get(index + 1).map(OsString::as_os_str);
        }
        let attached = flags.iter().find_map(|flag| match flag.strip_prefix("--") {
            Some(_) => arg.to_str()?.strip_prefix(flag)?.strip_prefix('='),
            // clap takes `-m=value` for `-m value`, too.
            None => arg.to_str()?.strip_prefix(flag).map(|value| value.strip_prefix('=').unwrap_or(value)),
        });
        if let Some(value) = attached {
            return Some(OsStr::new(value));
        }
    }
    None
}

/// The foreign names of one of Tenon's flags for a command, such as `-ml` for `--max-len`.
pub fn shorts<'a>(command: &str, flag: &'a str) -> impl Iterator<Item = &'static str> + use<'a> {
    let names = match command {
        "transcribe" => TRANSCRIBE,
        "run" => RUN,
        _ => &[],
    };
    names.iter().filter(move |(_, ours)| *ours == flag).map(|(theirs, _)| *theirs)
}

/// One argument: its name up to `=` is looked up, and `_` in long names becomes `-`, as openai-whisper writes them.
fn rename(arg: &str, names: Names) -> String {
    let (name, value) = match arg.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    };
    let hyphened = if name.starts_with("--") { name.replace('_', "-") } else { name.to_owned() };
    let ours = names.iter().find(|(theirs, _)| *theirs == hyphened).map_or(hyphened.as_str(), |(_, ours)| ours);
    match value {
        Some(value) => format!("{ours}={value}"),
        None => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let args = rewrite(line.split(' ').map(OsString::from).collect());
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_of_whisper_cli_become_long_flags() {
        assert_eq!(
            rewritten("tenon transcribe -m base -osrt -of out -ml 40 -sow -l de -bs=5 a.wav"),
            "tenon transcribe -m base --output-srt --output-file out --max-len 40 --split-on-word --language de \
             --beam-size=5 a.wav"
        );
        assert_eq!(rewritten("tenon transcribe -np -pp a.wav"), "tenon transcribe --quiet --progress=plain a.wav");
    }

    #[test]
    fn flags_of_openai_whisper_become_hyphened_ones() {
        assert_eq!(
            rewritten("tenon transcribe a.wav --output_format srt --output_dir subs --word_timestamps"),
            "tenon transcribe a.wav --output-format srt --output-dir subs --words"
        );
    }

    #[test]
    fn a_short_o_is_an_option_with_an_equals_sign_and_a_folder_without() {
        assert_eq!(rewritten("tenon transcribe -o best_of=2 a.wav"), "tenon transcribe -o best_of=2 a.wav");
        assert_eq!(rewritten("tenon transcribe -o subs a.wav"), "tenon transcribe --output-dir subs a.wav");
        assert_eq!(rewritten("tenon run m -o seed=1 hi"), "tenon run m -o seed=1 hi");
    }

    #[test]
    fn flags_of_llama_cli_become_long_flags() {
        assert_eq!(
            rewritten("tenon --log debug run m -n 64 --temp 0 -sys X -c 512 -- -n"),
            "tenon --log debug run m --max-tokens 64 --temperature 0 --system X --context-size 512 -- -n"
        );
    }

    #[test]
    fn other_commands_and_flags_stay_as_they_are() {
        for line in ["tenon list -ml", "tenon verify --all", "tenon", "tenon transcribe -vv -q --json a.wav"] {
            assert_eq!(rewritten(line), line);
        }
    }

    #[test]
    fn the_value_of_a_flag_is_found_in_each_of_its_spellings() {
        let value = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            value_of(&args, &["-m", "--model"]).map(|value| value.to_string_lossy().into_owned())
        };
        for line in ["t -m base", "t --model base", "t --model=base", "t -mbase x", "t -m=base x"] {
            assert_eq!(value(line).as_deref(), Some("base"), "{line}");
        }
        assert_eq!(value("t -- -m base"), None);
        assert_eq!(value("t --models dir"), None);
    }

    #[test]
    fn flags_of_llama_cli_that_are_not_offered_are_refused_with_the_reason() {
        let refused = |line: &str| refused(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in ["t run m -hf a/b hi", "t --log debug run m -dev=none hi", "t run m hi -ctk q8_0", "t run -m x hi"]
        {
            assert!(refused(line).unwrap().contains(" of llama-cli is not supported: "), "{line}");
        }
        for line in ["t run m -h", "t run m -- -hf", "t transcribe -m x a.wav", "t run m -sys -n 4 hi", "t"] {
            assert_eq!(refused(line), None, "{line}");
        }
        let names: Vec<&str> = REFUSED.iter().flat_map(|(names, _)| *names).copied().collect();
        assert!(RUN.iter().all(|(theirs, _)| !names.contains(theirs)));
    }

    #[test]
    fn no_foreign_name_stands_twice_or_hides_a_flag_of_tenon() {
        for names in [TRANSCRIBE, RUN] {
            let mut foreign: Vec<&str> = names.iter().map(|(theirs, _)| *theirs).collect();
            foreign.sort_unstable();
            let count = foreign.len();
            foreign.dedup();
            assert_eq!(foreign.len(), count);
            for own in ["-m", "-f", "-o", "-t", "-q", "-v", "-h"] {
                assert!(!foreign.contains(&own), "{own}");
            }
        }
    }
}
