//! The types to compute in where a weight and an adapter of it have different ones.

use burn::tensor::{DType, FloatDType, Tensor};

/// The type of a tensor's values; of a quantized one's it is that of 32-bit floats.
pub(crate) fn float_type<const D: usize>(tensor: &Tensor<D>) -> FloatDType {
    match tensor.dtype() {
        DType::QFloat(_) => FloatDType::F32,
        dtype => FloatDType::from(dtype),
    }
}

/// The wider of the types of two tensors; 32 bits for two halves of different kinds.
pub(crate) fn wider(one: &Tensor<2>, other: &Tensor<2>) -> FloatDType {
    match (float_type(one), float_type(other)) {
        (one, other) if one == other => one,
        (FloatDType::F64, _) | (_, FloatDType::F64) => FloatDType::F64,
        _ => FloatDType::F32,
    }
}

/// `tensor` with its values in this type.
pub(crate) fn to_float<const D: usize>(tensor: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    match tensor.dtype() {
        DType::QFloat(_) => tensor.dequantize().cast(dtype),
        _ => tensor.cast(dtype),
    }
}
