//! Leaving values out of an update before it is combined with others.

use burn::tensor::{Distribution, IndexingUpdateOp, Tensor};

/// Which values are kept, and what fraction of them: above 0 and at most 1.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pruning {
    /// The largest (TIES, section 4, "trim").
    Magnitude(f64),
    /// Each with this probability, divided by it, so that the expectation stays (DARE,
    /// section 3.2). The device's random numbers decide.
    Random(f64),
}

impl Pruning {
    /// `tensor` with zeros where values are left out.
    pub(super) fn apply(self, tensor: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Magnitude(density) | Self::Random(density) if density >= 1.0 => tensor,
            Self::Magnitude(density) => {
                let mask = largest(&tensor, density);
                tensor * mask
            }
            Self::Random(density) => {
                let bernoulli = Distribution::Bernoulli(density);
                let mask = tensor.random_like(bernoulli);
                (tensor * mask).div_scalar(density)
            }
        }
    }
}

/// 1 where the `density` largest values of `tensor` are, and 0 elsewhere.
fn largest(tensor: &Tensor<2>, density: f64) -> Tensor<2> {
    let shape = tensor.dims();
    let count: usize = shape.iter().product();
    // PEFT rounds down, too.
    let kept = (density * count as f64) as usize;
    let mask = tensor.zeros_like().reshape([count]);
    if kept == 0 {
        return mask.reshape(shape);
    }
    let (values, indices) = tensor
        .clone()
        .abs()
        .reshape([count])
        .topk_with_indices(kept, 0);
    mask.scatter(0, indices, values.ones_like(), IndexingUpdateOp::Add)
        .reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    fn example(device: &Device) -> Tensor<2> {
        Tensor::from_data([[0.1f32, -3.0, 0.5], [2.0, -0.2, 0.0]], device)
    }

    #[test]
    fn the_largest_are_kept_whatever_their_sign() {
        let device = crate::default_device();
        for (density, expected) in [
            (0.1, [0.0; 6]),
            (0.2, [0.0, -3.0, 0.0, 0.0, 0.0, 0.0]),
            // Three of six, and not quite four.
            (0.66, [0.0, -3.0, 0.5, 2.0, 0.0, 0.0]),
            (1.0, [0.1, -3.0, 0.5, 2.0, -0.2, 0.0]),
        ] {
            let pruned = Pruning::Magnitude(density).apply(example(&device));
            assert_eq!(values(pruned), expected, "{density}");
        }
    }

    #[test]
    fn a_fraction_survives_by_chance_and_the_expectation_stays() {
        let device = crate::default_device();
        let density = 0.3;
        let draws = 2000;
        let original = example(&device);
        let mut sum = original.zeros_like();
        let mut survivors = 0;
        for _ in 0..draws {
            let pruned = Pruning::Random(density).apply(original.clone());
            for (kept, value) in values(pruned.clone()).iter().zip(values(original.clone())) {
                let rescaled = value / density as f32;
                assert!(*kept == 0.0 || (kept - rescaled).abs() < 1e-5);
                survivors += usize::from(*kept != 0.0);
            }
            sum = sum + pruned;
        }
        // Five of the six are not zero; five deviations of the mean of their draws.
        let trials = (5 * draws) as f64;
        let fraction = survivors as f64 / trials;
        assert!((fraction - density).abs() < 5.0 * (density * (1.0 - density) / trials).sqrt());
        let mean = values(sum.div_scalar(draws as f64));
        for (mean, value) in mean.into_iter().zip(values(original)) {
            let deviation = value.abs() * ((1.0 / 0.3 - 1.0) / draws as f32).sqrt();
            assert!((mean - value).abs() <= 5.0 * deviation, "{mean} {value}");
        }
    }

    #[test]
    fn a_density_of_one_keeps_everything() {
        let device = crate::default_device();
        let original = example(&device);
        let kept = Pruning::Random(1.0).apply(original.clone());
        assert_eq!(values(kept), values(original));
    }
}
