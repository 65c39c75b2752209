//! `tenon version`: of the program and of the plugin contract.

use crate::context::Context;
use crate::failure::Outcome;
use serde_json::json;

/// What `tenon --version` prints after the name. The contract's version is checked by a test.
pub const LINE: &str = concat!(env!("CARGO_PKG_VERSION"), " (plugin ABI 1.1)");

/// Runs the command.
pub fn run(context: &Context) -> Outcome {
    if !context.out.json {
        return context.out.line(&format!("tenon {LINE}"));
    }
    context.out.json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "abi": abi(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    }))
}

/// The version of the plugin contract.
pub fn abi() -> String {
    format!("{}.{}", tenon_abi::ABI_MAJOR, tenon_abi::ABI_MINOR)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_line_names_the_contract_of_this_build() {
        assert!(super::LINE.ends_with(&format!("(plugin ABI {})", super::abi())));
    }
}
