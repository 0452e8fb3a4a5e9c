//! A stream becomes lines: those that end with a line break, and those whose length stands before them.
//!
//! Whatever a sender does, at most one line is held, and at most `max` bytes of it; what a line has more is cut, and
//! skipped up to its end. A length is believed when `<` and a digit follow it, as RFC 6587 has it.

/// The lines of one stream.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing of the line is known, or too little to tell how it ends.
    #[default]
    Start,
    /// Within a line that ends with a line break.
    Line,
    /// Within the rest of a line that was too long.
    Skip,
    /// So many bytes belong to the line yet.
    Counted(usize),
}

/// What the first bytes of a line tell.
enum Opening {
    Unknown,
    Line,
    Counted { prefix: usize, length: usize },
}

impl Frames {
    /// Gives every line that `bytes` completes to `take`, with true when its end is missing.
    pub fn feed(&mut self, bytes: &[u8], max: usize, take: &mut impl FnMut(&[u8], bool)) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Start => self.open(bytes),
                State::Line => self.line(bytes, max, take),
                State::Skip => match after_break(bytes) {
                    Some((_, rest)) => {
                        self.state = State::Start;
                        rest
                    }
                    None => return,
                },
                State::Counted(left) => self.counted(bytes, left, max, take),
            };
        }
    }

    /// True when a line has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.held.is_empty() || !matches!(self.state, State::Start)
    }

    /// Gives what is left at the end of the stream to `take`.
    pub fn finish(&mut self, take: &mut impl FnMut(&[u8], bool)) {
        let torn = matches!(self.state, State::Counted(_));
        if !self.held.is_empty() {
            take(&self.held, torn);
        }
        *self = Self::default();
    }

    /// Finds out how the line ends, and takes its length away. At most the `<` behind it is held by then.
    fn open<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let held = self.held.len();
        match opening(self.held.iter().chain(bytes).copied()) {
            Opening::Line => self.state = State::Line,
            Opening::Unknown => {
                self.held.extend_from_slice(bytes);
                return &[];
            }
            Opening::Counted { prefix, length } => {
                self.held.drain(..prefix.min(held));
                self.state = State::Counted(length.saturating_sub(self.held.len()));
                return bytes.get(prefix.saturating_sub(held)..).unwrap_or_default();
            }
        }
        bytes
    }

    fn line<'b>(&mut self, bytes: &'b [u8], max: usize, take: &mut impl FnMut(&[u8], bool)) -> &'b [u8] {
        let (part, rest) = after_break(bytes).map_or((bytes, None), |(line, rest)| (line, Some(rest)));
        if let (true, Some(rest)) = (self.held.is_empty(), rest) {
            self.state = State::Start;
            take(part, false);
            return rest;
        }
        let cut = !self.hold(part, max);
        if cut || rest.is_some() {
            take(&self.held, cut);
            self.held.clear();
            self.state = if rest.is_some() { State::Start } else { State::Skip };
        }
        rest.unwrap_or_default()
    }

    fn counted<'b>(
        &mut self,
        bytes: &'b [u8],
        left: usize,
        max: usize,
        take: &mut impl FnMut(&[u8], bool),
    ) -> &'b [u8] {
        let (part, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
        let left = left - part.len();
        if left == 0 && self.held.is_empty() {
            take(part, false);
            self.state = State::Start;
            return rest;
        }
        let cut = !self.hold(part, max);
        self.state = State::Counted(left);
        if left == 0 {
            take(&self.held, cut);
            self.held.clear();
            self.state = State::Start;
        }
        rest
    }

    /// Keeps as much of `part` as there is room for; false when that was not all.
    fn hold(&mut self, part: &[u8], max: usize) -> bool {
        let room = max.saturating_sub(self.held.len());
        let kept = part.get(..room).unwrap_or(part);
        self.held.extend_from_slice(kept);
        kept.len() == part.len()
    }
}

/// `bytes` before and after their first line break.
fn after_break(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'\n', bytes)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Reads the start of a line as `length <digit`, with a length of at most seven digits.
fn opening(bytes: impl Iterator<Item = u8>) -> Opening {
    let (mut length, mut prefix) = (0_usize, 0);
    let mut bytes = bytes;
    loop {
        match bytes.next() {
            None => return Opening::Unknown,
            Some(digit @ b'0'..=b'9') if prefix < 7 && (digit != b'0' || prefix > 0) => {
                length = length * 10 + usize::from(digit - b'0');
                prefix += 1;
            }
            Some(b' ') if prefix > 0 => break,
            Some(_) => return Opening::Line,
        }
    }
    match (bytes.next(), bytes.next()) {
        (Some(b'<'), Some(b'0'..=b'9')) => Opening::Counted { prefix: prefix + 1, length },
        (None, _) | (Some(b'<'), None) => Opening::Unknown,
        _ => Opening::Line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 10;

    fn split(pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let mut frames = Frames::default();
        let mut lines = Vec::new();
        let mut take = |line: &[u8], cut| lines.push((String::from_utf8_lossy(line).into_owned(), cut));
        for piece in pieces {
            frames.feed(piece, MAX, &mut take);
            assert!(frames.held.len() <= MAX);
        }
        frames.finish(&mut take);
        lines
    }

    fn check(text: &str, expected: &[(&str, bool)]) {
        let expected: Vec<_> = expected.iter().map(|&(line, cut)| (line.to_owned(), cut)).collect();
        // Byte by byte, and in two pieces at every place.
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(split(&bytes), expected, "{text} byte by byte");
        for at in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(split(&[first, second]), expected, "{text} in two pieces at {at}");
        }
    }

    #[test]
    fn lines_end_with_a_break_and_the_last_one_with_the_stream() {
        check("ab\n\ncd\r\nef", &[("ab", false), ("", false), ("cd\r", false), ("ef", false)]);
        check("12 apples\n7", &[("12 apples", false), ("7", false)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_its_neighbours_are_whole() {
        let mut expected = [("a", false), ("0123456789", true), ("b", false)];
        let text = "a\n0123456789abcdef0123456789abcdef\nb\n";
        let pieces: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(split(&pieces), expected.iter().map(|&(l, c)| (l.to_owned(), c)).collect::<Vec<_>>());
        // In one piece nothing needs to be held: whoever takes the line cuts it.
        expected[1] = ("0123456789abcdef0123456789abcdef", false);
        assert_eq!(
            split(&[text.as_bytes()]),
            expected.iter().map(|&(l, c)| (l.to_owned(), c)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn counted_lines_may_hold_breaks_and_need_none_after_them() {
        check("7 <1>a\nbc5 <2>de\nx\n", &[("<1>a\nbc", false), ("<2>de", false), ("", false), ("x", false)]);
        check("9 <1>abc", &[("<1>abc", true)]);
        check("7 <b>x\n", &[("7 <b>x", false)]);
    }

    proptest! {
        #[test]
        fn no_input_is_held_beyond_the_limit(pieces: Vec<Vec<u8>>) {
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            split(&pieces);
        }
    }
}
