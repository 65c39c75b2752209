//! Options documents against schemas: what the check lets through is what the backend's struct reads.

use crate::bytes::Bytes;
use crate::memory::in_proportion;
use serde_json::Value;
use std::sync::LazyLock;
use tenon_tasks::{
    DetectLanguageOptions, EmbedOptions, GenerateOptions, Options, Schema, TranscribeOptions, schema_of,
};

/// The schema of a struct, and what the struct says to a document.
struct Known {
    schema: Schema,
    reads: fn(&str) -> Result<(), serde_json::Error>,
}

static KNOWN: LazyLock<[Known; 4]> = LazyLock::new(|| {
    [
        known::<TranscribeOptions>(schema_of::<TranscribeOptions>()),
        known::<GenerateOptions>(schema_of::<GenerateOptions>()),
        known::<EmbedOptions>(schema_of::<EmbedOptions>()),
        known::<DetectLanguageOptions>(schema_of::<DetectLanguageOptions>()),
    ]
});

fn known<T: for<'a> serde::Deserialize<'a>>(schema: Value) -> Known {
    let schema = Schema::from_json(&schema).expect("the schema of a struct is one");
    Known { schema, reads: |text| serde_json::from_str::<T>(text).map(drop) }
}

/// A document against one of the project's own schemas, or, where the first byte is 4 or more, against a schema that
/// stands before it in the input, up to a byte of 0.
pub fn options(input: &[u8]) {
    let mut input = Bytes(input);
    let which = input.u8();
    let Some(known) = KNOWN.get(usize::from(which)) else { return any_schema(input.rest()) };
    let text = String::from_utf8_lossy(input.rest());
    let Some(document) = read(&text) else { return };
    if document_holds(&document, &known.schema) {
        let checked = known.schema.settled(document).to_json();
        (known.reads)(&checked).unwrap_or_else(|error| panic!("checked and not read: {error}: {checked}"));
    }
    values_hold(&text, &known.schema);
}

/// A schema that a hostile backend described, and a document.
fn any_schema(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (schema, rest) = (String::from_utf8_lossy(&input[..end]), input.get(end + 1..).unwrap_or_default());
    let Ok(json) = serde_json::from_str::<Value>(&schema) else { return };
    let Ok(schema) = in_proportion(8 * input.len(), || Schema::from_json(&json)) else { return };
    assert_eq!(*schema.json(), json);
    for field in schema.fields() {
        assert!(schema.field(&field.name).is_some() && !field.help.contains('\n'), "{field:?}");
    }
    let text = String::from_utf8_lossy(rest);
    if let Some(document) = read(&text) {
        document_holds(&document, &schema);
    }
    values_hold(&text, &schema);
}

/// A document, which is written so that it reads the same.
fn read(text: &str) -> Option<Options> {
    let document = in_proportion(16 * text.len(), || Options::from_json(text)).ok()?;
    let written = document.to_json();
    let again = Options::from_json(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, document, "{written}");
    assert_eq!(document.over(&document), document);
    assert_eq!(document.over(&Options::new()), document);
    assert_eq!(Options::new().over(&document), document);
    Some(document)
}

/// Whether the check accepts a document: it does when, and only when, it accepts each of its options alone.
fn document_holds(document: &Options, schema: &Schema) -> bool {
    let alone = |(name, value): (&str, &Value)| {
        let mut one = Options::new();
        one.set(name, value.clone());
        schema.check(&one).is_ok()
    };
    let good = document.iter().filter(|option| alone(*option)).count();
    let all = document.iter().count();
    match schema.check(document) {
        Ok(()) => assert_eq!(good, all),
        Err(problems) => {
            assert_eq!(problems.len(), all - good);
            for problem in &problems {
                assert!(document.get(&problem.option).is_some() && !problem.message.is_empty(), "{problem:?}");
            }
        }
    }
    good == all
}

/// A value as it is typed: what is read from it passes the check.
fn values_hold(text: &str, schema: &Schema) {
    for field in schema.fields().iter().take(32) {
        if let Ok(value) = schema.parse(&field.name, text) {
            let mut one = Options::new();
            one.set(&*field.name, value);
            assert!(schema.check(&one).is_ok(), "{text:?} for {field:?}");
        }
    }
}
