//! Memory for the sides of a product, which a thread keeps for its next one.

use std::cell::RefCell;

use crate::ops::flex::Pages;

/// The values that are asked for at least, so that one piece of memory does for most products.
const LEAST: usize = 1 << 19;

/// Calls `f` with so many values of any content.
///
/// While `f` waits for other threads, its own may begin with another product, which then has memory of
/// its own.
pub(super) fn with_scratch(len: usize, f: impl FnOnce(&mut [f32])) {
    thread_local! {
        static FREE: RefCell<Vec<Pages>> = const { RefCell::new(Vec::new()) };
    }
    let free = FREE.with_borrow_mut(Vec::pop);
    let fitting = free.filter(|pages| pages.len() >= len * size_of::<f32>());
    let new = || Pages::new(len.max(LEAST) * size_of::<f32>());
    let mut pages = fitting.unwrap_or_else(new);
    f(&mut pages.values()[..len]);
    FREE.with_borrow_mut(|free| free.push(pages));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_inside_another_has_memory_of_its_own() {
        for len in [1, LEAST, LEAST + 1] {
            with_scratch(len, |outer| {
                outer.fill(1.0);
                with_scratch(2 * len, |inner| {
                    assert_eq!(inner.len(), 2 * len);
                    inner.fill(2.0);
                });
                assert_eq!(outer.len(), len);
                assert!(outer.iter().all(|value| *value == 1.0));
            });
        }
    }
}
