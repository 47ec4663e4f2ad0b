//! Which tokens of a batch are computed, and where each sequence of them begins.

use burn::tensor::{Device, Int, Tensor, TensorData};
use lora_core::ops::Sequences;

/// The tokens of a batch as rows of one matrix, sequence after sequence. Where the backend gains by
/// it, padding has no row: what is computed for each token only ever sees tokens.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Where each sequence begins and ends.
    pub(crate) sequences: Sequences,
    /// `[batch, sequence]` of the batch with its padding.
    shape: [usize; 2],
    /// Where the rows are in the flattened batch, and the first and last of each sequence; absent:
    /// all positions are rows.
    packed: Option<Packed>,
}

#[derive(Debug, Clone)]
struct Packed {
    places: Tensor<1, Int>,
    ends: Vec<[usize; 2]>,
}

impl Rows {
    /// All positions of a batch; those where `mask` is 0 are not seen.
    pub(crate) fn all([batch, sequence]: [usize; 2], mask: Option<Tensor<2, Int>>) -> Self {
        let padding = mask.map(|mask| mask.equal_elem(0));
        Self {
            sequences: Sequences::padded(batch, sequence, padding),
            shape: [batch, sequence],
            packed: None,
        }
    }

    /// Those positions where `mask` is not 0, if each sequence has some and `fits` holds of each
    /// sequence's mask; otherwise all.
    pub(crate) fn without_padding(
        shape: [usize; 2],
        mask: Option<Tensor<2, Int>>,
        fits: impl Fn(&[bool]) -> bool,
    ) -> Self {
        let Some(mask) = mask else {
            return Self::all(shape, None);
        };
        let [_, sequence] = shape;
        let values: Vec<bool> = mask
            .to_data()
            .iter::<i64>()
            .map(|value| value != 0)
            .collect();
        if values.iter().all(|real| *real) {
            return Self::all(shape, None);
        }
        let lengths = values.chunks(sequence.max(1));
        let lengths = lengths.map(|row| row.iter().filter(|real| **real).count());
        let lengths: Vec<usize> = lengths.collect();
        if lengths.contains(&0) || !values.chunks(sequence).all(fits) {
            return Self::all(shape, Some(mask));
        }
        let real = values.iter().zip(0i64..).filter(|(real, _)| **real);
        let places: Vec<i64> = real.map(|(_, place)| place).collect();
        let count = places.len();
        let ends = lengths.iter().scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some([start, *end - 1])
        });
        Self {
            packed: Some(Packed {
                places: Tensor::from_data(TensorData::new(places, [count]), &mask.device()),
                ends: ends.collect(),
            }),
            sequences: Sequences::packed(lengths),
            shape,
        }
    }

    /// The values of the rows in `[batch, sequence]` of the whole batch, as `[1, rows]` if there are
    /// fewer.
    pub(crate) fn take(&self, values: Tensor<2, Int>) -> Tensor<2, Int> {
        match &self.packed {
            None => values,
            Some(packed) => {
                let [batch, sequence] = values.dims();
                let values = values.reshape([batch * sequence]);
                values.select(0, packed.places.clone()).unsqueeze()
            }
        }
    }

    /// The value of each row, `[rows]`, at its place in `[batch, sequence]`; 0 where there is no row.
    pub(crate) fn spread(&self, values: Tensor<1>) -> Tensor<2> {
        let [batch, sequence] = self.shape;
        let Some(packed) = &self.packed else {
            return values.reshape(self.shape);
        };
        let [count] = values.dims();
        let device = values.device();
        let mut rows = vec![count as i64; batch * sequence];
        for (row, place) in packed.places.to_data().iter::<i64>().enumerate() {
            rows[place as usize] = row as i64;
        }
        let rows = Tensor::from_data(TensorData::new(rows, [batch * sequence]), &device);
        let with_zero = Tensor::cat(vec![values, Tensor::zeros([1], &device)], 0);
        with_zero.select(0, rows).reshape(self.shape)
    }

    /// The rows of these positions in the flattened batch; `None` if one of them has no row.
    pub(crate) fn find(&self, positions: Tensor<1, Int>) -> Option<Tensor<1, Int>> {
        let Some(packed) = &self.packed else {
            return Some(positions);
        };
        let places: Vec<i64> = packed.places.to_data().iter().collect();
        let wanted = positions.to_data();
        let rows = wanted.iter::<i64>().map(|position| {
            let row = places.binary_search(&position).ok()?;
            Some(row as i64)
        });
        let rows: Vec<i64> = rows.collect::<Option<_>>()?;
        let count = rows.len();
        let rows = TensorData::new(rows, [count]);
        Some(Tensor::from_data(rows, &positions.device()))
    }

    /// The row of each sequence's first token.
    pub(crate) fn first(&self, device: &Device) -> Tensor<1, Int> {
        self.ends(0, device)
    }

    /// The row of each sequence's last token.
    pub(crate) fn last(&self, device: &Device) -> Tensor<1, Int> {
        self.ends(1, device)
    }

    fn ends(&self, end: usize, device: &Device) -> Tensor<1, Int> {
        let [batch, sequence] = self.shape;
        let places: Vec<i64> = match &self.packed {
            Some(packed) => packed.ends.iter().map(|ends| ends[end] as i64).collect(),
            None => {
                let within = end * sequence.saturating_sub(1);
                (0..batch)
                    .map(|row| (row * sequence + within) as i64)
                    .collect()
            }
        };
        Tensor::from_data(TensorData::new(places, [batch]), device)
    }
}
