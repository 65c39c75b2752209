//! Files and folders of a package, with errors that name them.

use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file.
pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| named(path, &error))
}

/// Writes a file, and its folder where there is none.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) -> Result<(), String> {
    create_parent(path)?;
    fs::write(path, contents).map_err(|error| named(path, &error))
}

/// Copies a file into a folder.
pub fn copy(file: &Path, folder: &Path) -> Result<(), String> {
    copy_as(file, &folder.join(file.file_name().unwrap_or_default()))
}

/// Copies a file.
pub fn copy_as(file: &Path, to: &Path) -> Result<(), String> {
    create_parent(to)?;
    fs::copy(file, to).map(|_| ()).map_err(|error| named(file, &error))
}

/// Copies the files of a folder whose names end as given, without those of its folders.
pub fn copy_matching(from: &Path, to: &Path, endings: &[&str]) -> Result<(), String> {
    let matches = |path: &PathBuf| {
        let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned()).unwrap_or_default();
        path.is_file() && endings.contains(&ending.as_str())
    };
    entries(from)?.iter().filter(|path| matches(path)).try_for_each(|file| copy(file, to))
}

/// Copies all files of a folder and of its folders.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    for path in entries(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy_tree(&path, &target)? } else { copy_as(&path, &target)? }
    }
    Ok(())
}

/// What a folder holds, by name.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| named(folder, &error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// All files beneath a folder, links among them.
pub fn all(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() && !path.is_symlink() {
            files.extend(all(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Removes a file.
pub fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| named(path, &error))
}

/// Removes a folder with all that it holds, if there is one.
pub fn remove_folder(path: &Path) -> Result<(), String> {
    if !path.exists() {
        return Ok(());
    }
    fs::remove_dir_all(path).map_err(|error| named(path, &error))
}

/// Makes a file known by another name in its folder: by a link, or by a copy where the system has no links.
pub fn link(folder: &Path, target: &str, name: &str) -> Result<(), String> {
    let path = folder.join(name);
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(target, &path);
    #[cfg(not(unix))]
    let made = fs::copy(folder.join(target), &path).map(|_| ());
    made.map_err(|error| named(&path, &error))
}

/// Makes the modes independent of the builder's umask: programs and folders 755, all else 644.
#[cfg(unix)]
pub fn set_modes(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| named(path, &error))
    };
    set(folder, 0o755)?;
    let programs = folder.ends_with("bin") || folder.ends_with("libexec/tenon");
    for path in entries(folder)? {
        match (path.is_symlink(), path.is_dir()) {
            (true, _) => {}
            (false, true) => set_modes(&path)?,
            (false, false) => set(&path, if programs { 0o755 } else { 0o644 })?,
        }
    }
    Ok(())
}

/// The system has no modes to set.
#[cfg(not(unix))]
pub fn set_modes(_folder: &Path) -> Result<(), String> {
    Ok(())
}

/// Fills a template: each `@NAME@` by its value. A name without a value is an error.
pub fn fill(template: &Path, values: &[(&str, String)]) -> Result<String, String> {
    let mut text = read(template)?;
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    let left = text.split('@').skip(1).step_by(2).find(|word| is_name(word));
    match left {
        None => Ok(text),
        Some(name) => Err(format!("{}: nothing is known for @{name}@", template.display())),
    }
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn create_parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| named(parent, &error))
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
