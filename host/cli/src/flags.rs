//! Flags made from the schemas that a backend exports, and options made from the flags that were given.
//!
//! A schema's `beam_size` becomes `--beam-size`, with the backend's help, range and default. Only what stands on the
//! command line counts: a default is the backend's business. A flag of Tenon's own hides an option of the same name,
//! which can still be reached as `-o name=value`.

use crate::argv;
use crate::failure::{Failure, Outcome};
use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use std::collections::HashSet;
use tenon::{ErrorKind, Options, Schema};
use tenon_tasks::{Field, Kind};

/// The options of a backend, for one command.
pub struct Flags {
    /// Name of the model, for the heading in the help.
    pub model: String,
    /// Name and version of the backend, for the same.
    pub backend: String,
    /// Name of the task.
    pub task: String,
    /// Options of the request.
    pub request: Schema,
    /// Options of loading the model.
    pub load: Schema,
}

/// What was asked for.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// Options of the request.
    pub request: Options,
    /// Options of loading the model.
    pub load: Options,
}

/// Ids of the arguments made here start with these, so that they meet none of the derived ones.
const REQUEST: &str = "request:";
const LOAD: &str = "load:";

impl Flags {
    /// The command with the flags of this backend.
    pub fn add_to(&self, command: Command) -> Command {
        let name = command.get_name().to_owned();
        let mut taken: HashSet<String> = long_names(&command);
        let headings = [
            (REQUEST, &self.request, format!("Options of {} ({})", self.model, self.backend)),
            (LOAD, &self.load, format!("Options of loading {}", self.model)),
        ];
        let mut args = Vec::new();
        for (prefix, schema, heading) in headings {
            for field in schema.fields() {
                let long = field.name.replace('_', "-");
                if taken.insert(long.clone()) {
                    args.push(argument(prefix, field, long, schema, &name).help_heading(heading.clone()));
                }
            }
        }
        command.args(args)
    }

    /// What was asked for by flags and by `-o key=value`, which comes last and wins.
    pub fn asked(&self, matches: &ArgMatches, pairs: &[String]) -> Outcome<Asked> {
        let mut asked =
            Asked { request: given(matches, REQUEST, &self.request), load: given(matches, LOAD, &self.load) };
        for pair in pairs {
            self.set(&mut asked, pair)?;
        }
        Ok(asked)
    }

    /// Sets one option of a request from `key=value`. Changes options between the turns of a chat, too.
    pub fn set_request(&self, options: &mut Options, pair: &str) -> Outcome {
        let (key, text) = split(pair)?;
        let value = self.request.parse(&key, text).map_err(|problem| bad_option(&problem.message))?;
        options.set(key, value);
        Ok(())
    }

    fn set(&self, asked: &mut Asked, pair: &str) -> Outcome {
        let (key, text) = split(pair)?;
        let loads = self.request.field(&key).is_none() && self.load.field(&key).is_some();
        if !loads {
            return self.set_request(&mut asked.request, pair);
        }
        let value = self.load.parse(&key, text).map_err(|problem| bad_option(&problem.message))?;
        asked.load.set(key, value);
        Ok(())
    }
}

/// The key and the text of `key=value`.
pub fn split(pair: &str) -> Outcome<(String, &str)> {
    match pair.split_once('=') {
        Some((key, text)) if !key.trim().is_empty() => Ok((key.trim().replace('-', "_"), text)),
        _ => Err(Failure::usage(format!("\"{pair}\" is no option: write -o KEY=VALUE, such as -o temperature=0"))),
    }
}

fn bad_option(message: &str) -> Failure {
    Failure::new(ErrorKind::Options, message)
}

fn long_names(command: &Command) -> HashSet<String> {
    let own = command.get_arguments().flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default());
    own.map(str::to_owned).chain(["help".to_owned(), "version".to_owned()]).chain(global_names()).collect()
}

/// Global flags are not among the arguments of a subcommand before clap has built it.
fn global_names() -> impl Iterator<Item = String> {
    let globals = <crate::args::Globals as clap::Args>::augment_args(Command::new("globals"));
    let names: Vec<String> = globals.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect();
    names.into_iter()
}

fn argument(prefix: &str, field: &Field, long: String, schema: &Schema, command: &str) -> Arg {
    let flag = format!("--{long}");
    let arg = Arg::new(format!("{prefix}{}", field.name)).help(help(field, command, &flag)).long(long);
    let arg = match &field.kind {
        Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("true|false"),
        Kind::Texts => arg.action(ArgAction::Append).value_name("TEXT"),
        Kind::Integer { .. } => arg.value_name("N").allow_negative_numbers(true),
        Kind::Number { .. } => arg.value_name("X").allow_negative_numbers(true),
        Kind::Text => arg.value_name("TEXT").allow_hyphen_values(true),
        Kind::Choice(_) => arg.value_name("WORD"),
        Kind::Json => arg.value_name("JSON"),
    };
    arg.value_parser(parser(field, schema))
}

fn parser(field: &Field, schema: &Schema) -> ValueParser {
    if let Kind::Choice(choices) = &field.kind {
        return ValueParser::new(PossibleValuesParser::new(choices.clone()).map(Value::String));
    }
    let (schema, name) = (schema.clone(), field.name.clone());
    ValueParser::new(move |text: &str| schema.parse(&name, text).map_err(|problem| problem.message))
}

