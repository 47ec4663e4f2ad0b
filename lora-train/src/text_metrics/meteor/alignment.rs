//! METEOR's alignment of a hypothesis with a reference.
//!
//! The best alignment has the most exact matches, then the fewest chunks, then the shortest
//! distances. It is looked for from the left to the right of the reference, with the best
//! [`BEAM`] beginnings kept at each word. Ties and the order of the search follow METEOR 1.5, as
//! a different alignment gives a different score.

use std::cmp::Reverse;

const BEAM: usize = 40;

/// A word of the hypothesis or the reference.
pub(super) struct Word {
    pub text: String,
    pub stem: String,
    pub is_function: bool,
}

/// What two words have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Exact,
    Stem,
}

/// A word of the hypothesis and one of the reference, by their places.
#[derive(Clone, Copy)]
pub(super) struct Match {
    pub hypothesis: usize,
    pub reference: usize,
    pub stage: Stage,
}

/// The matches, in the order of the reference.
pub(super) struct Alignment(Vec<Match>);

impl Alignment {
    pub fn of(hypothesis: &[Word], reference: &[Word]) -> Self {
        let candidates = candidates(hypothesis, reference);
        let fixed = fixed(&candidates, hypothesis.len());
        let mut links = Links::default();
        let mut paths = vec![Path::default()];
        for (fixed, candidates) in fixed.into_iter().zip(&candidates) {
            best_first(&mut paths);
            let extended = paths
                .into_iter()
                .flat_map(|path| path.extended(fixed, candidates, &mut links));
            paths = extended.collect();
        }
        best_first(&mut paths);
        for path in &mut paths {
            path.close_chunk();
        }
        best_first(&mut paths);
        // There is always a path: each has at least one continuation.
        let best = paths.first().and_then(|path| path.last);
        let mut matches: Vec<Match> = links.back_from(best).collect();
        matches.reverse();
        Self(matches)
    }

    pub fn matches(&self) -> impl Iterator<Item = &Match> {
        self.0.iter()
    }

    /// The number of runs of matches that are in one piece on both sides.
    pub fn chunks(&self) -> usize {
        let joints = self.0.windows(2).filter(|pair| {
            let next = (pair[0].hypothesis + 1, pair[0].reference + 1);
            next == (pair[1].hypothesis, pair[1].reference)
        });
        self.0.len() - joints.count()
    }
}

/// All words of the hypothesis that may match, for each word of the reference.
fn candidates(hypothesis: &[Word], reference: &[Word]) -> Vec<Vec<Match>> {
    let candidates = reference.iter().enumerate().map(|(index, word)| {
        let all = |stage, fits: &dyn Fn(&Word) -> bool| -> Vec<Match> {
            let places = (0..hypothesis.len()).filter(|place| fits(&hypothesis[*place]));
            let found = |place| Match {
                hypothesis: place,
                reference: index,
                stage,
            };
            places.map(found).collect()
        };
        let mut found = all(Stage::Exact, &|other| other.text == word.text);
        let stems = &|other: &Word| other.stem == word.stem && other.text != word.text;
        found.extend(all(Stage::Stem, stems));
        found
    });
    candidates.collect()
}

/// The matches of words that have no other candidate, on both sides.
fn fixed(candidates: &[Vec<Match>], hypothesis_length: usize) -> Vec<Option<Match>> {
    let mut uses = vec![0; hypothesis_length];
    for candidate in candidates.iter().flatten() {
        uses[candidate.hypothesis] += 1;
    }
    let only = |found: &Vec<Match>| match found[..] {
        [only] if uses[only.hypothesis] == 1 => Some(only),
        _ => None,
    };
    candidates.iter().map(only).collect()
}

/// Sorts, keeping the order of equal paths, and drops what the beam has no room for.
fn best_first(paths: &mut Vec<Path>) {
    paths.sort_by_key(|path| (Reverse(path.exact), path.chunks, path.distance));
    paths.truncate(BEAM);
}

/// The matches of all paths; paths with the same beginning share it.
#[derive(Default)]
struct Links(Vec<(Match, Option<usize>)>);

impl Links {
    fn add(&mut self, found: Match, before: Option<usize>) -> Option<usize> {
        self.0.push((found, before));
        Some(self.0.len() - 1)
    }

    fn back_from(&self, last: Option<usize>) -> impl Iterator<Item = Match> {
        let mut at = last;
        std::iter::from_fn(move || {
            let (found, before) = self.0[at?];
            at = before;
            Some(found)
        })
    }

    /// Whether a path that ends there has a match for the word of the hypothesis.
    fn uses(&self, hypothesis: usize, last: Option<usize>) -> bool {
        self.back_from(last)
            .any(|found| found.hypothesis == hypothesis)
    }
}

/// The beginning of an alignment.
#[derive(Clone, Copy, Default)]
struct Path {
    /// The last match, in [`Links`].
    last: Option<usize>,
    exact: usize,
    /// Chunks that have ended.
    chunks: usize,
    /// The word of the hypothesis that would continue the last chunk.
    next: Option<usize>,
    distance: usize,
}

impl Path {
    /// The paths with one more word of the reference.
    fn extended(
        mut self,
        fixed: Option<Match>,
        candidates: &[Match],
        links: &mut Links,
    ) -> Vec<Self> {
        if let Some(found) = fixed {
            // All paths have this match, so its distance makes no difference.
            self.append(found, links);
            return vec![self];
        }
        let mut paths = Vec::new();
        for candidate in candidates {
            if links.uses(candidate.hypothesis, self.last) {
                continue;
            }
            let mut path = self;
            path.append(*candidate, links);
            paths.push(path);
            // METEOR adds the distance to the paths that are made after this one.
            self.distance += distance(*candidate);
        }
        self.close_chunk();
        paths.push(self);
        paths
    }

    fn append(&mut self, found: Match, links: &mut Links) {
        if self.next.is_some_and(|next| next != found.hypothesis) {
            self.chunks += 1;
        }
        self.last = links.add(found, self.last);
        self.next = Some(found.hypothesis + 1);
        // METEOR rounds the weight of a stem, one half, down.
        self.exact += usize::from(found.stage == Stage::Exact);
    }

    fn close_chunk(&mut self) {
        if self.next.take().is_some() {
            self.chunks += 1;
        }
    }
}

fn distance(found: Match) -> usize {
    found.reference.abs_diff(found.hypothesis)
}
