//! Keeping a text from ending too early.

/// Excludes the end tokens until there are `min_new_tokens` new ones.
///
/// - `scores`: one for each token of the vocabulary; those of excluded tokens become minus infinity
/// - `new_tokens`: how many were generated so far
/// - `ends`: the end tokens; ids outside the vocabulary are passed over
pub fn min_new_tokens(scores: &mut [f32], new_tokens: usize, min_new_tokens: usize, ends: &[u32]) {
    if new_tokens >= min_new_tokens {
        return;
    }
    for end in ends {
        if let Some(score) = scores.get_mut(*end as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_tokens_are_excluded_until_there_are_enough() {
        let excluded = f32::NEG_INFINITY;
        let mut scores = [1.0; 4];
        min_new_tokens(&mut scores, 2, 2, &[0, 3]);
        assert_eq!(scores, [1.0; 4]);
        min_new_tokens(&mut scores, 1, 2, &[0, 3, 8]);
        assert_eq!(scores, [excluded, 1.0, 1.0, excluded]);
    }
}
