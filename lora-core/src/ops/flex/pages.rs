//! Memory that begins with a large page, for what a product reads again and again.

use std::alloc::{Layout, handle_alloc_error};

use memmap2::MmapMut;

use super::pool::map;

/// The memory that is looked up at a time, if the system has such pages to spare.
const PAGE: usize = 2 << 20;

/// Memory that begins with a large page; what is not used of it does not exist.
#[derive(Debug)]
pub(crate) struct Pages(MmapMut);

impl Pages {
    /// At least so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        match map(PAGE + bytes) {
            Ok(map) => Self(map),
            Err(_) => handle_alloc_error(Layout::new::<[u8; PAGE]>()),
        }
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len() - self.start()
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.0[start..]
    }

    /// Where the first large page begins.
    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(PAGE).min(self.0.len())
    }

    /// The same as 32-bit values.
    pub(crate) fn values(&mut self) -> &mut [f32] {
        // SAFETY: any four bytes are a value.
        let (_, values, _) = unsafe { self.bytes().align_to_mut() };
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_bytes_as_asked_for_from_the_start_of_a_page() {
        for bytes in [1, PAGE, 3 * PAGE + 5] {
            let mut pages = Pages::new(bytes);
            assert!(pages.len() >= bytes);
            assert_eq!(pages.bytes().len(), pages.len());
            assert_eq!(pages.bytes().as_ptr().addr() % PAGE, 0);
            assert_eq!(pages.values().len(), pages.len() / 4);
            pages.values().fill(1.5);
            assert!(pages.values().iter().all(|value| *value == 1.5));
        }
    }
}
