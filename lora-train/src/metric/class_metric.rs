//! Scores of classes as metrics.

use burn::tensor::{Int, Tensor, TensorReadError};
use burn::train::ClassificationOutput;
use burn::train::metric::Adaptor;

use super::{Average, ConfusionMatrix, Figure, FigureMetric};

/// What is said and what is right, in classes, `[n]` each.
#[derive(Debug, Clone)]
pub struct ClassesInput {
    /// What the model says.
    pub predicted: Tensor<1, Int>,
    /// What is right.
    pub targets: Tensor<1, Int>,
}

impl Adaptor<ClassesInput> for ClassificationOutput {
    fn adapt(&self) -> ClassesInput {
        ClassesInput {
            predicted: self.output.clone().argmax(1).reshape([-1]),
            targets: self.targets.clone(),
        }
    }
}

/// A score of what was said in classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClassScore {
    /// [`ConfusionMatrix::accuracy`], in percent.
    Accuracy,
    /// [`ConfusionMatrix::f1`], in percent.
    F1(Average),
    /// [`ConfusionMatrix::precision`], in percent.
    Precision(Average),
    /// [`ConfusionMatrix::recall`], in percent.
    Recall(Average),
    /// [`ConfusionMatrix::matthews`], -1 to 1.
    Matthews,
}

impl ClassScore {
    /// The score, a fraction.
    pub fn of(self, matrix: &ConfusionMatrix) -> f64 {
        match self {
            Self::Accuracy => matrix.accuracy(),
            Self::F1(average) => matrix.f1(average),
            Self::Precision(average) => matrix.precision(average),
            Self::Recall(average) => matrix.recall(average),
            Self::Matthews => matrix.matthews(),
        }
    }
}

impl std::fmt::Display for ClassScore {
    /// As the metric is called: "F1", "F1 (macro)", "F1 (weighted)", "Matthews correlation", ….
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, average) = match self {
            Self::Accuracy => ("Accuracy", Average::Binary),
            Self::F1(average) => ("F1", *average),
            Self::Precision(average) => ("Precision", *average),
            Self::Recall(average) => ("Recall", *average),
            Self::Matthews => ("Matthews correlation", Average::Binary),
        };
        f.write_str(name)?;
        f.write_str(match average {
            Average::Binary => "",
            Average::Macro => " (macro)",
            Average::Weighted => " (weighted)",
        })
    }
}

/// A [`ClassScore`] over an epoch.
#[derive(Debug, Clone)]
pub struct ClassFigure {
    score: ClassScore,
    matrix: ConfusionMatrix,
}

/// A [`ClassScore`] as a metric.
pub type ClassMetric = FigureMetric<ClassFigure>;

impl ClassMetric {
    /// The metric of that score.
    pub fn new(score: ClassScore) -> Self {
        Self::of(ClassFigure {
            score,
            matrix: ConfusionMatrix::default(),
        })
    }
}

impl Figure for ClassFigure {
    type Input = ClassesInput;

    fn name(&self) -> String {
        self.score.to_string()
    }

    fn unit(&self) -> Option<&'static str> {
        match self.score {
            ClassScore::Matthews => None,
            _ => Some("%"),
        }
    }

    fn higher_is_better(&self) -> bool {
        true
    }

    fn add(&mut self, input: &ClassesInput) -> Result<(), TensorReadError> {
        let predicted: Vec<i64> = input.predicted.clone().try_into_vec_as()?;
        let targets: Vec<i64> = input.targets.clone().try_into_vec_as()?;
        for (predicted, target) in predicted.into_iter().zip(targets) {
            // A target that is no class is ignored, as in the losses.
            if let (Ok(predicted), Ok(target)) = (predicted.try_into(), target.try_into()) {
                self.matrix.add(predicted, target);
            }
        }
        Ok(())
    }

    fn value(&self) -> Option<f64> {
        let value = self.score.of(&self.matrix);
        match (self.matrix.total(), self.unit()) {
            (0, _) => None,
            (_, Some(_)) => Some(100.0 * value),
            (_, None) => Some(value),
        }
    }

    fn clear(&mut self) {
        self.matrix = ConfusionMatrix::default();
    }
}