/// The backend's help, then what the option may be, its default, and what other programs call it.
fn help(field: &Field, command: &str, flag: &str) -> String {
    let mut remarks = Vec::new();
    if matches!(field.kind, Kind::Integer { .. } | Kind::Number { .. }) {
        remarks.push(field.kind.to_string());
    }
    match &field.default {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) => remarks.push(format!("default: {text}")),
        value => remarks.push(format!("default: {value}")),
    }
    let foreign: Vec<&str> = argv::shorts(command, flag).collect();
    if !foreign.is_empty() {
        remarks.push(format!("also: {}", foreign.join(" ")));
    }
    match remarks.is_empty() {
        true => field.help.clone(),
        false => format!("{} [{}]", field.help, remarks.join("; ")).trim().to_owned(),
    }
}

fn given(matches: &ArgMatches, prefix: &str, schema: &Schema) -> Options {
    let mut options = Options::new();
    for field in schema.fields() {
        let id = format!("{prefix}{}", field.name);
        // An option that a flag of Tenon's own hides has no argument.
        let known = matches.try_contains_id(&id).is_ok();
        if known && matches.value_source(&id) == Some(ValueSource::CommandLine) {
            options.set(field.name.clone(), value(matches, &id, &field.kind));
        }
    }
    options
}

fn value(matches: &ArgMatches, id: &str, kind: &Kind) -> Value {
    let mut values = matches.get_many::<Value>(id).into_iter().flatten().cloned();
    if *kind != Kind::Texts {
        return values.next_back().unwrap_or_default();
    }
    // `--stop a --stop '["b","c"]'`: each occurrence is a list.
    values.flat_map(|list| list.as_array().cloned().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flags() -> Flags {
        let request = json!({"properties": {
            "beam_size": {"type": "integer", "minimum": 1, "maximum": 8, "default": 5, "description": "Width."},
            "temperature": {"type": "number", "minimum": -1.0, "maximum": 2.0, "default": 0.0},
            "language": {"type": "string", "default": "auto", "description": "Spoken."},
            "no_fallback": {"type": "boolean", "default": false},
            "attention": {"enum": ["on", "off"], "default": "on"},
            "stop": {"type": "array", "items": {"type": "string"}, "default": []},
            "schema": {},
            "threads": {"type": ["integer", "null"], "default": null},
        }});
        let load = json!({"properties": {"context_size": {"type": "integer"}, "beam_size": {"type": "integer"}}});
        Flags {
            model: "m".into(),
            backend: "b 1".into(),
            task: "transcribe".into(),
            request: Schema::from_json(&request).unwrap(),
            load: Schema::from_json(&load).unwrap(),
        }
    }

    fn asked(line: &[&str], pairs: &[&str]) -> Outcome<Asked> {
        let command = flags().add_to(Command::new("transcribe").no_binary_name(true));
        let matches = command.try_get_matches_from(line).map_err(|error| Failure::usage(error.to_string()))?;
        flags().asked(&matches, &pairs.iter().map(|&pair| pair.to_owned()).collect::<Vec<_>>())
    }

    fn request(line: &[&str]) -> Value {
        Value::from(asked(line, &[]).unwrap().request)
    }

    #[test]
    fn only_flags_that_were_given_become_options() {
        assert_eq!(request(&[]), json!({}));
        assert_eq!(request(&["--beam-size", "5"]), json!({"beam_size": 5}));
    }

    #[test]
    fn every_kind_of_option_is_read() {
        let line = ["--temperature", "-0.5", "--language", "de", "--no-fallback", "--attention", "off"];
        assert_eq!(
            request(&line),
            json!({"temperature": -0.5, "language": "de", "no_fallback": true, "attention": "off"})
        );
        assert_eq!(request(&["--no-fallback=false"]), json!({"no_fallback": false}));
        assert_eq!(request(&["--stop", "a", "--stop", r#"["b","c"]"#]), json!({"stop": ["a", "b", "c"]}));
        assert_eq!(request(&["--schema", r#"{"type":"object"}"#]), json!({"schema": {"type": "object"}}));
    }

    #[test]
    fn values_outside_the_schema_are_refused_with_what_would_do() {
        let message = asked(&["--beam-size", "9"], &[]).unwrap_err().message;
        assert!(message.contains("must be a whole number from 1 to 8, not 9"), "{message}");
        let message = asked(&["--attention", "maybe"], &[]).unwrap_err().message;
        assert!(message.contains("possible values: on, off"), "{message}");
    }

    #[test]
    fn typos_get_the_nearest_name() {
        let message = asked(&["--beem-size", "5"], &[]).unwrap_err().message;
        assert!(message.contains("--beam-size"), "{message}");
        let failure = asked(&[], &["beem_size=5"]).unwrap_err();
        assert_eq!(failure.message, "unknown option \"beem_size\" (did you mean \"beam_size\"?)");
        assert_eq!(failure.code, 2);
    }

    #[test]
    fn pairs_reach_every_option_and_win_over_flags() {
        let asked = asked(&["--beam-size", "2"], &["beam-size=3", "threads=4", "context_size=512"]).unwrap();
        assert_eq!(Value::from(asked.request), json!({"beam_size": 3, "threads": 4}));
        assert_eq!(Value::from(asked.load), json!({"context_size": 512}));
    }

    #[test]
    fn a_pair_without_an_equals_sign_is_refused() {
        for pair in ["beam_size", "=5", " = "] {
            assert_eq!(asked(&[], &[pair]).unwrap_err().kind, "usage", "{pair}");
        }
    }

    #[test]
    fn help_shows_range_default_and_the_names_of_other_programs() {
        let help = flags().add_to(Command::new("transcribe")).render_long_help().to_string();
        assert!(help.contains("Options of m (b 1):"), "{help}");
        assert!(help.contains("Width. [a whole number from 1 to 8; default: 5; also: -bs]"), "{help}");
        assert!(!help.contains("--threads"), "a global flag hides the option: {help}");
    }
}
