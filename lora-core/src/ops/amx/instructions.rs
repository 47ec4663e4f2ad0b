//! The tile instructions, and whether the processor and the system have them.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::split::{LINES, Line};

/// The lines and the values of each that are multiplied at a time: two tiles by one.
pub(super) const SIZE: usize = 32;

/// The lines of 64 bytes that [`SIZE`] lines by [`SIZE`] values take in so many parts of 16 bits.
pub(super) const fn piece(parts: usize) -> usize {
    parts * 2 * LINES
}

/// Whether the processor has tiles of 16-bit values and the system lets this process use them.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has() && system_lets())
}

fn processor_has() -> bool {
    let vectors = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("xsave");
    let features = __cpuid_count(7, 0).edx;
    let [bf16, tiles] = [22, 24].map(|bit| features >> bit & 1 == 1);
    vectors && bf16 && tiles && state_is_kept()
}

/// Whether the system keeps the tiles of a thread that it interrupts.
fn state_is_kept() -> bool {
    // SAFETY: the processor has the instruction, since it has AVX-512 and the system supports that.
    let kept = unsafe { enabled_state() };
    kept >> 17 & 3 == 3
}

#[target_feature(enable = "xsave")]
fn enabled_state() -> u64 {
    // SAFETY: register 0 is always there.
    unsafe { _xgetbv(0) }
}

/// Asks the system for the use of tiles, which it has to make room for in each thread.
fn system_lets() -> bool {
    const REQUEST: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILES: libc::c_long = 18; // XFEATURE_XTILEDATA
    // SAFETY: the call takes two numbers, touches none of our memory, and fails where it is unknown.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) == 0 }
}

/// The tiles of this thread, each of 16 rows of 64 bytes.
pub(super) struct Configured(PhantomData<*const ()>);

#[repr(C, align(64))]
struct Configuration([u8; 64]);

impl Configured {
    /// # Panics
    ///
    /// Panics where there are no tiles.
    pub(super) fn new() -> Self {
        const CONFIGURATION: Configuration = {
            let mut bytes = [0; 64];
            bytes[0] = 1;
            let mut tile = 0;
            while tile < 8 {
                bytes[16 + 2 * tile] = 64;
                bytes[48 + tile] = 16;
                tile += 1;
            }
            Configuration(bytes)
        };
        assert!(available(), "this processor has no tiles");
        // SAFETY: the instruction is there, and reads 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack, readonly)) };
        Self(PhantomData)
    }

    /// `to = left·right`, or added to it if `add`, of one block of rows and one of columns, both in
    /// `PARTS` parts.
    ///
    /// # Safety
    ///
    /// `to` must have [`SIZE`] rows, `row` values apart, of [`SIZE`] values that nobody else reads or
    /// writes meanwhile.
    ///
    /// # Panics
    ///
    /// Panics if the blocks are not of the same depth, or there are not one or two parts.
    pub(super) unsafe fn multiply<const PARTS: usize>(
        &self,
        left: &[Line],
        right: &[Line],
        to: *mut f32,
        row: usize,
        add: bool,
    ) {
        assert_eq!(left.len(), right.len(), "the depth of two blocks");
        let pieces = left.len() / piece(PARTS);
        if pieces == 0 {
            return;
        }
        // The eight tiles are four sums of 16 by 16 (0 to 3), two tiles of rows (4 and 5) and two of
        // columns (6 and 7). A piece is each part of two tiles of 1 KiB.
        macro_rules! multiply {
            ($($step:literal),+) => {
                asm!(
                    "test {add:e}, {add:e}",
                    "jz 3f",
                    "tileloadd tmm0, [{to} + {row}]",
                    "tileloadd tmm1, [{to} + {row} + 64]",
                    "tileloadd tmm2, [{lower} + {row}]",
                    "tileloadd tmm3, [{lower} + {row} + 64]",
                    "jmp 2f",
                    "3:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    $($step,)+
                    "add {a}, {size}",
                    "add {b}, {size}",
                    "dec {pieces}",
                    "jnz 2b",
                    "tilestored [{to} + {row}], tmm0",
                    "tilestored [{to} + {row} + 64], tmm1",
                    "tilestored [{lower} + {row}], tmm2",
                    "tilestored [{lower} + {row} + 64], tmm3",
                    a = inout(reg) left.as_ptr() => _,
                    b = inout(reg) right.as_ptr() => _,
                    pieces = inout(reg) pieces => _,
                    to = in(reg) to,
                    lower = in(reg) to.wrapping_add(LINES * row),
                    row = in(reg) size_of::<f32>() * row,
                    line = in(reg) size_of::<Line>(),
                    add = in(reg) u32::from(add),
                    size = const piece(PARTS) * size_of::<Line>(),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                )
            };
        }
        // SAFETY: the loop reads `pieces` pieces of both sides, which are there; the output is as the
        // caller promises; the tiles are configured, since there is a `self`, which stays with its
        // thread; no other code uses tiles.
        unsafe {
            match PARTS {
                1 => multiply!(
                    "tileloadd tmm6, [{b} + {line}]",
                    "tileloadd tmm4, [{a} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a} + {line} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ),
                // Part 2 by part 1, part 1 by part 1, part 1 by part 2: each tile is loaded once.
                2 => multiply!(
                    "tileloadd tmm6, [{b} + {line}]",
                    "tileloadd tmm4, [{a} + {line} + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {line} + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a} + {line} + 3072]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "tileloadd tmm4, [{a} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a} + {line} + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "tileloadd tmm6, [{b} + {line} + 2048]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {line} + 3072]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ),
                _ => panic!("values in one or two parts"),
            }
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // With no tiles in use, the system has nothing to keep of them.
        // SAFETY: there is a configuration, since there is a `self`.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}

/// Blocks of lines that have been written in parts.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    lines: &'a [Line],
    /// The lines of a block.
    block: usize,
}

impl<'a> Tiles<'a> {
    /// The blocks in `lines`, each of `block` lines.
    pub(super) fn of(lines: &'a [Line], block: usize) -> Self {
        Self { lines, block }
    }

    pub(super) fn block(&self, index: usize) -> &'a [Line] {
        &self.lines[index * self.block..][..self.block]
    }
}
