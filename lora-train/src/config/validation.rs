//! What a configuration may say.

use std::fmt::Display;

use super::{Interval, LORAPLUS_LR_EMBEDDING, Optim, TrainingConfig};
use crate::TrainError;

impl TrainingConfig {
    /// Checks that every value can be used.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] that names the field.
    pub fn validate(&self) -> Result<(), TrainError> {
        let fraction = |value: f64| (0.0..=1.0).contains(&value);
        let rate = |value: f64| value > 0.0 && value <= 1.0;
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        const ONE: &str = "at least 1";
        const RATE: &str = "above 0 and at most 1";
        const FRACTION: &str = "from 0 to 1";
        const NOT_NEGATIVE: &str = "at least 0 and finite";

        check(self.epochs > 0, "epochs", self.epochs, ONE)?;
        let steps = self.max_steps.unwrap_or(1);
        check(steps > 0, "max_steps", steps, ONE)?;
        check(self.batch_size > 0, "batch_size", self.batch_size, ONE)?;
        let accumulation = self.gradient_accumulation_steps;
        check(
            accumulation > 0,
            "gradient_accumulation_steps",
            accumulation,
            ONE,
        )?;
        let learning_rate = self.learning_rate;
        check(rate(learning_rate), "learning_rate", learning_rate, RATE)?;
        for (key, value) in &self.learning_rate_pattern {
            check(
                rate(*value),
                "learning_rate_pattern",
                format!("{value} for {key:?}"),
                RATE,
            )?;
        }
        let power = self.polynomial_power;
        check(
            power > 0.0 && power.is_finite(),
            "polynomial_power",
            power,
            "above 0 and finite",
        )?;
        let decay = self.weight_decay;
        check(fraction(decay), "weight_decay", decay, FRACTION)?;
        let ratio = self.warmup_ratio;
        check(fraction(ratio), "warmup_ratio", ratio, FRACTION)?;
        let norm = self.max_grad_norm;
        check(not_negative(norm), "max_grad_norm", norm, NOT_NEGATIVE)?;
        let smoothing = self.label_smoothing;
        check(fraction(smoothing), "label_smoothing", smoothing, FRACTION)?;
        let intervals = [
            ("eval_every", self.eval_every),
            ("save_every", self.save_every),
            ("log_every", self.log_every),
        ];
        for (field, interval) in intervals {
            check(
                interval != Interval::Steps(0),
                field,
                interval,
                "\"epoch\", \"never\" or at least 1",
            )?;
        }
        let limit = self.save_total_limit;
        check(limit > 0, "save_total_limit", limit, ONE)?;
        let patience = self.early_stopping_patience.unwrap_or(1);
        check(patience > 0, "early_stopping_patience", patience, ONE)?;
        let threshold = self.early_stopping_threshold;
        check(
            not_negative(threshold),
            "early_stopping_threshold",
            threshold,
            NOT_NEGATIVE,
        )?;
        self.validate_variants()
    }

    /// LoRA+ and LoRA-FA.
    fn validate_variants(&self) -> Result<(), TrainError> {
        let ratio = self.loraplus_lr_ratio;
        check(
            ratio.is_none_or(|ratio| ratio > 0.0 && ratio.is_finite()),
            "loraplus_lr_ratio",
            ratio.unwrap_or_default(),
            "above 0 and finite",
        )?;
        let embedding = self.loraplus_lr_embedding;
        let unused = ratio.is_none() && embedding != LORAPLUS_LR_EMBEDDING;
        check(
            embedding > 0.0 && embedding <= 1.0 && !unused,
            "loraplus_lr_embedding",
            embedding,
            "above 0 and at most 1, and its default without `loraplus_lr_ratio`",
        )?;
        check(
            !(self.lora_fa && self.optim == Optim::AdamW8bit),
            "lora_fa",
            "true beside `optim` adamw_8bit",
            "one of the two: LoRA-FA's steps keep their moments in 32 bits",
        )?;
        check(
            !(self.lora_fa && ratio.is_some()),
            "lora_fa",
            "true beside `loraplus_lr_ratio`",
            "one of the two: LoRA+ is about the rates of both factors, LoRA-FA trains one",
        )
    }
}

fn check(
    ok: bool,
    field: &'static str,
    value: impl Display,
    expected: &'static str,
) -> Result<(), TrainError> {
    match ok {
        true => Ok(()),
        false => Err(TrainError::Setting {
            field,
            value: value.to_string(),
            expected,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(TrainingConfig) -> TrainingConfig;

    #[test]
    fn values_out_of_range_name_their_field() {
        TrainingConfig::new().validate().unwrap();
        let cases: [(&str, Change); 21] = [
            ("`epochs` is 0", |c| c.with_epochs(0)),
            ("`max_steps` is 0", |c| c.with_max_steps(Some(0))),
            ("`batch_size` is 0", |c| c.with_batch_size(0)),
            ("`gradient_accumulation_steps` is 0", |c| {
                c.with_gradient_accumulation_steps(0)
            }),
            ("`learning_rate` is 0", |c| c.with_learning_rate(0.0)),
            ("`learning_rate` is -1", |c| c.with_learning_rate(-1.0)),
            ("`learning_rate` is 1.5", |c| c.with_learning_rate(1.5)),
            ("`learning_rate` is NaN", |c| c.with_learning_rate(f64::NAN)),
            ("`learning_rate_pattern` is 2 for \"head\"", |c| {
                c.with_learning_rate_pattern([("head".to_string(), 2.0)].into())
            }),
            ("`polynomial_power` is 0", |c| c.with_polynomial_power(0.0)),
            ("`weight_decay` is -0.1", |c| c.with_weight_decay(-0.1)),
            ("`warmup_ratio` is 1.1", |c| c.with_warmup_ratio(1.1)),
            ("`max_grad_norm` is -1", |c| c.with_max_grad_norm(-1.0)),
            ("`label_smoothing` is NaN", |c| {
                c.with_label_smoothing(f64::NAN)
            }),
            ("`eval_every` is 0", |c| {
                c.with_eval_every(Interval::Steps(0))
            }),
            ("`save_total_limit` is 0", |c| c.with_save_total_limit(0)),
            ("`early_stopping_patience` is 0", |c| {
                c.with_early_stopping_patience(Some(0))
            }),
            ("`early_stopping_threshold` is inf", |c| {
                c.with_early_stopping_threshold(f64::INFINITY)
            }),
            ("`loraplus_lr_ratio` is -2", |c| {
                c.with_loraplus_lr_ratio(Some(-2.0))
            }),
            ("`loraplus_lr_embedding` is 0.001", |c| {
                c.with_loraplus_lr_embedding(1e-3)
            }),
            ("`lora_fa` is true beside", |c| {
                c.with_lora_fa(true).with_loraplus_lr_ratio(Some(16.0))
            }),
        ];
        for (expected, change) in cases {
            let error = change(TrainingConfig::new()).validate().unwrap_err();
            assert!(error.to_string().contains(expected), "{expected}: {error}");
        }
        let plus = TrainingConfig::new().with_loraplus_lr_ratio(Some(16.0));
        plus.with_loraplus_lr_embedding(1e-3).validate().unwrap();
        TrainingConfig::new().with_lora_fa(true).validate().unwrap();
    }
}
