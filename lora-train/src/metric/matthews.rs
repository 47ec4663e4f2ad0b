//! Matthews correlation.

use super::ConfusionMatrix;

impl ConfusionMatrix {
    /// The Matthews correlation coefficient (Matthews, 1975), for more than two classes as the R_K of
    /// Gorodkin (2004): scikit-learn's `matthews_corrcoef`.
    ///
    /// 1 is perfect, 0 no better than chance, -1 always wrong. It is 0 if only one class was said or
    /// only one is right, where the definition divides by zero.
    pub fn matthews(&self) -> f64 {
        // Whole numbers: the differences would lose digits.
        let square = |count: usize| (count as i128).pow(2);
        let all = square(self.total());
        let [mut both, mut said, mut right] = [0, all, all];
        for tally in self.tallies().values() {
            both += tally.both as i128 * self.total() as i128;
            both -= tally.said as i128 * tally.right as i128;
            said -= square(tally.said);
            right -= square(tally.right);
        }
        match said == 0 || right == 0 {
            true => 0.0,
            false => both as f64 / (said as f64 * right as f64).sqrt(),
        }
    }
}
