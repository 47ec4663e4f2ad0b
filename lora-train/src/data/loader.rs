//! The batches of a whole run, made on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;

use super::order::Order;
use crate::{Task, TrainingConfig};

/// How many batches are made in advance.
const PREFETCHED: usize = 2;

/// A batch, and its place in the run.
#[derive(Debug, Clone)]
pub struct MicroBatch<B> {
    /// The examples.
    pub batch: B,
    /// The number of losses that the gradient of the whole step is the mean of.
    pub losses: usize,
    /// The step of the optimizer, counted from 1.
    pub step: usize,
    /// The number of the batch in its step, counted from 0.
    pub part: usize,
    /// Whether it is the last batch of its step.
    pub ends_step: bool,
    /// Whether its step is the last one of an epoch.
    pub ends_epoch: bool,
    /// The numbers of its examples in the data set, counted from 0.
    pub examples: Vec<usize>,
    /// How many tokens its examples have, without padding.
    pub tokens: usize,
}

/// The data of a run from one step to its last: Burn's data loader, but for a whole run instead of an
/// epoch, as a run may begin anywhere.
pub(crate) struct RunLoader<T: Task> {
    examples: Arc<Vec<T::Example>>,
    batcher: Arc<T::Batcher>,
    config: TrainingConfig,
    /// Where the parts of a step are computed, in turn.
    devices: Vec<Device>,
    /// The steps that were done before.
    done: usize,
}

impl<T: Task> RunLoader<T> {
    pub(crate) fn new(
        model: &T,
        examples: Arc<Vec<T::Example>>,
        config: &TrainingConfig,
        devices: &[Device],
        done: usize,
    ) -> Self {
        Self {
            examples,
            batcher: Arc::new(model.batcher()),
            config: config.clone(),
            devices: devices.to_vec(),
            done,
        }
    }

    fn with(&self, examples: Arc<Vec<T::Example>>, devices: Vec<Device>) -> Self {
        Self {
            examples,
            batcher: self.batcher.clone(),
            config: self.config.clone(),
            devices,
            done: self.done,
        }
    }

    /// Makes the batches of the run, until nobody takes them any more.
    fn work(&self, send: impl Fn(MicroBatch<T::Batch>) -> bool) {
        let lengths = self.examples.iter().map(T::tokens).collect();
        let config = &self.config;
        let order = Order::new(
            lengths,
            config.examples_per_step(),
            config.group_by_length,
            config.data_seed.unwrap_or(config.seed),
        );
        let per_epoch = config.steps_per_epoch(self.examples.len());
        let steps = config.steps(self.examples.len());
        let mut step = self.done;
        while step < steps {
            let epoch = order.epoch(step / per_epoch);
            for indices in epoch.iter().skip(step % per_epoch) {
                step += 1;
                let ends_epoch = step.is_multiple_of(per_epoch);
                if step > steps || !self.send_step(step, ends_epoch, indices, &send) {
                    return;
                }
            }
        }
    }

    fn send_step(
        &self,
        step: usize,
        ends_epoch: bool,
        indices: &[usize],
        send: impl Fn(MicroBatch<T::Batch>) -> bool,
    ) -> bool {
        let of = |index: &usize| &self.examples[*index];
        let losses = indices.iter().map(|index| T::losses_of(of(index))).sum();
        let devices = self.devices.len().max(1);
        let parts = indices.chunks(self.config.batch_size.div_ceil(devices));
        let count = parts.len();
        parts.enumerate().all(|(part, indices)| {
            let examples = indices.iter().map(|index| of(index).clone()).collect();
            send(MicroBatch {
                batch: self.batcher.batch(examples, &self.devices[part % devices]),
                losses,
                step,
                part,
                ends_step: part + 1 == count,
                ends_epoch,
                examples: indices.to_vec(),
                tokens: indices.iter().map(|index| T::tokens(of(index))).sum(),
            })
        })
    }
}

