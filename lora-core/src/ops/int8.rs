//! Products with a weight of 8-bit whole numbers whose other side is rounded to 8 bits, too: the 8-bit
//! matrix multiplication of Dettmers et al. 2022 (LLM.int8(), section 2.1), of all values, in both
//! directions. Each row of the other side has a scale, and the sums are exact whole numbers.

#[cfg(target_arch = "x86_64")]
mod vnni;

use rayon::prelude::*;

use super::flex::{Buffer, rows_at_once};

/// The longest sum whose whole number is sure to fit into 32 bits.
const LONGEST: usize = 1 << 16;

/// A weight's codes, `[d_out, d_in]`, and what one step is in each of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub(crate) codes: &'a [i8],
    pub(crate) steps: &'a [f32],
}

/// Which way a weight is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Forward, `x·Wᵀ`: the sums go over the inputs.
    Inputs,
    /// Backward, `g·W`: the sums go over the outputs.
    Outputs,
}

impl Side {
    /// How long the sums are, and how many columns the product has.
    fn of(self, d_in: usize, d_out: usize) -> (usize, usize) {
        match self {
            Self::Inputs => (d_in, d_out),
            Self::Outputs => (d_out, d_in),
        }
    }
}

/// Writes the product of `x` with the weight, or adds it to what `to` has if `add`; false, and nothing is
/// written, if the sums are too long for 32 bits.
///
/// # Panics
///
/// Panics if the sizes do not fit.
pub(crate) fn multiply(to: &mut [f32], add: bool, x: &[f32], weight: Weight, side: Side) -> bool {
    let d_out = weight.steps.len();
    let d_in = weight.codes.len() / d_out.max(1);
    let (length, columns) = side.of(d_in, d_out);
    let rows = x.len() / length.max(1);
    assert_eq!(
        [weight.codes.len(), x.len(), to.len()],
        [d_out * d_in, rows * length, rows * columns],
        "sizes of a product"
    );
    if length > LONGEST {
        return false;
    }
    if to.is_empty() {
        return true;
    }
    // Backward the steps differ along the sums: the gradient is given them before it is rounded.
    let factors = (side == Side::Outputs).then_some(weight.steps);
    let left = Left::round(x, length, factors);
    let product = Product {
        left: &left,
        weight,
        side,
        columns,
        add,
    };
    #[cfg(target_arch = "x86_64")]
    if vnni::multiply(to, &product) {
        return true;
    }
    product.plain(to);
    true
}

/// The rows of one side, rounded.
struct Left {
    /// In rows of `length`, each followed by zeros to whole groups of four.
    codes: Vec<i8>,
    /// What one step is in each row.
    steps: Buffer,
    length: usize,
}

/// Values that are multiplied by one instruction.
const GROUP: usize = 4;

impl Left {
    fn round(x: &[f32], length: usize, factors: Option<&[f32]>) -> Self {
        let rows = x.len() / length.max(1);
        let width = length.next_multiple_of(GROUP);
        let mut codes = vec![0; rows * width];
        let mut steps = Buffer::any(rows);
        let at_once = rows_at_once(length);
        let outputs = codes
            .par_chunks_mut((at_once * width).max(1))
            .zip(steps.par_chunks_mut(at_once));
        let inputs = x.par_chunks((at_once * length).max(1));
        inputs.zip(outputs).for_each(|(x, (codes, steps))| {
            let mut scaled = vec![0.0; length];
            let rows = x.chunks_exact(length).zip(codes.chunks_exact_mut(width));
            for ((x, codes), step) in rows.zip(steps) {
                let x = match factors {
                    None => x,
                    Some(factors) => {
                        for ((to, x), factor) in scaled.iter_mut().zip(x).zip(factors) {
                            *to = x * factor;
                        }
                        &scaled
                    }
                };
                *step = round_row(x, codes);
            }
        });
        Self {
            codes,
            steps,
            length,
        }
    }

    fn width(&self) -> usize {
        self.length.next_multiple_of(GROUP)
    }
}

/// Rounds a row and says what one step is in it; not a number if one of its values is not finite.
#[macerator::with_simd]
fn round_row<S: macerator::Simd>(x: &[f32], codes: &mut [i8]) -> f32 {
    let largest = x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    // A sum of all values is only finite if each is.
    let broken = x.iter().fold(0.0, |sum, x| sum + x * 0.0);
    // A row of zeros has no steps; zero times infinity is not a number and becomes the code 0.
    let per_step = 127.0 / largest;
    for (code, x) in codes.iter_mut().zip(x) {
        *code = (x * per_step).round_ties_even() as i8;
    }
    largest / 127.0 + broken
}

/// What is multiplied with what.
struct Product<'a> {
    left: &'a Left,
    weight: Weight<'a>,
    side: Side,
    columns: usize,
    add: bool,
}

