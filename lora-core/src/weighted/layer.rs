//! The adapters of one weight, and the factors of the one that they become.

use burn::tensor::{FloatDType, Tensor};

use super::combination::Operation;
use super::task_arithmetic::TaskArithmetic;
use crate::decomposition::{Matrix, Svd, svd, svd_of_product, to_device, to_host};
use crate::{LoraAdapter, LoraError};

/// One weight and those of the chosen adapters that it has.
pub(super) struct Layer<'a> {
    /// The path of the weight.
    pub(super) path: &'a str,
    /// At least one.
    pub(super) parts: Vec<Part<'a>>,
}

/// An adapter of a weight, and the weight it is given in the combination.
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) adapter: &'a LoraAdapter,
    pub(super) weight: f64,
}

impl Part<'_> {
    /// The factor on the product `A·B`.
    fn scale(&self) -> f64 {
        self.weight * self.adapter.scaling
    }

    fn a(&self) -> Tensor<2> {
        constant(self.adapter.a.val())
    }

    fn b(&self) -> Tensor<2> {
        constant(self.adapter.b.val())
    }
}

/// `factor` in f32, for sums that no gradient goes through.
fn constant(factor: Tensor<2>) -> Tensor<2> {
    let factor = factor.detach().set_require_grad(false);
    factor.cast(FloatDType::F32)
}

impl<'a> Layer<'a> {
    /// The path of the module that owns the weight.
    pub(super) fn module(&self) -> &'a str {
        self.path.rsplit_once('.').map_or("", |(module, _)| module)
    }

    /// The rank of the combined adapter; `largest` is that of all adapters on any weight.
    ///
    /// # Errors
    ///
    /// [`LoraError::CombinedRanks`] if the factors would have to be added up and do not have the
    /// same shape.
    pub(super) fn rank(&self, operation: Operation, largest: usize) -> Result<usize, LoraError> {
        let ranks = || self.parts.iter().map(|part| part.adapter.rank());
        match operation {
            Operation::Cat => Ok(ranks().sum()),
            Operation::Svd(_, rank) => {
                let sides = self.parts.iter().map(|part| part.adapter);
                let smallest = sides
                    .flat_map(|adapter| [adapter.a.lazy_shape()[0], adapter.b.lazy_shape()[1]])
                    .min();
                let rank = rank.unwrap_or(largest);
                Ok(smallest.map_or(rank, |smallest| rank.min(smallest)))
            }
            Operation::Factors(_) => {
                let rank = ranks().max().unwrap_or(largest);
                match ranks().all(|other| other == rank) {
                    true => Ok(rank),
                    false => Err(LoraError::CombinedRanks {
                        module: self.module().to_string(),
                        ranks: self
                            .parts
                            .iter()
                            .map(|part| (part.name.to_string(), part.adapter.rank()))
                            .collect(),
                    }),
                }
            }
        }
    }

    /// The factors of the combined adapter, `[d_in, rank]` and `[rank, d_out]`, for a scaling of 1.
    pub(super) fn combine(
        &self,
        operation: Operation,
        rank: usize,
    ) -> Result<(Tensor<2>, Tensor<2>), LoraError> {
        let (a, b) = match operation {
            Operation::Cat => self.side_by_side(),
            Operation::Factors(arithmetic) => self.mix_factors(arithmetic),
            Operation::Svd(arithmetic, _) => self.mix_and_decompose(arithmetic, rank)?,
        };
        let dtype = self.parts.first().map(|part| part.adapter.a.val().dtype());
        let dtype = dtype.map_or(FloatDType::F32, FloatDType::from);
        Ok((a.cast(dtype), b.cast(dtype)))
    }

    fn side_by_side(&self) -> (Tensor<2>, Tensor<2>) {
        let parts = self.parts.iter();
        let a = parts.clone().map(|part| part.a().mul_scalar(part.scale()));
        let b = parts.map(Part::b);
        (Tensor::cat(a.collect(), 1), Tensor::cat(b.collect(), 0))
    }

    /// Each factor takes the root of the weight, and `A` its sign.
    fn mix_factors(&self, arithmetic: TaskArithmetic) -> (Tensor<2>, Tensor<2>) {
        let parts = self.parts.iter();
        let scales = parts.clone().map(Part::scale);
        let roots: Vec<f64> = scales.clone().map(|scale| scale.abs().sqrt()).collect();
        let signed: Vec<f64> = scales
            .zip(&roots)
            .map(|(scale, root)| root.copysign(scale))
            .collect();
        let a = parts.clone().map(Part::a).collect();
        let b = parts.map(Part::b).collect();
        (arithmetic.mix(a, &signed), arithmetic.mix(b, &roots))
    }

    /// The best approximation of the mixed update that has this rank: `A` is orthonormal, and `B`
    /// has the singular values, as in PEFT.
    fn mix_and_decompose(
        &self,
        arithmetic: TaskArithmetic,
        rank: usize,
    ) -> Result<(Tensor<2>, Tensor<2>), LoraError> {
        let (svd, device) = match arithmetic.is_linear() {
            // The sum of low-rank updates is one itself: no need to decompose the whole matrix.
            true => {
                let (a, b) = self.side_by_side();
                let device = a.device();
                (svd_of_product(to_host(a), to_host(b), rank), device)
            }
            false => {
                let parts = self.parts.iter();
                let updates = parts.clone().map(|part| {
                    let b = part.b().mul_scalar(part.adapter.scaling);
                    part.a().matmul(b)
                });
                let weights: Vec<f64> = parts.map(|part| part.weight).collect();
                let update = arithmetic.mix(updates.collect(), &weights);
                let device = update.device();
                (svd(&to_host(update), rank), device)
            }
        };
        let Some(Svd { u, s, v }) = svd else {
            return Err(LoraError::NoSvd {
                parameter: self.path.to_string(),
            });
        };
        let b = Matrix::from_diagonal(&s.into()) * v.transpose();
        Ok((to_device(&u, &device), to_device(&b, &device)))
    }
}
