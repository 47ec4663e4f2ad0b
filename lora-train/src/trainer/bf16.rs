//! Products from bf16 values, for as long as a run lasts.

use burn::tensor::Device;
use lora_core::ops::{
    MatmulPrecision, has_lower_matmul_precision, matmul_precision, set_matmul_precision,
};

use crate::TrainError;

/// That large matrix products are of medium precision. They are as before when it is dropped.
pub(super) struct Bf16Products {
    before: MatmulPrecision,
}

impl Bf16Products {
    pub(super) fn on(devices: &[Device]) -> Result<Self, TrainError> {
        if let Some(device) = devices.iter().find(|d| !has_lower_matmul_precision(d)) {
            return Err(TrainError::Setting {
                field: "bf16",
                value: format!("true on {device:?}"),
                expected: "false, or the device `flex` on a processor with tile units (AMX)",
            });
        }
        let before = matmul_precision();
        set_matmul_precision(MatmulPrecision::Medium)?;
        Ok(Self { before })
    }
}

impl Drop for Bf16Products {
    fn drop(&mut self) {
        // What was set before can be set again.
        set_matmul_precision(self.before).ok();
    }
}
