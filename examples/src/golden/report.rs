//! What was compared, and how far apart it was.

use std::fmt;

use burn::tensor::TensorData;

use super::case::{Array, Values};

/// The largest difference of one part of a case.
#[derive(Debug, Clone)]
pub struct Part {
    /// `base`, `grad`, ….
    pub name: &'static str,
    /// The largest difference found.
    pub largest: f32,
    /// The largest that is accepted.
    pub tolerance: f32,
}

/// The outcome of one case.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The case's name.
    pub case: String,
    /// The parts compared.
    pub parts: Vec<Part>,
    /// What differs.
    pub problems: Vec<String>,
    /// What is compared otherwise than value by value, and why.
    pub notes: Vec<String>,
    /// Why the case was not run.
    pub skipped: Option<String>,
}

impl Report {
    /// A report on a case that was not run.
    pub fn skip(case: &str, reason: String) -> Self {
        Self {
            case: case.to_string(),
            skipped: Some(reason),
            ..Self::default()
        }
    }

    /// A report on a case that could not be run though it should.
    pub fn failure(case: &str, problem: String) -> Self {
        Self {
            case: case.to_string(),
            problems: vec![problem],
            ..Self::default()
        }
    }

    /// Whether the case was run and nothing differs.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.skipped.is_none()
    }

    /// Notes that `what` differs by `difference` in part `part`.
    pub fn measure(&mut self, part: &'static str, what: &str, difference: f32, tolerance: f32) {
        let index = self
            .parts
            .iter()
            .position(|p| p.name == part)
            .unwrap_or_else(|| {
                self.parts.push(Part {
                    name: part,
                    largest: 0.0,
                    tolerance,
                });
                self.parts.len() - 1
            });
        self.parts[index].largest = self.parts[index].largest.max(difference);
        if difference > tolerance {
            self.problems.push(format!(
                "{what} differs by {difference:.1e}, accepted {tolerance:.0e}"
            ));
        }
    }

    /// Notes the differences of `what`, of which some are above the tolerance; each of those is
    /// accepted, with a note, if `moved` says that rounding alone moves that value as far.
    pub fn measure_against_rounding(
        &mut self,
        part: &'static str,
        what: &str,
        differences: &[f32],
        tolerance: f32,
        moved: &[f32],
    ) {
        let mut accepted: Option<(f32, f32)> = None;
        let (mut count, mut worst) = (0, 0.0f32);
        for (index, &difference) in differences.iter().enumerate() {
            let rounding = moved.get(index).copied().unwrap_or(0.0);
            if difference <= tolerance || difference > tolerance + rounding {
                worst = worst.max(difference);
                continue;
            }
            count += 1;
            if accepted.is_none_or(|(largest, _)| difference > largest) {
                accepted = Some((difference, rounding));
            }
        }
        self.measure(part, what, worst, tolerance);
        if let Some((difference, rounding)) = accepted {
            self.notes.push(format!(
                "{what}: {count} of {} values differ by more, up to {difference:.1e}: there, a \
                 change in the last bits of the weights makes {rounding:.1e}",
                differences.len(),
            ));
        }
    }

    /// Compares a result with what the case expects, value by value.
    pub fn compare(
        &mut self,
        part: &'static str,
        what: &str,
        expected: &Array,
        found: &TensorData,
        tolerance: f32,
    ) {
        match paired(expected, found) {
            Ok((expected, found)) => {
                self.measure(part, what, largest_difference(expected, &found), tolerance);
            }
            Err(problem) => self.problems.push(format!("{what} {problem}")),
        }
    }

    /// Compares whole numbers, or any other values that are equal or not.
    pub fn equal<T: PartialEq + fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.problems
                .push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.skipped {
            return write!(f, "SKIP {}: {reason}", self.case);
        }
        write!(
            f,
            "{} {:<22}",
            if self.passed() { "PASS" } else { "FAIL" },
            self.case
        )?;
        for Part {
            name,
            largest,
            tolerance,
        } in &self.parts
        {
            match *tolerance == 0.0 {
                true if *largest == 0.0 => write!(f, " {name} identical")?,
                true => write!(f, " {name} {largest} differ")?,
                false => write!(f, " {name} {largest:.1e}/{tolerance:.0e}")?,
            }
        }
        for note in &self.notes {
            write!(f, "\n     {note}")?;
        }
        for problem in &self.problems {
            write!(f, "\n     {problem}")?;
        }
        Ok(())
    }
}

/// The differences value by value; up to a constant if one is `free`.
///
/// # Errors
///
/// As [`paired`].
pub fn differences(expected: &Array, found: &TensorData, free: bool) -> Result<Vec<f32>, String> {
    let (expected, found) = paired(expected, found)?;
    let signed: Vec<f32> = expected.iter().zip(&found).map(|(e, f)| f - e).collect();
    let sum: f64 = signed.iter().copied().map(f64::from).sum();
    let constant = if free {
        (sum / signed.len().max(1) as f64) as f32
    } else {
        0.0
    };
    let size = |d: f32| {
        if d.is_nan() {
            f32::INFINITY
        } else {
            (d - constant).abs()
        }
    };
    Ok(signed.into_iter().map(size).collect())
}

/// The values of both sides, if both are floats of one shape.
///
/// # Errors
///
/// What does not fit, as the rest of a sentence.
pub fn paired<'a>(
    expected: &'a Array,
    found: &TensorData,
) -> Result<(&'a [f32], Vec<f32>), String> {
    let Values::Floats(values) = &expected.values else {
        return Err("is not a floating-point tensor in the case".to_string());
    };
    let shape = found.shape().to_vec();
    if shape != expected.shape {
        return Err(format!(
            "has shape {shape:?}, expected {:?}",
            expected.shape
        ));
    }
    Ok((values, found.iter().collect()))
}

/// The largest difference of two equally long lists; infinite if one value is not a number.
pub fn largest_difference(expected: &[f32], found: &[f32]) -> f32 {
    let differences = expected
        .iter()
        .zip(found)
        .map(|(e, f)| match (e - f).abs() {
            difference if difference.is_nan() => f32::INFINITY,
            difference => difference,
        });
    differences.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(differences: &[f32], moved: &[f32]) -> Report {
        let mut report = Report::default();
        report.measure_against_rounding("part", "w", differences, 1e-4, moved);
        report
    }

    #[test]
    fn rounding_is_accepted_value_by_value_and_said() {
        let report = measured(&[1e-6, 3e-4, 2e-4], &[0.0, 5e-4, 5e-4]);
        assert!(report.passed());
        assert_eq!(report.parts[0].largest, 1e-6);
        assert!(report.notes[0].starts_with("w: 2 of 3 values differ by more, up to 3.0e-4"));

        let report = measured(&[1e-6, 3e-4, 2e-4], &[5e-4, 5e-4, 0.0]);
        assert_eq!(report.problems, ["w differs by 2.0e-4, accepted 1e-4"]);
        assert!(!measured(&[f32::INFINITY], &[1.0]).passed());
        assert!(!measured(&[3e-4], &[]).passed());
    }

    #[test]
    fn no_number_is_infinitely_far_off() {
        assert_eq!(
            largest_difference(&[1.0, f32::NAN], &[1.0, 1.0]),
            f32::INFINITY
        );
        assert_eq!(
            largest_difference(&[1.0, 2.0], &[1.5, f32::NAN]),
            f32::INFINITY
        );
        assert_eq!(largest_difference(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
    }
}
