//! Arithmetic of single values, written so that a loop over it becomes vector instructions inside
//! a function that `macerator::with_simd` compiles once for each instruction set.

use macerator::Simd;

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

/// `eˣ` to 2 units in the last place, from 1.2e-38 up; what would be smaller stays there.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    // Adding this leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = at_most(at_least(x, -87.336_54), 88.376_26);
    let shifted = fma::<S>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the rest is exact.
    let rest = fma::<S>(whole, -0.693_359_4, x);
    let rest = fma::<S>(whole, 2.121_944_4e-4, rest);
    let series = polynomial::<S, 6>(
        rest,
        [
            1.987_569_1e-4,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
        ],
    );
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

/// The largest value; NaN only if all are.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[macerator::with_simd]
    fn exps<S: Simd>(values: &mut [f32]) {
        values.iter_mut().for_each(|x| *x = exp::<S>(*x));
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
    fn sums_and_largest_values_of_any_length() {
        for n in [0, 1, 31, 32, 33, 100] {
            assert_eq!(sum(n, |i| i as f32), (n * n.saturating_sub(1) / 2) as f32);
            let values: Vec<f32> = (0..n).map(|i| -((i as f32) - 40.0).abs()).collect();
            let expected = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&values), expected);
        }
    }
}
