//! Making draws bolder or more cautious.

/// Divides the scores by `temperature`: below 1 the likely tokens become likelier, above 1 less so.
///
/// - `scores`: one for each token of the vocabulary
/// - `temperature`: above 0
pub fn temperature(scores: &mut [f32], temperature: f32) {
    for score in scores {
        *score /= temperature;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_divided() {
        let mut scores = [1.0, -3.0, f32::NEG_INFINITY];
        temperature(&mut scores, 2.0);
        assert_eq!(scores, [0.5, -1.5, f32::NEG_INFINITY]);
    }
}
