//! Correlation of numbers.

/// The Pearson correlation coefficient of the two numbers of each pair, -1 to 1: SciPy's `pearsonr`.
///
/// NaN where it is not defined: if one of the two never changes, with fewer than two pairs, and if a
/// number is not finite.
pub fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let (firsts, seconds): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (Some(firsts), Some(seconds)) = (centred(&firsts), centred(&seconds)) else {
        return f64::NAN;
    };
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (product(&firsts, &firsts) * product(&seconds, &seconds)).sqrt();
    (product(&firsts, &seconds) / lengths).clamp(-1.0, 1.0)
}

/// Spearman's rank correlation coefficient of the two numbers of each pair, -1 to 1: SciPy's
/// `spearmanr`. Equal numbers share the mean of their ranks.
///
/// NaN where it is not defined: if one of the two never changes, with fewer than two pairs, and if a
/// number is NaN.
pub fn spearman(pairs: &[(f64, f64)]) -> f64 {
    if pairs.iter().any(|(a, b)| a.is_nan() || b.is_nan()) {
        return f64::NAN;
    }
    let (firsts, seconds): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ranked: Vec<_> = ranks(&firsts).into_iter().zip(ranks(&seconds)).collect();
    pearson(&ranked)
}

/// The values moved to a mean of 0 and scaled to a largest of 1, as the squares of their own may be
/// too large or too small; `None` if they are all the same.
fn centred(values: &[f64]) -> Option<Vec<f64>> {
    if values.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let centred = values.iter().map(|value| value - mean);
    let largest = centred.clone().map(f64::abs).fold(0.0, f64::max);
    Some(centred.map(|value| value / largest).collect())
}

/// The rank of each value, the smallest 1; of equal ones the mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for &index in equal {
            ranks[index] = mean;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(
            ranks(&[3.0, 0.0, 7.0, -0.0, 3.0, 3.0]),
            [4.0, 1.5, 6.0, 1.5, 4.0, 4.0]
        );
    }
}
