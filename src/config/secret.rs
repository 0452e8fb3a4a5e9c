//! A text that must not be seen in logs, messages and dumps, and the file that it may stand in.

use std::fmt;
use std::io;
use std::path::Path;

use super::read::Reader;

/// A secret: `Debug` and `Display` print stars, [`Secret::expose`] is the only way to the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that signs or verifies with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The length in bytes, which decides how strong a key can be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The number of stars is fixed, so that it does not give the length away.
const STARS: &str = "********";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

/// A secret that stands under the first of two keys, or in the file that the second one names; with the key that gave
/// it. White space around a secret in a file does not count.
pub(super) fn secret<'k>(
    read: Reader<'_>,
    (text_key, file_key): (&'k str, &'k str),
    read_secret: &dyn Fn(&Path) -> io::Result<String>,
) -> Option<(&'k str, Secret)> {
    let written = read.secret(text_key);
    let file = read.path(file_key);
    let name = |key: &'k str| key.rsplit('.').next().unwrap_or(key);
    read.relation(
        &[text_key, file_key],
        written.is_none() || file.is_none(),
        format!(
            "\"{}\" and \"{}\" are both set, and only one of them can be right",
            name(text_key),
            name(file_key)
        ),
        "remove one of them",
    );
    match file.filter(|_| written.is_none() && read.sound(&[file_key])) {
        Some(file) => Some((file_key, from_file(read, file_key, &file, read_secret)?)),
        None => Some((text_key, written?)),
    }
}

fn from_file(
    read: Reader<'_>,
    key: &str,
    file: &Path,
    read_secret: &dyn Fn(&Path) -> io::Result<String>,
) -> Option<Secret> {
    match read_secret(file) {
        Ok(text) if text.trim().is_empty() => {
            read.wrong(key, format!("{} is empty", file.display()), "write the secret into it");
            None
        }
        Ok(text) => Some(Secret::new(text.trim())),
        Err(error) => {
            let problem = format!("{} can not be read: {error}", file.display());
            read.wrong(key, problem, "mend the path or its permissions");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("swordfish");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "******** ******** Some(********)");
        assert_eq!((secret.expose(), secret.len(), secret.is_empty()), ("swordfish", 9, false));
    }
}
