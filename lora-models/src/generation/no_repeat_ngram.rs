//! Excluding tokens that would repeat an n-gram.

/// Excludes every token that would complete an n-gram which `tokens` has already
/// (Paulus et al. 2018, section 2.5).
///
/// - `scores`: one for each token of the vocabulary; those of excluded tokens become minus infinity
/// - `tokens`: the prompt and what was generated
/// - `size`: the n-gram's length; 0 excludes nothing, 1 every token that has occurred
pub fn no_repeat_ngram(scores: &mut [f32], tokens: &[u32], size: usize) {
    let Some(start) = (tokens.len() + 1).checked_sub(size) else {
        return;
    };
    if size == 0 {
        return;
    }
    let prefix = &tokens[start..];
    for ngram in tokens.windows(size) {
        if let Some((last, before)) = ngram.split_last()
            && before == prefix
            && let Some(score) = scores.get_mut(*last as usize)
        {
            *score = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(tokens: &[u32], size: usize) -> Vec<usize> {
        let mut scores = [0.0; 6];
        no_repeat_ngram(&mut scores, tokens, size);
        (0..6)
            .filter(|token| scores[*token] == f32::NEG_INFINITY)
            .collect()
    }

    #[test]
    fn tokens_that_would_repeat_are_excluded() {
        assert_eq!(excluded(&[1, 2, 1, 3, 1], 2), [2, 3]);
        assert_eq!(excluded(&[1, 2, 1, 3, 1], 3), Vec::<usize>::new());
        assert_eq!(excluded(&[1, 2, 4, 3, 1, 2], 3), [4]);
        assert_eq!(excluded(&[1, 2, 9], 1), [1, 2]);
        assert_eq!(excluded(&[1, 1], 2), [1]);
    }

    #[test]
    fn short_sequences_and_size_zero_exclude_nothing() {
        assert_eq!(excluded(&[1, 2], 3), Vec::<usize>::new());
        assert_eq!(excluded(&[], 1), Vec::<usize>::new());
        assert_eq!(excluded(&[1], 100), Vec::<usize>::new());
        assert_eq!(excluded(&[1, 1, 1], 0), Vec::<usize>::new());
    }
}
