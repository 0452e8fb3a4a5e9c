//! Records that a log server refused while it took others: kept in a file, to be looked at and sent again.
//!
//! One JSON object per line: `id`, `at` (seconds since 1970), `reason`, and `record`, the line as text. The file is
//! rewritten as a whole when letters are taken out, so a crash leaves the old file or the new one.
//!
//! Limits: the file has at most `limit` bytes. A letter that does not fit is not taken.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

/// The file's name in the directory of everything durable.
const FILE: &str = "dead-letters.ndjson";

/// The place of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: PathBuf,
    limit: usize,
    /// One at a time works on the file.
    turn: Arc<Mutex<()>>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the file.
    pub id: u64,
    /// When it was put there: seconds since 1970.
    pub at: u64,
    /// Why.
    pub reason: String,
    /// The record, without its newline.
    pub record: String,
}

/// Why a letter could not be kept, or the file not be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// It would pass the limit.
    #[error(
        "there is no room among the dead letters: see `pillion dlq list`, or raise logger.dead_letter_limit"
    )]
    Full,
    /// The file can not be read or written.
    #[error("{path}: the dead letters can not be read or written", path = .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// A line of it is no dead letter.
    #[error("{path}:{line}: not a dead letter: {why}; remove the line", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl DeadLetters {
    /// Those in `directory`, at most `limit` bytes of them.
    #[must_use]
    pub fn new(directory: &Path, limit: usize) -> Self {
        Self { path: directory.join(FILE), limit, turn: Arc::default() }
    }

    /// Keeps a record; on disk when this returns.
    ///
    /// # Errors
    /// When it was not kept.
    pub fn keep(&self, record: &[u8], reason: &str, at: Duration) -> Result<(), DeadLetterError> {
        let _turn = self.turn();
        let letters = self.list()?;
        let letter = DeadLetter {
            id: letters.last().map_or(1, |last| last.id + 1),
            at: at.as_secs(),
            reason: reason.to_owned(),
            record: String::from_utf8_lossy(record.trim_ascii_end()).into_owned(),
        };
        let line = line(&letter);
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size + line.len() as u64 > self.limit as u64 {
            return Err(DeadLetterError::Full);
        }
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            file.write_all(&line)?;
            file.sync_all()
        };
        append().map_err(|error| self.error(error))
    }

    /// All of them, the oldest first; none without a file.
    ///
    /// # Errors
    /// When the file can not be read.
    pub fn list(&self) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.error(error)),
        };
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| DeadLetterError::Line {
                path: self.path.clone(),
                line: number + 1,
                why: error.to_string(),
            })
        };
        text.lines().enumerate().map(read).collect()
    }

    /// Takes out those that `wanted` picks, and gives them.
    ///
    /// # Errors
    /// When the file can not be read or written; then it is as it was.
    pub fn take(
        &self,
        mut wanted: impl FnMut(&DeadLetter) -> bool,
    ) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let _turn = self.turn();
        let (taken, left): (Vec<_>, Vec<_>) = self.list()?.into_iter().partition(|letter| wanted(letter));
        if taken.is_empty() {
            return Ok(taken);
        }
        let new = self.path.with_extension("new");
        let replace = || {
            let mut file = File::create(&new)?;
            for letter in &left {
                file.write_all(&line(letter))?;
            }
            file.sync_all()?;
            fs::rename(&new, &self.path)
        };
        replace().map_err(|error| self.error(error))?;
        Ok(taken)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: io::Error) -> DeadLetterError {
        DeadLetterError::Io(self.path.clone(), error)
    }
}

fn line(letter: &DeadLetter) -> Vec<u8> {
    let mut line = serde_json::to_vec(letter).expect("a letter has text and numbers only");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_795_217_939);

    #[test]
    fn letters_are_kept_listed_and_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path(), 1 << 20);
        assert_eq!(letters.list().unwrap(), []);
        for record in ["{\"a\":1}\n", "{\"b\":\"\u{e9}\\n\"}\n", "{\"c\":3}\n"] {
            letters.keep(record.as_bytes(), "refused", AT).unwrap();
        }
        let taken = letters.take(|letter| letter.id == 2).unwrap();
        assert_eq!(
            taken.iter().map(|letter| letter.record.as_str()).collect::<Vec<_>>(),
            ["{\"b\":\"\u{e9}\\n\"}"]
        );
        letters.keep(b"{}", "refused", AT).unwrap();
        assert_eq!(letters.list().unwrap().iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(letters.take(|_| true).unwrap().len(), 3);
        assert_eq!(letters.list().unwrap(), []);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path(), 100);
        letters.keep(b"{}", "refused", AT).unwrap();
        assert!(matches!(letters.keep(&[b'x'; 50], "refused", AT), Err(DeadLetterError::Full)));
        assert_eq!(letters.list().unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(folder.path(), 1000);
        letters.keep(b"{}", "refused", AT).unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, fs::read_to_string(&path).unwrap() + "hello\n").unwrap();
        let error = letters.list().unwrap_err().to_string();
        assert!(error.contains("dead-letters.ndjson:2: not a dead letter: "), "{error}");
    }
}
