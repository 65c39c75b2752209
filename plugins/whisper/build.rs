//! Compiles the C++ shim against the headers of the whisper.cpp that `whisper-rs-sys` has built.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src/shim.cpp");
    let root = std::env::var_os("DEP_WHISPER_ROOT").expect("whisper-rs-sys says where it built whisper.cpp");
    let root = PathBuf::from(root);
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .file("src/shim.cpp")
        .include(root.join("include"))
        // For the one internal header of ggml, see the shim.
        .include(root.join("whisper.cpp/ggml/src"))
        .flag_if_supported("-fexceptions")
        .flag_if_supported("-fvisibility=hidden")
        .flag_if_supported("-fno-gnu-unique")
        .warnings(true)
        .extra_warnings(true);
    build.compile("tenon_whisper_shim");
    let target = std::env::var("CARGO_CFG_TARGET_FAMILY").unwrap_or_default();
    if target == "unix" && std::env::var("CARGO_CFG_TARGET_VENDOR").as_deref() != Ok("apple") {
        // Never look a symbol of ggml up in the program or in another plugin.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
