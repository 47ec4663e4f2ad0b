//! The tokens that the metrics count.
//!
//! The E2E scripts tokenize twice, as the programs they call do: BLEU and NIST with the rules of
//! mteval-v13a, METEOR, ROUGE-L and CIDEr with those of the Penn Treebank.

mod mteval;
mod penn_treebank;
mod words;

pub(super) use mteval::mteval;
pub(super) use penn_treebank::penn_treebank;

#[cfg(test)]
mod tests;
