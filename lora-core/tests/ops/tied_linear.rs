//! Products with a transposed table.

use lora_core::ops::tied_linear;

use crate::common::{gradients, near, normal};

#[test]
fn products_and_gradients_are_burns() {
    for [rows, width, tokens] in [[1, 1, 1], [3, 8, 5], [200, 32, 130]] {
        let inputs = [normal([rows, width]), normal([tokens, width])];
        let weight = normal([rows, tokens]);
        let found = gradients(inputs.clone(), |[x, table]| tied_linear(x, table), &weight);
        let expected = gradients(inputs, |[x, table]| x.matmul(table.transpose()), &weight);
        near(&found.0, &expected.0, 1e-5);
        for (found, expected) in found.1.iter().zip(&expected.1) {
            near(found, expected, 2e-5);
        }
    }
}

#[test]
#[should_panic(expected = "the rows of a table are as long")]
fn another_width_is_refused() {
    tied_linear(normal([2, 3]), normal([5, 4]));
}