impl Product<'_> {
    /// The factor of a column's whole numbers.
    fn step(&self, column: usize) -> f32 {
        match self.side {
            Side::Inputs => self.weight.steps[column],
            Side::Outputs => 1.0,
        }
    }

    /// In plain Rust.
    fn plain(&self, to: &mut [f32]) {
        let width = self.left.width();
        let rows = to.par_chunks_mut(self.columns).enumerate();
        rows.for_each_init(Vec::new, |sums: &mut Vec<i32>, (row, to)| {
            let left = &self.left.codes[row * width..][..self.left.length];
            sums.clear();
            sums.resize(self.columns, 0);
            match self.side {
                Side::Inputs => {
                    let weights = self.weight.codes.chunks_exact(self.left.length);
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        let products = left.iter().zip(weights);
                        *sum = products.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                    }
                }
                Side::Outputs => {
                    let weights = self.weight.codes.chunks_exact(self.columns);
                    for (value, weights) in left.iter().zip(weights) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum += i32::from(*value) * i32::from(*weight);
                        }
                    }
                }
            }
            for (column, (to, sum)) in to.iter_mut().zip(sums).enumerate() {
                let value = *sum as f32 * (self.left.steps[row] * self.step(column));
                *to = if self.add { *to + value } else { value };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::panels::matrices::values;

    fn codes(len: usize) -> Vec<i8> {
        values(len, 5).iter().map(|x| (x * 254.0) as i8).collect()
    }

    /// The product of what is left after rounding, in 64 bits.
    fn check([rows, d_in, d_out]: [usize; 3], side: Side, add: bool) {
        let codes = codes(d_in * d_out);
        let steps: Vec<f32> = values(d_out, 9).iter().map(|x| 0.6 + x).collect();
        let weight = Weight {
            codes: &codes,
            steps: &steps,
        };
        let (length, columns) = side.of(d_in, d_out);
        let (x, start) = (values(rows * length, 1), values(rows * columns, 3));
        let left = Left::round(&x, length, (side == Side::Outputs).then_some(&steps[..]));
        let product = Product {
            left: &left,
            weight,
            side,
            columns,
            add,
        };
        let mut plain = start.clone();
        product.plain(&mut plain);
        for (place, found) in plain.iter().enumerate() {
            let (row, column) = (place / columns, place % columns);
            let sum = (0..length).map(|i| {
                let at = match side {
                    Side::Inputs => column * d_in + i,
                    Side::Outputs => i * d_in + column,
                };
                i64::from(left.codes[row * left.width() + i]) * i64::from(codes[at])
            });
            let step = f64::from(left.steps[row]) * f64::from(product.step(column));
            let before = if add { f64::from(start[place]) } else { 0.0 };
            let expected = before + sum.sum::<i64>() as f64 * step;
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 1e-5 * expected.abs().max(1.0),
                "{found} {expected}"
            );
        }
        let mut found = start;
        assert!(multiply(&mut found, add, &x, weight, side));
        assert_eq!(found, plain, "{rows} {d_in} {d_out} {side:?}");
    }

    #[test]
    fn whole_numbers_are_added_up_exactly_with_any_instructions() {
        for shape in [
            [1, 1, 1],
            [6, 4, 64],
            [7, 5, 65],
            [13, 130, 67],
            [40, 64, 300],
            [500, 33, 129],
        ] {
            for side in [Side::Inputs, Side::Outputs] {
                check(shape, side, false);
                check(shape, side, true);
            }
        }
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let (codes, steps) = (vec![-127; LONGEST], [1.0]);
        let weight = Weight {
            codes: &codes,
            steps: &steps,
        };
        let mut to = [0.0];
        assert!(multiply(
            &mut to,
            false,
            &vec![-1.0; LONGEST],
            weight,
            Side::Inputs
        ));
        assert_eq!(to[0], (127 * LONGEST) as f32);
        let codes = vec![1; LONGEST + 1];
        let weight = Weight {
            codes: &codes,
            steps: &steps,
        };
        assert!(!multiply(
            &mut to,
            false,
            &vec![1.0; LONGEST + 1],
            weight,
            Side::Inputs
        ));
    }

    #[test]
    fn rows_are_rounded_by_their_largest_value() {
        let x = [0.0, 0.0, 0.0, 0.5, -1.0, 0.1, f32::NAN, 1.0, 2.0];
        let left = Left::round(&x, 3, None);
        assert_eq!(left.codes[..8], [0, 0, 0, 0, 64, -127, 13, 0]);
        assert_eq!(left.steps[..2], [0.0, 1.0 / 127.0]);
        assert!(left.steps[2].is_nan());
        let left = Left::round(&x[3..6], 3, Some(&[2.0, 0.5, 0.0]));
        assert_eq!(left.codes, [127, -64, 0, 0]);
    }
}
