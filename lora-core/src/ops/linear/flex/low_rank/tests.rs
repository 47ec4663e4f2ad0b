//! The passes against the library's products of whole matrices.

use super::*;
use crate::ops::panels::matrices::values;

/// `dropout(x)·A` and the gradients, and the same by the library's products.
fn run(dims: [usize; 4], mask: Mask) -> [Vec<Vec<f32>>; 2] {
    let [rows, d_in, d_out, rank] = dims;
    let x = Buffer::copy(&values(rows * d_in, 1));
    let x = Values::of(tensor(x, Shape::new([rows, d_in])));
    let input = Input { values: &x, mask };
    let (a, b) = (values(d_in * rank, 2), values(rank * d_out, 3));
    let narrow = input.times(&a, rank);
    let pass = Backward {
        gradient: &values(rows * d_out, 4),
        b: &b,
        scaling: 0.7,
        narrow: Some(&narrow),
        input: Some(input),
        dims,
    };
    let list = |narrow: &Buffer, Slopes { slope, da, db }: Slopes| {
        let slopes = [(da, [d_in, rank]), (db, [rank, d_out])];
        let slopes = slopes.map(|(slope, shape)| {
            let slope = Values::of(slope.expect("all are wanted"));
            assert_eq!(slope.shape(), Shape::new(shape));
            slope.to_vec()
        });
        let narrow = [narrow.to_vec(), slope.to_vec()];
        narrow.into_iter().chain(slopes).collect()
    };
    [
        list(&narrow, pass.run()),
        list(&input.times_at_once(&a, rank), pass.one_by_one()),
    ]
}

fn mask(dropout: f64) -> Mask {
    Mask::new(dropout, &crate::default_device())
}

#[test]
fn many_blocks_and_parts_are_the_same_as_products_of_whole_matrices() {
    for dims in [
        [0, 20, 30, 4],
        [1, 1, 1, 1],
        [700, 100, 60, 8],
        [300, 1500, 50, 5],
        [300, 50, 1500, 33],
        [130, 40, 40, 64],
        [20, 30, 40, 65],
        [20, 30, 40, 0],
    ] {
        for dropout in [0.0, 0.3] {
            let [found, expected] = run(dims, mask(dropout));
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(expected) {
                    let error = (found - expected).abs();
                    assert!(error <= 1e-4 * (1.0 + expected.abs()), "{dims:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let mask = mask(0.1);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("some threads")
            .install(|| run([1000, 90, 150, 8], mask))
    };
    let [expected, _] = on(1);
    for threads in [2, 3] {
        let [found, _] = on(threads);
        assert_eq!(found, expected);
    }
}
