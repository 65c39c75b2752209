//! Makes the frozen copy of the C interface, `host/capi/frozen/<version>`: the headers, and the layout that C checks.
//!
//! Only on request (`--freeze`), and only until the version is published: from then on its folder never changes.

use crate::python::{declarator, statements, uncommented};
use std::fmt::Write;
use std::path::PathBuf;

/// The headers that a program of the version was compiled with.
const HEADERS: &[&str] = &["tenon_base.h", "tenon.h", "tenon_plugin.h"];

const HEAD: &str = "\
/* The frozen C interface of version @VERSION@ on 64-bit targets, for C11 and C++11: a header that moves or resizes a
 * field, gives a constant another value, or declares a function differently does not compile. Frozen. */

#include \"tenon.h\"

#ifdef __cplusplus
#define HOLDS(what) static_assert(what, #what)
#else
#define HOLDS(what) _Static_assert(what, #what)
#endif

/* Structs. A later version may add fields behind these and so make a struct larger, never smaller. */
";

const CALLBACKS: &str = "
/* Callbacks: the types of this version again, which a compiler takes as the same or not at all. */

";

const FUNCTIONS: &str = "
/* Functions, declared once more: a compiler takes it only when nothing differs. */

#ifdef __cplusplus
extern \"C\" {
#endif

";

const FOOT: &str = "
#ifdef __cplusplus
}
#endif
";

/// The longest line.
const WIDTH: usize = 120;
/// Bytes of C's numbers; everything else that stands in a struct is a pointer.
const NUMBERS: &[(&str, u64)] = &[
    ("double", 8),
    ("float", 4),
    ("int16_t", 2),
    ("int32_t", 4),
    ("int64_t", 8),
    ("size_t", 8),
    ("uint8_t", 1),
    ("uint32_t", 4),
    ("uint64_t", 8),
];

/// The frozen files, from generated ones: path from the root, and content.
pub fn generate(files: &[(PathBuf, String)]) -> Result<Vec<(PathBuf, String)>, String> {
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let folder = PathBuf::from(format!("host/capi/frozen/{version}"));
    let header = |name: &str| {
        let found = files.iter().find(|(path, _)| path.file_name().is_some_and(|file| file == name));
        found.map(|(_, text)| text).ok_or_else(|| format!("{name} was not generated"))
    };
    let mut frozen = Vec::new();
    for name in HEADERS {
        frozen.push((folder.join("include").join(name), header(name)?.clone()));
    }
    let layout = layout(version, header("tenon_base.h")?, header("tenon.h")?)?;
    frozen.push((folder.join("layout.c"), layout));
    Ok(frozen)
}

fn layout(version: &str, base: &str, header: &str) -> Result<String, String> {
    let plain = uncommented(header);
    let code: String = plain.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, " "]).collect();
    let code = code.split("static inline").next().unwrap_or_default().replace("extern \"C\" {", "");
    let all = statements(&code);
    let mut text = HEAD.replace("@VERSION@", version);
    for declared in all.iter().filter(|text| text.starts_with("typedef struct") && text.contains('{')) {
        text.push('\n');
        text.push_str(&structure(declared)?);
    }
    text.push_str("\n/* Constants. */\n\n");
    for (name, value) in constants(base).into_iter().chain(constants(header)) {
        let _ = writeln!(text, "HOLDS({name} == {value});");
    }
    text.push_str(CALLBACKS);
    let is_callback = |text: &&String| text.starts_with("typedef ") && text.contains("(*");
    all.iter().filter(is_callback).for_each(|callback| text.push_str(&wrapped(callback)));
    text.push_str(FUNCTIONS);
    all.iter().filter(|text| text.starts_with("TENON_API ")).for_each(|function| text.push_str(&wrapped(function)));
    Ok(text + FOOT)
}

/// Size and offsets as every 64-bit C compiler has them: each field at a multiple of its own size.
fn structure(declared: &str) -> Result<String, String> {
    let (_, body) = declared.split_once('{').ok_or("it has no fields")?;
    let (body, name) = body.rsplit_once('}').ok_or("it does not end")?;
    let name = name.trim();
    let (mut offsets, mut at, mut largest) = (String::new(), 0_u64, 1);
    for field in statements(body) {
        let (kind, field) = declarator(&field)?;
        let size = NUMBERS.iter().find(|(number, _)| *number == kind).map_or(8, |(_, size)| *size);
        at = at.next_multiple_of(size);
        let _ = writeln!(offsets, "HOLDS(offsetof({name}, {field}) == {at});");
        at += size;
        largest = largest.max(size);
    }
    Ok(format!("HOLDS(sizeof({name}) >= {});\n{offsets}", at.next_multiple_of(largest)))
}

/// The macros that are numbers, but for the version, which goes on.
fn constants(header: &str) -> Vec<(String, i64)> {
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    let numbers = defines.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)));
    numbers.filter(|(name, _)| !name.contains("VERSION")).collect()
}

/// A declaration in lines that are not too long.
fn wrapped(function: &str) -> String {
    let (mut text, mut line) = (String::new(), String::new());
    for part in format!("{function};").split_inclusive(", ") {
        if line.len() + part.trim_end().len() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = "    ".to_owned();
        }
        line.push_str(part);
    }
    text + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_a_compiler_puts_them() {
        let header = "
#define TENON_TWO 2
#define TENON_VERSION_MAJOR 0
typedef struct tenon_pair {
    uint32_t struct_size;
    const char *text;
    tenon_hook hook;
    uint32_t last;
} tenon_pair;
TENON_API tenon_status tenon_pair_read(const tenon_pair *pair, tenon_error **error);
static inline tenon_pair tenon_pair_init(void) { return 0; }
";
        let text = layout("0.1", "", header).unwrap_or_default();
        for line in [
            "HOLDS(sizeof(tenon_pair) >= 32);\n",
            "HOLDS(offsetof(tenon_pair, text) == 8);\n",
            "HOLDS(offsetof(tenon_pair, last) == 24);\n",
            "HOLDS(TENON_TWO == 2);\n",
            "TENON_API tenon_status tenon_pair_read(const tenon_pair *pair, tenon_error **error);\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("VERSION_MAJOR") && !text.contains("init"), "{text}");
    }
}
