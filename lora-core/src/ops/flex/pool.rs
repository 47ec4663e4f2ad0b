//! Memory for the values of tensors, kept for the next tensor of about the same size.
//!
//! A training step asks for the same large buffers as the step before it. From the system each would
//! come as pages to be cleared and mapped one by one, which costs about as much as writing them.

use std::mem::{MaybeUninit, take};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use burn::backend::{AllocationProperty, Bytes};
use burn_std::{AccessError, AccessPolicy, AllocationController};
use memmap2::MmapMut;

/// A cache line, so that vectors are never split between two.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; Line::LEN]);

impl Line {
    const LEN: usize = 16;
}

/// Blocks with fewer lines than this go back to the allocator, which is quick with them.
const SMALLEST: usize = 256;

/// Blocks with at least as many lines as this (1 MiB) are mapped from the system, each by itself. Taken
/// from the allocator, a long-lived small block could lie where a large one has been, which then had
/// to go elsewhere: a step that keeps little took twice the memory it used.
const MAPPED: usize = 16 * 1024;

/// The part of what was once asked for that the pool keeps beyond it, one in so many: blocks are up to a
/// quarter larger than asked for, so that it would give back some in each step, and get them again.
const SLACK: usize = 16;

static POOL: Mutex<Pool> = Mutex::new(Pool::new());

/// Memory for some lines, all of whose bytes are initialised.
#[derive(Debug)]
enum Block {
    Allocated(Vec<Line>),
    Mapped(MmapMut),
}

impl Block {
    /// Lines that are zero.
    fn new(lines: usize) -> Self {
        if lines >= MAPPED
            && let Ok(map) = map(lines * size_of::<Line>())
        {
            return Self::Mapped(map);
        }
        Self::Allocated(vec![Line([0.0; Line::LEN]); lines])
    }

    /// The number of lines.
    fn len(&self) -> usize {
        match self {
            Self::Allocated(lines) => lines.len(),
            Self::Mapped(map) => map.len() / size_of::<Line>(),
        }
    }

    fn as_ptr(&self) -> *const f32 {
        match self {
            Self::Allocated(lines) => lines.as_ptr().cast(),
            Self::Mapped(map) => map.as_ptr().cast(),
        }
    }

    fn as_mut_ptr(&mut self) -> *mut f32 {
        match self {
            Self::Allocated(lines) => lines.as_mut_ptr().cast(),
            Self::Mapped(map) => map.as_mut_ptr().cast(),
        }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::Allocated(Vec::new())
    }
}

/// Memory from the system, with large pages where it has some: a product that goes through a matrix
/// column by column then waits less for addresses.
pub(super) fn map(bytes: usize) -> std::io::Result<MmapMut> {
    let map = MmapMut::map_anon(bytes)?;
    // Without them it is slower, and right all the same.
    #[cfg(target_os = "linux")]
    if let Err(error) = map.advise(memmap2::Advice::HugePage) {
        log::debug!("no large pages: {error}");
    }
    Ok(map)
}

/// Values of which at first only the number is known, in memory of the pool.
#[derive(Debug)]
pub(crate) struct Buffer {
    block: Block,
    len: usize,
}

impl Buffer {
    /// `len` values left over from whatever was there before.
    pub(crate) fn any(len: usize) -> Self {
        let lines = Self::lines(len);
        let block = match lines < SMALLEST {
            true => Block::new(lines),
            false => POOL
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(lines),
        };
        Self { block, len }
    }

    /// How many lines are asked for, for `len` values.
    fn lines(len: usize) -> usize {
        match len.div_ceil(Line::LEN) {
            lines if lines < SMALLEST => lines,
            lines => size_class(lines),
        }
    }

    /// A copy of `values`.
    pub(crate) fn copy(values: &[f32]) -> Self {
        let mut buffer = Self::any(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// The same memory as a tensor's; it goes back to the pool with the tensor.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = size_of::<f32>() * self.len;
        // SAFETY: all of the first `len` bytes are values, which are initialised.
        unsafe { Bytes::from_controller(Box::new(Pooled(self)), len) }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is its values and nothing else, and there are enough for `len` of them; a map
        // begins where a page does.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_mut_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.block.len() >= SMALLEST {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            pool.put(take(&mut self.block), Self::lines(self.len));
        }
    }
}

/// The lines to get for `lines` of them: few sizes, so that they fit again, and at most an eighth
/// more.
fn size_class(lines: usize) -> usize {
    lines.next_multiple_of((lines.next_power_of_two() / 16).max(1))
}

/// The blocks that are not in use.
#[derive(Debug)]
struct Pool {
    /// The longest unused first.
    free: Vec<Block>,
    /// The lines in `free`.
    waiting: usize,
    /// The lines of the blocks in use.
    used: usize,
    /// The lines that were asked for, of the blocks in use.
    asked: usize,
    /// The most that were ever asked for at a time: as long as there is a block to do without, the pool
    /// has never more than these in all, and a [`SLACK`]th.
    most: usize,
}

