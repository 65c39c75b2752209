//! Manifests and lock files: what is read is written so that it reads the same; what is refused is refused at a place.

use crate::memory::in_proportion;
use std::path::Path;
use tenon_store::{Diagnostic, LockFile, LockedModel, Manifest, manifest_schema};

/// A manifest that parses is written, and what is written parses to an equal one.
pub fn manifest(input: &[u8]) {
    let path = Path::new("fuzzed.toml");
    let text = String::from_utf8_lossy(input);
    let manifest = match in_proportion(text.len(), || Manifest::parse_text(&text, path)) {
        Ok(manifest) => manifest,
        Err(problems) => return refused(&text, &problems),
    };
    let written = manifest.to_toml();
    let again = Manifest::parse_text(&written, path).unwrap_or_else(|problems| panic!("{written}\n{}", problems[0]));
    assert_eq!(again, manifest, "{written}");
    assert_eq!(again.to_toml(), written);
    let record = manifest.record();
    assert_eq!(record.text, text, "a manifest is kept as it was written");
    names_hold(&manifest);
    let locked = LockFile::new(vec![LockedModel::of(&manifest)], Vec::new());
    assert!(locked.check_model(&manifest).is_ok() && locked.check_model(&again).is_ok());
    let read = LockFile::parse(&locked.to_toml(), path).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(read.models, locked.models);
}

/// The names in a manifest, from which paths are made.
fn names_hold(manifest: &Manifest) {
    assert!(is_one_component(&manifest.name), "{:?}", manifest.name);
    for file in &manifest.files {
        assert!(is_one_component(&file.name), "{:?}", file.name);
        if let Some(chunks) = &file.chunks {
            assert_eq!(chunks.digests().len() as u64, file.size.div_ceil(chunks.size()), "{}", file.name);
        }
    }
    for (preset, options) in &manifest.presets {
        assert_eq!(manifest.preset(preset), Some(options));
    }
}

fn is_one_component(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

/// Every problem has a place in the text, and they come in its order.
fn refused(text: &str, problems: &[Diagnostic]) {
    assert!(!problems.is_empty(), "refused for no reason");
    assert!(problems.is_sorted_by_key(|problem| (problem.line, problem.column)), "{problems:?}");
    problems.iter().for_each(|problem| placed(text, problem));
}

fn placed(text: &str, problem: &Diagnostic) {
    let lines = text.split('\n').count();
    assert!((1..=lines + 1).contains(&(problem.line as usize)) && problem.column >= 1, "{problem}");
    let line = text.split('\n').nth(problem.line as usize - 1).unwrap_or_default();
    assert!(problem.column as usize <= line.chars().count() + 1, "{problem}");
    assert!(!problem.message.is_empty() && !problem.one_line().contains('\n'), "{problem}");
    assert_eq!(problem.snippet.lines().count(), 3, "{problem}");
    assert!(problem.snippet.len() < 4096, "{problem}");
}

/// A lock file that parses is written, and what is written parses to an equal one.
pub fn lock_file(input: &[u8]) {
    let path = Path::new("tenon.lock");
    let text = String::from_utf8_lossy(input);
    let lock = match in_proportion(text.len(), || LockFile::parse(&text, path)) {
        Ok(lock) => lock,
        Err(problem) => return placed(&text, &problem),
    };
    let again = LockFile::parse(&lock.to_toml(), path).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(again, lock);
    for model in &lock.models {
        assert!(is_one_component(&model.name), "{:?}", model.name);
        model.files.iter().for_each(|file| assert!(is_one_component(&file.name), "{:?}", file.name));
    }
    for plugin in &lock.plugins {
        lock.check_plugin(plugin).expect("a plugin that is as it was pinned");
        let other = tenon_store::LockedPlugin { version: format!("{}!", plugin.version), ..plugin.clone() };
        assert!(lock.check_plugin(&other).is_err(), "another version than the pinned one");
    }
    assert!(manifest_schema().is_object());
}
