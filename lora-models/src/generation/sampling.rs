//! Choosing a token by its score, and the random numbers for it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Random numbers for each of `count` texts. Those of one do not depend on how many there are or
/// when the others end.
pub(super) fn streams(seed: Option<u64>, count: usize) -> Vec<StdRng> {
    let mut source = StdRng::seed_from_u64(seed.unwrap_or_else(rand::random));
    (0..count).map(|_| StdRng::from_rng(&mut source)).collect()
}

/// The token with the highest score, of several the first; none if all are excluded.
pub(super) fn best(scores: &[f32]) -> Option<usize> {
    let mut best = (None, f32::NEG_INFINITY);
    for (token, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (Some(token), *score);
        }
    }
    best.0
}

/// A token drawn with the probabilities of the scores' softmax; none if all are excluded.
pub(super) fn draw(scores: &[f32], random: &mut StdRng) -> Option<usize> {
    let highest = scores[best(scores)?];
    let weight = |score: &f32| f64::from(score - highest).exp();
    let total: f64 = scores.iter().map(weight).sum();
    let mut left = random.random::<f64>() * total;
    let mut drawn = None;
    for (token, score) in scores.iter().enumerate() {
        let weight = weight(score);
        if weight > 0.0 {
            drawn = Some(token);
            if left < weight {
                break;
            }
            left -= weight;
        }
    }
    drawn
}

/// A random number with the standard Gumbel distribution. The highest of several log-probabilities,
/// each with such a number added, is a draw by these probabilities, the next highest a second draw
/// without replacement, and so on (Kool et al. 2019, section 2).
pub(super) fn gumbel(random: &mut StdRng) -> f32 {
    let uniform = random.random::<f64>().max(f64::MIN_POSITIVE);
    -(-uniform.ln()).ln() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::top_scores::TopScores;

    const OUT: f32 = f32::NEG_INFINITY;

    fn scores(probabilities: [f32; 5]) -> [f32; 5] {
        probabilities.map(|p| p.ln() + 3.0)
    }

    #[test]
    fn the_best_is_the_first_of_the_highest() {
        assert_eq!(best(&[OUT, 1.0, 3.0, 3.0]), Some(2));
        assert_eq!(best(&[OUT, OUT]), None);
        assert_eq!(draw(&[OUT, OUT], &mut StdRng::seed_from_u64(0)), None);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let probabilities = [0.5, 0.0, 0.3, 0.15, 0.05];
        let mut random = StdRng::seed_from_u64(5);
        let mut counts = [0; 5];
        for _ in 0..20_000 {
            counts[draw(&scores(probabilities), &mut random).unwrap()] += 1;
        }
        for (count, probability) in counts.into_iter().zip(probabilities) {
            let expected = 20_000.0 * probability;
            // Four standard deviations.
            let bound = 4.0 * (expected * (1.0 - probability)).sqrt();
            assert!((count as f32 - expected).abs() <= bound, "{counts:?}");
        }
        assert_eq!(counts[1], 0);
    }

    #[test]
    fn gumbel_numbers_draw_without_replacement() {
        let probabilities = [0.5f32, 0.0, 0.3, 0.15, 0.05];
        let mut random = StdRng::seed_from_u64(6);
        let mut pairs = [[0; 5]; 5];
        for _ in 0..20_000 {
            let mut top = TopScores::new(2);
            for (token, score) in scores(probabilities).iter().enumerate() {
                top.push(score + gumbel(&mut random), token);
            }
            let drawn = top.into_sorted();
            pairs[drawn[0].index][drawn[1].index] += 1;
        }
        for (first, counts) in pairs.iter().enumerate() {
            for (second, count) in counts.iter().enumerate() {
                let (p, q) = (probabilities[first], probabilities[second]);
                let probability = if first == second {
                    0.0
                } else {
                    p * q / (1.0 - p)
                };
                let expected = 20_000.0 * probability;
                let bound = 4.0 * (expected * (1.0 - probability)).sqrt();
                assert!((*count as f32 - expected).abs() <= bound, "{pairs:?}");
            }
        }
    }

    #[test]
    fn a_stream_does_not_depend_on_the_others() {
        let first = |seed, count| -> Vec<u64> {
            let mut streams = streams(Some(seed), count);
            streams.iter_mut().map(|stream| stream.random()).collect()
        };
        assert_eq!(first(1, 5)[..2], first(1, 2));
        assert_ne!(first(1, 2)[0], first(1, 2)[1]);
        assert_ne!(first(1, 2), first(2, 2));
        let any = || streams(None, 1)[0].random::<u64>();
        assert_ne!(any(), any());
    }
}
