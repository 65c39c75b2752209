//! `tenon search`: which models there are to get, and which of them fit into this machine.

use crate::args::Search;
use crate::command::list::state_name;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::{Table, size};
use serde_json::{Value, json};
use tenon::{ErrorKind, Manifest, Memory, ModelEntry, estimate_of_manifest};

/// A model that was found.
struct Hit<'a> {
    entry: &'a ModelEntry,
    manifest: &'a Manifest,
    memory: u64,
    fits: bool,
}

/// Runs the command. Nothing here loads a plugin or uses the network.
pub fn run(context: &Context, args: &Search) -> Outcome {
    let engine = context.engine()?;
    let (catalog, models, memory) = (engine.catalog(), engine.models(), engine.memory());
    let hits: Vec<Hit<'_>> = models
        .iter()
        .filter_map(|entry| Some(Hit::new(entry, catalog.get(&entry.name).ok()?, &memory)))
        .filter(|hit| args.task.as_ref().is_none_or(|task| *task == hit.manifest.task))
        .filter(|hit| args.words.iter().all(|word| mentions(hit.manifest, word)))
        .collect();
    let shown: Vec<&Hit<'_>> = hits.iter().filter(|hit| hit.fits || !args.fits).collect();
    if context.out.json {
        context.out.json(&shown.iter().map(|hit| hit.to_json()).collect())?;
    } else if !shown.is_empty() {
        context.out.text(&table(&shown).to_string())?;
        remarks(context, &shown);
    }
    match (shown.is_empty(), hits.len()) {
        (false, _) => Ok(()),
        (true, 0) => Err(nothing(args, catalog.manifests())),
        (true, count) => {
            let message = format!("{count} models match, and none fits into the memory of this machine as it is now");
            Err(Failure::new(ErrorKind::NotFound, message))
        }
    }
}

impl<'a> Hit<'a> {
    fn new(entry: &'a ModelEntry, manifest: &'a Manifest, machine: &Memory) -> Self {
        let memory = estimate_of_manifest(manifest);
        Self { entry, manifest, memory, fits: machine.fits(memory) }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.manifest.name,
            "description": self.manifest.description,
            "task": self.manifest.task,
            "backend": self.manifest.backend,
            "languages": self.manifest.languages,
            "license": self.manifest.license,
            "restricted": self.manifest.restricted,
            "homepage": self.manifest.homepage,
            "size": self.entry.size,
            "memory_rough": self.memory,
            "fits": self.fits,
            "state": self.entry.state,
        })
    }
}

/// Whether name, description, task, licence or languages of a model mention a word. A word of two letters is a
/// language, or part of the name: everything mentions "en" somewhere.
fn mentions(manifest: &Manifest, word: &str) -> bool {
    let word = word.to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&word);
    let language = manifest.languages.contains(&word);
    if word.chars().count() <= 2 {
        return language || parts(&manifest.name).any(|part| part == word);
    }
    let described = manifest.description.as_deref().is_some_and(holds);
    language || described || holds(&manifest.name) || holds(&manifest.task) || holds(&manifest.license)
}

fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(['-', '_', '.'])
}

fn table(hits: &[&Hit<'_>]) -> Table {
    let mut table = Table::new(&["NAME", "SIZE", "TASK", "LICENSE", "MEMORY", "FITS", "STATE"]);
    for hit in hits {
        let star = if hit.manifest.restricted { " *" } else { "" };
        table.row([
            hit.manifest.name.clone(),
            size(hit.entry.size),
            hit.manifest.task.clone(),
            format!("{}{star}", hit.manifest.license),
            format!("~{}", size(hit.memory)),
            if hit.fits { "yes" } else { "no" }.to_owned(),
            state_name(hit.entry.state).to_owned(),
        ]);
    }
    table
}

fn remarks(context: &Context, hits: &[&Hit<'_>]) {
    if hits.iter().any(|hit| hit.manifest.restricted) {
        context.out.remark("* for research or non-commercial use only: `tenon pull NAME --accept-license`");
    }
    if hits.iter().any(|hit| hit.entry.state == tenon::State::Missing) {
        context.out.remark("`tenon pull NAME` gets a model; memory is rough, `tenon estimate NAME` tells it better");
    }
}

/// That nothing matches, with names that are near.
fn nothing<'a>(args: &Search, manifests: impl Iterator<Item = &'a Manifest>) -> Failure {
    let manifests: Vec<&Manifest> = manifests.collect();
    let asked = match &args.task {
        Some(task) => [&args.words[..], &[format!("--task {task}")]].concat().join(" "),
        None => args.words.join(" "),
    };
    let near = nearest(&args.words.concat(), &manifests);
    let hint = match (&args.task, near.is_empty()) {
        (_, false) => format!(": the nearest names are {}", near.join(", ")),
        (Some(_), true) => format!(": there are models for {}", tasks(&manifests).join(", ")),
        (None, true) => "; `tenon search` shows every model".to_owned(),
    };
    Failure::new(ErrorKind::NotFound, format!("no model matches \"{asked}\"{hint}"))
}

/// At most three names that are like a word, or of which a part is.
fn nearest<'a>(word: &str, manifests: &[&'a Manifest]) -> Vec<&'a str> {
    // Comparing takes time by the product of the lengths; no name is this long.
    if word.is_empty() || word.len() > 256 {
        return Vec::new();
    }
    let word = word.to_lowercase();
    let likeness = |name: &str| {
        let of_parts = parts(name).map(|part| strsim::jaro_winkler(&word, part));
        of_parts.chain([strsim::jaro_winkler(&word, name)]).fold(0.0, f64::max)
    };
    let mut near: Vec<(f64, &str)> =
        manifests.iter().map(|manifest| (likeness(&manifest.name), manifest.name.as_str())).collect();
    near.retain(|(likeness, _)| *likeness > 0.8);
    near.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

fn tasks<'a>(manifests: &[&'a Manifest]) -> Vec<&'a str> {
    let mut tasks: Vec<&str> = manifests.iter().map(|manifest| manifest.task.as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, description: &str, languages: &[&str]) -> Manifest {
        let mut manifest = Manifest::new(name, "transcribe", "whisper", "MIT");
        manifest.description = Some(description.to_owned());
        manifest.languages = languages.iter().map(|&language| language.to_owned()).collect();
        manifest
    }

    #[test]
    fn a_word_is_looked_for_everywhere_and_a_language_only_where_languages_stand() {
        let model = manifest("whisper-tiny.en", "OpenAI Whisper tiny, sentences in English", &["en"]);
        for word in ["tiny", "WHISPER", "openai", "transcribe", "mit", "en", "english"] {
            assert!(mentions(&model, word), "{word}");
        }
        for word in ["de", "se", "base", "Apache-2.0", "ti"] {
            assert!(!mentions(&model, word), "{word}");
        }
    }

    #[test]
    fn the_nearest_names_are_those_of_which_a_part_is_like_the_word() {
        let models =
            [manifest("whisper-base", "", &[]), manifest("whisper-tiny", "", &[]), manifest("qwen3-4b", "", &[])];
        let models: Vec<&Manifest> = models.iter().collect();
        assert_eq!(nearest("wisper", &models), ["whisper-base", "whisper-tiny"]);
        assert_eq!(nearest("qven3", &models), ["qwen3-4b"]);
        assert_eq!(nearest("zebra", &models), [""; 0]);
        assert_eq!(nearest(&"w".repeat(10_000), &models), [""; 0]);
    }
}