impl Pool {
    const fn new() -> Self {
        Self {
            free: Vec::new(),
            waiting: 0,
            used: 0,
            asked: 0,
            most: 0,
        }
    }

    /// A block with this many lines or up to a quarter more: batches of real texts are of many sizes.
    fn get(&mut self, lines: usize) -> Block {
        self.asked += lines;
        self.most = self.most.max(self.asked);
        let fits = |block: &Block| (lines..=lines + lines / 4).contains(&block.len());
        // The last one used is the likeliest to be in the cache.
        let indices = (0..self.free.len()).rev();
        let fitting = indices.filter(|&index| fits(&self.free[index]));
        if let Some(index) = fitting.min_by_key(|&index| self.free[index].len()) {
            let block = self.free.remove(index);
            self.waiting -= block.len();
            self.used += block.len();
            return block;
        }
        self.used += lines;
        self.do_without();
        Block::new(lines)
    }

    /// Gives blocks back to the system that are more than was ever asked for, and a little.
    fn do_without(&mut self) {
        while self.waiting + self.used > self.most + self.most / SLACK && !self.free.is_empty() {
            self.waiting -= self.free.remove(0).len();
        }
    }

    /// Takes a block back, of which so many lines were asked for.
    fn put(&mut self, block: Block, asked: usize) {
        self.used -= block.len();
        self.asked -= asked;
        self.waiting += block.len();
        self.free.push(block);
        self.do_without();
    }
}

/// A buffer as the memory of Burn's [`Bytes`].
struct Pooled(Buffer);

impl AllocationController for Pooled {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let values: &[f32] = &self.0;
        let len = size_of_val(values);
        // SAFETY: these bytes are those of the values, and any byte may be looked at as such.
        Ok(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), len) })
    }

    unsafe fn memory_mut(
        &mut self,
        _: AccessPolicy,
    ) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let values: &mut [f32] = &mut self.0;
        let len = size_of_val(values);
        // SAFETY: as above; the caller promises to write initialised bytes only, and any four of
        // them are a value.
        Ok(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_few_and_not_much_larger() {
        let sizes: Vec<usize> = (SMALLEST..8 * SMALLEST).map(size_class).collect();
        for (lines, size) in (SMALLEST..).zip(&sizes) {
            assert!(*size >= lines && 8 * (size - lines) <= lines);
        }
        let mut classes = sizes;
        classes.dedup();
        assert!(classes.len() <= 3 * 8 + 1, "{}", classes.len());
    }

    #[test]
    fn blocks_come_back_and_the_pool_has_hardly_more_than_was_once_asked_for() {
        let mut pool = Pool::new();
        let first = pool.get(1000);
        let place = first.as_ptr();
        let second = pool.get(500);
        pool.put(first, 1000);
        let again = pool.get(1000);
        assert_eq!(again.as_ptr(), place);
        pool.put(second, 500);
        assert_eq!((pool.used, pool.waiting, pool.most), (1000, 500, 1500));
        // There is no block of about this size: the one that waits has to go.
        let third = pool.get(300);
        assert_eq!((pool.used, pool.waiting, pool.most), (1300, 0, 1500));
        pool.put(third, 300);
        assert_eq!((pool.used, pool.waiting), (1000, 300));
    }

    #[test]
    fn a_block_that_is_a_little_larger_will_do() {
        let mut pool = Pool::new();
        let blocks = [1000, 1100, 1260].map(|lines| pool.get(lines));
        let places = blocks.each_ref().map(Block::as_ptr);
        for (block, lines) in blocks.into_iter().zip([1000, 1100, 1260]) {
            pool.put(block, lines);
        }
        let taken = [1008, 1000, 1008].map(|lines| pool.get(lines));
        let found = taken.each_ref().map(Block::as_ptr);
        assert_eq!(found, [places[1], places[0], places[2]]);
        assert_eq!((pool.used, pool.asked), (3360, 3016));
        // More than the 3360 lines that were asked for is kept, but not more than a sixteenth.
        let other = pool.get(200);
        for (block, lines) in taken.into_iter().zip([1008, 1000, 1008]) {
            pool.put(block, lines);
        }
        assert_eq!((pool.used, pool.waiting, pool.most), (200, 3360, 3360));
        let one_more = pool.get(500);
        assert_eq!((pool.used, pool.waiting, pool.most), (700, 2260, 3360));
        assert!(pool.free.iter().all(|block| block.len() != 1100));
        for (block, lines) in [(other, 200), (one_more, 500)] {
            pool.put(block, lines);
        }
    }

    #[test]
    fn tensors_of_the_pool_are_values_like_any() {
        for len in [0, 1, 5000, 100_000, 500_000] {
            let mut buffer = Buffer::any(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().align_offset(64), 0);
            buffer.fill(1.5);
            let mut bytes = buffer.into_bytes();
            assert_eq!(bytes.len(), 4 * len);
            bytes.iter_mut().for_each(|byte| *byte = 0);
            let copy = bytes.clone();
            drop(bytes);
            assert!(copy.iter().all(|byte| *byte == 0));
        }
    }
}
