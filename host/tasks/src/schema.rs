//! The description of options that a backend exports, and the check of a document against it.
//!
//! Reads the part of JSON Schema that option structs need: an object whose properties have a type (or a type and
//! `null`), a list of choices, a range and a default. Anything richer is accepted as is and left to the backend.

use crate::Options;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};
use std::fmt;

/// The JSON Schema of an option struct, with everything inlined, as it crosses the plugin boundary.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The options that a task or a load understands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    fields: Vec<Field>,
    json: Value,
}

/// One option.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name, `snake_case`.
    pub name: String,
    /// What it does, for people.
    pub help: String,
    /// What values it takes.
    pub kind: Kind,
    /// The backend's default; null when it has none.
    pub default: Value,
    /// Null may be given.
    pub nullable: bool,
}

/// What values an option takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// true or false.
    Bool,
    /// A whole number within bounds, both included.
    Integer {
        /// Least value.
        min: Option<i64>,
        /// Greatest value.
        max: Option<i64>,
    },
    /// A number within bounds, both included.
    Number {
        /// Least value.
        min: Option<f64>,
        /// Greatest value.
        max: Option<f64>,
    },
    /// Any text.
    Text,
    /// One of these texts.
    Choice(Vec<String>),
    /// A list of texts.
    Texts,
    /// Any JSON; the backend checks it.
    Json,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The option, as it was written.
    pub option: String,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Schema {
    /// Reads the JSON Schema of an object. The error says what it cannot be.
    pub fn from_json(json: &Value) -> Result<Self, String> {
        let Some(object) = json.as_object() else {
            return Err("an option schema is not a JSON object".to_owned());
        };
        let properties = match object.get("properties") {
            None => Map::new(),
            Some(Value::Object(properties)) => properties.clone(),
            Some(_) => return Err("\"properties\" of an option schema is not an object".to_owned()),
        };
        let fields = properties.iter().map(|(name, property)| Field::from_json(name, property)).collect();
        Ok(Self { fields, json: json.clone() })
    }

    /// The options, in the order in which the backend lists them.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The JSON Schema as the backend gave it.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The option of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Checks every option of a document: known, of the right kind, in range. All problems at once.
    pub fn check(&self, options: &Options) -> Result<(), Vec<Problem>> {
        let problems: Vec<Problem> =
            options.iter().filter_map(|(name, value)| self.check_one(name, value).err()).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// A document that passed [`Schema::check`], as a backend reads it: a whole number that was written `5.0` is `5`.
    pub fn settled(&self, mut options: Options) -> Options {
        for field in self.fields.iter().filter(|field| matches!(field.kind, Kind::Integer { .. })) {
            if let Some(number) = options.get(&field.name).and_then(as_i64) {
                options.set(&*field.name, number);
            }
        }
        options
    }

    /// Reads the value of an option from text, as it stands on a command line: `5`, `true`, `en`, `["a"]`.
    pub fn parse(&self, name: &str, text: &str) -> Result<Value, Problem> {
        let field = self.known(name)?;
        let value = field.parse(text).map_err(|error| Problem {
            option: name.to_owned(),
            message: format!("option \"{name}\" is no JSON: {error}"),
        })?;
        self.check_one(name, &value)?;
        Ok(value)
    }

    fn known(&self, name: &str) -> Result<&Field, Problem> {
        self.field(name).ok_or_else(|| {
            let names = self.fields.iter().map(|field| field.name.as_str());
            let hint = match nearest(name, names) {
                Some(near) => format!(" (did you mean \"{near}\"?)"),
                None => String::new(),
            };
            Problem { option: name.to_owned(), message: format!("unknown option \"{name}\"{hint}") }
        })
    }

    fn check_one(&self, name: &str, value: &Value) -> Result<(), Problem> {
        let field = self.known(name)?;
        if value.is_null() && field.nullable {
            return Ok(());
        }
        field.kind.check(value).map_err(|wanted| Problem {
            option: name.to_owned(),
            message: format!("option \"{name}\" must be {wanted}, not {value}"),
        })
    }
}

/// The candidate closest to `name`, if one is close enough to be a typo of it.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time by the product of the lengths; no sensible name is this long.
    const LONGEST: usize = 256;
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl Field {
    fn from_json(name: &str, property: &Value) -> Self {
        let text = |key: &str| property.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, nullable) = Kind::from_json(property);
        Self {
            name: name.to_owned(),
            help: text("description").replace('\n', " "),
            kind,
            default: property.get("default").cloned().unwrap_or(Value::Null),
            nullable,
        }
    }

    /// The error is that of a text which begins as JSON does and is none.
    fn parse(&self, text: &str) -> Result<Value, serde_json::Error> {
        let as_text = || Value::String(text.to_owned());
        Ok(match self.kind {
            Kind::Text | Kind::Choice(_) => as_text(),
            Kind::Texts => match serde_json::from_str::<Value>(text) {
                Ok(list @ Value::Array(_)) => list,
                _ => Value::Array(vec![as_text()]),
            },
            // Plain words need no quotes.
            Kind::Json if !text.trim_start().starts_with(['{', '[']) => {
                serde_json::from_str(text).unwrap_or_else(|_| as_text())
            }
            Kind::Json => serde_json::from_str(text)?,
            _ => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        })
    }
}

