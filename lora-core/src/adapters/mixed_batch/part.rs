//! Taking some rows out of a batch, and putting them back.

use std::ops::Range;

use burn::tensor::kind::Basic;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};

/// Where a group's vectors are among those of the batch: each row has `per_row`, side by side.
pub(super) struct Part {
    rows: usize,
    per_row: usize,
    place: Place,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a layer's forward pass has a few, none is kept"
)]
enum Place {
    All,
    /// Rows side by side.
    Range(Range<usize>),
    Listed(Tensor<1, Int>),
}

impl Part {
    /// The rows `group`, in rising order, of `rows` in all.
    pub(super) fn new(group: &[usize], rows: usize, per_row: usize, device: &Device) -> Self {
        let first = group.first().copied().unwrap_or_default();
        let range = first..first + group.len();
        let side_by_side = group.iter().copied().eq(range.clone());
        let place = if range == (0..rows) {
            Place::All
        } else if side_by_side {
            Place::Range(range.start * per_row..range.end * per_row)
        } else {
            let listed: Vec<i64> = group.iter().map(|row| *row as i64).collect();
            Place::Listed(Tensor::from_data(&listed[..], device))
        };
        Self {
            rows,
            per_row,
            place,
        }
    }

    /// The group's part of `all`, `[rows · per_row, width]`.
    pub(super) fn take<K: Basic>(&self, all: Tensor<2, K>) -> Tensor<2, K> {
        let width = all.dims()[1];
        match &self.place {
            Place::All => all,
            Place::Range(range) => all.slice([range.clone(), 0..width]),
            Place::Listed(listed) => {
                let count = listed.dims()[0] * self.per_row;
                let rows = all.reshape([self.rows, self.per_row * width]);
                rows.select(0, listed.clone()).reshape([count, width])
            }
        }
    }

    /// `all` with `part` in the group's place.
    pub(super) fn put(&self, all: Tensor<2>, part: Tensor<2>) -> Tensor<2> {
        let [vectors, width] = all.dims();
        match &self.place {
            Place::All => part,
            Place::Range(range) => all.slice_assign([range.clone(), 0..width], part),
            Place::Listed(listed) => {
                let row = self.per_row * width;
                let part = part.reshape([listed.dims()[0], row]);
                all.reshape([self.rows, row])
                    .select_assign(0, listed.clone(), part, IndexingUpdateOp::Assign)
                    .reshape([vectors, width])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn what_is_taken_goes_back_to_its_place() {
        let device = crate::default_device();
        let all = Tensor::<2>::random([12, 3], Distribution::Default, &device);
        let groups: [&[usize]; 5] = [&[0, 1], &[1, 3], &[1, 2], &[3], &[0, 1, 2, 3]];
        for group in groups {
            let part = Part::new(group, 4, 3, &device);
            let taken = part.take(all.clone());
            let rows = group
                .iter()
                .map(|row| all.clone().slice(row * 3..row * 3 + 3));
            let expected = Tensor::cat(rows.collect(), 0).into_data();
            taken.to_data().assert_eq(&expected, true);
            let back = part.put(all.clone(), taken.clone());
            back.into_data().assert_eq(&all.to_data(), true);
            // Twos in the group's place, and everything else as it was.
            let marked = part.put(all.clone(), taken.full_like(2.0)).into_data();
            let marked: Vec<f32> = marked.iter().collect();
            for (vector, values) in marked.chunks(3).enumerate() {
                let own = group.contains(&(vector / 3));
                assert_eq!(values == [2.0; 3], own, "{group:?} {vector}");
            }
        }
    }
}
