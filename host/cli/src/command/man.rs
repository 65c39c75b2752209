//! `tenon man`: manual pages, generated from the command line and from the schema of manifests.

use crate::args::{Cli, Man};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use clap::CommandFactory;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// A page: its file name and its text in roff.
struct Page {
    name: String,
    text: String,
}

/// Runs the command.
pub fn run(context: &Context, args: &Man) -> Outcome {
    let pages = pages()?;
    let Some(folder) = &args.folder else { return print(context, &pages) };
    write(folder, &pages)?;
    let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
    match context.out.json {
        true => context.out.json(&json!({"folder": folder, "pages": names})),
        false => names.iter().try_for_each(|name| context.out.line(&folder.join(name).display().to_string())),
    }
}

fn print(context: &Context, pages: &[Page]) -> Outcome {
    if !context.out.json {
        return pages.first().map_or(Ok(()), |page| context.out.text(&page.text));
    }
    let pages: Vec<Value> = pages.iter().map(|page| json!({"name": page.name, "text": page.text})).collect();
    context.out.json(&Value::Array(pages))
}

fn write(folder: &Path, pages: &[Page]) -> Outcome {
    let io = |error: &std::io::Error| Failure::io(folder.display(), "cannot be written", error);
    std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
    pages.iter().try_for_each(|page| std::fs::write(folder.join(&page.name), &page.text)).map_err(|error| io(&error))
}

/// Every page, `tenon.1` first.
fn pages() -> Outcome<Vec<Page>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, "tenon", &mut pages)?;
    pages.push(Page { name: "tenon-manifest.5".to_owned(), text: manifest_page(&tenon_store::manifest_schema()) });
    Ok(pages)
}

fn add_pages(command: &clap::Command, name: &str, pages: &mut Vec<Page>) -> Outcome {
    let mut bytes = Vec::new();
    let page = clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).manual("Tenon");
    page.render(&mut bytes)?;
    pages.push(Page { name: format!("{name}.1"), text: String::from_utf8_lossy(&bytes).into_owned() });
    let subcommands =
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    for subcommand in subcommands {
        add_pages(subcommand, &format!("{name}-{}", subcommand.get_name()), pages)?;
    }
    Ok(())
}

fn manifest_page(schema: &Value) -> String {
    let mut page = format!(
        ".TH TENON-MANIFEST 5 \"\" \"tenon {}\" \"Tenon\"\n.SH NAME\ntenon\\-manifest \\- what makes a model\n\
         .SH DESCRIPTION\nA manifest is a TOML file that says which files, by SHA\\-256, make a model, which backend runs \
         it, and with which options. Its name is that of the model, with the extension .toml. Unknown keys are errors.\n\
         .SH KEYS\n",
        env!("CARGO_PKG_VERSION")
    );
    add_keys(&mut page, "", schema, schema);
    page += ".SH SEE ALSO\n.BR tenon (1),\n.BR tenon\\-manifest (1)\n";
    page
}

/// The keys of an object of the schema, with those of the tables inside it.
fn add_keys(page: &mut String, prefix: &str, schema: &Value, root: &Value) {
    let schema = resolve(schema, root);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let property = resolve(property, root);
        let key = format!("{prefix}{name}");
        let help = property["description"].as_str().unwrap_or_default();
        let _ = write!(page, ".TP\n.B {}\n{}\n", roff(&key), roff(&help.replace('\n', " ")));
        if property["items"].is_object() {
            add_keys(page, &format!("{key}[]."), &property["items"], root);
        } else if property["properties"].is_object() {
            add_keys(page, &format!("{key}."), property, root);
        }
    }
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|path| root.pointer(path)).unwrap_or(schema)
}

/// Text that roff does not take for commands.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tables_and_references_stand_on_the_manifest_page() {
        let schema = json!({
            "properties": {
                "name": {"type": "string", "description": "Name.\nLower case."},
                "file": {"type": "array", "items": {"$ref": "#/$defs/File"}},
            },
            "$defs": {"File": {"properties": {"sha256": {"description": ".digest"}}}},
        });
        let page = manifest_page(&schema);
        assert!(page.contains(".TP\n.B name\nName. Lower case.\n"), "{page}");
        assert!(page.contains(".TP\n.B file[].sha256\n\\&.digest\n"), "{page}");
    }
}
