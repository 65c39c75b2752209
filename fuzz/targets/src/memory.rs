//! What a piece of work takes of the heap: the largest block that it asked for, and the most that it held at once.

#![allow(unsafe_code, reason = "an allocator is unsafe to write")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with counters of each thread.
struct Counting;

/// Notes a block that was asked for, and by how much more is held now.
fn note(block: usize, more: isize) {
    // A thread that ends has no counters any more, and nobody asks for them.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(block)));
    let _ = LIVE.try_with(|live| {
        live.set(live.get().wrapping_add(more));
        let _ = MOST.try_with(|most| most.set(most.get().max(live.get())));
    });
}

// SAFETY: every call is handed to the system's allocator as it is; the counters neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), layout.size().cast_signed());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, size.cast_signed().wrapping_sub(layout.size().cast_signed()));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, layout.size().cast_signed().wrapping_neg());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What a piece of work took, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The largest single block.
    pub largest: usize,
    /// The most that was held at once, beyond what was held before.
    pub most: usize,
}

/// Runs something on this thread and says what it took of the heap.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let before = LIVE.get();
    MOST.set(before);
    LARGEST.set(0);
    let done = work();
    let most = MOST.get().wrapping_sub(before).max(0).cast_unsigned();
    (done, Taken { largest: LARGEST.get(), most })
}

/// Runs what reads `input` bytes, and asserts that no block was larger than four times that and a megabyte.
pub(crate) fn in_proportion<T>(input: usize, work: impl FnOnce() -> T) -> T {
    let (done, taken) = measured(work);
    let limit = 4 * input + (1 << 20);
    assert!(taken.largest <= limit, "{} bytes at once for an input of {input}", taken.largest);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_largest_block_and_the_most_at_once() {
        let ((), taken) = measured(|| {
            drop(std::hint::black_box(vec![1_u8; 1000]));
            let two = (vec![1_u8; 600], vec![1_u8; 600]);
            drop(std::hint::black_box(two));
        });
        assert_eq!((taken.largest, taken.most), (1000, 1200));
    }

    #[test]
    #[should_panic(expected = "bytes at once for an input of 10")]
    fn a_block_out_of_proportion_is_found() {
        in_proportion(10, || drop(std::hint::black_box(vec![1_u8; 2 << 20])));
    }
}
