//! Looks at a plugin's library without running it.

use crate::Report;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _, ObjectSymbolTable as _};
use std::path::Path;

/// The static that a plugin in Rust exports beside its entry.
const WITNESS: &str = "_1as_0lib_1header_0root_bmodule_bloader";
/// Libraries that a plugin has to carry inside: two plugins would share one copy, or meet the machine's.
const ENGINES: [&str; 5] = ["libggml", "libllama", "libwhisper", "libgomp", "libomp"];

/// What the dynamic section says.
#[derive(Default)]
struct Dynamic {
    needed: Vec<String>,
    text_relocations: bool,
    search_path: bool,
}

/// Checks exports, needed libraries and the way of linking.
pub fn check(path: &Path, report: &mut Report) {
    report.step("read the library");
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return report.error("library", format!("{}: {error}", path.display()), "name a plugin's library");
        }
    };
    if !bytes.starts_with(&elf::ELFMAG) {
        return report.note("library", "it is not ELF, and only ELF libraries are looked into", "");
    }
    match ElfFile64::<Endianness>::parse(bytes.as_slice()) {
        Ok(file) => check_elf(&file, &bytes, report),
        Err(error) => report.error("library", format!("it cannot be read as 64-bit ELF: {error}"), "build it again"),
    }
}

fn check_elf(file: &ElfFile64<'_, Endianness>, bytes: &[u8], report: &mut Report) {
    report.step("exports");
    check_exports(file, report);
    report.step("needed libraries");
    let dynamic = match dynamic(file.elf_header(), bytes) {
        Ok(dynamic) => dynamic,
        Err(error) => return report.error("library", format!("its dynamic section: {error}"), "build it again"),
    };
    for name in &dynamic.needed {
        if ENGINES.iter().any(|engine| name.starts_with(engine)) {
            report.error("needed libraries", format!("it needs {name}"), "link it statically: plugins would share one");
        }
    }
    report.step("way of linking");
    if dynamic.text_relocations {
        report.error("linking", "it has text relocations", "compile all of it with -fPIC");
    }
    if dynamic.search_path {
        report.warning("linking", "it has a search path for libraries", "link without -rpath");
    }
}

fn check_exports(file: &ElfFile64<'_, Endianness>, report: &mut Report) {
    let symbols = file.dynamic_symbol_table();
    let exported = symbols.iter().flat_map(|table| table.symbols()).filter(|symbol| symbol.is_definition());
    let (mut entry, mut others) = (false, Vec::new());
    for symbol in exported {
        let name = symbol.name().unwrap_or("(a name that is not UTF-8)");
        if symbol.elf_symbol().st_bind() == elf::STB_GNU_UNIQUE {
            let advice = "compile with -fno-gnu-unique: the process makes one of all plugins' copies";
            report.error("exports", format!("`{name}` is unique in the process"), advice);
        } else if name == tenon_abi::PLUGIN_ENTRY_SYMBOL {
            entry = true;
        } else if name != WITNESS {
            others.push(name.to_owned());
        }
    }
    if !entry {
        let advice = "export the entry; the SDKs do with `export_backend!` and `TENON_EXPORT_BACKEND`";
        report.error("exports", format!("it does not export {}", tenon_abi::PLUGIN_ENTRY_SYMBOL), advice);
    }
    if !others.is_empty() {
        let shown = others.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if others.len() > 5 { format!(" and {} more", others.len() - 5) } else { String::new() };
        let advice = "link with a version script and -fvisibility=hidden: other libraries may bind to them";
        report.error("exports", format!("it exports {shown}{more} beside the entry"), advice);
    }
}

fn dynamic(header: &FileHeader64<Endianness>, bytes: &[u8]) -> object::Result<Dynamic> {
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let mut found = Dynamic::default();
    let Some((entries, strings)) = sections.dynamic(endian, bytes)? else { return Ok(found) };
    let strings = sections.strings(endian, bytes, strings)?;
    for entry in entries {
        match entry.tag(endian) {
            elf::DT_NEEDED => found.needed.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned()),
            elf::DT_TEXTREL => found.text_relocations = true,
            elf::DT_FLAGS => found.text_relocations |= entry.val(endian) & elf::DF_TEXTREL.0 != 0,
            elf::DT_RPATH | elf::DT_RUNPATH => found.search_path = true,
            _ => {}
        }
    }
    Ok(found)
}
