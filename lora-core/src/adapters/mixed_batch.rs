//! Mixed batches: each row of a batch goes through the adapter that it names.

mod for_rows;
mod part;

use burn::tensor::kind::Basic;
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor};

pub(super) use for_rows::for_rows;
use part::Part;

use super::{LoraAdapter, LoraAdapters};

/// What a row of a mixed batch names to go through no adapter, as in PEFT.
pub const BASE_ADAPTER: &str = "__base__";

/// The adapters that the rows of a batch name.
#[derive(Debug)]
pub(crate) struct MixedBatch {
    rows: usize,
    /// One for each adapter, in the order they are first named; the base has none.
    groups: Vec<Group>,
}

/// The rows that name one adapter, in rising order.
#[derive(Debug)]
struct Group {
    adapter: String,
    rows: Vec<usize>,
}

impl MixedBatch {
    fn new(names: &[&str]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (row, name) in names.iter().enumerate() {
            if *name == BASE_ADAPTER {
                continue;
            }
            match groups.iter_mut().find(|group| group.adapter == *name) {
                Some(group) => group.rows.push(row),
                None => groups.push(Group {
                    adapter: name.to_string(),
                    rows: vec![row],
                }),
            }
        }
        Self {
            rows: names.len(),
            groups,
        }
    }

    /// What each row names.
    pub(crate) fn row_names(&self) -> Vec<String> {
        let mut names = vec![BASE_ADAPTER.to_string(); self.rows];
        for group in &self.groups {
            for row in &group.rows {
                names[*row].clone_from(&group.adapter);
            }
        }
        names
    }

