//! Text from tokens as they come.

use crate::Tokenizer;
use crate::tokenizer::TokenizerError;

/// Turns tokens into pieces of text that can be printed at once: Hugging Face's `TextStreamer`.
///
/// A token of a byte-level vocabulary may end within a character. Such a beginning is held back until
/// the rest of the character has come, or until it is clear that none will come.
///
/// ```
/// use lora_models::generation::TextStream;
/// use lora_models::tokenizer::train_byte_level_bpe;
///
/// let tokenizer = train_byte_level_bpe(["a"].iter(), 261, 1)?;
/// let mut stream = TextStream::new(&tokenizer, true);
/// // The two bytes of é are two tokens of this small vocabulary.
/// let ids = tokenizer.encode("né", None, 8)?.ids;
/// let pieces: Vec<String> = ids
///     .iter()
///     .map(|id| stream.push(*id))
///     .collect::<Result<_, _>>()?;
/// assert_eq!(pieces, ["", "n", "", "é", ""]);
/// assert_eq!(stream.finish()?, "");
/// # Ok::<(), lora_models::tokenizer::TokenizerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The last tokens whose text was given, which some decoders need beside the next ones, and those
    /// whose text was not given in full.
    window: Vec<u32>,
    /// How many of the window's first tokens are of the former kind.
    context: usize,
    /// The window's text as far as it was given.
    given: String,
}

/// What a decoder puts in the place of an incomplete character.
const INCOMPLETE: char = char::REPLACEMENT_CHARACTER;

impl<'a> TextStream<'a> {
    /// An empty text; `skip_special` leaves special tokens out.
    pub fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        Self {
            tokenizer,
            skip_special,
            window: Vec::new(),
            context: 0,
            given: String::new(),
        }
    }

    /// Adds a token; the result is the text that is certain by now and was not given before, often
    /// empty.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`] if the tokenizer's decoder refuses the tokens, or changes text that
    /// was given already.
    pub fn push(&mut self, token: u32) -> Result<String, TokenizerError> {
        self.window.push(token);
        let text = self.decode(&self.window)?;
        // Only the last character can be incomplete: what came before it will not change.
        let whole = text.strip_suffix(INCOMPLETE).unwrap_or(&text);
        let piece = self.after_given(whole)?.to_string();
        self.given.push_str(&piece);
        if whole.len() == text.len() && !piece.is_empty() {
            self.window.drain(..self.context);
            self.context = self.window.len();
            self.given = self.decode(&self.window)?;
        }
        Ok(piece)
    }

    /// What was held back, at the text's end; the stream is empty again afterwards.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<String, TokenizerError> {
        let text = self.decode(&self.window)?;
        let rest = self.after_given(&text)?.to_string();
        *self = Self::new(self.tokenizer, self.skip_special);
        Ok(rest)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(tokens, self.skip_special)
    }

    fn after_given<'t>(&self, text: &'t str) -> Result<&'t str, TokenizerError> {
        text.strip_prefix(self.given.as_str())
            .ok_or_else(|| TokenizerError::Failed {
                action: "decode ids one by one",
                reason: format!("{:?} became {text:?} with the next token", self.given),
            })
    }
}
