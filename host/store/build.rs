//! Tells the crate which target it is built for; bundles name it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=TENON_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
