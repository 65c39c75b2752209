//! A model's own chat template: Jinja as Hugging Face's tokenizers render it, within limits.
//!
//! Templates come out of model files, so they are code of strangers. They run with a budget of steps and with a limit
//! on what they write; they reach nothing but the values of [`Chat`] and the clock.

use crate::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, ErrorKind, Output as Write, State, context};
use serde::Serialize;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest template that is compiled.
const MAX_SOURCE: usize = 1 << 20;
/// Steps that a rendering may take.
const FUEL: u64 = 2_000_000;
/// Bytes that a rendering may write.
const MAX_OUTPUT: usize = 16 << 20;
const NAME: &str = "chat";

/// A compiled chat template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
}

/// A turn of a conversation, as templates see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// What a template is rendered with.
#[derive(Clone, Debug)]
pub struct Chat<'a> {
    /// The turns, in order.
    pub messages: &'a [Turn],
    /// Text of the token that begins a text, or empty.
    pub bos: &'a str,
    /// Text of the token that ends a text, or empty.
    pub eos: &'a str,
    /// Ends the prompt with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`.
    pub arguments: &'a serde_json::Map<String, serde_json::Value>,
}

impl Template {
    /// Compiles a template.
    ///
    /// ```
    /// use tenon_llama_text::{Chat, Template, Turn};
    ///
    /// let template = Template::new("{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}").unwrap();
    /// let messages = [Turn { role: "user".into(), content: " hi ".into() }];
    /// let none = serde_json::Map::new();
    /// let chat = Chat { messages: &messages, bos: "", eos: "", add_generation_prompt: true, arguments: &none };
    /// assert_eq!(template.render(&chat).unwrap(), "[user] hi\n");
    /// ```
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > MAX_SOURCE {
            return Err(Error::new(format!("the chat template has {} bytes, more than {MAX_SOURCE}", source.len())));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| Error::new(error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(as_python);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, without_generation_tags(source))
            .map_err(|error| Error::new(format!("the model's chat template cannot be read: {}", sentence(&error))))?;
        Ok(Self { environment })
    }

    /// Renders a conversation.
    pub fn render(&self, chat: &Chat<'_>) -> Result<String> {
        let failed =
            |error: minijinja::Error| Error::new(format!("the model's chat template refuses: {}", sentence(&error)));
        let arguments = Value::from(Serde(chat.arguments));
        let values = context! {
            messages => Value::from(Serde(chat.messages)),
            bos_token => chat.bos,
            eos_token => chat.eos,
            add_generation_prompt => chat.add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            ..arguments
        };
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let mut output = Output::default();
        template.render_captured_to(values, &mut output).map_err(failed)?;
        String::from_utf8(output.0).map_err(|_| Error::new("the model's chat template wrote no text"))
    }
}

/// What a template wrote, up to the limit.
#[derive(Default)]
struct Output(Vec<u8>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("it writes more than {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes truth values and nothing as Python does.
fn as_python(
    out: &mut Write<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> std::result::Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
        ValueKind::None => Ok(out.write_str("None")?),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// The words of an error and of what is behind it, with the line of the template.
fn sentence(error: &minijinja::Error) -> String {
    let mut words = match (error.kind(), error.detail()) {
        // The template itself chose these words.
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    if let Some(source) = std::error::Error::source(error) {
        words = format!("{words}: {source}");
    }
    match error.line() {
        Some(line) => format!("{words} (line {line})"),
        None => words,
    }
}

/// Hugging Face marks what the model itself said by `{% generation %}`, for training. It changes no text.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, tag, after) = (&rest[..start], &rest[start..start + length + 2], &rest[start + length + 2..]);
        out += before;
        match tag.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim() {
            "generation" => out += &tag.replace("generation", "if true"),
            "endgeneration" => out += &tag.replace("endgeneration", "endif"),
            _ => out += tag,
        }
        rest = after;
    }
    out + rest
}

fn raise_exception(message: String) -> std::result::Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// JSON as Python's `json.dumps(ensure_ascii=False)` writes it.
fn to_json(value: Value, kwargs: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    // Escaping would be right for HTML; a prompt is not.
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    let _: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    let failed = |error: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string());
    let json = serde_json::to_value(&value).map_err(failed)?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = vec![b' '; width.min(16)];
            let pretty = serde_json::ser::PrettyFormatter::with_indent(&indent);
            json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    written.map_err(failed)?;
    String::from_utf8(out).map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// One line, with a space behind each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The present moment, in UTC, by the directives that templates use.
fn strftime_now(format: String) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    strftime(&format, seconds)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn strftime(format: &str, seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[(seconds / 86_400 % 7) as usize]);
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('Y') => out += &format!("{year:04}"),
            Some('y') => out += &format!("{:02}", year % 100),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('e') => out += &format!("{day:>2}"),
            Some('H') => out += &format!("{hour:02}"),
            Some('I') => out += &format!("{half:02}"),
            Some('M') => out += &format!("{minute:02}"),
            Some('S') => out += &format!("{second:02}"),
            Some('p') => out += if hour < 12 { "AM" } else { "PM" },
            Some('B') => out += month_name,
            Some('b' | 'h') => out += &month_name[..3],
            Some('A') => out += day_name,
            Some('a') => out += &day_name[..3],
            Some('F') => out += &format!("{year:04}-{month:02}-{day:02}"),
            Some('T') => out += &format!("{hour:02}:{minute:02}:{second:02}"),
            Some('-') => match letters.next() {
                Some('d') => out += &day.to_string(),
                Some('m') => out += &month.to_string(),
                Some('H') => out += &hour.to_string(),
                Some('I') => out += &half.to_string(),
                other => out.extend(['%', '-'].into_iter().chain(other)),
            },
            Some('Z') => out += "UTC",
            Some('z') => out += "+0000",
            Some('%') => out.push('%'),
            other => out.extend(['%'].into_iter().chain(other)),
        }
    }
    out
}

