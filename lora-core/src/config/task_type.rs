//! `task_type`: what an adapter is for.

use serde::{Deserialize, Serialize};

/// What PEFT calls the kind of task an adapter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskType {
    /// Sequence classification or regression; the head `classifier` or `score` is trained too.
    #[serde(rename = "SEQ_CLS")]
    SequenceClassification,
    /// Token classification; the head `classifier` or `score` is trained too.
    #[serde(rename = "TOKEN_CLS")]
    TokenClassification,
    /// Extractive question answering; the head `qa_outputs` is trained too.
    #[serde(rename = "QUESTION_ANS")]
    QuestionAnswering,
    /// Causal language modelling.
    #[serde(rename = "CAUSAL_LM")]
    CausalLm,
    /// Sequence-to-sequence language modelling.
    #[serde(rename = "SEQ_2_SEQ_LM")]
    SequenceToSequence,
    /// Features, as for embeddings.
    #[serde(rename = "FEATURE_EXTRACTION")]
    FeatureExtraction,
}

impl TaskType {
    /// The heads that PEFT trains in full for this task, whether the config names them or not.
    pub fn head_names(self) -> &'static [&'static str] {
        match self {
            Self::SequenceClassification | Self::TokenClassification => &["classifier", "score"],
            Self::QuestionAnswering => &["qa_outputs"],
            Self::CausalLm | Self::SequenceToSequence | Self::FeatureExtraction => &[],
        }
    }
}
