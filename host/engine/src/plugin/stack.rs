//! How much stack the calling thread has left.

/// Bytes between here and the end of this thread's stack; `None` where nobody can tell, as on a stack that the program
/// switched to by itself.
#[cfg(target_os = "linux")]
pub(super) fn left() -> Option<usize> {
    use std::ops::Range;

    thread_local! {
        /// For the main thread the system reads all of /proc/self/maps to know it.
        static STACK: Option<Range<usize>> = stack();
    }
    let here = 0_u8;
    let here = std::ptr::from_ref(&here).addr();
    STACK.with(|stack| stack.as_ref().filter(|stack| stack.contains(&here)).map(|stack| here - stack.start))
}

#[cfg(target_os = "linux")]
fn stack() -> Option<std::ops::Range<usize>> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the attributes have room for what the function writes.
    if unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut start, mut size, mut guard) = (std::ptr::null_mut(), 0, 0);
    // SAFETY: the attributes were written above, and are given up here; the places for the answers are live.
    let known = unsafe {
        let known = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size) == 0
            && libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard) == 0;
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        known
    };
    // Where the guard counts as a part of the stack and where it does not, none of it is counted here.
    let start = start.addr();
    known.then(|| start + guard..start + size)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn left() -> Option<usize> {
    None
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::left;

    #[test]
    fn a_new_thread_has_nearly_all_of_its_stack_left_and_less_further_down() {
        #[inline(never)]
        fn deeper() -> usize {
            let page = std::hint::black_box([1_u8; 64 * 1024]);
            left().unwrap() + usize::from(page[0] == 0)
        }
        let both = || (left().unwrap(), deeper());
        let (top, below) = std::thread::Builder::new().stack_size(1 << 20).spawn(both).unwrap().join().unwrap();
        // It may be more than was asked for: glibc gives a new thread the larger stack of one that ended.
        assert!(top >= 900 * 1024, "{top}");
        assert!(below + 64 * 1024 <= top, "{below} and {top}");
    }
}
