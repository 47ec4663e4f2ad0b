//! The hub's parquet files.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, List, Row};

use super::reader::Fault;
use super::{GoldAnswer, Question};

/// The questions of a file with the columns `id`, `context`, `question` and `answers`, which has the
/// lists `text` and `answer_start`.
pub(super) fn parquet_questions(path: &Path) -> Result<Vec<Question>, Fault> {
    // The reader panics on some damaged files.
    std::panic::catch_unwind(|| questions(path))
        .unwrap_or_else(|_| Err(damaged("its reader gave up")))
}

fn questions(path: &Path) -> Result<Vec<Question>, Fault> {
    let refuse = |e: ParquetError| damaged(e);
    let file = File::open(path).map_err(damaged)?;
    let reader = SerializedFileReader::new(file).map_err(refuse)?;
    let mut contexts: HashMap<String, Arc<str>> = HashMap::new();
    let mut questions = Vec::new();
    for (at, row) in (1..).zip(reader.get_row_iter(None).map_err(refuse)?) {
        let row = row.map_err(refuse)?;
        let question = question(&row, &mut contexts);
        questions.push(question.map_err(|message| (format!("row {at}"), message))?);
    }
    Ok(questions)
}

fn damaged(reason: impl std::fmt::Display) -> Fault {
    let message = format!("damaged or unreadable parquet file: {reason}");
    ("file".to_string(), message)
}

fn question(row: &Row, contexts: &mut HashMap<String, Arc<str>>) -> Result<Question, String> {
    let context = text(column(row, "context")?, "context")?;
    // Questions about the same text come with a copy of it each.
    let context = contexts
        .entry(context)
        .or_insert_with_key(|context| context.as_str().into())
        .clone();
    let Field::Group(answers) = column(row, "answers")? else {
        return Err("`answers` has no `text` and `answer_start`: expected both".to_string());
    };
    let texts = list(column(answers, "text")?, "answers.text")?;
    let starts = list(column(answers, "answer_start")?, "answers.answer_start")?;
    if texts.elements().len() != starts.elements().len() {
        return Err("`answers` has not as many texts as places".to_string());
    }
    let answer = |(answer, start): (&Field, &Field)| {
        Ok(GoldAnswer {
            text: text(answer, "answers.text")?,
            start: place(start)?,
        })
    };
    let both = texts.elements().iter().zip(starts.elements());
    let answers: Vec<GoldAnswer> = both.map(answer).collect::<Result<_, String>>()?;
    Ok(Question {
        id: text(column(row, "id")?, "id")?,
        question: text(column(row, "question")?, "question")?,
        context,
        is_impossible: answers.is_empty(),
        answers,
    })
}

fn column<'a>(row: &'a Row, name: &str) -> Result<&'a Field, String> {
    let mut columns = row.get_column_iter();
    let found = columns.find(|(column, _)| *column == name);
    found.map(|(_, field)| field).ok_or_else(|| {
        let names: Vec<&str> = row.get_column_iter().map(|(n, _)| n.as_str()).collect();
        format!("no column `{name}`: its columns are {}", names.join(", "))
    })
}

fn text(field: &Field, name: &str) -> Result<String, String> {
    match field {
        Field::Str(text) => Ok(text.clone()),
        other => Err(format!("`{name}`: {other} is not a text")),
    }
}

fn list<'a>(field: &'a Field, name: &str) -> Result<&'a List, String> {
    match field {
        Field::ListInternal(list) => Ok(list),
        other => Err(format!("`{name}`: {other} is not a list")),
    }
}

fn place(field: &Field) -> Result<usize, String> {
    let place = match field {
        Field::Int(place) => usize::try_from(*place).ok(),
        Field::Long(place) => usize::try_from(*place).ok(),
        _ => None,
    };
    place.ok_or_else(|| format!("`answers.answer_start`: {field} is not a number from 0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    /// The hub's layout.
    const SCHEMA: &str = "message schema {
        OPTIONAL BYTE_ARRAY id (UTF8);
        OPTIONAL BYTE_ARRAY title (UTF8);
        OPTIONAL BYTE_ARRAY context (UTF8);
        OPTIONAL BYTE_ARRAY question (UTF8);
        OPTIONAL GROUP answers {
            OPTIONAL GROUP text (LIST) {
                REPEATED GROUP list { OPTIONAL BYTE_ARRAY element (UTF8); }
            }
            OPTIONAL GROUP answer_start (LIST) {
                REPEATED GROUP list { OPTIONAL INT32 element; }
            }
        }
    }";

    /// Two questions about a text, the first of which has two answers and the second none.
    fn write(path: &Path, schema: &str, starts: &[i32]) {
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        // A list of two elements, and an empty one.
        let (definitions, repetitions) = ([4, 4, 2], [0, 1, 0]);
        for texts in [
            &["a", "b"][..],
            &["t", "t"],
            &["Ünd the Wen.", "Ünd the Wen."],
            &["Which?", "Why?"],
            &["the Wen", "Wen"],
        ] {
            let listed = texts[0] == "the Wen";
            let texts: Vec<ByteArray> = texts.iter().map(|text| (*text).into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            match listed {
                true => typed.write_batch(&texts, Some(&definitions), Some(&repetitions)),
                false => typed.write_batch(&texts, Some(&[1, 1]), None),
            }
            .unwrap();
            column.close().unwrap();
        }
        if let Some(mut column) = group.next_column().unwrap() {
            let typed = column.typed::<Int32Type>();
            typed
                .write_batch(starts, Some(&definitions), Some(&repetitions))
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    fn read(schema: &str, starts: &[i32]) -> Result<Vec<Question>, Fault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        write(&path, schema, starts);
        parquet_questions(&path)
    }

    #[test]
    fn the_hubs_layout_is_read() {
        let questions = read(SCHEMA, &[4, 8]).unwrap();
        assert_eq!(questions.len(), 2);
        let [first, second] = &questions[..] else {
            panic!("two questions")
        };
        assert_eq!(
            (first.id.as_str(), first.question.as_str()),
            ("a", "Which?")
        );
        let answer = |text: &str, start| GoldAnswer {
            text: text.to_string(),
            start,
        };
        assert_eq!(first.answers, [answer("the Wen", 4), answer("Wen", 8)]);
        assert!(Arc::ptr_eq(&first.context, &second.context));
        assert!(second.is_impossible && !first.is_impossible);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_row() {
        let (place, message) = read(SCHEMA, &[4, -8]).unwrap_err();
        assert_eq!(place, "row 1");
        assert!(message.contains("-8 is not a number from 0"), "{message}");
        let other = SCHEMA.replace("context", "text");
        let (_, message) = read(&other, &[4, 8]).unwrap_err();
        assert!(message.contains("no column `context`"), "{message}");
    }
}
