//! The colours of charts and pages.

use plotters::style::RGBColor;

/// What a colour is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// What is written on.
    Page,
    /// A box that stands out a little.
    Panel,
    /// Words and numbers.
    Text,
    /// Words that say less.
    Muted,
    /// Lines that guide the eye, and no more.
    Grid,
    /// What is measured, as it is.
    Pale,
    /// What is to be read.
    Strong,
    /// One of several things side by side, told apart by [`PALETTE`] and by their marks.
    Series(usize),
}

/// In light and dark, the colours for things side by side. They stay apart for people who see no red,
/// no green or no blue, and each stands out from its page.
pub(crate) const PALETTE: [(&str, &str); 5] = [
    ("#0B5CAE", "#6CB6FE"),
    ("#D55E00", "#F0883E"),
    ("#222222", "#F0F0F0"),
    ("#B0459A", "#E58BC8"),
    ("#008F6B", "#3FC9A5"),
];

impl Ink {
    /// Every colour, no two of which are the same in light.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let named = [
            Self::Page,
            Self::Panel,
            Self::Text,
            Self::Muted,
            Self::Grid,
            Self::Pale,
            Self::Strong,
        ];
        named
            .into_iter()
            .chain((0..PALETTE.len()).map(Self::Series))
    }

    /// The colour on a light page, as `#RRGGBB`.
    pub(crate) fn light(self) -> &'static str {
        match self {
            Self::Page => "#FFFFFF",
            Self::Panel => "#F6F8FA",
            Self::Text => "#1B1F24",
            Self::Muted => "#57606A",
            Self::Grid => "#D0D7DE",
            Self::Pale => "#6090C0",
            Self::Strong => "#0B4F96",
            Self::Series(index) => PALETTE[index % PALETTE.len()].0,
        }
    }

    /// The colour on a dark page.
    pub(crate) fn dark(self) -> &'static str {
        match self {
            Self::Page => "#14181D",
            Self::Panel => "#1C2229",
            Self::Text => "#E6EDF3",
            Self::Muted => "#9AA7B4",
            Self::Grid => "#38424D",
            Self::Pale => "#4F7BA8",
            Self::Strong => "#8CC8FF",
            Self::Series(index) => PALETTE[index % PALETTE.len()].1,
        }
    }

    /// The name of its variable in a page.
    pub(crate) fn variable(self) -> String {
        match self {
            Self::Series(index) => format!("--series-{}", index % PALETTE.len()),
            named => format!("--{named:?}").to_lowercase(),
        }
    }

    /// The variable as an attribute's value, in quotes.
    pub(crate) fn reference(self) -> String {
        format!("\"var({})\"", self.variable())
    }

    /// The colour on a light page.
    pub(crate) fn color(self) -> RGBColor {
        let [red, green, blue] = rgb(self.light());
        RGBColor(red, green, blue)
    }
}

/// The parts of `#RRGGBB`.
fn rgb(color: &str) -> [u8; 3] {
    let part = |at: usize| u8::from_str_radix(color.get(at..at + 2).unwrap_or_default(), 16);
    [1, 3, 5].map(|at| part(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: [f64; 3]) -> f64 {
        let linear = |part: f64| match part / 255.0 {
            part if part <= 0.04045 => part / 12.92,
            part => ((part + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(color[0]) + 0.7152 * linear(color[1]) + 0.0722 * linear(color[2])
    }

    /// WCAG 2's contrast ratio.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn words_and_lines_have_the_contrast_of_wcag_aa() {
        for of in [Ink::light, Ink::dark] {
            let color = |ink| rgb(of(ink)).map(f64::from);
            for paper in [Ink::Page, Ink::Panel] {
                for words in [Ink::Text, Ink::Muted, Ink::Strong] {
                    let ratio = contrast(color(words), color(paper));
                    assert!(ratio >= 4.5, "{words:?} on {paper:?}: {ratio}");
                }
            }
            let lines = [Ink::Pale, Ink::Strong].into_iter();
            for line in lines.chain((0..PALETTE.len()).map(Ink::Series)) {
                let ratio = contrast(color(line), color(Ink::Page));
                assert!(ratio >= 3.0, "{line:?}: {ratio}");
            }
            // The darkest cell of a confusion matrix.
            let share = f64::from(crate::report::DEEPEST) / 100.0;
            let (strong, page) = (color(Ink::Strong), color(Ink::Page));
            let mixed = [0, 1, 2].map(|i| share * strong[i] + (1.0 - share) * page[i]);
            let ratio = contrast(color(Ink::Text), mixed);
            assert!(ratio >= 4.5, "a full cell: {ratio}");
        }
    }

    #[test]
    fn no_two_colours_are_the_same() {
        for of in [Ink::light, Ink::dark] {
            let colors: std::collections::BTreeSet<_> = Ink::all().map(of).collect();
            assert_eq!(colors.len(), Ink::all().count());
        }
        assert_eq!(rgb("#0B5CAE"), [11, 92, 174]);
    }
}
