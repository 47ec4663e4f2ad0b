//! Keeping the likeliest tokens, a fixed number of them.

use super::top_scores::TopScores;

/// Excludes all tokens but the `count` with the highest scores (Fan et al. 2018, section 5.4).
///
/// Tokens with the lowest score that is kept are all kept, as in Hugging Face.
///
/// - `scores`: one for each token of the vocabulary; those of excluded tokens become minus infinity
/// - `count`: at least 1
pub fn top_k(scores: &mut [f32], count: usize) {
    if count >= scores.len() {
        return;
    }
    let mut top = TopScores::new(count);
    for (index, score) in scores.iter().enumerate() {
        top.push(*score, index);
    }
    let kept = top.into_sorted();
    if kept.len() < count {
        return;
    }
    let Some(lowest) = kept.last().map(|kept| kept.score) else {
        return;
    };
    for score in scores {
        if *score < lowest {
            *score = f32::NEG_INFINITY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: f32 = f32::NEG_INFINITY;

    fn kept(mut scores: [f32; 5], count: usize) -> [f32; 5] {
        top_k(&mut scores, count);
        scores
    }

    #[test]
    fn the_highest_are_kept_and_ties_with_them() {
        assert_eq!(
            kept([1.0, 5.0, 3.0, 4.0, 2.0], 2),
            [OUT, 5.0, OUT, 4.0, OUT]
        );
        assert_eq!(
            kept([1.0, 3.0, 3.0, 4.0, 3.0], 2),
            [OUT, 3.0, 3.0, 4.0, 3.0]
        );
        assert_eq!(
            kept([1.0, 5.0, 3.0, 4.0, 2.0], 9),
            [1.0, 5.0, 3.0, 4.0, 2.0]
        );
        assert_eq!(
            kept([OUT, 5.0, OUT, 4.0, OUT], 3),
            [OUT, 5.0, OUT, 4.0, OUT]
        );
    }
}
