//! The E2E challenge's files of hypotheses and references.

use std::path::Path;

use crate::TrainError;

/// Reads hypotheses, one a line. An empty line is an empty hypothesis; white space around a line is
/// dropped.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] for invalid UTF-8; [`TrainError::Empty`].
pub fn read_hypotheses(path: &Path) -> Result<Vec<String>, TrainError> {
    lines(path)
}

/// Reads references, one a line, with an empty line between the references of one hypothesis and
/// those of the next. In a file without empty lines each line is the one reference of a hypothesis.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Line`] for invalid UTF-8 and for an empty line at the
/// beginning or behind another; [`TrainError::Empty`].
pub fn read_references(path: &Path) -> Result<Vec<Vec<String>>, TrainError> {
    let blocks = blocks(path)?.into_iter();
    Ok(blocks.map(|block| block.references).collect())
}

/// Reads both files and checks that there is a block of references for each hypothesis.
///
/// # Errors
///
/// As [`read_hypotheses`] and [`read_references`]; [`TrainError::Line`] for the first line of
/// either file that has no counterpart.
pub fn read_pairs(
    references: &Path,
    hypotheses: &Path,
) -> Result<(Vec<String>, Vec<Vec<String>>), TrainError> {
    let texts = read_hypotheses(hypotheses)?;
    let blocks = blocks(references)?;
    let count = blocks.len();
    if texts.len() > count {
        let message = format!(
            "this hypothesis has no references: {} has references for {count} hypotheses, \
             expected {}",
            references.display(),
            texts.len()
        );
        return Err(line_error(hypotheses, count + 1, message));
    }
    if let Some(block) = blocks.get(texts.len()) {
        let message = format!(
            "these references have no hypothesis: {} has {} lines, expected {count}, one for each \
             block of references",
            hypotheses.display(),
            texts.len()
        );
        return Err(line_error(references, block.line, message));
    }
    Ok((
        texts,
        blocks.into_iter().map(|block| block.references).collect(),
    ))
}

/// The references of one hypothesis.
struct Block {
    /// Where it starts, counted from 1.
    line: usize,
    references: Vec<String>,
}

fn blocks(path: &Path) -> Result<Vec<Block>, TrainError> {
    let mut lines = lines(path)?;
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if lines.is_empty() {
        return Err(empty(path));
    }
    if lines.iter().all(|line| !line.is_empty()) {
        let single = |(index, line)| Block {
            line: index + 1,
            references: vec![line],
        };
        return Ok(lines.into_iter().enumerate().map(single).collect());
    }
    let mut blocks = vec![];
    let mut starts = true;
    for (index, line) in lines.into_iter().enumerate() {
        match (line.is_empty(), blocks.last_mut()) {
            (true, _) if starts => {
                let message = "an empty block of references: expected at least one line of text \
                               before each empty line";
                return Err(line_error(path, index + 1, message.to_string()));
            }
            (true, _) => starts = true,
            (false, Some(Block { references, .. })) if !starts => references.push(line),
            (false, _) => {
                starts = false;
                blocks.push(Block {
                    line: index + 1,
                    references: vec![line],
                });
            }
        }
    }
    Ok(blocks)
}

/// The lines without white space around them.
fn lines(path: &Path) -> Result<Vec<String>, TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Err(empty(path));
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = |(index, line)| match std::str::from_utf8(line) {
        Ok(line) => Ok(line.trim().to_string()),
        Err(error) => {
            let at = error.valid_up_to() + 1;
            let message = format!("invalid UTF-8 at byte {at} of the line, expected UTF-8");
            Err(line_error(path, index + 1, message))
        }
    };
    bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .map(text)
        .collect()
}

fn line_error(path: &Path, line: usize, message: String) -> TrainError {
    TrainError::Line {
        path: path.to_path_buf(),
        line,
        message,
    }
}

fn empty(path: &Path) -> TrainError {
    TrainError::Empty {
        place: path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = (Vec<String>, Vec<Vec<String>>);

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    /// The files as read, or the error's message without the folder's name.
    fn read(hypotheses: &[u8], references: &[u8]) -> Result<Pairs, String> {
        let folder = tempfile::tempdir().unwrap();
        let [h, r] = ["h.txt", "r.txt"].map(|name| folder.path().join(name));
        std::fs::write(&h, hypotheses).unwrap();
        std::fs::write(&r, references).unwrap();
        let prefix = format!("{}/", folder.path().display());
        read_pairs(&r, &h).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn blocks_of_references_are_separated_by_empty_lines() {
        let blocks = vec![texts(&["a", "b c"]), texts(&["d"])];
        let expected = (texts(&["one", ""]), blocks);
        for references in [
            "a\nb c\n\nd\n",
            "a\nb c\n\nd",
            "a\nb c\n\nd\n\n\n",
            "a\r\n b c \r\n\r\nd\r\n",
        ] {
            assert_eq!(
                read(b"one\n\n", references.as_bytes()).unwrap(),
                expected,
                "{references:?}"
            );
        }
        assert_eq!(
            read(b"\xEF\xBB\xBFone\n \n", b"\xEF\xBB\xBFa\nb c\n\nd\n").unwrap(),
            expected
        );
    }

    #[test]
    fn without_empty_lines_each_line_is_a_reference_of_its_own() {
        let expected = (texts(&["one", "two"]), vec![texts(&["a"]), texts(&["b"])]);
        assert_eq!(read(b"one\ntwo", b"a\nb\n\n").unwrap(), expected);
    }

    #[test]
    fn errors_of_files_name_file_and_line() {
        for (hypotheses, references, expected) in [
            (&b""[..], &b"a\n"[..], "h.txt has no examples"),
            (b"one\n", b"", "r.txt has no examples"),
            (b"one\n", b"\n \n", "r.txt has no examples"),
            (
                b"one\ntw\xFFo\n",
                b"a\n\nb\n",
                "h.txt, line 2: invalid UTF-8 at byte 3 of the line, expected UTF-8",
            ),
            (
                b"one\ntwo\n",
                b"a\n\nb\xC3\n",
                "r.txt, line 3: invalid UTF-8 at byte 2",
            ),
            (
                b"one\ntwo\n",
                b"a\n\n\nb\n",
                "r.txt, line 3: an empty block of references",
            ),
            (
                b"one\n",
                b"\na\n",
                "r.txt, line 1: an empty block of references",
            ),
            (
                b"one\ntwo\nthree\n",
                b"a\nb\n\nc\n",
                "h.txt, line 3: this hypothesis has no references: r.txt has references for 2 \
                 hypotheses, expected 3",
            ),
            (
                b"one\n",
                b"a\nb\n\nc\nd\n\ne\n",
                "r.txt, line 4: these references have no hypothesis: h.txt has 1 lines, expected 3, one \
                 for each block of references",
            ),
            (
                b"one\n",
                b"a\nb\n",
                "r.txt, line 2: these references have no hypothesis",
            ),
        ] {
            let message = read(hypotheses, references).unwrap_err();
            assert!(
                message.starts_with(expected),
                "{message:?}, expected {expected:?}"
            );
        }
        for message in [
            read_hypotheses(Path::new("no/such.txt"))
                .unwrap_err()
                .to_string(),
            read_references(Path::new("no/such.txt"))
                .unwrap_err()
                .to_string(),
        ] {
            assert!(
                message.starts_with("cannot read no/such.txt: "),
                "{message}"
            );
        }
    }
}