    /// The adapters that are named, without the base.
    fn adapters(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| group.adapter.as_str())
    }

    /// Whether some row names `adapter`.
    pub(crate) fn names(&self, adapter: &str) -> bool {
        self.adapters().any(|name| name == adapter)
    }

    /// The adapter that every row names.
    pub(crate) fn only(&self) -> Option<&str> {
        match &self.groups[..] {
            [group] if group.rows.len() == self.rows => Some(&group.adapter),
            _ => None,
        }
    }

    /// Whether every row names the same one of the adapters that `has` holds of, or every row none
    /// of them.
    pub(crate) fn agrees(&self, has: impl Fn(&str) -> bool) -> bool {
        let mut owners = self.groups.iter().filter(|group| has(&group.adapter));
        match (owners.next(), owners.next()) {
            (None, _) => true,
            (Some(group), None) => group.rows.len() == self.rows,
            (Some(_), Some(_)) => false,
        }
    }

    /// # Panics
    ///
    /// Panics if the rows name different adapters, so that no one weight is right for all.
    pub(crate) fn require_only(&self) {
        self.require_one_value(self.only().is_some(), "go through different adapters of it");
    }

    /// # Panics
    ///
    /// Panics if there is no one value of a parameter for all rows, because their adapters `differ`.
    pub(crate) fn require_one_value(&self, is_one: bool, differ: &str) {
        assert!(
            is_one,
            "a parameter was read as a whole, but the rows of the batch (`for_rows`) {differ}: {}",
            self.adapters().collect::<Vec<_>>().join(", ")
        );
    }

    /// `output`, the linear layer's without adapters, with each row's adapter.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows · n, d_out]`
    /// - `x`: `[rows · n, d_in]`
    pub(crate) fn linear(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        x: Tensor<2>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Tensor<2> {
        self.through(adapters, output, |adapter, part, output| {
            adapter.add_to_linear(output, part.take(x.clone()), weight, bias)
        })
    }

    /// `output`, the table's vectors without adapters, with each row's adapter.
    ///
    /// # Shapes
    ///
    /// - `output`: `[rows · n, d_model]`
    /// - `ids`: `[rows · n]`
    pub(crate) fn embedding(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        ids: Tensor<1, Int>,
        weight: &Tensor<2>,
    ) -> Tensor<2> {
        let ids = ids.unsqueeze_dim::<2>(1);
        self.through(adapters, output, |adapter, part, output| {
            let narrow = embedding(adapter.a.val(), part.take(ids.clone()));
            let narrow = narrow.reshape([output.dims()[0], adapter.rank()]);
            adapter.add_to_embedding(output, narrow, weight)
        })
    }

    /// `output` with each group's part of it replaced by what `f` makes of that part: `f` is called
    /// once for each adapter that is named and that the layer has, and sees no other rows.
    fn through(
        &self,
        adapters: &LoraAdapters,
        output: Tensor<2>,
        f: impl Fn(&LoraAdapter, &Part, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let per_row = self.vectors_per_row(output.dims()[0]);
        let device = output.device();
        let groups = self.groups.iter();
        let groups = groups.filter_map(|group| Some((adapters.get(&group.adapter)?, group)));
        groups.fold(output, |output, (adapter, group)| {
            let part = Part::new(&group.rows, self.rows, per_row, &device);
            let adapted = f(adapter, &part, part.take(output.clone()));
            part.put(output, adapted)
        })
    }

    /// The output of a layer of which some adapters have a copy, those that `has` holds of: `layer`
    /// is called once for each that is named, and once with `None` for all other rows together, and
    /// sees the input of no other rows.
    ///
    /// # Shapes
    ///
    /// - `input`: `[rows · n, width]`
    /// - output: `[rows · n, d_out]`, as `layer`'s of its part of the rows
    pub(crate) fn through_copies<K: Basic>(
        &self,
        input: Tensor<2, K>,
        has: impl Fn(&str) -> bool,
        layer: impl Fn(Option<&str>, Tensor<2, K>) -> Tensor<2>,
    ) -> Tensor<2> {
        let vectors = input.dims()[0];
        let per_row = self.vectors_per_row(vectors);
        let owners = self.groups.iter().filter(|group| has(&group.adapter));
        let mut parts: Vec<(Option<&str>, Vec<usize>)> = owners
            .map(|group| (Some(group.adapter.as_str()), group.rows.clone()))
            .collect();
        let mut is_owned = vec![false; self.rows];
        for row in parts.iter().flat_map(|(_, rows)| rows) {
            is_owned[*row] = true;
        }
        let others: Vec<usize> = (0..self.rows).filter(|row| !is_owned[*row]).collect();
        if !others.is_empty() {
            parts.push((None, others));
        }
        let outputs = parts.iter().map(|(adapter, rows)| {
            let part = Part::new(rows, self.rows, per_row, &input.device());
            layer(*adapter, part.take(input.clone()))
        });
        let all = Tensor::cat(outputs.collect(), 0);
        // The outputs lie part after part: each row is fetched from its place there.
        let mut places = vec![0i64; self.rows];
        let rows = parts.iter().flat_map(|(_, rows)| rows);
        rows.zip(0..).for_each(|(row, place)| places[*row] = place);
        let places = Tensor::<1, Int>::from_data(&places[..], &all.device());
        let width = all.dims()[1];
        all.reshape([self.rows, per_row * width])
            .select(0, places)
            .reshape([vectors, width])
    }

    /// How many of a layer's `vectors` each row of the batch has.
    ///
    /// # Panics
    ///
    /// Panics if that is no whole number.
    fn vectors_per_row(&self, vectors: usize) -> usize {
        assert!(
            vectors.is_multiple_of(self.rows),
            "`for_rows` named the adapters of {} rows, but the input of a layer has {vectors} \
             vectors, which is no multiple of that: its leading axis has to be the batch",
            self.rows
        );
        vectors / self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoraConfig;
    use std::cell::RefCell;
    use std::sync::Arc;

    fn adapters(names: &[&str]) -> LoraAdapters {
        let device = crate::default_device();
        let mut adapters = LoraAdapters::new();
        for name in names {
            let adapter = LoraAdapter::linear([4, 3], 2, 1.0, 0.0, &device);
            adapters.push(name, adapter, Arc::new(LoraConfig::new()), false);
        }
        adapters
    }

    /// How many vectors each call of the grouped product sees.
    fn calls(names: &[&str], present: &[&str], per_row: usize) -> Vec<usize> {
        let device = crate::default_device();
        let calls = RefCell::new(Vec::new());
        let output = Tensor::zeros([names.len() * per_row, 3], &device);
        MixedBatch::new(names).through(&adapters(present), output, |_, _, part| {
            calls.borrow_mut().push(part.dims()[0]);
            part
        });
        calls.into_inner()
    }

    #[test]
    fn there_is_one_product_for_each_adapter_however_many_rows_name_it() {
        let names = ["b", "a", "__base__", "b", "c", "a", "b"];
        assert_eq!(calls(&names, &["a", "b", "c"], 5), [15, 10, 5]);
        // Nothing is computed for rows of the base, nor of adapters that the layer lacks.
        assert_eq!(calls(&names, &["c"], 5), [5]);
        assert!(calls(&["__base__"; 4], &["a"], 2).is_empty());
        assert_eq!(calls(&["a"; 9], &["a"], 1), [9]);
    }

    #[test]
    fn there_is_one_call_for_each_copy_and_one_for_all_other_rows() {
        let device = crate::default_device();
        let names = ["b", "a", "__base__", "b", "c", "a", "b"];
        let calls = |owners: &[&str]| {
            let calls = RefCell::new(Vec::new());
            let input = Tensor::<1, Int>::arange(0..14, &device).reshape([14, 1]);
            let has = |name: &str| owners.contains(&name);
            let output = MixedBatch::new(&names).through_copies(input, has, |adapter, part| {
                let count = part.dims()[0];
                calls.borrow_mut().push((adapter.map(String::from), count));
                part.float()
            });
            // Every vector came back to its own row.
            let output: Vec<f32> = output.into_data().iter().collect();
            assert!(output.iter().enumerate().all(|(i, v)| *v == i as f32));
            calls.into_inner()
        };
        let call = |name: &str, count| (Some(name.to_string()), count);
        assert_eq!(calls(&["a"]), [call("a", 4), (None, 10)]);
        assert_eq!(
            calls(&["a", "b", "d"]),
            [call("b", 6), call("a", 4), (None, 4)]
        );
        assert_eq!(calls(&[]), [(None, 14)]);
        let batch = MixedBatch::new(&["a", "b", "a"]);
        for (owners, agrees) in [(&["c"][..], true), (&["a"], false), (&["a", "b"], false)] {
            assert_eq!(batch.agrees(|name| owners.contains(&name)), agrees);
        }
        assert!(MixedBatch::new(&["a", "a"]).agrees(|name| name == "a"));
        assert!(!MixedBatch::new(&["a", "__base__"]).agrees(|name| name == "a"));
    }
}
