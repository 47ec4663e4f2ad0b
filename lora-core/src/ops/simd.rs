//! Arithmetic of single values, written so that a loop over it becomes vector instructions inside
//! a function that `macerator::with_simd` compiles once for each instruction set.

use macerator::{Scalar, Simd, Vector};

/// `a·b + c`, in one instruction where the instruction set `S` has it.
#[inline(always)]
pub(crate) fn fma<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    // Every set with vectors this wide has it; without, `mul_add` would be a library call.
    match S::lanes32() >= 8 {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}

/// The larger value; NaN if `a` is.
#[inline(always)]
pub(crate) fn at_least(a: f32, bound: f32) -> f32 {
    if a < bound { bound } else { a }
}

/// The smaller value; NaN if `a` is.
#[inline(always)]
pub(crate) fn at_most(a: f32, bound: f32) -> f32 {
    if a > bound { bound } else { a }
}

/// A polynomial, the coefficient of the highest power first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = fma::<S>(sum, x, *coefficient);
    }
    sum
}

/// Between these, `eˣ` is a number of full precision.
const LEAST: f32 = -87.336_54;
const MOST: f32 = 88.376_26;
/// Adding this leaves the nearest whole number in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2, negative, in two parts, so that what is left of a number is exact.
const LN_2: [f32; 2] = [-0.693_359_4, 2.121_944_4e-4];
const SERIES: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// `eˣ` to 2 units in the last place, from 1.2e-38 up; what would be smaller stays there.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    let x = at_most(at_least(x, LEAST), MOST);
    let shifted = fma::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = fma::<S>(whole, LN_2[0], x);
    let rest = fma::<S>(whole, LN_2[1], rest);
    let series = polynomial::<S, 6>(rest, SERIES);
    let mantissa = fma::<S>(series, rest * rest, rest) + 1.0;
    let exponent = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    mantissa * exponent
}

/// The error function to 4 units in the last place.
#[inline(always)]
pub(crate) fn erf<S: Simd>(x: f32) -> f32 {
    // Beyond 4 the function is 1 in single precision; in between, a rational function.
    let x = at_most(at_least(x, -4.0), 4.0);
    let square = x * x;
    let above = polynomial::<S, 7>(
        square,
        [
            -2.726_142_3e-10,
            2.770_681_4e-8,
            -2.101_024e-6,
            -5.692_506_5e-5,
            -7.349_906e-4,
            -2.954_6e-3,
            -1.609_603_3e-2,
        ],
    );
    let below = polynomial::<S, 5>(
        square,
        [
            -1.456_607_2e-5,
            -2.133_740_6e-4,
            -1.682_827e-3,
            -7.373_329_4e-3,
            -1.426_473_9e-2,
        ],
    );
    x * above / below
}

/// As many partial sums as make a loop over them vector instructions.
pub(crate) const LANES: usize = 32;

/// The sum of `f(i)` for `i` below `n`.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    let whole = n - n % LANES;
    let mut start = 0;
    while start < whole {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
        start += LANES;
    }
    let rest: f32 = (whole..n).map(f).sum();
    sums.iter().sum::<f32>() + rest
}

/// The first values of `from` as a vector.
///
/// # Panics
///
/// Panics if they are fewer.
#[inline(always)]
pub(crate) fn load<S: Simd>(from: &[f32]) -> Vector<S, f32> {
    assert!(from.len() >= S::lanes32(), "the values of a vector");
    // SAFETY: there are as many values as a vector has.
    unsafe { f32::vload_unaligned(from.as_ptr()) }
}

/// Writes a vector to the first values of `to`.
///
/// # Panics
///
/// Panics if they are fewer.
#[inline(always)]
pub(crate) fn store<S: Simd>(to: &mut [f32], vector: Vector<S, f32>) {
    assert!(to.len() >= S::lanes32(), "the values of a vector");
    // SAFETY: there are as many values as a vector has.
    unsafe { f32::vstore_unaligned(to.as_mut_ptr(), vector) };
}

