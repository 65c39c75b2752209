//! A model's own chat template: Jinja as Hugging Face's tokenizers render it, within limits.
//!
//! Templates come out of model files, so they are code of strangers. They run with a budget of steps and with a limit
//! on what they write; they reach nothing but the values of [`Chat`] and the clock. Whoever reads, compares or drops
//! nested expressions and values recurses as deep as they are nested, so templates are read and run on threads whose
//! stacks are large enough for the deepest that the length of a source and the budget allow.

use crate::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, ErrorKind, Output as Write, State, context};
use serde::Serialize;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest template that is compiled; those of well-known models have up to some 20 KiB.
const MAX_SOURCE: usize = 64 << 10;
/// Steps that a rendering may take: so many at least, for each message, and for each byte of the further arguments.
const FUEL: u64 = 200_000;
const FUEL_OF_A_MESSAGE: u64 = 4_000;
const FUEL_OF_A_BYTE: u64 = 20;
/// Most steps that a rendering may take.
const MAX_FUEL: u64 = 2_000_000;
/// Stack that every reading and rendering gets.
const STACK: usize = 8 << 20;
/// Frames of code that is not optimised are larger.
const FRAMES: usize = if cfg!(debug_assertions) { 4 } else { 1 };
/// Stack for a byte of a source. Measured: 420 bytes for each of `-----1`, optimised.
const STACK_OF_A_BYTE: usize = FRAMES << 10;
/// Stack for a step. Measured: a list within a list takes at least 8 steps to make and up to 930 bytes to read.
const STACK_OF_A_STEP: usize = FRAMES << 8;
/// Deepest nesting that is written as JSON.
const MAX_JSON_DEPTH: usize = 128;
/// Variables that are not the request's to set.
const OWN: [&str; 3] = ["messages", "bos_token", "eos_token"];
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
        on_stack(STACK + source.len() * STACK_OF_A_BYTE, || Self::compile(source))
    }

    fn compile(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| Error::new(error.to_string()))?);
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
        if let Some(name) = OWN.iter().find(|name| chat.arguments.contains_key(**name)) {
            return Err(Error::new(format!(
                "the template argument \"{name}\" cannot be given: it comes from the conversation and the model"
            )));
        }
        let fuel = fuel(chat);
        on_stack(STACK + fuel as usize * STACK_OF_A_STEP, || self.run(chat, fuel))
    }

    fn run(&self, chat: &Chat<'_>, fuel: u64) -> Result<String> {
        let failed =
            |error: minijinja::Error| Error::new(format!("the model's chat template refuses: {}", sentence(&error)));
        let mut arguments = chat.arguments.clone();
        for (name, value) in [
            ("add_generation_prompt", chat.add_generation_prompt.into()),
            ("tools", serde_json::Value::Null),
            ("documents", serde_json::Value::Null),
        ] {
            arguments.entry(name).or_insert(value);
        }
        let values = context! {
            messages => Value::from(Serde(chat.messages)),
            bos_token => chat.bos,
            eos_token => chat.eos,
            ..Value::from(Serde(arguments))
        };
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(failed)?;
        let mut output = Output::default();
        template.render_captured_to(values, &mut output).map_err(failed)?;
        String::from_utf8(output.0).map_err(|_| Error::new("the model's chat template wrote no text"))
    }
}

/// The steps that a conversation is worth.
fn fuel(chat: &Chat<'_>) -> u64 {
    let arguments = serde_json::to_string(chat.arguments).map_or(0, |text| text.len() as u64);
    let more = chat.messages.len() as u64 * FUEL_OF_A_MESSAGE + arguments.saturating_mul(FUEL_OF_A_BYTE);
    more.saturating_add(FUEL).min(MAX_FUEL)
}

/// Runs what may recurse deeply on a thread of its own, whose stack is mostly addresses: no more of it is used than is
/// needed.
fn on_stack<T: Send>(bytes: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tenon-template".into()).stack_size(bytes);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| Error::new(format!("no thread with a stack of {bytes} bytes for a template: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(Error::new("the reader of a template panicked")))
    })
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
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    // Escaping would be right for HTML; a prompt is not.
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    let _: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    let failed = |message: String| minijinja::Error::new(ErrorKind::BadSerialization, message);
    let (item, key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }, ": "),
        Some([item, key]) => (item.as_str(), key.as_str()),
        Some(_) => return Err(failed("tojson takes two separators".to_owned())),
    };
    let json = serde_json::to_value(&value).map_err(|error| failed(error.to_string()))?;
    if is_deeper(&json, MAX_JSON_DEPTH) {
        return Err(failed(format!("tojson writes no more than {MAX_JSON_DEPTH} levels")));
    }
    let mut out = Vec::new();
    let python = Python { item, key, indent: indent.map(|width| width.min(16)), level: 0, filled: false };
    json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, python))
        .map_err(|error| failed(error.to_string()))?;
    String::from_utf8(out).map_err(|error| failed(error.to_string()))
}

/// Whether something is nested deeper than so many levels.
fn is_deeper(json: &serde_json::Value, levels: usize) -> bool {
    let within = |json: &serde_json::Value| levels == 0 || is_deeper(json, levels - 1);
    match json {
        serde_json::Value::Array(list) => list.iter().any(within),
        serde_json::Value::Object(object) => object.values().any(within),
        _ => false,
    }
}

/// Separators and line ends where Python writes them.
struct Python<'a> {
    item: &'a str,
    key: &'a str,
    indent: Option<usize>,
    level: usize,
    /// The innermost list or object has something in it.
    filled: bool,
}

