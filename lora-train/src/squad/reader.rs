//! The official files.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::parquet_file::parquet_questions;
use super::{GoldAnswer, Question};
use crate::TrainError;
use crate::data::content;

/// Reads the questions of a file in their order: the official JSON of version 1.1 or 2.0, which gzip may
/// have packed, or one of the hub's parquet files (`rajpurkar/squad`, `rajpurkar/squad_v2`), whose
/// questions without an answer count as impossible.
///
/// An answer that the context does not have where the file says is warned about in the log and taken
/// at its place and length, as `run_qa.py` takes it.
///
/// # Errors
///
/// [`TrainError::Io`]; [`TrainError::Squad`] if the file is damaged or lacks something, for an answer
/// beyond its context's end and for an id that occurs twice; [`TrainError::Empty`].
pub fn read_squad(path: &Path) -> Result<Vec<Question>, TrainError> {
    let questions = match path.extension() {
        Some(extension) if extension == "parquet" => parquet_questions(path),
        _ => json_questions(&content(path)?),
    };
    let error = |(place, message)| TrainError::Squad {
        path: path.to_path_buf(),
        place,
        message,
    };
    let questions = questions.map_err(error)?;
    if questions.is_empty() {
        return Err(TrainError::Empty {
            place: path.display().to_string(),
        });
    }
    check(&questions, path).map_err(error)?;
    Ok(questions)
}

/// Where in a file, and what is wrong there.
pub(super) type Fault = (String, String);

fn json_questions(bytes: &[u8]) -> Result<Vec<Question>, Fault> {
    let whole = "file".to_string();
    let file: Value = serde_json::from_slice(bytes)
        .map_err(|e| (whole.clone(), format!("{e}: expected SQuAD's JSON")))?;
    let mut questions = Vec::new();
    for (index, article) in list(&file, "data", &whole)?.iter().enumerate() {
        let article_place = format!("data[{index}]");
        for (index, paragraph) in list(article, "paragraphs", &article_place)?
            .iter()
            .enumerate()
        {
            let place = format!("{article_place}.paragraphs[{index}]");
            let context: Arc<str> = text(paragraph, "context", &place)?.into();
            for (index, asked) in list(paragraph, "qas", &place)?.iter().enumerate() {
                let place = format!("{place}.qas[{index}]");
                questions.push(question(asked, &context, place)?);
            }
        }
    }
    Ok(questions)
}

fn question(asked: &Value, context: &Arc<str>, place: String) -> Result<Question, Fault> {
    let id = text(asked, "id", &place)?;
    let place = format!("question {id} ({place})");
    let mut answers = Vec::new();
    for (index, answer) in list(asked, "answers", &place)?.iter().enumerate() {
        let place = format!("{place}, answers[{index}]");
        let start = field(answer, "answer_start", &place)?;
        let start = start.as_u64().and_then(|start| usize::try_from(start).ok());
        answers.push(GoldAnswer {
            text: text(answer, "text", &place)?,
            start: start.ok_or_else(|| wrong(&place, "answer_start", "a number from 0"))?,
        });
    }
    let is_impossible = match object(asked, &place)?.get("is_impossible") {
        None => false,
        Some(Value::Bool(is_impossible)) => *is_impossible,
        Some(_) => return Err(wrong(&place, "is_impossible", "true or false")),
    };
    if is_impossible && !answers.is_empty() {
        let message = "it is impossible and has answers: expected one or the other".to_string();
        return Err((place, message));
    }
    Ok(Question {
        id,
        question: text(asked, "question", &place)?,
        context: context.clone(),
        answers,
        is_impossible,
    })
}

/// What only all of a file's questions together tell, and what is no matter of format.
fn check(questions: &[Question], path: &Path) -> Result<(), Fault> {
    let mut ids = HashSet::new();
    for question in questions {
        let place = || format!("question {}", question.id);
        if !ids.insert(question.id.as_str()) {
            let message = "another question has this id: expected one of its own".to_string();
            return Err((place(), message));
        }
        for answer in &question.answers {
            let length = answer.text.chars().count();
            let found: String = question
                .context
                .chars()
                .skip(answer.start)
                .take(length)
                .collect();
            if found == answer.text {
                continue;
            }
            if found.chars().count() < length {
                let message = format!(
                    "the answer {:?} begins at character {} and ends beyond its context, which has \
                     {} characters",
                    answer.text,
                    answer.start,
                    question.context.chars().count()
                );
                return Err((place(), message));
            }
            log::warn!(
                "{}, question {}: the answer {:?} is not at character {} of its context, which has \
                 {found:?} there",
                path.display(),
                question.id,
                answer.text,
                answer.start
            );
        }
    }
    Ok(())
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, Fault> {
    let message = "no JSON object: expected one".to_string();
    value.as_object().ok_or((place.to_string(), message))
}

fn field<'a>(value: &'a Value, key: &str, place: &str) -> Result<&'a Value, Fault> {
    object(value, place)?
        .get(key)
        .ok_or_else(|| (place.to_string(), format!("it has no `{key}`")))
}

fn list<'a>(value: &'a Value, key: &str, place: &str) -> Result<&'a Vec<Value>, Fault> {
    let list = field(value, key, place)?.as_array();
    list.ok_or_else(|| wrong(place, key, "a list"))
}

fn text(value: &Value, key: &str, place: &str) -> Result<String, Fault> {
    let text = field(value, key, place)?.as_str();
    let text = text.ok_or_else(|| wrong(place, key, "a text"))?;
    Ok(text.to_string())
}

fn wrong(place: &str, key: &str, expected: &str) -> Fault {
    (
        place.to_string(),
        format!("`{key}` is not {expected}: expected one"),
    )
}
