//! Fewer points for the same picture.

/// At most about `most` points that look like all of them: of each run of neighbours the lowest and
/// the highest, so that a single outlier stays visible.
pub(super) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most.max(2) {
        return points.to_vec();
    }
    let width = (2 * points.len()).div_ceil(most.max(2));
    let mut kept = Vec::with_capacity(most + 2);
    for bucket in points.chunks(width) {
        let order = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = bucket.iter().min_by(order).zip(bucket.iter().max_by(order));
        let Some((lowest, highest)) = ends else {
            continue;
        };
        match lowest.0 <= highest.0 {
            true => kept.extend([*lowest, *highest]),
            false => kept.extend([*highest, *lowest]),
        }
    }
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_survives() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[7_777].1 = 9.0;
        let thinned = thin(&points, 500);
        assert!(thinned.len() <= 502, "{}", thinned.len());
        assert!(thinned.contains(&(7_777.0, 9.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[..500], 500), points[..500]);
    }
}
