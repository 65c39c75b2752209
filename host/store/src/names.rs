//! Which texts may be names: of models, of files, of what backends and tasks are called.
//!
//! A name that is fine here can be joined to a folder on any system without leaving that folder.

/// Longest name of a model, and of anything else that is an identifier.
pub(crate) const LONGEST_ID: usize = 64;

/// Longest name of a file, in bytes: what common file systems take.
const LONGEST_FILE_NAME: usize = 255;

/// What is wrong with the name of a model, if anything: a clause after the name.
pub(crate) fn model_name_problem(name: &str) -> Option<String> {
    id_problem(name, "._-").or_else(|| {
        if name.contains("..") {
            Some("holds two dots in a row".to_owned())
        } else if name.ends_with('.') {
            Some("ends with a dot, which Windows drops".to_owned())
        } else {
            device_name_problem(name)
        }
    })
}

/// What is wrong with an identifier of lower-case letters, digits and the characters of `also`.
pub(crate) fn id_problem(name: &str, also: &str) -> Option<String> {
    let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9') || also.contains(c);
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        let also: Vec<String> = also.chars().map(String::from).collect();
        let also = if also.is_empty() { String::new() } else { format!(" and {}", also.join(" ")) };
        return Some(format!("holds {bad:?}; only a to z, 0 to 9{also} are allowed"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Some("must start with a letter or a digit".to_owned());
    }
    if name.len() > LONGEST_ID {
        return Some(format!("has {} characters, more than {LONGEST_ID}", name.len()));
    }
    None
}

/// What is wrong with the name of a file, if anything: a clause after the name.
pub(crate) fn file_name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > LONGEST_FILE_NAME {
        return Some(format!("has {} bytes, more than {LONGEST_FILE_NAME}", name.len()));
    }
    if name == "." || name == ".." {
        return Some("is a folder, not a file".to_owned());
    }
    if let Some(bad) = name.chars().find(|&c| unsafe_in_file_name(c)) {
        return Some(match bad {
            '/' | '\\' => format!("holds {bad:?}: a file is named without folders"),
            ':' => "holds ':', which means a drive or a stream on Windows".to_owned(),
            _ => format!("holds {bad:?}"),
        });
    }
    if name.contains("..") {
        return Some("holds two dots in a row".to_owned());
    }
    if has_percent_escape(name) {
        return Some("holds a percent escape such as %2e".to_owned());
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Some("starts or ends with what Windows drops: a space, or a dot at the end".to_owned());
    }
    device_name_problem(name)
}

/// Characters that no message may hold, because they steer the terminal or show a text as another.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || reorders_text(c)
}

/// What another said, or a message that holds it, as one line for people: without what steers the terminal, and cut
/// where it is longer than anybody reads.
pub(crate) fn plain(text: &str) -> String {
    const LONGEST: usize = 1000;
    let shown = text.chars().take(LONGEST).map(|c| if steers(c) { char::REPLACEMENT_CHARACTER } else { c });
    let rest = if text.chars().nth(LONGEST).is_some() { "…" } else { "" };
    shown.chain(rest.chars()).collect()
}

/// Characters that no file name may hold: those that separate or are special on one of the systems, control
/// characters, and those that make a name look like another.
fn unsafe_in_file_name(c: char) -> bool {
    matches!(c, '/' | '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*') || steers(c)
}

/// Characters that show text in another order than it is stored, or show nothing.
pub(crate) fn reorders_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn has_percent_escape(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.windows(3).any(|three| three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit())
}

/// Windows opens a device for these names, whatever the folder and the extension.
fn device_name_problem(name: &str) -> Option<String> {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |prefix: &str| {
        let rest = stem.strip_prefix(prefix).unwrap_or_default();
        matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
    };
    let device = matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$" | "clock$")
        || numbered("com")
        || numbered("lpt");
    device.then(|| "is the name of a device on Windows".to_owned())
}

/// The candidate closest to `name`, if one is close enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time by the product of the lengths; no sensible name is this long.
    if name.len() > 4 * LONGEST_ID {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A text in quotes for a message, cut when it is long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_names_that_models_and_files_have() {
        for name in ["whisper-tiny.en-q5_1", "qwen2.5-7b-instruct-q4_k_m", "a", "0", "console", "com10", "nullable"] {
            assert_eq!(model_name_problem(name), None, "{name}");
        }
        for name in ["ggml-base.bin", "Qwen3-0.6B-Q8_0.gguf", "modèle.bin", "模型 1.gguf", ".hidden", "100%.bin"] {
            assert_eq!(file_name_problem(name), None, "{name}");
        }
    }

    #[test]
    fn refuses_model_names_that_are_not_plain_identifiers() {
        let long = "a".repeat(65);
        for name in
            ["", "-a", ".a", "_a", "A", "a b", "a/b", "a\\b", "..", "a..b", "a.", "é", "a\0", "con", "nul.x", &long]
        {
            assert!(model_name_problem(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length_that_steers_nothing() {
        assert_eq!(plain("unknown field `a\u{1b}[2J\n`"), "unknown field `a\u{fffd}[2J\u{fffd}`");
        assert_eq!(plain(&"é".repeat(1000)), "é".repeat(1000));
        assert_eq!(plain(&"é".repeat(1001)), format!("{}…", "é".repeat(1000)));
    }

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(nearest("sha265", ["size", "sha256", "role"]), Some("sha256"));
        assert_eq!(nearest("zzz", ["size", "sha256", "role"]), None);
        assert_eq!(nearest(&"s".repeat(100_000), ["size"]), None);
    }
}
