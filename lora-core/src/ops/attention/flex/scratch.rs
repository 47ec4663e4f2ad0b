//! Memory for the matrices of one head.

use std::cell::RefCell;

/// The values of the longest vector, and of a line of the cache. Rows are filled up to whole vectors,
/// so that no product has columns left that must be computed one by one.
pub(super) const VECTOR: usize = 16;

/// The length of a row of `columns` values with the last vector filled up.
#[inline(always)]
pub(super) fn whole(columns: usize) -> usize {
    columns.next_multiple_of(VECTOR)
}

/// How far apart rows of `columns` values are, if they are read along the columns as well: with an
/// odd number of lines between them, a column does not compete for a few places of the cache.
#[inline(always)]
pub(super) fn stride(columns: usize) -> usize {
    whole(columns) | VECTOR
}

/// Calls `f` with runs of so many values of any content, which this thread keeps for the next time.
/// Each begins with a line of the cache.
pub(super) fn with_scratch<const N: usize>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N])) {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let len = lens.iter().map(|len| whole(*len)).sum::<usize>() + VECTOR;
        if scratch.len() < len {
            scratch.resize(len, 0.0);
        }
        let line = VECTOR * size_of::<f32>();
        let start = scratch.as_ptr().align_offset(line).min(VECTOR);
        let mut rest = &mut scratch[start..];
        f(lens.map(|len| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(whole(len));
            rest = after;
            &mut part[..len]
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_lengths_and_begin_with_a_line() {
        for lens in [[0, 3, 17], [100, 0, 16]] {
            with_scratch(lens, |parts| {
                assert_eq!(parts.each_ref().map(|part| part.len()), lens);
                assert!(parts.iter().all(|part| part.as_ptr().addr() % 64 == 0));
            });
        }
    }
}