impl Python<'_> {
    fn open(&mut self) {
        self.level += 1;
        self.filled = false;
    }

    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Some(width) = self.indent else { return Ok(()) };
        write!(writer, "\n{:1$}", "", width * self.level)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level = self.level.saturating_sub(1);
        if self.filled {
            self.line(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        self.filled = true;
        self.line(writer)
    }
}

impl serde_json::ser::Formatter for Python<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open();
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open();
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
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
        assert_eq!(render(source, &[("user", "x")], json!({"enable_thinking": false})).unwrap(), "1False");
        for name in ["messages", "bos_token", "eos_token"] {
            let error = render(source, &[("user", "x")], json!({name: []})).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the template argument \"{name}\" cannot be given")), "{error}");
        }
    }

    #[test]
    fn arguments_take_the_place_of_defaults() {
        let source = "{{ tools | length }}{{ documents[0].text }}{{ add_generation_prompt }}";
        let arguments = json!({"tools": [1, 2], "documents": [{"text": "t"}], "add_generation_prompt": false});
        assert_eq!(render(source, &[], arguments).unwrap(), "2tFalse");
        let source = "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}";
        assert_eq!(render(source, &[], json!({})).unwrap(), "TrueTrueTrue");
    }

    #[test]
    fn json_takes_separators() {
        let source = "{{ x | tojson(separators=(',', ':')) }}{{ x | tojson(separators=[' ; ', ' = '], indent=1) }}";
        assert_eq!(
            render(source, &[], json!({"x": {"a": [1, {}], "b": []}})).unwrap(),
            "{\"a\":[1,{}],\"b\":[]}{\n \"a\" = [\n  1 ; \n  {}\n ] ; \n \"b\" = []\n}"
        );
        assert!(render("{{ 1 | tojson(separators=[',']) }}", &[], json!({})).is_err());
    }

    /// As deep as the longest source can make it.
    #[test]
    fn no_source_overflows_the_stack() {
        let fill = |before: &str, again: &str, after: &str| {
            let count = (MAX_SOURCE - before.len() - after.len()) / again.len();
            format!("{before}{}{after}", again.repeat(count))
        };
        for source in [
            fill("{{ ", "not ", "1 }}"),
            fill("{{ ", "-", "1 }}"),
            fill("{{ 1", "+1", " }}"),
            fill("{{ 1", "~1", " }}"),
            fill("{{ 1", "**1", " }}"),
            fill("{{ 1", " or 1", " }}"),
            fill("{{ 1", "|abs", " }}"),
            fill("{{ a", ".a", " }}"),
            fill("{{ a", "[a]", " }}"),
            fill("{{ a", "()", " }}"),
            fill("{% if x %}", "{%elif x%}", "{% endif %}"),
            fill("{{ 1", " if 1 else 1", " }}"),
            fill("", "{%if x%}", ""),
            fill("{{ ", "(", "1 }}"),
            fill("{{ ", "[", "1 }}"),
        ] {
            // It may be refused, and it may run out of steps.
            if let Ok(template) = Template::new(&source) {
                let none = serde_json::Map::new();
                let chat = Chat { messages: &[], bos: "", eos: "", add_generation_prompt: true, arguments: &none };
                let _ = template.render(&chat);
            }
        }
        assert!(Template::new(&"x".repeat(MAX_SOURCE)).is_ok());
    }

    /// As deep as the steps can make it.
    #[test]
    fn no_value_overflows_the_stack() {
        let nest = "{% set ns = namespace(x=0, y=0) %}{% for j in range(9) %}{% for i in range(9999) %}";
        let end = "{% endfor %}{% endfor %}";
        // The steps end within the loop, or what is made by then is read.
        let many = [turns(&[("user", "x")]), vec![Turn { role: "user".into(), content: String::new() }; 500]];
        for (set, loops, then) in [
            ("{% set ns.x = [ns.x] %}", 9999, ""),
            ("{% set ns.x = [ns.x] %}", 2000, "{{ ns.x }}"),
            ("{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}", 1400, "{{ ns.x == ns.y }}"),
            ("{% set ns.x = [ns.x] %}{% set ns.y = [ns.y] %}", 1400, "{{ ns.x < ns.y }}"),
            ("{% set ns.x = {'a': ns.x} %}{% set ns.y = {'a': ns.y} %}", 1200, "{{ ns.x == ns.y }}"),
            ("{% set ns.x = [ns.x] %}", 2000, "{{ {ns.x: 1} | length }}"),
        ] {
            let source = format!("{}{set}{end}{then}", nest.replace("9999", &loops.to_string()));
            for messages in &many {
                let none = serde_json::Map::new();
                let chat = Chat { messages, bos: "", eos: "", add_generation_prompt: true, arguments: &none };
                let _ = Template::new(&source).unwrap().render(&chat);
            }
        }
        let source = format!("{}{{% set ns.x = [ns.x] %}}{end}{{{{ ns.x | tojson }}}}", nest.replace("9999", "2000"));
        let error = render(&source, &[], json!({})).unwrap_err().to_string();
        assert!(error.contains("no more than 128 levels"), "{error}");
    }

    #[test]
    fn a_long_conversation_has_more_steps() {
        let words = "{% for m in messages %}{% for i in range(300) %}{{ i }}{% endfor %}{{ '\n' }}{% endfor %}";
        let messages = vec![("user", "x"); 1000];
        assert_eq!(render(words, &messages, json!({})).unwrap().lines().count(), 1000);
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