impl Kind {
    fn from_json(property: &Value) -> (Self, bool) {
        let (types, nullable) = type_names(property);
        match choices(property) {
            Choices::Texts(texts) => return (Self::Choice(texts), nullable),
            Choices::Other => return (Self::Json, nullable),
            Choices::None => {}
        }
        let kind = match types.as_slice() {
            ["boolean"] => Self::Bool,
            ["integer"] => {
                let bound = |key: &str| property.get(key).and_then(as_i64);
                Self::Integer { min: bound("minimum"), max: bound("maximum") }
            }
            ["number"] => {
                let bound = |key: &str| property.get(key).and_then(Value::as_f64);
                Self::Number { min: bound("minimum"), max: bound("maximum") }
            }
            ["string"] => Self::Text,
            ["array"] if property.pointer("/items/type").and_then(Value::as_str) == Some("string") => Self::Texts,
            _ => Self::Json,
        };
        (kind, nullable)
    }

    /// The error is what the value must be.
    fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match self {
            Self::Bool => value.is_boolean(),
            Self::Integer { min, max } => as_i64(value)
                .is_some_and(|number| min.is_none_or(|least| number >= least) && max.is_none_or(|most| number <= most)),
            Self::Number { min, max } => value
                .as_f64()
                .is_some_and(|number| min.is_none_or(|least| number >= least) && max.is_none_or(|most| number <= most)),
            Self::Text => value.is_string(),
            Self::Choice(choices) => value.as_str().is_some_and(|text| choices.iter().any(|choice| choice == text)),
            Self::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            Self::Json => true,
        };
        if fits { Ok(()) } else { Err(self.to_string()) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer { min, max } => range(f, "a whole number", *min, *max),
            Self::Number { min, max } => range(f, "a number", *min, *max),
            Self::Text => f.write_str("text"),
            Self::Choice(choices) => write!(f, "one of {}", choices.join(", ")),
            Self::Texts => f.write_str("a list of texts"),
            Self::Json => f.write_str("JSON"),
        }
    }
}

fn range<T: fmt::Display>(f: &mut fmt::Formatter<'_>, noun: &str, min: Option<T>, max: Option<T>) -> fmt::Result {
    match (min, max) {
        (Some(min), Some(max)) => write!(f, "{noun} from {min} to {max}"),
        (Some(min), None) => write!(f, "{noun} of at least {min}"),
        (None, Some(max)) => write!(f, "{noun} of at most {max}"),
        (None, None) => f.write_str(noun),
    }
}

/// A whole number, also when it is written `5.0`.
fn as_i64(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64)
    })
}

/// The types of a property without `null`, and whether `null` was among them.
fn type_names(property: &Value) -> (Vec<&str>, bool) {
    let all: Vec<&str> = match property.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => {
            // Option<Enum> and Option<Struct> come as `anyOf: [T, null]`.
            let branches = property.get("anyOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            branches.iter().filter_map(|branch| branch.get("type").and_then(Value::as_str)).collect()
        }
    };
    // A property without a type takes any JSON, null included.
    let nullable = all.is_empty() || all.contains(&"null");
    (all.into_iter().filter(|name| *name != "null").collect(), nullable)
}

/// What a property may be chosen from.
enum Choices {
    /// It is no choice.
    None,
    /// Texts.
    Texts(Vec<String>),
    /// More than texts; the backend knows what.
    Other,
}

