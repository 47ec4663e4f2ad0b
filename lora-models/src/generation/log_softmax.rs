//! From logits to log-probabilities.

/// Turns logits into log-probabilities, `x - log Σ exp(x)`.
pub fn log_softmax(scores: &mut [f32]) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|s| f64::from((s - highest).exp())).sum();
    let log_sum = sum.ln() as f32;
    for score in scores {
        *score = *score - highest - log_sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let mut scores = [1000.0, 1001.0, 990.0];
        log_softmax(&mut scores);
        let sum: f32 = scores.iter().map(|s| s.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((scores[1] - scores[0] - 1.0).abs() < 1e-6);
    }
}
