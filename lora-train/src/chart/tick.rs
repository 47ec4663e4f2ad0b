//! The numbers beside an axis.

/// A number of an axis that is `span` long.
pub(super) fn tick(value: f64, span: f64) -> String {
    // What rounding leaves of a zero.
    if value.abs() < span * 1e-6 {
        return "0".to_string();
    }
    let largest = value.abs().max(span);
    if !(1e-2..1e5).contains(&largest) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let digits = (1.0 - (span / 2.0).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// A whole number; nothing for what lies between two.
pub(super) fn whole(value: f64) -> String {
    match (value - value.round()).abs() < 1e-6 {
        true => format!("{value:.0}"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_the_axis_needs() {
        assert_eq!(tick(0.000_300_000_000_1, 5e-4), "3e-4");
        assert_eq!(tick(2.5e-5, 5e-5), "2.5e-5");
        assert_eq!(tick(0.2, 0.8), "0.2");
        assert_eq!(tick(0.852, 0.01), "0.852");
        assert_eq!(tick(80.0, 40.0), "80");
        assert_eq!(tick(1e-18, 1.0), "0");
        assert_eq!(tick(2e6, 5e6), "2e6");
        assert_eq!((whole(3.0), whole(2.5)), ("3".into(), String::new()));
    }
}
