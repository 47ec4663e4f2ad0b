//! What to train, on the command line.

use std::error::Error;
use std::path::PathBuf;

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use lora_core::quantization::QuantizationConfig;
use lora_core::{FactorizeConfig, LoraConfig, TargetModules, TaskType};
use lora_models::TextConfig;
use lora_train::Method;

use crate::base_arguments::BaseArguments;

/// What to train.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What to train")]
pub struct MethodArguments {
    /// How to fine-tune
    #[arg(long, value_enum, default_value_t = Kind::Lora)]
    pub method: Kind,
    /// PEFT's adapter_config.json, or a folder with one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rank", "alpha", "targets", "lora_dropout"])]
    pub config: Option<PathBuf>,
    /// Rank of the adapters
    #[arg(long, value_name = "R")]
    pub rank: Option<usize>,
    /// Scale of the adapters, divided by the rank
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Modules to adapt: names with commas between them, a regular expression for whole paths, or
    /// all-linear
    #[arg(long, value_name = "NAMES")]
    pub targets: Option<String>,
    /// Dropout before the adapters
    #[arg(long, value_name = "P")]
    pub lora_dropout: Option<f64>,
    /// How the weights of the model are stored and multiplied.
    #[command(flatten)]
    pub base: BaseArguments,
}

/// A way to fine-tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Adapters and the head
    Lora,
    /// Every weight
    Full,
    /// The head alone
    Head,
    /// Biases and the head
    Bitfit,
    /// The head alone, and then adapters and the head
    HeadThenLora,
    /// Everything, with the weights of linear layers (of --targets, or all) as products of two thin
    /// matrices of --rank
    Factorized,
}

/// The adapters of a program that is told nothing else.
#[derive(Debug, Clone, Copy)]
pub struct UsualAdapters<'a> {
    /// The rank.
    pub rank: usize,
    /// The scale, divided by the rank.
    pub alpha: f64,
    /// The modules, as on the command line.
    pub targets: &'a str,
    /// The dropout before them.
    pub dropout: f64,
}

impl MethodArguments {
    /// How the model's weights are to be quantized while it is loaded, if they are.
    ///
    /// # Errors
    ///
    /// A method that trains them, and as [`BaseArguments::quantization`].
    pub fn quantization(
        &self,
        device: &Device,
    ) -> Result<Option<QuantizationConfig>, Box<dyn Error>> {
        match (self.base.quantization(device)?, self.method) {
            (Some(_), Kind::Full | Kind::Factorized) => Err(
                "--base: weights in fewer bits than 32 cannot be trained; leave --method out"
                    .into(),
            ),
            (quantization, _) => Ok(quantization),
        }
    }

    /// The method for a model that `model` describes.
    ///
    /// # Errors
    ///
    /// An option of LoRA for another method; a configuration that cannot be read.
    pub fn method(
        &self,
        usual: UsualAdapters<'_>,
        model: &impl TextConfig,
    ) -> Result<Method, Box<dyn Error>> {
        Ok(match self.method {
            Kind::Lora => Method::lora(self.adapters(usual)?, model),
            Kind::HeadThenLora => Method::head_then_lora(self.adapters(usual)?, model),
            Kind::Full => self.without_adapters(Method::Full)?,
            Kind::Head => self.without_adapters(Method::Head)?,
            Kind::Bitfit => self.without_adapters(Method::BitFit)?,
            Kind::Factorized => Method::Factorized(self.factorization(usual)?),
        })
    }

    /// As [`method`](Self::method), for a language model.
    ///
    /// # Errors
    ///
    /// Those of [`method`](Self::method), and the methods that need a head.
    pub fn causal_method(
        &self,
        usual: UsualAdapters<'_>,
        model: &impl TextConfig,
    ) -> Result<Method, Box<dyn Error>> {
        match self.method {
            Kind::Lora => Ok(Method::causal_lora(self.adapters(usual)?, model)),
            Kind::Head | Kind::HeadThenLora => Err(lora_train::TrainError::NoHead.into()),
            Kind::Full | Kind::Bitfit | Kind::Factorized => self.method(usual, model),
        }
    }