/// The texts of an `enum`, of `oneOf` constants, or of either inside `anyOf`; `null` beside them does not count.
fn choices(property: &Value) -> Choices {
    if let Some(value) = property.get("const") {
        return texts([value].into_iter());
    }
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        return texts(values.iter().filter(|value| !value.is_null()));
    }
    let Some(branches) = ["oneOf", "anyOf"].iter().find_map(|key| property.get(key)?.as_array()) else {
        return Choices::None;
    };
    let is_null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
    let (mut all, mut others) = (Vec::new(), 0);
    for branch in branches.iter().filter(|branch| !is_null(branch)) {
        match choices(branch) {
            Choices::Texts(texts) => all.extend(texts),
            Choices::Other => return Choices::Other,
            Choices::None => others += 1,
        }
    }
    match (all.is_empty(), others) {
        // What has a type is no choice for having branches, nor for being allowed to be null.
        (true, _) if others < 2 || property.get("type").is_some() => Choices::None,
        (false, 0) => Choices::Texts(all),
        _ => Choices::Other,
    }
}

/// These, where all of them are texts.
fn texts<'v>(values: impl Iterator<Item = &'v Value>) -> Choices {
    let texts: Option<Vec<String>> = values.map(|value| value.as_str().map(str::to_owned)).collect();
    texts.filter(|texts| !texts.is_empty()).map_or(Choices::Other, Choices::Texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GenerateOptions, TranscribeOptions};
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Attention {
        /// Let the engine choose.
        #[default]
        Auto,
        On,
        Off,
    }

    /// A backend's own struct over the common one.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Own {
        #[serde(flatten)]
        common: TranscribeOptions,
        /// Width of the search.
        #[schemars(range(min = 1, max = 8))]
        beam_size: Option<u32>,
        attention: Attention,
        maybe: Option<Attention>,
        texts: Vec<String>,
        anything: Value,
    }

    fn schema<T: JsonSchema>() -> Schema {
        Schema::from_json(&schema_of::<T>()).unwrap()
    }

    fn problems(schema: &Schema, document: Value) -> Vec<String> {
        let options = Options::from_json(&document.to_string()).unwrap();
        match schema.check(&options) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.iter().map(Problem::to_string).collect(),
        }
    }

    #[test]
    fn flattened_options_stand_beside_own_ones_with_help_and_default() {
        let schema = schema::<Own>();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name.as_str()).collect();
        assert!(names.contains(&"language") && names.contains(&"beam_size"), "{names:?}");
        let language = schema.field("language").unwrap();
        assert_eq!(language.default, json!("auto"));
        assert!(language.help.starts_with("Language spoken"));
    }

    #[test]
    fn every_kind_is_read_from_a_rust_type() {
        let schema = schema::<Own>();
        let kind = |name: &str| schema.field(name).unwrap().kind.clone();
        assert_eq!(kind("beam_size"), Kind::Integer { min: Some(1), max: Some(8) });
        assert!(schema.field("beam_size").unwrap().nullable);
        let choice = Kind::Choice(vec!["auto".into(), "on".into(), "off".into()]);
        let sorted = |kind: Kind| match kind {
            Kind::Choice(mut names) => {
                names.sort();
                names
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(sorted(kind("attention")), sorted(choice.clone()));
        assert_eq!(sorted(kind("maybe")), sorted(choice));
        assert!(schema.field("maybe").unwrap().nullable);
        assert_eq!(kind("texts"), Kind::Texts);
        assert_eq!(kind("anything"), Kind::Json);
        assert_eq!(kind("words"), Kind::Bool);
        assert_eq!(kind("temperature"), Kind::Number { min: Some(0.0), max: Some(1.0) });
    }

    #[test]
    fn only_a_list_of_texts_is_a_choice() {
        let schema = |property: Value| Schema::from_json(&json!({"properties": {"x": property}})).unwrap();
        let kind = |property: Value| schema(property).field("x").unwrap().kind.clone();
        let (on, number) = (json!({"enum": ["on", "off"]}), json!({"type": "integer", "minimum": 1}));
        let choice = Kind::Choice(vec!["on".to_owned(), "off".to_owned()]);
        assert_eq!(kind(on.clone()), choice);
        assert_eq!(kind(json!({"type": ["string", "null"], "enum": ["on", "off", null]})), choice);
        assert_eq!(kind(json!({"oneOf": [{"const": "on"}, {"const": "off"}]})), choice);
        assert_eq!(kind(json!({"anyOf": [on, {"type": "null"}]})), choice);
        assert_eq!(kind(json!({"anyOf": [{"const": "on"}, {"enum": ["off"]}]})), choice);
        for richer in [
            json!({"type": "integer", "enum": [8, 16]}),
            json!({"enum": ["auto", 8]}),
            json!({"anyOf": [number, {"enum": ["auto"]}]}),
            json!({"oneOf": [number, {"const": "auto"}]}),
            json!({"anyOf": [{"type": "string"}, {"enum": ["auto"]}]}),
            json!({"anyOf": [number, {"$ref": "#/$defs/other"}]}),
            json!({"oneOf": [{"const": 8}, {"const": 16}]}),
            json!({"enum": [null]}),
        ] {
            assert_eq!(kind(richer.clone()), Kind::Json, "{richer}");
        }
        assert_eq!(
            kind(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]})),
            Kind::Integer { min: None, max: None }
        );
        assert_eq!(kind(json!({"type": "string", "oneOf": [{"format": "a"}, {"format": "b"}]})), Kind::Text);
        let bits = schema(json!({"type": "integer", "enum": [8, 16]}));
        assert_eq!(bits.parse("x", "8").unwrap(), json!(8));
        assert!(problems(&bits, json!({"x": 16})).is_empty());
        let layers = schema(json!({"anyOf": [{"type": "integer"}, {"enum": ["auto"]}]}));
        assert_eq!((layers.parse("x", "auto"), layers.parse("x", "4")), (Ok(json!("auto")), Ok(json!(4))));
    }

    #[test]
    fn what_begins_as_json_and_is_none_is_said_to_be_none() {
        let schema = schema::<Own>();
        let said = |text: &str| schema.parse("anything", text).unwrap_err().message;
        assert_eq!(said("{bad"), "option \"anything\" is no JSON: key must be a string at line 1 column 2");
        assert!(said(" [1, 2").starts_with("option \"anything\" is no JSON: EOF"));
        assert_eq!(schema.parse("anything", "[1]").unwrap(), json!([1]));
        assert_eq!(schema.parse("anything", "plain words").unwrap(), json!("plain words"));
        assert_eq!(schema.parse("texts", "[INST]").unwrap(), json!(["[INST]"]));
    }

    #[test]
    fn refuses_what_does_not_fit_and_names_all_of_it() {
        let schema = schema::<Own>();
        assert_eq!(
            problems(&schema, json!({"beem_size": 2, "beam_size": 0, "attention": "maybe", "words": "yes"})),
            [
                "unknown option \"beem_size\" (did you mean \"beam_size\"?)",
                "option \"beam_size\" must be a whole number from 1 to 8, not 0",
                "option \"attention\" must be one of on, off, auto, not \"maybe\"",
                "option \"words\" must be true or false, not \"yes\"",
            ]
        );
    }

    #[test]
    fn zero_can_be_asked_for() {
        let schema = schema::<GenerateOptions>();
        assert!(problems(&schema, json!({"temperature": 0, "top_k": 0, "seed": 0})).is_empty());
    }

    #[test]
    fn a_whole_number_written_as_a_fraction_is_read_by_the_struct_once_it_is_settled() {
        let schema = schema::<GenerateOptions>();
        let asked = Options::from_json(r#"{"seed": 7.0, "temperature": 1.0, "max_tokens": null}"#).unwrap();
        assert!(schema.check(&asked).is_ok());
        assert!(serde_json::from_str::<GenerateOptions>(&asked.to_json()).is_err());
        let settled = schema.settled(asked).to_json();
        assert_eq!(settled, r#"{"seed":7,"temperature":1.0,"max_tokens":null}"#);
        assert_eq!(serde_json::from_str::<GenerateOptions>(&settled).unwrap().seed, Some(7));
    }

    #[test]
    fn null_asks_for_nothing_where_nothing_is_a_value() {
        let schema = schema::<Own>();
        assert!(problems(&schema, json!({"beam_size": null, "maybe": null})).is_empty());
        assert_eq!(problems(&schema, json!({"words": null})).len(), 1);
    }

    #[test]
    fn reads_values_as_they_stand_on_a_command_line() {
        let schema = schema::<Own>();
        assert_eq!(schema.parse("beam_size", "5").unwrap(), json!(5));
        assert_eq!(schema.parse("language", "5").unwrap(), json!("5"));
        assert_eq!(schema.parse("texts", "a").unwrap(), json!(["a"]));
        assert_eq!(schema.parse("texts", r#"["a","b"]"#).unwrap(), json!(["a", "b"]));
        assert_eq!(schema.parse("words", "true").unwrap(), json!(true));
        assert!(schema.parse("words", "maybe").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_document_is_checked_without_a_panic(text in "\\PC*", number in proptest::num::f64::ANY) {
            let schema = schema::<Own>();
            let _ = problems(&schema, json!({text.clone(): number, "beam_size": number, "language": text}));
        }
    }
}
