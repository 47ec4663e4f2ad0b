//! What is in a text file.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::TrainError;

/// The first bytes of what gzip writes.
const GZIP: &[u8] = b"\x1F\x8B";
/// The byte order mark in UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// The bytes of a file, unpacked if gzip packed them, without a byte order mark.
pub(crate) fn content(path: &Path) -> Result<Vec<u8>, TrainError> {
    let mut bytes = std::fs::read(path).map_err(|e| TrainError::io("read", path, e))?;
    let archive = path.extension().is_some_and(|extension| extension == "gz");
    if archive || bytes.starts_with(GZIP) {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(bytes.as_slice())
            .read_to_end(&mut unpacked)
            .map_err(|e| TrainError::io("unpack", path, e))?;
        bytes = unpacked;
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// The lines of a text with their numbers from 1, without the empty ones and without a carriage
/// return at the end.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let strip = |line: &[u8]| line.len() - usize::from(line.ends_with(b"\r"));
    (1..)
        .zip(bytes.split(|byte| *byte == b'\n'))
        .map(move |(number, line)| (number, &line[..strip(line)]))
        .filter(|(_, line)| !line.is_empty())
}

/// The text of a line or field, or what is wrong with it.
pub(super) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        format!(
            "invalid UTF-8: byte 0x{:02X} at byte {} of the {what}",
            bytes[at],
            at + 1
        )
    })
}
