//! Keeping the likeliest tokens, as many as make up a probability.

use super::top_scores::Scored;

/// How many scores are sorted first; a distribution with a wide nucleus takes more, in growing
/// steps.
const FIRST: usize = 64;

/// Excludes all tokens but the smallest number of the likeliest whose probability reaches `mass`:
/// nucleus sampling (Holtzman et al. 2020, section 3.1).
///
/// - `scores`: one for each token of the vocabulary, probabilities by softmax; those of excluded
///   tokens become minus infinity
/// - `mass`: above 0, at most 1
/// - `at_least`: so many tokens are kept in any case
pub fn top_p(scores: &mut [f32], mass: f64, at_least: usize) {
    let candidates = scores.iter().copied().enumerate();
    let mut candidates: Vec<_> = candidates
        .filter(|(_, score)| *score > f32::NEG_INFINITY)
        .map(|(index, score)| Scored { score, index })
        .collect();
    let highest = candidates.iter().map(|c| c.score).fold(f32::MIN, f32::max);
    let weight = |c: &Scored| f64::from(c.score - highest).exp();
    let total: f64 = candidates.iter().map(weight).sum();

    let (mut before, mut kept, mut sorted) = (0.0, 0, 0);
    'sorting: while sorted < candidates.len() {
        let rest = &mut candidates[sorted..];
        let step = rest.len().min(FIRST.max(3 * sorted));
        if step < rest.len() {
            rest.select_nth_unstable_by(step - 1, Scored::order);
        }
        rest[..step].sort_unstable_by(Scored::order);
        for candidate in &rest[..step] {
            if before >= mass * total && kept >= at_least {
                break 'sorting;
            }
            before += weight(candidate);
            kept += 1;
        }
        sorted += step;
    }
    for candidate in &candidates[kept..] {
        scores[candidate.index] = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn kept(probabilities: &[f64], mass: f64, at_least: usize) -> Vec<usize> {
        let mut scores: Vec<f32> = probabilities.iter().map(|p| p.ln() as f32).collect();
        let before = scores.clone();
        top_p(&mut scores, mass, at_least);
        let kept: Vec<usize> = (0..scores.len())
            .filter(|index| scores[*index] > f32::NEG_INFINITY)
            .collect();
        assert!(kept.iter().all(|index| scores[*index] == before[*index]));
        kept
    }

    #[test]
    fn the_nucleus_reaches_the_mass() {
        let probabilities = [0.1, 0.4, 0.2, 0.3];
        assert_eq!(kept(&probabilities, 0.35, 1), [1]);
        assert_eq!(kept(&probabilities, 0.45, 1), [1, 3]);
        assert_eq!(kept(&probabilities, 0.85, 1), [1, 2, 3]);
        assert_eq!(kept(&probabilities, 1.0, 1), [0, 1, 2, 3]);
        assert_eq!(kept(&probabilities, 1e-9, 1), [1]);
        assert_eq!(kept(&probabilities, 0.35, 3), [1, 2, 3]);
        assert_eq!(kept(&[0.5, 0.0, 0.5], 0.9, 3), [0, 2]);
    }

    #[test]
    fn a_wide_nucleus_is_found_in_steps() {
        let mut random = StdRng::seed_from_u64(4);
        let weights: Vec<f64> = (0..5000).map(|_| random.random::<f64>()).collect();
        let total: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..5000).collect();
        order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
        for mass in [0.01, 0.2, 0.9] {
            let found = kept(&weights, mass, 1);
            let sum = |indices: &[usize]| indices.iter().map(|i| weights[*i]).sum::<f64>() / total;
            let mut expected = order[..found.len()].to_vec();
            assert!(sum(&expected) >= mass - 1e-6);
            assert!(sum(&expected[..expected.len() - 1]) < mass + 1e-6);
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
