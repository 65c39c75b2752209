//! JSON Schema that can be enforced: what llama.cpp's converter would leave out is refused, and the reply is checked again.

use crate::pattern::enforceable;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// Longest schema in bytes of compact JSON.
const MAX_BYTES: usize = 64 << 10;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Highest count; a grammar cannot enforce a higher one.
const MAX_COUNT: u64 = 2000;

/// Keywords that say nothing about which values fit.
const ANNOTATIONS: &[&str] = &[
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// A schema whose every keyword is enforced, by a grammar while the reply is written and by a validator at its end.
pub struct Contract {
    text: String,
    validator: jsonschema::Validator,
}

impl std::fmt::Debug for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contract").field("text", &self.text).finish_non_exhaustive()
    }
}

impl Contract {
    /// Takes a schema that can be enforced, or says which keyword cannot.
    ///
    /// ```
    /// use serde_json::json;
    /// use tenon_llama_text::Contract;
    ///
    /// let contract = Contract::new(&json!({"type": "object", "properties": {"n": {"type": "integer"}}})).unwrap();
    /// assert!(contract.check(r#"{"n": 3}"#).is_ok());
    /// assert!(contract.check(r#"{"n": "3"}"#).is_err());
    ///
    /// let error = Contract::new(&json!({"type": "array", "uniqueItems": true})).unwrap_err();
    /// assert_eq!(error.to_string(), "the JSON Schema keyword \"uniqueItems\" at # cannot be enforced");
    /// ```
    pub fn new(schema: &Value) -> Result<Self> {
        let text = schema.to_string();
        if text.len() > MAX_BYTES {
            return Err(Error::new(format!("the JSON Schema has {} bytes, more than {MAX_BYTES}", text.len())));
        }
        node(schema, "#", 0)?;
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(schema)
            .map_err(|error| Error::new(format!("the JSON Schema is none: {error}")))?;
        let mut plain = schema.clone();
        spell_out(&mut plain);
        Ok(Self { text: plain.to_string(), validator })
    }

    /// The schema as JSON for llama.cpp's converter: keys in the order of the request, which is the order in which a
    /// reply's keys come; patterns and types as the converter understands them.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a reply is JSON that fits.
    pub fn check(&self, reply: &str) -> Result<()> {
        let value: Value =
            serde_json::from_str(reply).map_err(|error| Error::new(format!("the reply is no JSON: {error}")))?;
        self.validator
            .validate(&value)
            .map_err(|error| Error::new(format!("the reply does not fit the schema: {error}")))
    }
}

fn refuse<T>(keyword: &str, at: &str) -> Result<T> {
    Err(Error::new(format!("the JSON Schema keyword \"{keyword}\" at {at} cannot be enforced")))
}

fn node(schema: &Value, at: &str, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(format!("the JSON Schema is nested deeper than {MAX_DEPTH}")));
    }
    let Some(object) = schema.as_object() else {
        return Err(Error::new(format!("the JSON Schema at {at} is no object")));
    };
    for keyword in ["$defs", "definitions"] {
        if let Some(definitions) = object.get(keyword) {
            children(definitions, &format!("{at}/{keyword}"), depth)?;
        }
    }
    if let Some(target) = object.get("$ref") {
        only(object, &["$ref"], at)?;
        return match target.as_str() {
            Some(target) if is_definition(target) => Ok(()),
            _ => Err(Error::new(format!(
                "the JSON Schema at {at} refers to {target}; only \"#/$defs/…\" and \"#/definitions/…\" are followed"
            ))),
        };
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = object.get(keyword) {
            only(object, &[keyword], at)?;
            return children(branches, &format!("{at}/{keyword}"), depth);
        }
    }
    if object.contains_key("const") || object.contains_key("enum") {
        return only(object, &["const", "enum", "type"], at);
    }
    match object.get("type") {
        None => typed(object, implied(object), at, depth),
        Some(Value::String(name)) => typed(object, name, at, depth),
        Some(Value::Array(names)) if !names.is_empty() => {
            names.iter().try_for_each(|name| known_type(name.as_str().unwrap_or_default(), at))?;
            let structural: Vec<&str> = names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
            match structural[..] {
                [name] => typed(object, name, at, depth),
                // Each branch would have to ignore the keywords of the others.
                _ => only(object, &["type"], at),
            }
        }
        Some(_) => Err(Error::new(format!("the JSON Schema at {at} has a \"type\" that is none"))),
    }
}

