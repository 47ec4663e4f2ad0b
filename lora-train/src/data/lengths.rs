//! How long the sequences of a data set are.

use std::fmt::{Display, Formatter};

use serde::Serialize;

use super::TokenizedDataset;

/// The lengths of a data set's sequences in tokens, special ones included.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LengthSummary {
    /// How many sequences there are.
    pub count: usize,
    /// How many of them were cut to the maximum length.
    pub cut: usize,
    /// The length of the shortest.
    pub shortest: usize,
    /// The length of the longest.
    pub longest: usize,
    /// The mean length.
    pub mean: f64,
    /// How many have which lengths, from 1 to the longest, empty buckets included.
    pub buckets: Vec<LengthBucket>,
}

/// A range of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LengthBucket {
    /// The shortest.
    pub from: usize,
    /// The longest.
    pub to: usize,
    /// How many sequences have a length in between, both ends included.
    pub count: usize,
}

impl TokenizedDataset {
    /// How long the sequences are, in buckets of `width` lengths each; a width of 0 counts as 1.
    #[must_use]
    pub fn lengths(&self, width: usize) -> LengthSummary {
        let examples = self.examples();
        let cut = examples.iter().filter(|example| example.cut).count();
        let lengths = examples.iter().map(|example| example.tokens.ids.len());
        LengthSummary::of(&lengths.collect::<Vec<_>>(), cut, width.max(1))
    }
}

impl LengthSummary {
    fn of(lengths: &[usize], cut: usize, width: usize) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let bucket = |index| LengthBucket {
            from: index * width + 1,
            to: (index + 1) * width,
            count: 0,
        };
        let mut buckets: Vec<_> = (0..longest.div_ceil(width)).map(bucket).collect();
        for length in lengths {
            if let Some(bucket) = buckets.get_mut(length.saturating_sub(1) / width) {
                bucket.count += 1;
            }
        }
        let sum: usize = lengths.iter().sum();
        Self {
            count: lengths.len(),
            cut,
            shortest: lengths.iter().copied().min().unwrap_or_default(),
            longest,
            mean: sum as f64 / lengths.len().max(1) as f64,
            buckets,
        }
    }
}

impl Display for LengthSummary {
    /// A line with the numbers, and one for each bucket with a bar beside it.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        const WIDEST: usize = 40;
        let Self {
            count,
            cut,
            shortest,
            longest,
            mean,
            buckets,
        } = self;
        write!(
            f,
            "{count} sequences of {shortest} to {longest} tokens, {mean:.1} on average, {cut} cut"
        )?;
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
        for LengthBucket { from, to, count } in buckets {
            let bar = "#".repeat((count * WIDEST).div_ceil(most.max(1)));
            let line = format!("{from:>5} to {to:<5} {count:>8} {bar}");
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example, tiny_config, tokenizer};
    use proptest::prelude::*;

    #[test]
    fn lengths_are_counted_in_buckets() {
        let summary = LengthSummary::of(&[1, 4, 5, 9, 9, 9], 2, 4);
        assert_eq!((summary.count, summary.cut), (6, 2));
        assert_eq!((summary.shortest, summary.longest), (1, 9));
        assert!((summary.mean - 37.0 / 6.0).abs() < 1e-12);
        let bucket = |from, to, count| LengthBucket { from, to, count };
        assert_eq!(
            summary.buckets,
            [bucket(1, 4, 2), bucket(5, 8, 1), bucket(9, 12, 3)]
        );
        let text = summary.to_string();
        assert!(text.starts_with("6 sequences of 1 to 9 tokens, 6.2 on average, 2 cut\n"));
        let bar = "#".repeat(14);
        assert!(
            text.contains(&format!("\n    5 to 8            1 {bar}\n")),
            "{text}"
        );
    }

    #[test]
    fn a_data_set_knows_what_was_cut() {
        let examples = [example("a good film", 1), example(&"good ".repeat(50), 0)];
        let data = TokenizedDataset::encode(&examples, &tokenizer(), &tiny_config(), 12).unwrap();
        let summary = data.lengths(0);
        assert_eq!((summary.count, summary.cut, summary.longest), (2, 1, 12));
        assert_eq!(summary.buckets.len(), 12);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["buckets"][11]["count"], 1);
    }

    proptest! {
        #[test]
        fn every_sequence_is_in_its_bucket(
            lengths in prop::collection::vec(1..600usize, 0..50),
            width in 1..100usize,
        ) {
            let summary = LengthSummary::of(&lengths, 0, width);
            for LengthBucket { from, to, count } in summary.buckets {
                let inside = lengths.iter().filter(|length| (from..=to).contains(length));
                prop_assert_eq!(inside.count(), count);
            }
            let last = summary.longest.div_ceil(width) * width;
            prop_assert!(last >= summary.longest);
        }
    }
}
