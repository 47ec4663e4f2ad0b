//! Several devices at once: a copy of the model on each, of which only what trains is ever sent.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::scope;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn::train::{TrainOutput, TrainStep};

use crate::data::MicroBatch;
use crate::{Task, TrainError, Trainee};

/// The copies of a model on the devices after the first.
///
/// Burn's own strategy for several devices sends the whole model to each of them at every step; the
/// frozen weights of an adapted model do not change, and are sent once here.
pub(super) struct Replicas<T> {
    devices: Vec<Device>,
    others: Vec<Trainee<T>>,
    /// What was sent between the devices so far, in bytes.
    sent: usize,
}

impl<T: Task> Replicas<T> {
    /// Copies `model`, which is on the first of `devices`, to the others.
    pub(super) fn new(model: &Trainee<T>, devices: &[Device]) -> Self {
        let others = devices.iter().skip(1);
        Self {
            others: others.map(|device| model.clone().fork(device)).collect(),
            devices: devices.to_vec(),
            sent: 0,
        }
    }

    /// How many parts of a step are computed at once.
    pub(super) fn count(&self) -> usize {
        self.devices.len()
    }

    /// Where part `index` is computed.
    pub(super) fn device(&self, index: usize) -> &Device {
        &self.devices[index]
    }

    /// What was sent between the devices since this was last asked, in bytes.
    pub(super) fn take_sent(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }

    /// The output and the gradients of each part, computed at the same time on a device each. The
    /// gradients are on the first device.
    ///
    /// # Errors
    ///
    /// [`TrainError::DeviceFailed`] if a device fails, with its own message.
    pub(super) fn steps(
        &mut self,
        model: &Trainee<T>,
        parts: Vec<MicroBatch<T::Batch>>,
    ) -> Result<Vec<TrainOutput<T::Output>>, TrainError> {
        if self.others.is_empty() {
            let outputs = parts.into_iter().map(|part| {
                let output = guarded(|| TrainStep::step(model, part));
                output.map_err(|panic| self.failed(0, &panic))
            });
            return outputs.collect();
        }
        let models = std::iter::once(model).chain(&self.others);
        let results: Vec<_> = scope(|scope| {
            let threads: Vec<_> = models
                .zip(parts)
                .map(|(model, part)| {
                    let model = model.clone();
                    scope.spawn(move || guarded(|| TrainStep::step(&model, part)))
                })
                .collect();
            threads.into_iter().map(|t| t.join().flatten()).collect()
        });
        let mut outputs = Vec::with_capacity(results.len());
        for (index, result) in results.into_iter().enumerate() {
            let mut output = result.map_err(|panic| self.failed(index, &panic))?;
            if index > 0 {
                self.sent += bytes(model, &output.grads);
                model.visit(&mut Gather(&mut output.grads));
            }
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// Gives the copies the values of `model` that train.
    pub(super) fn follow(&mut self, model: &Trainee<T>) {
        if self.others.is_empty() {
            return;
        }
        let mut values = Trained(GradientsParams::new());
        model.visit(&mut values);
        self.sent += self.others.len() * bytes(model, &values.0);
        for replica in &mut self.others {
            *replica = replica.clone().map(&mut Follow(&values.0));
        }
    }

    fn failed(&self, index: usize, panic: &Box<dyn Any + Send>) -> TrainError {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        TrainError::DeviceFailed {
            device: format!("{:?}", self.devices[index].clone().inner()),
            message: text.unwrap_or("without a message").to_string(),
        }
    }
}

/// Backends report what goes wrong on a device, lack of memory above all, by a panic.
fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

/// The values that train, by their parameters.
struct Trained(GradientsParams);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        if value.is_require_grad() {
            self.0.register(param.id, value.detach());
        }
    }
}

/// Sends each gradient to where its parameter lies, which for a table may not be where the model computes.
struct Gather<'a>(&'a mut GradientsParams);

impl ModuleVisitor for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.remove::<D>(param.id) {
            let gradient = gradient.to_device(&param.lazy_device());
            self.0.register(param.id, gradient);
        }
    }
}

/// Gives each parameter its value, where it lies.
struct Follow<'a>(&'a GradientsParams);

impl ModuleMapper for Follow<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        match self.0.get::<D>(id) {
            Some(value) => {
                let value = value.to_device(&param.lazy_device()).detach();
                let value = value.require_grad();
                param.transform_for_load(value, id)
            }
            None => param,
        }
    }
}

/// The size of `values` of `module`.
fn bytes<M: Module>(module: &M, values: &GradientsParams) -> usize {
    struct Bytes<'a>(&'a GradientsParams, usize);
    impl ModuleVisitor for Bytes<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(value) = self.0.get::<D>(param.id) {
                self.1 += value.shape().num_elements() * value.dtype().size();
            }
        }
    }
    let mut bytes = Bytes(values, 0);
    module.visit(&mut bytes);
    bytes.1
}
