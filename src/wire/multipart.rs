//! Forms with files (`multipart/form-data`), read as they come: nothing but the end of what has come so far is held.
//!
//! Limits: a boundary of 70 bytes, as its standard says, and `HEAD_MAX` bytes of headers of one part. What is wrong is
//! a [`Fault`]; behind it nothing is read.

use memchr::memmem::find;

/// The most bytes of the headers of one part.
const HEAD_MAX: usize = 8 * 1024;

/// The longest boundary.
const BOUNDARY_MAX: usize = 70;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part {
        /// The name of its field.
        name: String,
        /// The name of its file, as the client says; none when it is no file.
        filename: Option<String>,
    },
    /// Bytes of the part.
    Bytes(Vec<u8>),
    /// The part ends.
    End,
}

/// Why a form can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The boundary is followed by something else.
    #[error("behind a boundary neither a line nor the end follows")]
    Boundary,
    /// A part has too many headers.
    #[error("the headers of a part are longer than {HEAD_MAX} bytes")]
    Head,
    /// A part has no name.
    #[error("a part has no Content-Disposition with a name")]
    Name,
}

/// Reads a form.
#[derive(Debug)]
pub struct Reader {
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first part.
    Before,
    /// Behind a boundary.
    Boundary,
    /// In the headers of a part.
    Head,
    /// In a part.
    Body,
    /// Behind the last part.
    Done,
}

impl Reader {
    /// A reader of forms with this content type; none when it is no such form.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
        let boundary = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
        })?;
        let is_boundary = !boundary.is_empty() && boundary.len() <= BOUNDARY_MAX;
        (is_form && is_boundary).then(|| Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first boundary may stand at the very beginning.
            buffer: b"\r\n".to_vec(),
            state: State::Before,
        })
    }

    /// Takes the next bytes of the form.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.state != State::Done {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// True behind the last part.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What comes next in what was fed; none when more must be fed, or the form is done.
    ///
    /// # Errors
    ///
    /// [`Fault`] says what is wrong with the form.
    #[expect(clippy::should_implement_trait, reason = "it goes on after none, when more was fed")]
    pub fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            match self.state {
                State::Done => return Ok(None),
                State::Before => {
                    let Some(at) = find(&self.buffer, &self.delimiter) else {
                        self.take(self.surplus());
                        return Ok(None);
                    };
                    self.take(at + self.delimiter.len());
                    self.state = State::Boundary;
                }
                State::Boundary => match self.buffer.get(..2) {
                    None => return Ok(None),
                    Some(b"--") => {
                        self.state = State::Done;
                        self.buffer = Vec::new();
                    }
                    // The end of the line stays: headers may be none at all.
                    Some(b"\r\n") => self.state = State::Head,
                    Some(_) => return Err(Fault::Boundary),
                },
                State::Head => {
                    let Some(end) = find(&self.buffer, b"\r\n\r\n") else {
                        return if self.buffer.len() > HEAD_MAX { Err(Fault::Head) } else { Ok(None) };
                    };
                    let head = self.take(end + 4);
                    self.state = State::Body;
                    return part(&String::from_utf8_lossy(&head)).map(Some).ok_or(Fault::Name);
                }
                State::Body => return Ok(self.body()),
            }
        }
    }

    fn body(&mut self) -> Option<Event> {
        let (length, ends) = match find(&self.buffer, &self.delimiter) {
            Some(at) => (at, true),
            None => (self.surplus(), false),
        };
        if length > 0 {
            return Some(Event::Bytes(self.take(length)));
        }
        if !ends {
            return None;
        }
        self.take(self.delimiter.len());
        self.state = State::Boundary;
        Some(Event::End)
    }

    /// How much of the buffer can not be part of a boundary.
    fn surplus(&self) -> usize {
        self.buffer.len().saturating_sub(self.delimiter.len() - 1)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }
}

/// What the headers of a part say.
fn part(head: &str) -> Option<Event> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = parameter(disposition, "name")?;
    Some(Event::Part { name, filename: parameter(disposition, "filename") })
}

/// A parameter in quotes or without; a quote within has a backslash before it.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text.split_once(';')?.1;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let (value, after) = match behind.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => match behind.split_once(';') {
                Some((value, after)) => (value.trim().to_owned(), after),
                None => (behind.trim().to_owned(), ""),
            },
        };
        if name.trim_matches([' ', ';', '\t']).eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=----b";
    const FORM: &[u8] = b"------b\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\nface\r\n------b\r\n\
        Content-Type: image/png\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".png\"\r\n\r\n\
        \x89PNG\r\n--not\r\n-----b\r\n------b--\r\nbehind";

    type Part = (String, Option<String>, Vec<u8>);

    /// All parts, with their bytes put together.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<Part>, bool), Fault> {
        let mut reader = Reader::of(TYPE).unwrap();
        let mut parts: Vec<Part> = Vec::new();
        let mut ended = 0;
        for piece in pieces {
            reader.feed(piece);
            while let Some(event) = reader.next()? {
                match event {
                    Event::Part { name, filename } => parts.push((name, filename, Vec::new())),
                    Event::Bytes(bytes) => parts.last_mut().unwrap().2.extend(bytes),
                    Event::End => ended += 1,
                }
            }
        }
        let done = reader.is_done();
        assert!(!done || ended == parts.len());
        Ok((parts, done))
    }

    fn expected() -> Vec<Part> {
        vec![
            ("kind".into(), None, b"face".to_vec()),
            ("file".into(), Some("a \"b\".png".into()), b"\x89PNG\r\n--not\r\n-----b".to_vec()),
        ]
    }

    #[test]
    fn a_form_is_read_whole() {
        assert_eq!(read(&[FORM]), Ok((expected(), true)));
    }

    #[test]
    fn a_form_that_breaks_off_is_not_done() {
        let (parts, done) = read(&[&FORM[..FORM.len() - 12]]).unwrap();
        assert!(!done && parts.len() == 2);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(read(&[b"------bxy"]), Err(Fault::Boundary));
        assert_eq!(read(&[b"------b\r\nContent-Type: a/b\r\n\r\n"]), Err(Fault::Name));
        assert_eq!(read(&[b"------b\r\n", &[b'x'; HEAD_MAX]]), Err(Fault::Head));
        for other in
            ["application/json", "multipart/form-data", "multipart/form-data; boundary=", "a/b; boundary=b"]
        {
            assert!(Reader::of(other).is_none(), "{other}");
        }
        assert!(Reader::of("Multipart/Form-Data; charset=utf-8; boundary=\"x y\"").is_some());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0..FORM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([FORM.len()]) {
                pieces.push(&FORM[from..cut]);
                from = cut;
            }
            prop_assert_eq!(read(&pieces), Ok((expected(), true)));
        }

        #[test]
        fn nothing_makes_it_panic_or_hold_more_than_it_was_fed(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            read(&[FORM.get(..60).unwrap(), &bytes]).ok();
        }
    }
}