    /// As [`method`](Self::method), for a model that finds answers in texts: its head trains too.
    ///
    /// # Errors
    ///
    /// Those of [`method`](Self::method).
    pub fn question_answering_method(
        &self,
        usual: UsualAdapters<'_>,
        model: &impl TextConfig,
    ) -> Result<Method, Box<dyn Error>> {
        let adapters = |mut config: LoraConfig| {
            config.task_type.get_or_insert(TaskType::QuestionAnswering);
            config
        };
        match self.method {
            Kind::Lora => Ok(Method::lora(adapters(self.adapters(usual)?), model)),
            Kind::HeadThenLora => Ok(Method::head_then_lora(
                adapters(self.adapters(usual)?),
                model,
            )),
            Kind::Full | Kind::Head | Kind::Bitfit | Kind::Factorized => self.method(usual, model),
        }
    }

    fn adapters(&self, usual: UsualAdapters<'_>) -> Result<LoraConfig, Box<dyn Error>> {
        if let Some(path) = &self.config {
            return Ok(LoraConfig::from_file(path)?);
        }
        let mut config = LoraConfig::new()
            .with_r(self.rank.unwrap_or(usual.rank))
            .with_lora_alpha(self.alpha.unwrap_or(usual.alpha))
            .with_lora_dropout(self.lora_dropout.unwrap_or(usual.dropout));
        config.target_modules = Some(targets(self.targets.as_deref().unwrap_or(usual.targets)));
        Ok(config)
    }

    fn factorization(&self, usual: UsualAdapters<'_>) -> Result<FactorizeConfig, Box<dyn Error>> {
        let given = [
            ("--config", self.config.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--lora-dropout", self.lora_dropout.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            return Err(format!("{option} is for adapters only").into());
        }
        let config = FactorizeConfig::new(self.rank.unwrap_or(usual.rank));
        let targets = self.targets.as_deref().map(targets);
        let targets = targets.filter(|targets| !targets.is_all_linear());
        Ok(config.with_target_modules(targets.map(|targets| targets.0)))
    }

    fn without_adapters(&self, method: Method) -> Result<Method, Box<dyn Error>> {
        let given = [
            ("--config", self.config.is_some()),
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--targets", self.targets.is_some()),
            ("--lora-dropout", self.lora_dropout.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(format!("{option} is for methods with adapters only").into()),
            None => Ok(method),
        }
    }
}

/// Modules to adapt as they are given on the command line: names with commas between them, or else
/// one of PEFT's strings.
pub fn targets(text: &str) -> TargetModules {
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
    };
    let parts: Vec<String> = text
        .split(',')
        .map(|part| part.trim().to_string())
        .collect();
    match parts.iter().all(|part| is_name(part)) {
        true => parts.into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use lora_models::bert::BertConfig;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        method: MethodArguments,
    }

    const USUAL: UsualAdapters<'static> = UsualAdapters {
        rank: 8,
        alpha: 16.0,
        targets: "query,value",
        dropout: 0.1,
    };

    fn method(text: &str) -> Result<Method, String> {
        let words = std::iter::once("program").chain(text.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        let method = line.method.method(USUAL, &BertConfig::default());
        method.map_err(|e| e.to_string())
    }

    #[test]
    fn targets_are_names_or_one_of_pefts_strings() {
        assert_eq!(targets("query"), ["query"].into());
        assert_eq!(targets("query, self.value"), ["query", "self.value"].into());
        assert!(targets("all-linear").is_all_linear());
        assert_eq!(targets(".*layer.{1,2}"), ".*layer.{1,2}".into());
    }

    #[test]
    fn options_of_lora_are_refused_without_it() {
        <Line as clap::CommandFactory>::command().debug_assert();
        let error = method("--method head --rank 4").unwrap_err();
        assert_eq!(error, "--rank is for methods with adapters only");
        assert_eq!(method("--method full").unwrap(), Method::Full);
        assert_eq!(method("--method bitfit").unwrap(), Method::BitFit);
        assert!(method("--config a.json --rank 4").is_err());
        let thin = method("--method factorized --rank 4 --targets key").unwrap();
        let expected = FactorizeConfig::new(4).with_target_modules(Some(["key"].into()));
        assert_eq!(thin, Method::Factorized(expected));
        let error = method("--method factorized --alpha 4").unwrap_err();
        assert_eq!(error, "--alpha is for adapters only");
    }

    #[test]
    fn the_programs_have_their_own_defaults() {
        let lora = |text: &str| method(text).unwrap().adapters().unwrap().clone();
        let usual = lora("");
        assert_eq!(
            (usual.r, usual.lora_alpha, usual.lora_dropout),
            (8, 16.0, 0.1)
        );
        assert_eq!(usual.target_modules, Some(["query", "value"].into()));
        let given = lora("--rank 4 --targets key --method head-then-lora");
        assert_eq!((given.r, given.target_modules), (4, Some(["key"].into())));
    }
}
