//! The models that have parity cases.

use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use lora_models::bert::{MaskedLm, QuestionAnswering, SequenceClassification};
use lora_models::gpt2;
use lora_models::{ModelError, Pretrained, PretrainedModel};
use lora_train::loss::{IGNORED, cross_entropy, mean_squared_error};

use super::case::Inputs;

/// What a model computes from a case's inputs.
#[derive(Debug)]
pub struct Outputs {
    /// The logits, by Hugging Face's names.
    pub logits: Vec<(&'static str, TensorData)>,
    /// The loss, `[1]`.
    pub loss: Tensor<1>,
}

/// A model that is compared with Hugging Face's.
pub trait ParityModel: Module {
    /// The head's bias that shifts all logits of a kind alike and so leaves the loss unchanged,
    /// if there is one: its gradient is zero but for rounding.
    const FREE_BIAS: Option<&'static str> = None;

    /// Loads the model from a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// [`ModelError`].
    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError>;

    /// Runs the model, with Hugging Face's loss.
    ///
    /// # Errors
    ///
    /// An input is missing.
    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>>;
}

impl ParityModel for SequenceClassification {
    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained(&folder.to_string_lossy(), device)
    }

    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>> {
        let logits = self.forward(inputs.encoder()?);
        let data = logits.clone().into_data();
        let loss = match logits.dims() {
            [batch, 1] => mean_squared_error(logits.reshape([batch]), inputs.floats("labels")?),
            _ => cross_entropy(logits, inputs.integers("labels")?, None),
        };
        Ok(Outputs {
            logits: vec![("logits", data)],
            loss,
        })
    }
}

impl ParityModel for gpt2::SequenceClassification {
    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained(&folder.to_string_lossy(), device)
    }

    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>> {
        let logits = self.forward(inputs.gpt2()?)?;
        let loss = cross_entropy(logits.clone(), inputs.integers("labels")?, None);
        Ok(Outputs {
            logits: vec![("logits", logits.into_data())],
            loss,
        })
    }
}

impl ParityModel for gpt2::CausalLm {
    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained(&folder.to_string_lossy(), device)
    }

    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>> {
        let logits = self.forward(inputs.gpt2()?, None);
        let data = logits.clone().into_data();
        let [batch, sequence, vocabulary] = logits.dims();
        // Each token is predicted from those before it.
        let rows = batch * (sequence - 1);
        let predicted = logits
            .narrow(1, 0, sequence - 1)
            .reshape([rows, vocabulary]);
        let labels = inputs.integers::<2>("labels")?.narrow(1, 1, sequence - 1);
        let loss = cross_entropy(predicted, labels.reshape([rows]), Some(IGNORED));
        Ok(Outputs {
            logits: vec![("logits", data)],
            loss,
        })
    }
}

impl ParityModel for MaskedLm {
    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained(&folder.to_string_lossy(), device)
    }

    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>> {
        let logits = self.forward(inputs.encoder()?);
        let data = logits.clone().into_data();
        let [batch, sequence, vocabulary] = logits.dims();
        let rows = batch * sequence;
        let labels = inputs.integers::<2>("labels")?.reshape([rows]);
        let loss = cross_entropy(logits.reshape([rows, vocabulary]), labels, Some(IGNORED));
        Ok(Outputs {
            logits: vec![("logits", data)],
            loss,
        })
    }
}

impl ParityModel for QuestionAnswering {
    const FREE_BIAS: Option<&'static str> = Some("qa_outputs.bias");

    fn load(folder: &Path, device: &Device) -> Result<Pretrained<Self>, ModelError> {
        Self::from_pretrained(&folder.to_string_lossy(), device)
    }

    fn outputs(&self, inputs: &Inputs<'_>) -> Result<Outputs, Box<dyn Error>> {
        let (start, end) = self.forward(inputs.encoder()?);
        let logits = vec![
            ("start_logits", start.clone().into_data()),
            ("end_logits", end.clone().into_data()),
        ];
        // A position behind the sequence means that the answer was cut off: no loss.
        let sequence = start.dims()[1] as i64;
        let loss = |logits, name| -> Result<_, Box<dyn Error>> {
            let positions = inputs.integers::<1>(name)?.clamp(0, sequence);
            Ok(cross_entropy(logits, positions, Some(sequence)))
        };
        let loss = loss(start, "start_positions")? + loss(end, "end_positions")?;
        Ok(Outputs {
            logits,
            loss: loss.div_scalar(2.0),
        })
    }
}
