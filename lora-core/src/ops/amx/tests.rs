//! Products on tiles beside exact ones.

use proptest::prelude::*;

use super::*;
use crate::ops::panels::matrices::{RowMajor, values};

/// The product of lines by lines, in 64 bits, and the sum of the products' sizes.
fn exact(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<(f64, f64)> {
    let value = |row: usize, column: usize| {
        let a = &a[row * k..][..k];
        let b = &b[column * k..][..k];
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
    };
    let places = (0..m).flat_map(|row| (0..n).map(move |column| (row, column)));
    places.map(|(row, column)| value(row, column)).collect()
}

/// Lines side by side instead of one after the other.
fn turned(values: &[f32], lines: usize, depth: usize) -> Vec<f32> {
    let place = |place: usize| (0..lines).map(move |line| values[line * depth + place]);
    (0..depth).flat_map(place).collect()
}

/// How far a sum may be off, as a share of the sum of the products' sizes. Rounding to one part leaves
/// 2⁻⁸ of a value at most, to two parts 2⁻¹⁶, and as much is left out of a product with two; each sum in
/// 32 bits adds a little.
fn bound(parts: usize) -> f64 {
    let rounding = match parts {
        1 => 2.01 * 2f64.powi(-8),
        _ => 3.01 * 2f64.powi(-16),
    };
    rounding + 4.8e-7
}

fn require_close(parts: usize, found: &[f32], start: Option<&[f32]>, expected: &[(f64, f64)]) {
    for (place, (found, (sum, size))) in found.iter().zip(expected).enumerate() {
        let start = start.map_or(0.0, |start| f64::from(start[place]));
        let bound = bound(parts) * size + 4.8e-7 * start.abs() + 1e-12;
        let expected = sum + start;
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= bound, "{place}: {found} {expected} ({bound:e})");
    }
}

fn check(shape: [usize; 3], add: bool) {
    check_in::<1>(shape, add);
    check_in::<2>(shape, add);
}

fn check_in<const PARTS: usize>(shape: [usize; 3], add: bool) {
    let [m, n, k] = shape;
    let (a, b, start) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
    let expected = exact(&a, &b, shape);
    let start_if = add.then_some(&start[..]);
    let (a_turned, b_turned) = (turned(&a, m, k), turned(&b, n, k));
    let left = [
        Strided::new(&a, [m, k], true),
        Strided::new(&a_turned, [m, k], false),
    ];
    let right = [
        Strided::new(&b, [n, k], true),
        Strided::new(&b_turned, [n, k], false),
    ];
    let mut all = Vec::new();
    for left in left {
        for right in right {
            let mut found = start.clone();
            multiply::<PARTS>(&mut found, add, &left, &right);
            require_close(PARTS, &found, start_if, &expected);
            all.push(found);
        }
    }
    let mut found = start.clone();
    multiply::<PARTS>(
        &mut found,
        add,
        &left[0],
        &Decoded(&RowMajor::new(&b_turned, [k, n])),
    );
    all.push(found);
    // How the values lie in memory makes no difference to the last bit.
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn is_the_product_for_any_shape(m in 0usize..80, n in 0usize..150, k in 0usize..300, add: bool) {
        prop_assume!(available());
        check([m, n, k], add);
    }
}

#[test]
fn is_the_product_in_several_steps_and_jobs() {
    if !available() {
        return;
    }
    let beyond = |most: usize| most * SIZE + 5;
    check([40, 50, beyond(DEEP)], false);
    check([beyond(TALL), 40, 40], true);
    check([70, beyond(WIDE), 33], false);
    check([70, beyond(WIDE), beyond(DEEP)], true);
}

#[test]
fn is_as_exact_for_values_of_any_size() {
    if !available() {
        return;
    }
    let shape = [64, 64, 256];
    // Sizes over 24 orders of magnitude, side by side.
    let spread = |values: Vec<f32>| -> Vec<f32> {
        let sized = values.iter().enumerate();
        sized
            .map(|(i, x)| x * 10f32.powi((i * 7 % 25) as i32 - 12))
            .collect()
    };
    let (a, b) = (spread(values(64 * 256, 4)), spread(values(64 * 256, 5)));
    let mut found = vec![0.0; 64 * 64];
    let [left, right] = [&a, &b].map(|values| Strided::new(values, [64, 256], true));
    multiply::<2>(&mut found, false, &left, &right);
    require_close(2, &found, None, &exact(&a, &b, shape));
}

#[test]
fn values_that_are_not_numbers_are_seen() {
    if !available() {
        return;
    }
    for bad in [
        f32::NAN,
        -f32::NAN,
        f32::from_bits(0x7FFF_FFFF),
        f32::INFINITY,
    ] {
        let mut a = values(64 * 64, 6);
        a[3 * 64 + 5] = bad;
        let b = values(64 * 64, 7);
        let mut found = vec![0.0; 64 * 64];
        let [left, right] = [&a, &b].map(|values| Strided::new(values, [64, 64], true));
        multiply::<2>(&mut found, false, &left, &right);
        for (row, found) in found.chunks(64).enumerate() {
            assert!(
                found.iter().all(|value| value.is_finite() == (row != 3)),
                "{bad} {row}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    if !available() {
        return;
    }
    let (a, b) = (values(300 * 500, 8), values(400 * 500, 9));
    let product = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let mut found = vec![0.0; 300 * 400];
        let (left, right) = (
            Strided::new(&a, [300, 500], true),
            Strided::new(&b, [400, 500], true),
        );
        pool.install(|| multiply::<2>(&mut found, false, &left, &right));
        found
    };
    assert_eq!(product(1), product(3));
}

#[test]
#[should_panic(expected = "sizes of a product")]
fn sides_that_do_not_fit_are_refused() {
    let side = |values| Strided::new(values, [2, 3], true);
    multiply::<1>(&mut [0.0; 5], false, &side(&[0.0; 6]), &side(&[0.0; 6]));
}