/// The whole numbers from `first` on.
#[inline(always)]
pub(crate) fn numbers<S: Simd>(first: usize) -> Vector<S, u32> {
    const NUMBERS: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    assert!(S::lanes32() <= NUMBERS.len(), "the values of a vector");
    // SAFETY: there are at least as many numbers as a vector has.
    let numbers = unsafe { u32::vload_unaligned::<S>(NUMBERS.as_ptr()) };
    numbers + (first as u32).splat()
}

/// [`exp`] of each value of a vector.
#[inline(always)]
pub(crate) fn exp_each<S: Simd>(x: Vector<S, f32>) -> Vector<S, f32> {
    let of = |value: f32| value.splat::<S>();
    let [least, most] = [LEAST, MOST].map(of);
    let x = x.lt(least).select(least, x);
    let x = x.gt(most).select(most, x);
    let shifted = x.mul_add(of(std::f32::consts::LOG2_E), of(ROUND));
    let whole = shifted - of(ROUND);
    let rest = whole.mul_add(of(LN_2[0]), x);
    let rest = whole.mul_add(of(LN_2[1]), rest);
    let mut series = of(SERIES[0]);
    for coefficient in &SERIES[1..] {
        series = series.mul_add(rest, of(*coefficient));
    }
    let mantissa = series.mul_add(rest * rest, rest) + of(1.0);
    let exponent = (shifted.reinterpret::<u32>() + 127u32.splat()) << 23;
    mantissa * exponent.reinterpret()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[macerator::with_simd]
    fn exps<S: Simd>(values: &mut [f32]) {
        values.iter_mut().for_each(|x| *x = exp::<S>(*x));
    }

    #[macerator::with_simd]
    fn exps_of_vectors<S: Simd>(values: &mut [f32]) {
        for part in values.chunks_exact_mut(S::lanes32()) {
            store(part, exp_each(load::<S>(part)));
        }
    }

    #[macerator::with_simd]
    fn erfs<S: Simd>(values: &mut [f32]) {
        values.iter_mut().for_each(|x| *x = erf::<S>(*x));
    }

    #[test]
    fn exp_and_erf_are_right_to_a_few_units_in_the_last_place() {
        let inputs: Vec<f32> = (-8_700..=8_800).map(|i| i as f32 / 100.0).collect();
        let mut values = inputs.clone();
        exps(&mut values);
        for (x, found) in inputs.iter().zip(values) {
            let expected = f64::from(*x).exp();
            let error = (f64::from(found) - expected).abs() / expected;
            assert!(error <= 2.5e-7, "exp({x}) = {found}, not {expected}");
        }
        let mut extremes = [f32::NEG_INFINITY, f32::NAN, 0.0];
        exps(&mut extremes);
        assert!(extremes[0] < 1.3e-38 && extremes[1].is_nan() && extremes[2] == 1.0);

        let inputs: Vec<f32> = (-6_000..=6_000).map(|i| i as f32 / 1000.0).collect();
        let mut values = inputs.clone();
        erfs(&mut values);
        for (x, found) in inputs.iter().zip(values) {
            let expected = libm::erf(f64::from(*x));
            let error = (f64::from(found) - expected).abs();
            assert!(error <= 4e-7, "erf({x}) = {found}, not {expected}");
        }
    }

    #[test]
    fn exp_of_vectors_is_that_of_their_values() {
        let mut values: Vec<f32> = (-9_600..9_600).map(|i| i as f32 / 100.0).collect();
        values.extend([f32::NEG_INFINITY, f32::NAN, f32::INFINITY, 0.0].repeat(4));
        let mut expected = values.clone();
        exps(&mut expected);
        exps_of_vectors(&mut values);
        for (found, expected) in values.iter().zip(expected) {
            let near = (found - expected).abs() <= 2.5e-7 * expected;
            assert!(
                near || found.is_nan() && expected.is_nan(),
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn sums_of_any_length() {
        for n in [0, 1, 31, 32, 33, 100] {
            assert_eq!(sum(n, |i| i as f32), (n * n.saturating_sub(1) / 2) as f32);
        }
    }
}