impl<T: Task> DataLoader<MicroBatch<T::Batch>> for RunLoader<T> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<MicroBatch<T::Batch>> + 'a> {
        let worker = self.with(self.examples.clone(), self.devices.clone());
        let (sender, receiver) = sync_channel(PREFETCHED);
        let thread = std::thread::spawn(move || worker.work(|batch| sender.send(batch).is_ok()));
        Box::new(RunIterator {
            receiver: Some(receiver),
            thread: Some(thread),
            progress: Progress::new(0, self.num_items(), None),
        })
    }

    fn num_items(&self) -> usize {
        let count = self.examples.len();
        let seen = |steps| self.config.examples_in(count, steps);
        seen(self.config.steps(count)) - seen(self.done)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<MicroBatch<T::Batch>>> {
        Arc::new(self.with(self.examples.clone(), vec![device.clone()]))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<MicroBatch<T::Batch>>> {
        let examples = Arc::new(self.examples[start..end].to_vec());
        Arc::new(self.with(examples, self.devices.clone()))
    }
}

struct RunIterator<B> {
    receiver: Option<Receiver<MicroBatch<B>>>,
    thread: Option<JoinHandle<()>>,
    progress: Progress,
}

impl<B> Iterator for RunIterator<B> {
    type Item = Result<MicroBatch<B>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.as_ref()?.recv() {
            Ok(batch) => {
                self.progress.items_processed += batch.examples.len();
                Some(Ok(batch))
            }
            Err(_) => {
                // Nothing more comes: the run is over, unless the batcher panicked.
                if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                None
            }
        }
    }
}

impl<B> DataLoaderIterator<MicroBatch<B>> for RunIterator<B> {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl<B> Drop for RunIterator<B> {
    fn drop(&mut self) {
        // The thread ends when it finds nobody to send to.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenizedDataset;
    use crate::testing::{example, tiny_config, tokenizer};
    use lora_core::default_device;
    use lora_models::bert::SequenceClassification;

    fn loader(config: &TrainingConfig, done: usize) -> RunLoader<SequenceClassification> {
        let examples: Vec<_> = (0..10)
            .map(|i| example(["good", "a bad film"][i % 2], i % 2))
            .collect();
        let device = default_device();
        let data = TokenizedDataset::encode(&examples, &tokenizer(), &tiny_config(), 16).unwrap();
        let model = SequenceClassification::new(&tiny_config(), &device);
        RunLoader::new(&model, data.shared(), config, &[device], done)
    }

    type Place = (usize, usize, bool, bool, usize, Vec<usize>);

    fn places(config: &TrainingConfig, done: usize) -> Vec<Place> {
        let loader = loader(config, done);
        let mut batches = loader.iter();
        let mut found = Vec::new();
        for batch in batches.by_ref() {
            let b = batch.unwrap();
            let place = (b.step, b.part, b.ends_step, b.ends_epoch, b.losses);
            found.push((place.0, place.1, place.2, place.3, place.4, b.examples));
        }
        let seen: usize = found.iter().map(|place| place.5.len()).sum();
        assert_eq!(seen, loader.num_items());
        assert!(batches.progress().is_completed());
        found
    }

    #[test]
    fn a_step_is_the_same_however_it_is_cut() {
        let config = TrainingConfig::new().with_epochs(2).with_batch_size(4);
        let whole = places(&config, 0);
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[2].5.len(), 2);
        assert!(whole[2].3 && whole[5].3 && !whole[1].3);
        let cut = config
            .with_batch_size(2)
            .with_gradient_accumulation_steps(2);
        let parts = places(&cut, 0);
        for (step, expected) in whole.iter().enumerate() {
            let mine: Vec<&Place> = parts.iter().filter(|p| p.0 == step + 1).collect();
            assert_eq!(
                mine.iter().map(|p| p.1).collect::<Vec<_>>(),
                (0..mine.len()).collect::<Vec<_>>()
            );
            let examples: Vec<usize> = mine.iter().flat_map(|p| p.5.clone()).collect();
            assert_eq!(examples, expected.5);
            assert!(mine.iter().all(|p| p.4 == expected.5.len()));
            assert_eq!(mine.iter().filter(|p| p.2).count(), 1);
        }
    }

    #[test]
    fn a_run_goes_on_where_it_stopped() {
        let config = TrainingConfig::new().with_epochs(3).with_batch_size(4);
        let all = places(&config, 0);
        for done in [1, 3, 4, 8, 9] {
            assert_eq!(places(&config, done), all[done..], "{done}");
        }
        let short = config.with_max_steps(Some(4));
        assert_eq!(places(&short, 2), all[2..4]);
    }
}
