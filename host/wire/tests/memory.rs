//! What a decoder allocates is bounded by what is there, whatever lengths and counts it is told.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tenon_wire::{Order, Reply};

struct Counting;

thread_local! {
    /// The largest block that this thread asked for.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn promised_counts_reserve_nothing() {
    let mut decoded = 0;
    for kind in 0..=255u8 {
        for promised in [1u32, 40, 65_536, 1 << 20, 17 << 20, 0x7fff_ffff, u32::MAX] {
            for zeros in 0..80 {
                let mut frame = vec![kind, 1, 0, 0, 0];
                frame.extend(vec![0; zeros]);
                frame.extend(promised.to_le_bytes());
                frame.extend([0; 12]);
                LARGEST.set(0);
                decoded += usize::from(Order::decode(&frame, Vec::new()).is_ok());
                decoded += usize::from(Reply::decode(&frame).is_ok());
                assert!(LARGEST.get() <= 4 * frame.len() + 1024, "{} for {frame:?}", LARGEST.get());
            }
        }
    }
    assert!(decoded > 0, "no frame was right, so that little was tried");
}
