//! Compiles the shim that turns C++ exceptions and ggml's assertions into error codes.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=src/shim.cpp");
    println!("cargo:rerun-if-changed=build.rs");
    // llama-cpp-sys-2 tells where it installed llama.cpp.
    let root = std::env::var_os("DEP_LLAMA_ROOT").map(PathBuf::from);
    let include = root.map(|root| root.join("include")).filter(|folder| folder.join("llama.h").exists());
    let include = include.expect("llama-cpp-sys-2 says where llama.h was installed");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file("src/shim.cpp").include(include).warnings(true).extra_warnings(true);
    build.flag_if_supported("-fvisibility=hidden").flag_if_supported("-fno-gnu-unique");
    build.compile("tenon_llama_shim");
}
