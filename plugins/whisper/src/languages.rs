//! The languages of whisper's table.

use tenon_plugin::{Error, Result};
use tenon_precheck::ggml::Whisper;
use tenon_tasks::Language;

/// A language of whisper's table by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanguageId(i32);

impl LanguageId {
    /// English.
    pub const ENGLISH: Self = Self(0);

    /// The language at an index of the table; none beyond its end.
    pub fn at(index: usize) -> Option<Self> {
        let index = i32::try_from(index).ok()?;
        (index <= whisper_rs::get_lang_max_id()).then_some(Self(index))
    }

    /// ISO 639-1 code.
    pub fn code(self) -> &'static str {
        whisper_rs::get_lang_str(self.0).unwrap_or("en")
    }

    /// Code, English name, and the probability with which it was detected.
    pub fn describe(self, probability: Option<f32>) -> Language {
        let name = whisper_rs::get_lang_str_full(self.0).unwrap_or("english");
        Language { code: self.code().to_owned(), name: name.to_owned(), probability }
    }
}

/// The language that `asked` names, by code or English name, or none for `auto` on a model of many languages.
///
/// # Errors
/// There is no such language, or the model does not know it.
pub fn find(asked: &str, model: &Whisper) -> Result<Option<LanguageId>> {
    let asked = asked.trim().to_lowercase();
    if asked.is_empty() || asked == "auto" {
        return Ok((!model.is_multilingual()).then_some(LanguageId::ENGLISH));
    }
    let by_name = |id: &LanguageId| id.code() == asked || whisper_rs::get_lang_str_full(id.0) == Some(asked.as_str());
    let Some(found) = (0..).map_while(LanguageId::at).find(by_name) else {
        let message = format!("there is no language \"{asked}\": give a code such as \"de\", a name, or \"auto\"");
        return Err(Error::options(message).detail("option", "language"));
    };
    if found.0.cast_unsigned() >= model.languages() {
        let known = if model.is_multilingual() { "this language" } else { "any language but English" };
        return Err(Error::unsupported(format!("the model does not know {known}, so not \"{asked}\"")));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(n_vocab: u32) -> Whisper {
        let bytes = tenon_precheck::hostile::smallest_whisper();
        let english = tenon_precheck::ggml::whisper(std::io::Cursor::new(bytes)).unwrap();
        Whisper { n_vocab, ..english }
    }

    #[test]
    fn a_language_is_named_by_code_or_name_in_any_case() {
        let many = model(51865);
        for asked in ["de", "German", " german "] {
            assert_eq!(find(asked, &many).unwrap().unwrap().code(), "de");
        }
        let described = find("ja", &many).unwrap().unwrap().describe(None);
        assert_eq!((described.code.as_str(), described.name.as_str()), ("ja", "japanese"));
        let message = find("deutsch", &many).unwrap_err();
        assert!(message.message().starts_with("there is no language \"deutsch\""));
    }

    #[test]
    fn auto_is_english_where_the_model_knows_nothing_else() {
        assert_eq!(find("auto", &model(51864)).unwrap(), Some(LanguageId::ENGLISH));
        assert_eq!(find("auto", &model(51865)).unwrap(), None);
    }

    #[test]
    fn a_language_that_the_model_does_not_know_is_refused() {
        let error = find("de", &model(51864)).unwrap_err();
        assert_eq!(error.message(), "the model does not know any language but English, so not \"de\"");
        assert!(find("yue", &model(51865)).is_err());
        assert!(find("yue", &model(51866)).is_ok());
    }
}
