//! Which examples make each step: a function of the seed, so that a run can go on anywhere.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// How many steps' worth of examples are sorted by length together, as in Hugging Face's sampler.
const STEPS_SORTED_TOGETHER: usize = 50;

/// The order of the examples in every epoch.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    lengths: Vec<usize>,
    examples_per_step: usize,
    group_by_length: bool,
    seed: u64,
}

impl Order {
    /// The order of examples that are `lengths` tokens long.
    pub(crate) fn new(
        lengths: Vec<usize>,
        examples_per_step: usize,
        group_by_length: bool,
        seed: u64,
    ) -> Self {
        Self {
            lengths,
            examples_per_step: examples_per_step.max(1),
            group_by_length,
            seed,
        }
    }

    /// The examples of each step of `epoch`, counted from 0. Only the last step may have fewer.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut rng = StdRng::seed_from_u64(mix(&[self.seed, epoch as u64]));
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.shuffle(&mut rng);
        if self.group_by_length {
            for together in order.chunks_mut(STEPS_SORTED_TOGETHER * self.examples_per_step) {
                together.sort_by_key(|&index| std::cmp::Reverse(self.lengths[index]));
            }
        }
        let mut steps: Vec<Vec<usize>> = order
            .chunks(self.examples_per_step)
            .map(<[usize]>::to_vec)
            .collect();
        if self.group_by_length {
            let whole = self.lengths.len() / self.examples_per_step;
            steps[..whole].shuffle(&mut rng);
        }
        steps
    }
}

/// One number of several (SplitMix64's finalizer over each): what is drawn with it for one place has
/// nothing to do with what is drawn for another.
pub(crate) fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn padding(steps: &[Vec<usize>], lengths: &[usize]) -> usize {
        let of_step = |step: &Vec<usize>| {
            let longest = step.iter().map(|&i| lengths[i]).max().unwrap_or_default();
            step.iter().map(|&i| longest - lengths[i]).sum::<usize>()
        };
        steps.iter().map(of_step).sum()
    }

    #[test]
    fn grouping_leaves_little_to_pad() {
        let lengths: Vec<usize> = (0..500).map(|i| 3 + (i * 37) % 60).collect();
        let order = |group| Order::new(lengths.clone(), 16, group, 1).epoch(0);
        let (plain, grouped) = (order(false), order(true));
        assert!(padding(&grouped, &lengths) * 4 < padding(&plain, &lengths));
        // The steps are shuffled: lengths do not fall from the first to the last.
        let longest = |step: &Vec<usize>| step.iter().map(|&i| lengths[i]).max();
        assert!(!grouped.is_sorted_by_key(|step| std::cmp::Reverse(longest(step))));
    }

    proptest! {
        #[test]
        fn an_epoch_has_each_example_once(
            lengths in prop::collection::vec(1_usize..50, 1..200),
            size in 1_usize..40,
            group: bool,
            seed: u64,
        ) {
            let order = Order::new(lengths.clone(), size, group, seed);
            let steps = order.epoch(3);
            prop_assert_eq!(&steps, &order.epoch(3));
            let (last, whole) = steps.split_last().unwrap();
            prop_assert!(whole.iter().all(|step| step.len() == size));
            prop_assert!(!last.is_empty() && last.len() <= size);
            let mut all = steps.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let order = |seed| Order::new(vec![1; 40], 8, false, seed);
        assert_ne!(order(1).epoch(0), order(1).epoch(1));
        assert_ne!(order(1).epoch(0), order(2).epoch(0));
        assert_ne!(mix(&[1, 2]), mix(&[2, 1]));
    }
}
