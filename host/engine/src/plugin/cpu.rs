//! What a plugin needs of the CPU, checked before the library is opened: the wrong file would die of SIGILL.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// What a sidecar says under `cpu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CpuNeed {
    /// Runs everywhere that the library's format does.
    Any,
    /// A level of the x86-64 psABI, 1 to 4.
    X86Level(u8),
    /// These features, each by the name that rustc and the kernel give it.
    Features(Vec<String>),
}

const V2: &[&str] = &["cmpxchg16b", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"];
const V3: &[&str] = &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"];
const V4: &[&str] = &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"];

impl CpuNeed {
    /// Reads `any`, `x86-64-v1` to `x86-64-v4`, or `native:` with a comma list of features.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Some(list) = text.strip_prefix("native:") {
            let features: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
            return match features.iter().any(String::is_empty) {
                true => Err(format!("\"{text}\" names an empty CPU feature")),
                false => Ok(Self::Features(features)),
            };
        }
        let level = text.strip_prefix("x86-64-v").and_then(|level| level.parse().ok());
        match level {
            Some(level @ 1..=4) => Ok(Self::X86Level(level)),
            _ => Err(format!(
                "\"{text}\" is no CPU level: it must be any, x86-64-v1 to x86-64-v4, or native: with a list of features"
            )),
        }
    }

    /// The features that it asks for.
    fn features(&self) -> Vec<&str> {
        match self {
            Self::Any => Vec::new(),
            Self::X86Level(level) => {
                let levels = [V2, V3, V4];
                levels[..usize::from(level - 1)].concat()
            }
            Self::Features(names) => names.iter().map(String::as_str).collect(),
        }
    }

    /// Refuses what this machine cannot run, naming every missing feature.
    pub(crate) fn check(&self, plugin: &str) -> Result<()> {
        self.check_with(plugin, &|name| has_feature(name), std::env::consts::ARCH)
    }

    fn check_with(&self, plugin: &str, has: &dyn Fn(&str) -> bool, arch: &str) -> Result<()> {
        if matches!(self, Self::X86Level(_)) && arch != "x86_64" {
            let message = format!("plugin \"{plugin}\" is built for {self}, and this machine is {arch}");
            return Err(Error::new(ErrorKind::Plugin, message).with_detail("cpu", self.to_string()));
        }
        let missing: Vec<&str> = self.features().into_iter().filter(|name| !has(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        let message = format!(
            "plugin \"{plugin}\" needs a CPU with {self}, and this one lacks {missing}: use a build for a lower level"
        );
        Err(Error::new(ErrorKind::Plugin, message).with_detail("cpu", self.to_string()).with_detail("missing", missing))
    }
}

impl fmt::Display for CpuNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::X86Level(level) => write!(f, "x86-64-v{level}"),
            Self::Features(names) => write!(f, "native:{}", names.join(",")),
        }
    }
}

/// The highest x86-64 level that this machine has; `None` on other architectures.
pub(crate) fn x86_level() -> Option<u8> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    (1..=4).rev().find(|level| CpuNeed::X86Level(*level).features().iter().all(|name| has_feature(name)))
}

macro_rules! detect {
    ($macro:ident, $name:expr, $($feature:tt)+) => {
        match $name {
            $($feature => std::arch::$macro!($feature),)+
            _ => false,
        }
    };
}

/// Whether this machine has a feature; one that this build does not know counts as missing.
fn has_feature(name: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    return detect!(is_x86_feature_detected, name,
        "adx" "aes" "avx" "avx2" "avx512bf16" "avx512bitalg" "avx512bw" "avx512cd" "avx512dq" "avx512f" "avx512fp16"
        "avx512ifma" "avx512vbmi" "avx512vbmi2" "avx512vl" "avx512vnni" "avx512vp2intersect" "avx512vpopcntdq" "avxifma"
        "avxneconvert" "avxvnni" "avxvnniint16" "avxvnniint8" "bmi1" "bmi2" "cmpxchg16b" "f16c" "fma" "fxsr" "gfni"
        "lzcnt" "movbe" "pclmulqdq" "popcnt" "rdrand" "rdseed" "sha" "sse" "sse2" "sse3" "sse4.1" "sse4.2" "sse4a"
        "ssse3" "tbm" "vaes" "vpclmulqdq" "xsave" "xsavec" "xsaveopt" "xsaves");
    #[cfg(target_arch = "aarch64")]
    return detect!(is_aarch64_feature_detected, name,
        "aes" "bf16" "dotprod" "fhm" "fp16" "i8mm" "lse" "neon" "rdm" "sha2" "sha3" "sve" "sve2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = name;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["any", "x86-64-v1", "x86-64-v3", "x86-64-v4", "native:avx2,fma"] {
            assert_eq!(CpuNeed::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "x86-64", "x86-64-v0", "x86-64-v5", "native:", "native:a,,b", "haswell"] {
            assert!(CpuNeed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refusal_names_the_missing_features() {
        let has = |name: &str| !matches!(name, "avx2" | "fma");
        let need = CpuNeed::parse("x86-64-v3").unwrap();
        let error = need.check_with("whisper", &has, "x86_64").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert_eq!(
            error.message(),
            "plugin \"whisper\" needs a CPU with x86-64-v3, and this one lacks avx2, fma: use a build for a lower level"
        );
        assert!(CpuNeed::parse("x86-64-v2").unwrap().check_with("whisper", &has, "x86_64").is_ok());
        assert!(CpuNeed::Any.check_with("whisper", &|_| false, "riscv64").is_ok());
    }

    #[test]
    fn another_architecture_is_refused() {
        let error = CpuNeed::X86Level(1).check_with("whisper", &|_| true, "aarch64").unwrap_err();
        assert_eq!(error.message(), "plugin \"whisper\" is built for x86-64-v1, and this machine is aarch64");
    }

    #[test]
    fn a_feature_that_nobody_knows_is_missing() {
        assert!(CpuNeed::parse("native:hyperspace").unwrap().check("x").is_err());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn this_machine_has_its_own_level() {
        let level = x86_level().unwrap();
        assert!(CpuNeed::X86Level(level).check("x").is_ok());
        assert!(level == 4 || CpuNeed::X86Level(level + 1).check("x").is_err());
    }
}
