//! Numbers as people read them.

/// A number with about four digits that count.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".to_string();
    }
    match value.abs() {
        0.0 => "0".to_string(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        size => {
            let digits = (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
            format!("{value:.digits$}")
        }
    }
}

/// The value of a measure: in percent if it is a fraction.
pub(crate) fn measure(name: &str, value: f64) -> String {
    match crate::metric::is_fraction(name) {
        true if value.is_finite() => format!("{:.2} %", 100.0 * value),
        _ => number(value),
    }
}

/// A value that may not be known.
pub(crate) fn value_or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_string(), text)
}

/// A time in seconds, in the units that fit it.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 60.0 {
        return match seconds.is_finite() {
            true => format!("{seconds:.1} s"),
            false => number(seconds),
        };
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{minutes} min {seconds:02} s"),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        let found = [0.0, 0.293_147, 12.345_6, 1234.5, 5e-4, 1e-5, f64::NAN].map(number);
        let expected = [
            "0", "0.2931", "12.35", "1234", "5.000e-4", "1.000e-5", "n/a",
        ];
        assert_eq!(found, expected);
        assert_eq!(measure("accuracy", 0.875), "87.50 %");
        assert_eq!(measure("accuracy", f64::NAN), "n/a");
        assert_eq!(measure("loss", 0.875), "0.8750");
        assert_eq!(
            (lora_core::grouped(7), lora_core::grouped(1_234_567)),
            ("7".into(), "1,234,567".into())
        );
    }

    #[test]
    fn a_time_has_the_units_that_fit() {
        let found = [1.25, 59.0, 61.4, 3599.0, 7265.0].map(duration);
        let expected = ["1.2 s", "59.0 s", "1 min 01 s", "59 min 59 s", "2 h 01 min"];
        assert_eq!(found, expected);
    }
}