/// Year, month and day of a day counted from 1970-01-01 (Gregorian).
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the leap day; an era is 400 of them.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn turns(all: &[(&str, &str)]) -> Vec<Turn> {
        all.iter().map(|(role, content)| Turn { role: (*role).into(), content: (*content).into() }).collect()
    }

    fn render(source: &str, messages: &[(&str, &str)], arguments: serde_json::Value) -> Result<String> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let messages = turns(messages);
        let chat =
            Chat { messages: &messages, bos: "<s>", eos: "</s>", add_generation_prompt: true, arguments: &arguments };
        Template::new(source)?.render(&chat)
    }

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
        '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    #[test]
    fn renders_chatml() {
        assert_eq!(
            render(CHATML, &[("system", "be brief"), ("user", "hi")], json!({})).unwrap(),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn blocks_take_their_line_with_them_and_the_last_newline_goes() {
        let source =
            "{{ bos_token }}\n  {% for m in messages %}\n{{ m.content }}\n  {% endfor %}\nend{{ eos_token }}\n";
        assert_eq!(render(source, &[("user", "a"), ("user", "b")], json!({})).unwrap(), "<s>\na\nb\nend</s>");
    }

    #[test]
    fn an_exception_of_the_template_is_its_own_sentence() {
        let source =
            "{% if messages[0].role == 'system' %}\n{{ raise_exception('System role not supported') }}{% endif %}";
        let error = render(source, &[("system", "x")], json!({})).unwrap_err().to_string();
        assert_eq!(error, "the model's chat template refuses: System role not supported (line 2)");
        assert_eq!(render(source, &[("user", "x")], json!({})).unwrap(), "");
    }

    #[test]
    fn python_methods_slices_namespaces_and_loop_controls_work() {
        let source = "{%- set ns = namespace(found=false) -%}{%- for m in messages[::-1] -%}\
            {%- if m.content.startswith('q') -%}{%- set ns.found = true -%}{{ m.content.split(':')[-1].strip().upper() }}\
            {%- break -%}{%- endif -%}{%- endfor -%}|{{ ns.found }}|{{ messages | length }}|{{ 'x' in messages[0].content }}";
        let messages = [("user", "q: first "), ("user", "q: last "), ("assistant", "x")];
        assert_eq!(render(source, &messages, json!({})).unwrap(), "LAST|True|3|False");
    }

    #[test]
    fn json_looks_as_python_writes_it() {
        let source = "{{ tool | tojson }}\n{{ tool | tojson(indent=2) }}";
        let tool = json!({"tool": {"name": "über<a>", "list": [1, 2.5, null, true], "none": {}}});
        assert_eq!(
            render(source, &[], tool).unwrap(),
            "{\"name\": \"über<a>\", \"list\": [1, 2.5, null, true], \"none\": {}}\n{\n  \"name\": \"über<a>\",\n  \"list\": [\n    1,\n    2.5,\n    null,\n    true\n  ],\n  \"none\": {}\n}"
        );
    }

    #[test]
    fn arguments_reach_the_template_and_do_not_replace_the_messages() {
        let source = "{{ messages | length }}{{ enable_thinking }}{% if tools %}T{% endif %}{% if nothing is defined %}D{% endif %}";
        assert_eq!(
            render(source, &[("user", "x")], json!({"enable_thinking": false, "messages": []})).unwrap(),
            "1False"
        );
    }

    #[test]
    fn generation_tags_change_nothing() {
        let source = "{%- for m in messages -%}{%- generation -%}{{ m.content }}{%- endgeneration -%}{%- endfor -%}";
        assert_eq!(render(source, &[("assistant", "a")], json!({})).unwrap(), "a");
    }

    #[test]
    fn a_template_bomb_is_defused() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(render(loops, &[], json!({})).is_err());
        let recursion = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(render(recursion, &[], json!({})).is_err());
        let long = "a".repeat(1 << 16);
        let output = "{% for a in range(9999) %}{{ messages[0].content }}{% endfor %}";
        let error = render(output, &[("user", &long)], json!({})).unwrap_err().to_string();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
        assert!(Template::new(&"x".repeat(MAX_SOURCE + 1)).is_err());
    }

    #[test]
    fn a_broken_template_is_refused_with_its_line() {
        let error = Template::new("a\n{% for %}").unwrap_err().to_string();
        assert!(
            error.starts_with("the model's chat template cannot be read:") && error.ends_with("(line 2)"),
            "{error}"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(strftime("%d %b %Y %H:%M:%S %A", 1_709_210_096), "29 Feb 2024 12:34:56 Thursday");
        assert_eq!(strftime("%F %p %-d %e %%", 0), "1970-01-01 AM 1  1 %");
        assert_eq!(strftime("%Y-%m-%d %B", 4_102_444_799), "2099-12-31 December");
        assert_eq!(strftime("%q%", 0), "%q%");
    }
}
