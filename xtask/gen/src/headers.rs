//! The C headers.
use std::path::{Path, PathBuf};

/// None yet.
pub fn generate(_root: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    Ok(Vec::new())
}