/// What was looked through as a definition; a reference to any other place could name what is no schema at all.
fn is_definition(target: &str) -> bool {
    let name = ["#/$defs/", "#/definitions/"].iter().find_map(|folder| target.strip_prefix(folder));
    name.is_some_and(|name| !name.is_empty() && !name.contains(['/', '~', '%']))
}

/// Writes patterns as the converter reads them, and types where only their keywords tell them.
fn spell_out(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let told = ["type", "const", "enum", "anyOf", "oneOf", "$ref"].iter().any(|keyword| object.contains_key(*keyword));
    let name = implied(object);
    if !told && name != "any" {
        object.insert("type".to_owned(), name.into());
    }
    for (keyword, value) in object.iter_mut() {
        match (keyword.as_str(), value) {
            ("pattern", Value::String(pattern)) => {
                if let Ok(plain) = enforceable(pattern) {
                    *pattern = plain;
                }
            }
            ("const" | "enum" | "default" | "examples", _) => {}
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.iter_mut().for_each(|(_, schema)| spell_out(schema));
            }
            (_, Value::Array(schemas)) => schemas.iter_mut().for_each(spell_out),
            (_, value) => spell_out(value),
        }
    }
}

/// The type that a schema without one is about: that of its keywords.
fn implied(object: &Map<String, Value>) -> &'static str {
    let has = |keywords: &[&str]| keywords.iter().any(|keyword| object.contains_key(*keyword));
    if has(&["properties", "additionalProperties", "required"]) {
        "object"
    } else if has(&["items", "prefixItems", "minItems", "maxItems"]) {
        "array"
    } else if has(&["pattern", "minLength", "maxLength", "format"]) {
        "string"
    } else {
        "any"
    }
}

fn known_type(name: &str, at: &str) -> Result<()> {
    match name {
        "object" | "array" | "string" | "integer" | "number" | "boolean" | "null" => Ok(()),
        other => Err(Error::new(format!("the JSON Schema at {at} has an unknown type \"{other}\""))),
    }
}

