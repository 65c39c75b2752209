//! Which licences allow research or non-commercial use only, by their names.

/// Whether a licence allows research or non-commercial use only, as far as its name tells: `qwen-research`,
/// `CC-BY-NC-4.0`. Manifests that are made for somebody, from a hub's own words, become restricted by it.
///
/// ```
/// use tenon_store::is_research_only;
///
/// assert!(is_research_only("qwen-research") && is_research_only("CC-BY-NC-SA-4.0"));
/// assert!(!is_research_only("MIT OR Apache-2.0") && !is_research_only("Gemma Terms of Use"));
/// ```
pub fn is_research_only(license: &str) -> bool {
    let lower = license.to_ascii_lowercase().replace("non-commercial", "noncommercial");
    lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| matches!(word, "research" | "nc" | "noncommercial"))
}
