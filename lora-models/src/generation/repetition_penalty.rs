//! Making tokens that are there already less likely.

/// Divides positive scores of the tokens in `tokens` by `penalty` and multiplies negative ones with
/// it, once for each token however often it occurs (CTRL, Keskar et al. 2019, section 4.1, with
/// the sign taken into account as Hugging Face does).
///
/// - `scores`: one for each token of the vocabulary, logits or log-probabilities
/// - `tokens`: the prompt and what was generated; ids outside the vocabulary are passed over
/// - `penalty`: above 0; above 1 discourages, below 1 encourages
pub fn repetition_penalty(scores: &mut [f32], tokens: &[u32], penalty: f32) {
    let mut distinct = tokens.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for token in distinct {
        if let Some(score) = scores.get_mut(token as usize) {
            match *score < 0.0 {
                true => *score *= penalty,
                false => *score /= penalty,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_penalized_once_by_its_sign() {
        let mut scores = [1.0, -1.0, 4.0, -3.0];
        repetition_penalty(&mut scores, &[2, 3, 2, 2, 9], 2.0);
        assert_eq!(scores, [1.0, -1.0, 2.0, -6.0]);
        repetition_penalty(&mut scores, &[0, 1], 0.5);
        assert_eq!(scores, [2.0, -0.5, 2.0, -6.0]);
    }
}
