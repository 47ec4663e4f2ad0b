//! What the tests of several metrics need.

use burn::data::dataloader::Progress;
use burn::tensor::Tensor;
use burn::train::metric::MetricMetadata;

pub(super) fn metadata() -> MetricMetadata {
    MetricMetadata {
        progress: Progress {
            items_processed: 1,
            items_total: 1,
            unit: None,
        },
        iteration: None,
        lr: None,
    }
}

pub(super) fn tensor(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &lora_core::default_device())
}
