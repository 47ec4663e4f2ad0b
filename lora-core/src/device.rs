//! Devices: by name among the compiled backends, what they hold, and where a module lies.

use burn::module::Module;
use burn::tensor::{Device, DeviceType};

use crate::LoraError;

/// The backends compiled into this build, the fastest first.
fn compiled() -> Vec<(&'static str, DeviceType)> {
    vec![
        #[cfg(feature = "cuda")]
        ("cuda", DeviceType::Cuda),
        #[cfg(feature = "rocm")]
        ("rocm", DeviceType::Rocm),
        #[cfg(feature = "metal")]
        ("metal", DeviceType::Metal),
        #[cfg(feature = "vulkan")]
        ("vulkan", DeviceType::Vulkan),
        #[cfg(feature = "wgpu")]
        ("wgpu", DeviceType::Wgpu),
        #[cfg(feature = "flex")]
        ("flex", DeviceType::Flex),
        #[cfg(feature = "ndarray")]
        ("ndarray", DeviceType::NdArray),
    ]
}

/// The names of the compiled backends, the fastest first: what [`device`] accepts.
pub fn compiled_backends() -> Vec<&'static str> {
    compiled().into_iter().map(|(name, _)| name).collect()
}

/// The device called `name`: a compiled backend (`flex`, `cuda`, …), optionally with the index of
/// one of its devices (`cuda:1`).
///
/// # Errors
///
/// [`LoraError::Device`] if the backend is not compiled in, or the machine has no such device.
pub fn device(name: &str) -> Result<Device, LoraError> {
    let error = |message: String| LoraError::Device {
        device: name.to_string(),
        message,
    };
    let (backend, index) = match name.split_once(':') {
        None => (name, 0),
        Some((backend, index)) => match index.parse::<usize>() {
            Ok(index) => (backend, index),
            Err(_) => return Err(error(format!("{index:?} is not a device number"))),
        },
    };
    let Some((_, kind)) = compiled().into_iter().find(|(known, _)| *known == backend) else {
        let known = compiled_backends().join(", ");
        return Err(error(format!(
            "not compiled in (this build has {known}); build with `--features {backend}`"
        )));
    };
    let devices = Device::enumerate(kind).into_vec();
    let count = devices.len();
    devices.into_iter().nth(index).ok_or_else(|| {
        error(format!(
            "this machine has {count} such device(s), numbered from 0"
        ))
    })
}

/// The name by which [`device`] finds `wanted`; Burn's description of it if there is none.
pub(crate) fn name(wanted: &Device) -> String {
    for (name, kind) in compiled() {
        let devices = Device::enumerate(kind).into_vec();
        match devices.iter().position(|device| device == wanted) {
            Some(0) => return name.to_string(),
            Some(index) => return format!("{name}:{index}"),
            None => {}
        }
    }
    format!("{wanted:?}")
}

/// The fastest compiled backend that this machine has a device for, with its name.
///
/// # Errors
///
/// [`LoraError::Device`] if no compiled backend has a device here.
pub fn best_device() -> Result<(&'static str, Device), LoraError> {
    for (name, kind) in compiled() {
        if let Some(device) = Device::enumerate(kind).into_vec().into_iter().next() {
            return Ok((name, device));
        }
    }
    Err(LoraError::Device {
        device: compiled_backends().join(", "),
        message: "no compiled backend finds a device on this machine; build with `--features flex`"
            .to_string(),
    })
}

/// The size in bytes of the largest tensor that `device` can hold, if it belongs to WGPU, where a driver's
/// limit may be as low as 128 MiB.
pub fn largest_tensor(device: &Device) -> Option<u64> {
    match device.clone().inner().as_dispatch() {
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        burn::backend::DispatchDevice::Cube(device @ burn::backend::CubeDevice::Wgpu(_)) => {
            Some(device.client().properties().memory.max_page_size)
        }
        _ => None,
    }
}

/// Where a tensor of this shape is kept for a module that goes to `device`: there, or on the CPU if it
/// is too large for the device.
pub(crate) fn home(shape: [usize; 2], device: &Device) -> Device {
    #[cfg(feature = "flex")]
    {
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        if largest_tensor(device).is_some_and(|limit| bytes as u64 > limit) {
            return Device::flex().with_autodiff_context_from(device);
        }
    }
    let _ = shape;
    device.clone()
}

/// The device that a module computes on, and that its inputs go to: the first that its parameters lie on, but
/// for tables that a device left to the CPU. Burn's default device for a module without parameters.
///
/// Burn's own Learner and Evaluator take the first of all; give them this one
/// (`ExecutionStrategy::SingleDevice(device_of(&model))`). This project's trainer does.
pub fn device_of<M: Module>(module: &M) -> Device {
    let devices = module.devices();
    let chosen = devices
        .iter()
        .find(|device| largest_tensor(device).is_some())
        .or(devices.first());
    chosen.cloned().unwrap_or_default()
}

/// Burn's default device, for examples and tests.
pub fn default_device() -> Device {
    Device::default()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn names_and_indices() {
        assert_eq!(device("flex").unwrap(), Device::flex());
        assert_eq!(device("flex:0").unwrap(), Device::flex());
        assert_eq!(name(&Device::flex().autodiff()), "flex");
        let message = |name| device(name).unwrap_err().to_string();
        assert!(
            message("flex:7").contains("1 such device"),
            "{}",
            message("flex:7")
        );
        assert!(message("flex:x").contains("\"x\" is not a device number"));
        assert!(message("tpu").contains("--features tpu"));
    }
}
