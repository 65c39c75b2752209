//! `tenon plugin new`: a plugin project that builds, from the templates of the plugin SDK.

use crate::args::{Language, PluginNew};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tenon::ErrorKind;

/// A file of a template: where it goes, and its text.
type Template = (&'static str, &'static str);

macro_rules! templates {
    ($($name:literal from $path:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../", $path)))),+]
    };
}

const RUST: &[Template] = templates![
    "Cargo.toml" from "plugins/sdk/templates/rust/Cargo.toml",
    "src/lib.rs" from "plugins/sdk/templates/rust/src/lib.rs",
    "plugin.toml" from "plugins/sdk/templates/rust/plugin.toml",
];
const C: &[Template] = templates![
    "Makefile" from "plugins/sdk/templates/c/Makefile",
    "plugin.c" from "plugins/sdk/templates/c/plugin.c",
    "plugin.map" from "plugins/sdk/templates/c/plugin.map",
    "plugin.toml" from "plugins/sdk/templates/c/plugin.toml",
    "include/tenon_base.h" from "include/tenon_base.h",
    "include/tenon_plugin.h" from "include/tenon_plugin.h",
];
const CPP: &[Template] = templates![
    "Makefile" from "plugins/sdk/templates/cpp/Makefile",
    "plugin.cpp" from "plugins/sdk/templates/cpp/plugin.cpp",
    "plugin.map" from "plugins/sdk/templates/cpp/plugin.map",
    "plugin.toml" from "plugins/sdk/templates/cpp/plugin.toml",
    "include/tenon_base.h" from "include/tenon_base.h",
    "include/tenon_plugin.h" from "include/tenon_plugin.h",
    "include/tenon_plugin.hpp" from "include/tenon_plugin.hpp",
];

/// Runs the command.
pub fn run(context: &Context, args: &PluginNew) -> Outcome {
    check_name(&args.name)?;
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let io = |error: &std::io::Error| Failure::io(folder.display(), "cannot be written", error);
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!("{}: the folder is not empty", folder.display())));
    }
    let (templates, sdk) = match args.lang {
        Language::Rust => (RUST, sdk(args)?),
        Language::C => (C, String::new()),
        Language::Cpp => (CPP, String::new()),
    };
    let mut written = Vec::new();
    for (name, text) in templates {
        let name = name.replace("plugin.toml", &format!("{}.plugin.toml", args.name));
        let path = folder.join(name);
        let text = text.replace("{{id}}", &args.name).replace("{{sdk}}", &sdk);
        fs::create_dir_all(path.parent().unwrap_or(&folder)).map_err(|error| io(&error))?;
        fs::write(&path, text).map_err(|error| io(&error))?;
        written.push(path);
    }
    report(context, args, &folder, &written)
}

fn report(context: &Context, args: &PluginNew, folder: &Path, written: &[PathBuf]) -> Outcome {
    if context.out.json {
        return context.out.json(&json!({"id": args.name, "folder": folder, "files": written}));
    }
    for path in written {
        context.out.line(&path.display().to_string())?;
    }
    let (build, library) = match args.lang {
        Language::Rust => {
            let library = args.name.replace('-', "_");
            let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
            ("cargo build --release", format!("target/release/{prefix}{library}{suffix}"))
        }
        Language::C | Language::Cpp => ("make", format!("lib{}.so", args.name)),
    };
    context.out.remark(&format!("next: cd {}; {build}; tenon plugin seal {library}", folder.display()));
    Ok(())
}

/// The id stands in file names, symbols of crates and manifests.
fn check_name(name: &str) -> Outcome {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    match starts && !name.ends_with('-') && name.chars().all(fine) {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "\"{name}\" is no id of a plugin: use lower-case letters, digits and hyphens, a letter first"
        ))),
    }
}

/// Where the crate `tenon-plugin` is.
fn sdk(args: &PluginNew) -> Outcome<String> {
    let found = match &args.sdk {
        Some(folder) => Some(folder.clone()),
        None => std::env::current_exe().ok().and_then(|program| {
            let folders = program.ancestors().map(|folder| folder.join("plugins").join("sdk"));
            folders.into_iter().find(|folder| folder.join("Cargo.toml").is_file())
        }),
    };
    let absolute =
        found.and_then(|folder| folder.canonicalize().ok()).filter(|folder| folder.join("Cargo.toml").is_file());
    let Some(folder) = absolute else {
        let message = "the crate tenon-plugin is not here: name its folder, plugins/sdk of a checkout, with --sdk";
        return Err(Failure::new(ErrorKind::NotFound, message));
    };
    // It becomes a TOML string: no backslashes, no quotes.
    Ok(folder.display().to_string().replace('\\', "/").replace('"', "\\\""))
}