fn typed(object: &Map<String, Value>, name: &str, at: &str, depth: usize) -> Result<()> {
    match name {
        "object" => object_node(object, at, depth),
        "array" => array_node(object, at, depth),
        "string" => string_node(object, at),
        "integer" => {
            only(object, &["type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], at)?;
            both(object, "minimum", "exclusiveMinimum", at)?;
            both(object, "maximum", "exclusiveMaximum", at)?;
            ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
                .iter()
                .filter_map(|keyword| object.get(*keyword).map(|bound| (keyword, bound)))
                .try_for_each(|(keyword, bound)| countable(keyword, bound, at))
        }
        "any" => only(object, &[], at),
        name => {
            known_type(name, at)?;
            only(object, &["type"], at)
        }
    }
}

/// A bound that the converter can count one up or down from.
fn countable(keyword: &str, bound: &Value, at: &str) -> Result<()> {
    let fits = match (bound.as_i64(), bound.as_f64()) {
        (Some(bound), _) => bound > i64::MIN && bound < i64::MAX,
        // The largest numbers below 2^63 are 1024 apart.
        (None, Some(bound)) => bound.abs() < 9.2e18,
        (None, None) => false,
    };
    if fits { Ok(()) } else { Err(Error::new(format!("\"{keyword}\" at {at} is {bound}, which cannot be enforced"))) }
}

fn object_node(object: &Map<String, Value>, at: &str, depth: usize) -> Result<()> {
    only(object, &["type", "properties", "required", "additionalProperties"], at)?;
    let properties = object.get("properties");
    if let Some(properties) = properties {
        children(properties, &format!("{at}/properties"), depth)?;
    }
    match object.get("additionalProperties") {
        None | Some(Value::Bool(_)) => {}
        Some(schema) => node(schema, &format!("{at}/additionalProperties"), depth + 1)?,
    }
    let empty = Vec::new();
    let required = object.get("required").map_or(Some(&empty), Value::as_array);
    let Some(required) = required else {
        return Err(Error::new(format!("the JSON Schema at {at} has a \"required\" that is no list")));
    };
    let known = |name: &Value| name.as_str().is_some_and(|name| properties.is_some_and(|all| all.get(name).is_some()));
    match required.iter().find(|name| !known(name)) {
        Some(name) => {
            Err(Error::new(format!("the JSON Schema at {at} requires {name}, which is not in \"properties\"")))
        }
        None => Ok(()),
    }
}

fn array_node(object: &Map<String, Value>, at: &str, depth: usize) -> Result<()> {
    only(object, &["type", "items", "prefixItems", "minItems", "maxItems"], at)?;
    both(object, "items", "prefixItems", at)?;
    let tuple = object.get("prefixItems").or_else(|| object.get("items").filter(|items| items.is_array()));
    if let Some(tuple) = tuple {
        for keyword in ["minItems", "maxItems"] {
            if object.contains_key(keyword) {
                return refuse(keyword, at);
            }
        }
        return children(tuple, &format!("{at}/items"), depth);
    }
    counts(object, &["minItems", "maxItems"], at)?;
    object.get("items").map_or(Ok(()), |items| node(items, &format!("{at}/items"), depth + 1))
}

fn string_node(object: &Map<String, Value>, at: &str) -> Result<()> {
    only(object, &["type", "pattern", "minLength", "maxLength", "format"], at)?;
    counts(object, &["minLength", "maxLength"], at)?;
    if let Some(format) = object.get("format") {
        let known = format.as_str().is_some_and(|format| matches!(format, "date" | "time" | "date-time" | "uuid"));
        if !known {
            return Err(Error::new(format!("the JSON Schema format {format} at {at} cannot be enforced")));
        }
    }
    if let Some(pattern) = object.get("pattern") {
        let refused = |why: String| Error::new(format!("the pattern at {at} {why}"));
        enforceable(pattern.as_str().ok_or_else(|| refused("is no text".to_owned()))?).map_err(refused)?;
    }
    // Of these the converter heeds the first one it finds.
    let kinds = ["pattern", "format", "minLength", "maxLength"].into_iter().filter(|name| object.contains_key(*name));
    match kinds.collect::<Vec<_>>()[..] {
        [] | [_] | ["minLength", "maxLength"] => Ok(()),
        [_, other, ..] => refuse(other, at),
    }
}

/// No other keywords than these and annotations.
fn only(object: &Map<String, Value>, known: &[&str], at: &str) -> Result<()> {
    let strange = |keyword: &&String| !known.contains(&keyword.as_str()) && !ANNOTATIONS.contains(&keyword.as_str());
    match object.keys().find(strange) {
        Some(keyword) => refuse(keyword, at),
        None => Ok(()),
    }
}

/// Not both of these.
fn both(object: &Map<String, Value>, one: &str, other: &str, at: &str) -> Result<()> {
    if object.contains_key(one) && object.contains_key(other) { refuse(other, at) } else { Ok(()) }
}

fn counts(object: &Map<String, Value>, keywords: &[&str], at: &str) -> Result<()> {
    for keyword in keywords {
        match object.get(*keyword) {
            Some(count) if count.as_u64().is_none_or(|count| count > MAX_COUNT) => {
                return Err(Error::new(format!("\"{keyword}\" at {at} is {count}; up to {MAX_COUNT} can be enforced")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Every schema of a list or of an object's values.
fn children(schemas: &Value, at: &str, depth: usize) -> Result<()> {
    match schemas {
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().try_for_each(|(index, schema)| node(schema, &format!("{at}/{index}"), depth + 1))
        }
        Value::Object(object) => {
            object.iter().try_for_each(|(name, schema)| node(schema, &format!("{at}/{name}"), depth + 1))
        }
        _ => Err(Error::new(format!("the JSON Schema at {at} is no collection of schemas"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(schema: Value) -> String {
        Contract::new(&schema).expect_err("it passed").to_string()
    }

    #[test]
    fn accepts_what_a_grammar_enforces_and_checks_replies() {
        let contract = Contract::new(&json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "intent": {"enum": ["light.on", "light.off"]},
                "rooms": {"type": "array", "items": {"$ref": "#/$defs/room"}, "minItems": 1, "maxItems": 3},
                "level": {"type": "integer", "minimum": 0, "maximum": 100},
                "when": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
                "note": {"type": ["string", "null"], "maxLength": 20},
            },
            "required": ["intent", "rooms"],
            "additionalProperties": false,
            "$defs": {"room": {"type": "string", "pattern": "^[a-z ]+$"}},
        }))
        .unwrap();
        assert!(contract.check(r#"{"intent": "light.on", "rooms": ["kitchen"], "level": 7, "when": null}"#).is_ok());
        for reply in [
            r#"{"intent": "light.on"}"#,
            r#"{"intent": "x", "rooms": ["kitchen"]}"#,
            r#"{"intent": "light.on", "rooms": ["kitchen"], "level": 101}"#,
            r#"{"intent": "light.on", "rooms": ["Kitchen"]}"#,
            r#"{"intent": "light.on", "rooms": ["kitchen"], "more": 1}"#,
            r#"{"intent": "light.on", "rooms": ["kitchen"]"#,
        ] {
            assert!(contract.check(reply).is_err(), "{reply}");
        }
        assert!(contract.text().starts_with(r#"{"$schema""#));
    }

    #[test]
    fn refuses_every_keyword_that_would_be_left_out() {
        for (schema, why) in [
            (json!({"type": "array", "uniqueItems": true}), "\"uniqueItems\" at #"),
            (json!({"type": "number", "minimum": 3}), "\"minimum\" at #"),
            (json!({"type": "string", "format": "email"}), "format \"email\" at #"),
            (json!({"type": "string", "pattern": "a+"}), "must begin with"),
            (json!({"type": "string", "pattern": "^a$", "maxLength": 3}), "\"maxLength\" at #"),
            (json!({"type": "string", "maxLength": 5000}), "up to 2000"),
            (json!({"type": "object", "properties": {"a": {"not": {}}}}), "\"not\" at #/properties/a"),
            (json!({"type": "object", "patternProperties": {"a": {}}}), "\"patternProperties\""),
            (json!({"type": "object", "properties": {}, "required": ["a"]}), "requires \"a\""),
            (json!({"allOf": [{"type": "string"}]}), "\"allOf\""),
            (json!({"anyOf": [{"type": "null"}], "minimum": 2}), "\"minimum\""),
            (json!({"$ref": "https://example.org/schema"}), "are followed"),
            (json!({"$ref": "#/properties/a", "properties": {"a": {}}}), "\"properties\""),
            (json!({"properties": {"a": {"$ref": "#/examples/0"}}, "examples": [{"not": {}}]}), "are followed"),
            (
                json!({"properties": {"a": {"$ref": "#/$defs/b/items"}}, "$defs": {"b": {"type": "array"}}}),
                "are followed",
            ),
            (json!({"type": "integer", "exclusiveMinimum": i64::MAX}), "\"exclusiveMinimum\" at #"),
            (json!({"type": "integer", "exclusiveMaximum": i64::MIN}), "\"exclusiveMaximum\" at #"),
            (json!({"type": "integer", "maximum": 1e19}), "\"maximum\" at #"),
            (json!({"type": "string", "pattern": "^(?!a).*$"}), "the pattern at # has a group"),
            (json!({"type": "array", "items": [{}], "minItems": 2}), "\"minItems\""),
            (json!({"type": ["string", "integer"], "minimum": 1}), "\"minimum\""),
            (json!({"type": "text"}), "unknown type \"text\""),
            (json!({"anyOf": []}), "no collection"),
            (json!(true), "no object"),
            (json!({"properties": {"a": {"type": "string", "multipleOf": 2}}}), "\"multipleOf\""),
        ] {
            let message = refusal(schema);
            assert!(message.contains(why), "{message} does not say {why}");
        }
    }

    #[test]
    fn the_converter_gets_types_and_patterns_spelled_out_and_the_validator_what_was_given() {
        let schema = json!({"properties": {
            "pattern": {"pattern": "^\\d+$"},
            "list": {"minItems": 2, "items": {"enum": [{"pattern": "^\\d$"}]}},
        }});
        let contract = Contract::new(&schema).unwrap();
        let text: Value = serde_json::from_str(contract.text()).unwrap();
        let spelled = json!({"type": "object", "properties": {
            "pattern": {"type": "string", "pattern": "^[0-9]+$"},
            "list": {"type": "array", "minItems": 2, "items": {"enum": [{"pattern": "^\\d$"}]}},
        }});
        assert_eq!(text, spelled);
        assert!(contract.check(r#"{"pattern": "12"}"#).is_ok());
        assert!(contract.check(r#"{"pattern": "a"}"#).is_err());
    }

    #[test]
    fn refuses_what_is_too_deep_or_too_long() {
        let mut deep = json!({"type": "integer"});
        for _ in 0..70 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(refusal(deep).contains("nested deeper than 64"));
        assert!(refusal(json!({"enum": ["a".repeat(70_000)]})).contains("more than 65536"));
    }

    #[test]
    fn refuses_a_reference_to_nothing() {
        assert!(refusal(json!({"$ref": "#/$defs/missing"})).starts_with("the JSON Schema is none"));
    }
}
