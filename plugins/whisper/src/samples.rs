//! Samples in pages of their own, which go back to the system as soon as nobody needs them.
//!
//! A long recording is tens of megabytes. In a heap, what was freed of it mostly stays with the process, since something
//! small was put behind it meanwhile. `windows` and `silence` fill these, `session` hands them to the engine.

use memmap2::MmapMut;
use std::fmt;
use std::io;
use std::ops::Deref;

/// Least room that is made, samples: 64 KiB.
const LEAST: usize = 16 * 1024;

/// Mono samples that grow at the end.
#[derive(Default)]
pub struct Samples {
    pages: Option<MmapMut>,
    count: usize,
}

impl Samples {
    /// Adds samples at the end.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn extend(&mut self, more: &[f32]) -> io::Result<()> {
        let count = self.count + more.len();
        if count > self.room().len() {
            self.reserve(count.max(2 * self.count))?;
        }
        let from = self.count;
        self.room()[from..count].copy_from_slice(more);
        self.count = count;
        Ok(())
    }

    /// Makes room for so many samples in all; pages that nothing is written to cost nothing.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn reserve(&mut self, count: usize) -> io::Result<()> {
        if count <= self.room().len() {
            return Ok(());
        }
        let bytes = count.max(LEAST).checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut pages = MmapMut::map_anon(bytes)?;
        bytemuck::cast_slice_mut::<u8, f32>(&mut pages)[..self.count].copy_from_slice(self);
        self.pages = Some(pages);
        Ok(())
    }

    /// Adds silence until there are so many.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn pad(&mut self, count: usize) -> io::Result<()> {
        let silence = [0.0; 1024];
        while self.count < count {
            self.extend(&silence[..silence.len().min(count - self.count)])?;
        }
        Ok(())
    }

    /// Forgets all but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }

    /// Forgets the first `count`, at most all.
    pub fn drop_front(&mut self, count: usize) {
        let count = count.min(self.count);
        let all = self.count;
        self.room().copy_within(count..all, 0);
        self.count = all - count;
    }

    /// Takes what is behind the first `at` out, as samples of their own.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn split_off(&mut self, at: usize) -> io::Result<Self> {
        let mut rest = Self::default();
        rest.extend(&self[at.min(self.count)..])?;
        self.truncate(at);
        Ok(rest)
    }

    fn room(&mut self) -> &mut [f32] {
        self.pages.as_mut().map(|pages| bytemuck::cast_slice_mut(pages)).unwrap_or_default()
    }
}

impl Deref for Samples {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let room: &[f32] = self.pages.as_ref().map(|pages| bytemuck::cast_slice(pages)).unwrap_or_default();
        &room[..self.count]
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples", self.count)
    }
}

impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[f32]) -> Samples {
        let mut made = Samples::default();
        made.extend(samples).unwrap();
        made
    }

    #[test]
    fn what_is_added_in_pieces_is_there_in_order() {
        let all: Vec<f32> = (0..5 * LEAST).map(|at| at as f32).collect();
        let mut samples = Samples::default();
        assert!(samples.is_empty());
        for piece in all.chunks(777) {
            samples.extend(piece).unwrap();
        }
        assert_eq!(*samples, all[..]);
    }

    #[test]
    fn both_ends_can_be_cut_and_the_rest_split_off() {
        let mut samples = of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        let rest = samples.split_off(4).unwrap();
        assert_eq!((&*samples, &*rest), (&[1.0, 2.0, 3.0, 4.0][..], &[5.0][..]));
        samples.truncate(3);
        samples.drop_front(1);
        assert_eq!(*samples, [2.0, 3.0]);
        samples.drop_front(9);
        assert!(samples.is_empty() && samples.split_off(7).unwrap().is_empty());
    }

    #[test]
    fn silence_is_added_up_to_a_count_and_never_taken_away() {
        let mut samples = of(&[1.0]);
        samples.pad(3_000).unwrap();
        assert_eq!((samples.len(), samples[0], samples[2_999]), (3_000, 1.0, 0.0));
        samples.pad(2).unwrap();
        assert_eq!(samples.len(), 3_000);
    }

    #[test]
    fn more_than_the_system_can_have_is_an_error() {
        assert!(Samples::default().reserve(usize::MAX / 8).is_err());
        assert!(Samples::default().reserve(usize::MAX).is_err());
    }
}
