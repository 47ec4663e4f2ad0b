//! Memory for the two sides of a product, kept for the next one.

use std::alloc::{Layout, handle_alloc_error};
use std::sync::{Mutex, PoisonError};

use memmap2::{Advice, MmapMut};

use super::instructions::piece;
use super::split::Line;
use super::{DEEP, TALL, WIDE};

/// What no product uses at the moment: as many as there were ever products at a time.
static FREE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

/// The memory that is looked up at a time, if the system has such pages to spare.
const PAGE: usize = 2 << 20;

/// The most lines of each side.
const LINES: [usize; 2] = [TALL * DEEP * piece(2), WIDE * DEEP * piece(2)];

/// Memory for both sides; what is not used of it does not exist.
pub(super) struct Scratch(Option<MmapMut>);

impl Scratch {
    pub(super) fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(free.unwrap_or_else(new)))
    }

    /// So many lines for each side.
    pub(super) fn parts(&mut self, lines: [usize; 2]) -> [&mut [Line]; 2] {
        let memory = self.0.as_deref_mut().unwrap_or_default();
        let start = memory.as_ptr().align_offset(PAGE);
        // SAFETY: any content is a line.
        let (_, all, _) = unsafe { memory[start..].align_to_mut::<Line>() };
        let (left, right) = all.split_at_mut(LINES[0]);
        [&mut left[..lines[0]], &mut right[..lines[1]]]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = self.0.take();
        FREE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(memory);
    }
}

fn new() -> MmapMut {
    let lines = LINES[0] + LINES[1];
    let Ok(memory) = MmapMut::map_anon(PAGE + lines * size_of::<Line>()) else {
        handle_alloc_error(Layout::new::<[Line; LINES[0] + LINES[1]]>());
    };
    // Without large pages it is slower, and right all the same.
    if let Err(error) = memory.advise(Advice::HugePage) {
        log::debug!("no large pages for matrix products: {error}");
    }
    memory
}
