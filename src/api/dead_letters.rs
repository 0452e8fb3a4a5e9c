//! The records that the log server refused: listed, sent again, dropped.

use hyper::StatusCode;
use serde_json::json;

use crate::api::Means;
use crate::api::query;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::logger::DeadLetter;
use crate::logger::DeadLetterError;
use crate::logger::DeadLetters;

/// All of them.
pub(super) fn list(means: &Means) -> Answer {
    match means.logger.dead_letters().map_or(Ok(Vec::new()), DeadLetters::list) {
        Ok(letters) => reply::json(StatusCode::OK, &json!({ "dead_letters": letters })),
        Err(error) => failed(&error),
    }
}

/// Hands those that the query names to the shipper once more.
pub(super) fn retry(means: &Means, text: &str) -> Answer {
    let wanted = match Wanted::of(text) {
        Ok(wanted) => wanted,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, &error),
    };
    match means.logger.retry(|letter| wanted.names(letter)) {
        Ok((retried, stayed)) => {
            reply::json(StatusCode::OK, &json!({ "retried": retried, "stayed": stayed }))
        }
        Err(error) => failed(&error),
    }
}

/// Drops those that the query names.
pub(super) fn drop_letters(means: &Means, text: &str) -> Answer {
    let wanted = match Wanted::of(text) {
        Ok(wanted) => wanted,
        Err(error) => return reply::error(StatusCode::BAD_REQUEST, &error),
    };
    let letters = means.logger.dead_letters();
    match letters.map_or(Ok(Vec::new()), |letters| letters.take(|letter| wanted.names(letter))) {
        Ok(dropped) => reply::json(StatusCode::OK, &json!({ "dropped": dropped.len() })),
        Err(error) => failed(&error),
    }
}

/// Which letters are meant.
enum Wanted {
    All,
    Some(Vec<u64>),
}

impl Wanted {
    /// `all=true`, or `id=7` any number of times.
    fn of(text: &str) -> Result<Self, String> {
        let mut ids = Vec::new();
        for (name, value) in query::pairs(text) {
            match (name, value.parse()) {
                ("all", _) if value == "true" => return Ok(Self::All),
                ("id", Ok(id)) => ids.push(id),
                ("id", Err(_)) => return Err(format!("id={value} is no number of a dead letter")),
                _ => return Err(format!("{name}={value} is not known: write id=7, or all=true")),
            }
        }
        if ids.is_empty() {
            Err("which ones? write id=7, or all=true".to_owned())
        } else {
            Ok(Self::Some(ids))
        }
    }

    fn names(&self, letter: &DeadLetter) -> bool {
        match self {
            Self::All => true,
            Self::Some(ids) => ids.contains(&letter.id),
        }
    }
}

fn failed(error: &DeadLetterError) -> Answer {
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
