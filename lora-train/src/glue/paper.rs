//! The settings of the LoRA paper.

use lora_core::{LoraConfig, TaskType};

use super::GlueTask;
use crate::TrainingConfig;

/// The RoBERTa models of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RobertaSize {
    /// 125 million parameters.
    Base,
    /// 355 million parameters.
    Large,
}

/// How the LoRA paper fine-tunes RoBERTa for a task: Hu et al. 2021, [arXiv 2106.09685][paper],
/// Table 9 (appendix D.1), rows "RoBERTa base LoRA" and "RoBERTa large LoRA".
///
/// The table has the batch size, the number of epochs, the learning rate, `r`, `α` and the sequence
/// length, and for all tasks AdamW, a linear schedule and a warm-up of 0.06. From the
/// [scripts][scripts] (`examples/NLU/roberta_{base,large}_*.sh`) come the weight decay of 0.1, the
/// seed 0 and no dropout in the adapters, which are on the query and value projections (§4.2).
///
/// Table and scripts are not of one mind. The scripts have `α` = 16 for the base model too; for the
/// large one they train CoLA at 3e-4, SST-2 with a batch size of 8 and sequences of 512 tokens, and
/// STS-B with a batch size of 4 for 10 epochs at 3e-4 and with sequences of 128. And their batch
/// sizes, which are the table's, are for each of [`devices`](Self::devices) GPUs. The numbers here
/// are the table's.
///
/// [paper]: https://arxiv.org/abs/2106.09685
/// [scripts]: https://github.com/microsoft/LoRA/tree/main/examples/NLU
#[derive(Debug, Clone, PartialEq)]
pub struct PaperSettings {
    /// The table's.
    pub training: TrainingConfig,
    /// The table's adapters.
    pub lora: LoraConfig,
    /// Whether training starts from the adapter that was trained on MNLI instead of a fresh one, as
    /// for MRPC, RTE and STS-B (§5.2).
    pub starts_from_mnli: bool,
    /// On how many GPUs the task's script runs: a step sees so many batches.
    pub devices: usize,
}

/// A row of the table: batch size, epochs, learning rate, sequence length.
type Row = (usize, usize, f64, usize);

impl GlueTask {
    /// What the LoRA paper trains this task with; `None` for WNLI, which it leaves out.
    #[must_use]
    pub fn paper_settings(self, size: RobertaSize) -> Option<PaperSettings> {
        let (batch_size, epochs, rate, max_len) = self.row(size)?;
        let (alpha, devices) = match size {
            RobertaSize::Base if self == Self::Cola => (8.0, 2),
            RobertaSize::Base => (8.0, 8),
            RobertaSize::Large => (16.0, 8),
        };
        let training = TrainingConfig::new()
            .with_batch_size(batch_size)
            .with_epochs(epochs)
            .with_learning_rate(rate)
            .with_max_len(max_len)
            .with_warmup_ratio(0.06)
            .with_weight_decay(0.1)
            .with_seed(0);
        let mut lora = LoraConfig::new()
            .with_r(8)
            .with_lora_alpha(alpha)
            .with_lora_dropout(0.0)
            .with_target_modules(["query", "value"]);
        lora.task_type = Some(TaskType::SequenceClassification);
        Some(PaperSettings {
            training,
            lora,
            starts_from_mnli: matches!(self, Self::Mrpc | Self::Rte | Self::Stsb),
            devices,
        })
    }

    fn row(self, size: RobertaSize) -> Option<Row> {
        use RobertaSize::{Base, Large};
        Some(match (self, size) {
            (Self::Mnli, Base) => (16, 30, 5e-4, 512),
            (Self::Sst2, Base) => (16, 60, 5e-4, 512),
            (Self::Mrpc, Base) => (16, 30, 4e-4, 512),
            (Self::Cola, Base) => (32, 80, 4e-4, 512),
            (Self::Qnli, Base) => (32, 25, 4e-4, 512),
            (Self::Qqp, Base) => (16, 25, 5e-4, 512),
            (Self::Rte, Base) => (32, 80, 5e-4, 512),
            (Self::Stsb, Base) => (16, 40, 4e-4, 512),
            (Self::Mnli, Large) => (4, 10, 3e-4, 128),
            (Self::Sst2, Large) => (4, 10, 4e-4, 128),
            (Self::Mrpc, Large) => (4, 20, 3e-4, 512),
            (Self::Cola, Large) => (4, 20, 2e-4, 128),
            (Self::Qnli, Large) => (4, 10, 2e-4, 512),
            (Self::Qqp, Large) => (4, 20, 3e-4, 512),
            (Self::Rte, Large) => (8, 20, 4e-4, 512),
            (Self::Stsb, Large) => (8, 30, 2e-4, 512),
            (Self::Wnli, _) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table as they are printed.
    fn printed(size: RobertaSize) -> [[String; 8]; 4] {
        let tasks = [
            GlueTask::Mnli,
            GlueTask::Sst2,
            GlueTask::Mrpc,
            GlueTask::Cola,
            GlueTask::Qnli,
            GlueTask::Qqp,
            GlueTask::Rte,
            GlueTask::Stsb,
        ];
        let rows = tasks.map(|task| task.paper_settings(size).unwrap().training);
        [
            rows.clone().map(|row| row.batch_size.to_string()),
            rows.clone().map(|row| row.epochs.to_string()),
            rows.clone().map(|row| format!("{:e}", row.learning_rate)),
            rows.map(|row| row.max_len.to_string()),
        ]
    }

    fn words(rows: [&str; 4]) -> Vec<Vec<&str>> {
        rows.map(|row| row.split(' ').collect()).to_vec()
    }

    #[test]
    fn the_numbers_are_table_9s() {
        assert_eq!(
            printed(RobertaSize::Base).map(|row| row.to_vec()).to_vec(),
            words([
                "16 16 16 32 32 16 32 16",
                "30 60 30 80 25 25 80 40",
                "5e-4 5e-4 4e-4 4e-4 4e-4 5e-4 5e-4 4e-4",
                "512 512 512 512 512 512 512 512",
            ])
        );
        assert_eq!(
            printed(RobertaSize::Large).map(|row| row.to_vec()).to_vec(),
            words([
                "4 4 4 4 4 4 8 8",
                "10 10 20 20 10 20 20 30",
                "3e-4 4e-4 3e-4 2e-4 2e-4 3e-4 4e-4 2e-4",
                "128 128 512 128 512 512 512 512",
            ])
        );
    }

    #[test]
    fn what_all_tasks_share() {
        for task in GlueTask::ALL {
            for (size, alpha) in [(RobertaSize::Base, 8.0), (RobertaSize::Large, 16.0)] {
                let Some(settings) = task.paper_settings(size) else {
                    assert_eq!(task, GlueTask::Wnli);
                    continue;
                };
                settings.training.validate().unwrap();
                assert_eq!(settings.training.warmup_ratio, 0.06);
                assert_eq!(settings.training.weight_decay, 0.1);
                assert_eq!((settings.lora.r, settings.lora.lora_alpha), (8, alpha));
                let from_mnli = ["mrpc", "rte", "stsb"].contains(&task.name());
                assert_eq!(settings.starts_from_mnli, from_mnli);
            }
        }
    }
}
