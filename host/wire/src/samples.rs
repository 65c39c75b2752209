//! Samples on their way to a worker: inside the frame, or too many for that.

use crate::code::{Reader, Writer};
#[cfg(target_os = "linux")]
use crate::sealed::Sealed;
use crate::{Error, Result, limits};
use std::fmt;
use std::io;
use std::ops::Deref;

/// Mono samples.
pub enum Samples {
    /// Inside the frame.
    Inline(Vec<f32>),
    /// In a sealed memory file, whose descriptor travels with the frame.
    #[cfg(target_os = "linux")]
    Mapped(Sealed),
}

const INLINE: u8 = 0;
#[cfg(target_os = "linux")]
const MAPPED: u8 = 1;

impl Samples {
    /// Copies samples, to where they can cross from.
    ///
    /// # Errors
    /// When there are too many for a frame, and the system gives no memory file.
    pub fn new(samples: &[f32]) -> io::Result<Self> {
        match samples.len() <= limits::INLINE_SAMPLES {
            true => Ok(Self::Inline(samples.to_vec())),
            false => Self::many(samples),
        }
    }

    #[cfg(target_os = "linux")]
    fn many(samples: &[f32]) -> io::Result<Self> {
        Sealed::new(samples).map(Self::Mapped)
    }

    #[cfg(not(target_os = "linux"))]
    fn many(samples: &[f32]) -> io::Result<Self> {
        Ok(Self::Inline(samples.to_vec()))
    }

    pub(crate) fn put<'a>(&'a self, to: &mut Writer<'a, '_>) {
        match self {
            Self::Inline(samples) => put_inline(samples, to),
            #[cfg(target_os = "linux")]
            Self::Mapped(sealed) => match sealed.file() {
                Some(file) => {
                    to.u8(MAPPED);
                    to.u64(sealed.len() as u64);
                    to.file(file);
                }
                None => put_inline(sealed, to),
            },
        }
    }

    pub(crate) fn take(from: &mut Reader<'_>) -> Result<Self> {
        match from.u8()? {
            INLINE => from.floats("samples inside a frame", 0..=limits::FRAME / size_of::<f32>()).map(Self::Inline),
            #[cfg(target_os = "linux")]
            MAPPED => {
                let count = from.u64()?;
                Sealed::receive(from.file()?, count).map(Self::Mapped)
            }
            other => Err(Error::Garbage(format!("samples of the unknown kind {other}"))),
        }
    }
}

fn put_inline(samples: &[f32], to: &mut Writer<'_, '_>) {
    to.u8(INLINE);
    to.count("samples inside a frame", samples.len(), limits::FRAME / size_of::<f32>());
    to.floats(samples);
}

impl Deref for Samples {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Inline(samples) => samples,
            #[cfg(target_os = "linux")]
            Self::Mapped(sealed) => sealed,
        }
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples", self.len())
    }
}
