//! Memory for the two sides of a product, kept for the next one.

use std::sync::{Mutex, PoisonError};

use super::instructions::piece;
use super::split::Line;
use super::{DEEP, TALL, WIDE};
use crate::ops::flex::Pages;

/// What no product uses at the moment: as many as there were ever products at a time.
static FREE: Mutex<Vec<Pages>> = Mutex::new(Vec::new());

/// The most lines of each side.
const LINES: [usize; 2] = [TALL * DEEP * piece(2), WIDE * DEEP * piece(2)];

/// Memory for both sides; what is not used of it does not exist.
pub(super) struct Scratch(Option<Pages>);

impl Scratch {
    pub(super) fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(Some(free.unwrap_or_else(new)))
    }

    /// So many lines for each side.
    pub(super) fn parts(&mut self, lines: [usize; 2]) -> [&mut [Line]; 2] {
        let bytes = self.0.as_mut().map(Pages::bytes).unwrap_or_default();
        // SAFETY: any content is a line.
        let (_, all, _) = unsafe { bytes.align_to_mut::<Line>() };
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

fn new() -> Pages {
    Pages::new((LINES[0] + LINES[1]) * size_of::<Line>())
}
