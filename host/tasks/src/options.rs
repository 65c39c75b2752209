//! The sparse options document: only what somebody asked for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Options that somebody asked for, and nothing else. Layers lie over one another with [`Options::over`].
///
/// ```
/// use tenon_tasks::Options;
///
/// let preset = Options::from_json(r#"{"beam_size": 5, "language": "en"}"#).unwrap();
/// let mut asked = Options::new();
/// asked.set("beam_size", 1);
/// assert_eq!(asked.over(&preset).to_json(), r#"{"beam_size":1,"language":"en"}"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(Map<String, Value>);

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a JSON object.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The document as JSON text, keys in the order in which they were set.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Asks for an option, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of an option, if it was asked for.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Takes an option out of the document.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// These options over `base`: what both name is taken from `self`.
    pub fn over(&self, base: &Options) -> Options {
        let mut all = base.0.clone();
        all.extend(self.0.iter().map(|(name, value)| (name.clone(), value.clone())));
        Options(all)
    }

    /// Names and values, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Map<String, Value>> for Options {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

impl From<Options> for Value {
    fn from(options: Options) -> Self {
        Value::Object(options.0)
    }
}
