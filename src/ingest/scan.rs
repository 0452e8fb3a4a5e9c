//! Reads a JSON object in one pass: checks all of it, and notes where its members are.
//!
//! It accepts what `serde_json` accepts as a `Value`, to the letter: the same white space, numbers, escapes and pairs
//! of surrogates, and no number beyond what a 64-bit float holds. Nothing is copied or converted. Most of a line is
//! the inside of strings, so eight bytes are looked at together there.
//!
//! Most senders write the same keys in the same order line after line. Who reads many lines can say what he expects
//! between two values; if it is there to the byte, it need not be taken apart again.
//!
//! Limits: [`DEPTH`] of nesting and [`WIDTH`] of members; the first that is passed ends the reading. Nothing recurses.

use super::counts::Fault;

/// How deep values may be nested. Elasticsearch maps 20 levels of objects by default.
pub(super) const DEPTH: usize = 32;

/// How many members an object may have. Elasticsearch maps 1000 fields by default.
pub(super) const WIDTH: usize = 1000;

/// Where a member of an object stands in its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Where the quote before its key is.
    pub(super) start: usize,
    /// Where the quote behind its key is.
    pub(super) key_end: usize,
    /// Where its value begins.
    pub(super) value: usize,
    /// Where its value has ended.
    pub(super) end: usize,
}

/// What may stand between two values: everything from behind the one to the other, with the key in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess<'a> {
    /// `,"key":`, or `{"key":` before the first value, as it stood in a text that was read before.
    pub(super) text: &'a [u8],
    /// Where in it the quotes of the key are.
    pub(super) key: (usize, usize),
}

/// Gives the members of the object that `text` is to `found`: the places of a [`Span`] one by one, and true when
/// `guess` has told the key. The answer is true when there are line breaks or tabs between tokens.
///
/// # Errors
/// When it is no object, or passes a limit.
#[inline]
pub(super) fn object<'g>(
    text: &str,
    guess: impl Fn(usize) -> Option<Guess<'g>>,
    mut found: impl FnMut(usize, usize, usize, usize, bool),
) -> Result<bool, Fault> {
    let mut scan = Scan::new(text.as_bytes());
    scan.blank();
    for index in 0.. {
        let guessed = scan.guessed(guess(index));
        let (start, key_end) = if let Some(key) = guessed {
            key
        } else {
            scan.blank();
            match (scan.next(), index) {
                (Some(b'{'), 0) => {
                    scan.blank();
                    if scan.peek() == Some(b'}') {
                        scan.at += 1;
                        break;
                    }
                }
                (Some(b','), 1..) => scan.blank(),
                (Some(b'}'), 1..) => break,
                _ => return Err(Fault::BadJson),
            }
            scan.key()?
        };
        scan.blank();
        let value = scan.at;
        scan.value()?;
        if index == WIDTH {
            return Err(Fault::TooWide);
        }
        found(start, key_end, value, scan.at, guessed.is_some());
    }
    scan.blank();
    if scan.at == text.len() { Ok(scan.breaks) } else { Err(Fault::BadJson) }
}

/// A place in a text. What every member needs is inlined, so that the place stays in a register; what is rare gets a
/// copy of it and gives one back.
#[derive(Clone, Copy)]
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// True when there were line breaks or tabs between tokens.
    breaks: bool,
    /// Where the block begins that was looked at last, and a bit for each byte in it that ends a run within strings.
    block: usize,
    special: u64,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, breaks: false, block: usize::MAX, special: 0 }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.next() == Some(byte) { Ok(()) } else { Err(Fault::BadJson) }
    }

    /// Passes white space.
    #[inline(always)]
    fn blank(&mut self) {
        while let Some(byte @ (b' ' | b'\n' | b'\t' | b'\r')) = self.peek() {
            self.breaks |= byte != b' ';
            self.at += 1;
        }
    }

    /// Passes what was guessed, when it is there. The answer says where the quotes of the key are.
    #[inline(always)]
    fn guessed(&mut self, guess: Option<Guess<'_>>) -> Option<(usize, usize)> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let guess = guess.filter(|guess| begins(rest, guess.text))?;
        let (from, (start, end)) = (self.at, guess.key);
        self.at += guess.text.len();
        Some((from + start, from + end))
    }

    /// Passes a key and its colon; the answer is that of [`Self::guessed`].
    #[inline(always)]
    fn key(&mut self) -> Result<(usize, usize), Fault> {
        let start = self.at;
        self.expect(b'"')?;
        self.string()?;
        let end = self.at - 1;
        self.blank();
        self.expect(b':')?;
        Ok((start, end))
    }

    #[inline(always)]
    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => *self = self.other()?,
        }
        Ok(())
    }

    // === Strings ===

    /// Passes the rest of a string, its closing quote included.
    #[inline(always)]
    fn string(&mut self) -> Result<(), Fault> {
        self.plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
        } else {
            *self = self.escaped()?;
        }
        Ok(())
    }

    /// The rest of a string from its first escape on.
    #[inline(never)]
    fn escaped(mut self) -> Result<Self, Fault> {
        loop {
            match self.next() {
                Some(b'"') => return Ok(self),
                Some(b'\\') => self.escape()?,
                _ => return Err(Fault::BadJson),
            }
            self.plain();
        }
    }

    /// Passes what stands for itself within a string.
    #[inline(always)]
    fn plain(&mut self) {
        loop {
            let (block, within) = (self.at & !(BLOCK - 1), self.at & (BLOCK - 1));
            if block != self.block {
                (self.block, self.special) = (block, look(self.bytes, block));
            }
            let special = self.special >> within;
            if special != 0 {
                self.at += special.trailing_zeros() as usize;
                return;
            }
            self.at = block + BLOCK;
        }
    }

    /// Passes what follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    if matches!(self.unit()?, 0xdc00..=0xdfff) { Ok(()) } else { Err(Fault::BadJson) }
                }
                0xdc00..=0xdfff => Err(Fault::BadJson),
                _ => Ok(()),
            },
            _ => Err(Fault::BadJson),
        }
    }

    /// Passes four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Fault> {
        (0..4).try_fold(0, |unit, _| {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(Fault::BadJson)?;
            Ok(unit << 4 | digit)
        })
    }

    // === Numbers and words ===

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(Fault::BadJson),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        // Without an exponent it takes 309 digits to pass the largest float.
        if matches!(self.peek(), Some(b'e' | b'E')) || self.at - start > 300 {
            *self = self.large(start)?;
        }
        Ok(())
    }

    /// The rest of a number from its exponent on, if it has one.
    #[inline(never)]
    fn large(mut self, start: usize) -> Result<Self, Fault> {
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let number = self.bytes.get(start..self.at).unwrap_or_default();
        serde_json::from_slice::<f64>(number).map(|_| self).map_err(|_| Fault::BadJson)
    }

    #[inline(always)]
    fn some_digits(&mut self) -> Result<(), Fault> {
        let Some(b'0'..=b'9') = self.next() else { return Err(Fault::BadJson) };
        self.digits();
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    /// A value that is neither a string nor a number.
    #[inline(never)]
    fn other(mut self) -> Result<Self, Fault> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested()?,
            _ => self.scalar()?,
        }
        Ok(self)
    }

    /// Passes a string, a number or a word.
    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string()
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(Fault::BadJson),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        let found = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += word.len();
        if found { Ok(()) } else { Err(Fault::BadJson) }
    }

    // === Objects and lists within ===

    /// Passes an object or a list with all that is in it.
    fn nested(&mut self) -> Result<(), Fault> {
        // A bit a level: 1 for an object. The innermost is the lowest.
        let (mut levels, mut depth) = (0_u64, 0);
        loop {
            if let Some(byte @ (b'{' | b'[')) = self.peek() {
                self.at += 1;
                depth += 1;
                if depth > DEPTH {
                    return Err(Fault::TooDeep);
                }
                levels = levels << 1 | u64::from(byte == b'{');
                self.blank();
                // Either it closes at once, or a first value follows.
                if !matches!((byte, self.peek()), (b'{', Some(b'}')) | (b'[', Some(b']'))) {
                    if byte == b'{' {
                        self.inner_key()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
                self.blank();
            }
            if self.closes(&mut levels, &mut depth)? {
                return Ok(());
            }
        }
    }

    /// Passes what follows a value, up to the next value; true when there is none.
    fn closes(&mut self, levels: &mut u64, depth: &mut usize) -> Result<bool, Fault> {
        loop {
            match (self.next(), *levels & 1) {
                (Some(b'}'), 1) | (Some(b']'), 0) => {
                    *levels >>= 1;
                    *depth -= 1;
                    if *depth == 0 {
                        return Ok(true);
                    }
                    self.blank();
                }
                (Some(b','), within) => {
                    self.blank();
                    if within == 1 {
                        self.inner_key()?;
                    }
                    return Ok(false);
                }
                _ => return Err(Fault::BadJson),
            }
        }
    }

    fn inner_key(&mut self) -> Result<(), Fault> {
        self.key()?;
        self.blank();
        Ok(())
    }
}

/// True when `text` begins with `start`, which has some ten bytes mostly: two looks at eight are enough then.
#[inline(always)]
fn begins(text: &[u8], start: &[u8]) -> bool {
    let Some(text) = text.get(..start.len()) else { return false };
    if (8..=16).contains(&start.len()) {
        text.first_chunk::<8>() == start.first_chunk() && text.last_chunk::<8>() == start.last_chunk()
    } else {
        text == start
    }
}

/// How many bytes are looked at together.
const BLOCK: usize = 64;

/// The special bytes of the block that begins at `block`.
#[inline(never)]
fn look(bytes: &[u8], block: usize) -> u64 {
    let rest = bytes.get(block..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk() {
        return special(whole);
    }
    // The end of the text ends a run like any control character.
    let mut padded = [0; BLOCK];
    padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    special(&padded)
}

/// A bit for each byte of `block` that can not stand for itself in a string: quote, backslash, control character.
#[inline(always)]
fn special(block: &[u8; BLOCK]) -> u64 {
    // Without branches, so that the compiler compares as many bytes at once as the machine can.
    let marks = block.map(|byte| u8::from(byte < b' ' || byte == b'"' || byte == b'\\'));
    // Eight bytes of 0 or 1 become eight bits: the product moves the lowest bit of byte n to place 56 + n.
    let (eights, _) = marks.as_chunks::<8>();
    let bits =
        eights.iter().map(|eight| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    bits.enumerate().fold(0, |all, (index, bits)| all | bits << (8 * index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn read(text: &str) -> Result<Vec<(&str, &str)>, Fault> {
        let mut members = Vec::new();
        object(
            text,
            |_| None,
            |start, key_end, value, end, guessed| {
                assert!(!guessed);
                let piece = |from: usize, to: usize| text.get(from..to).unwrap();
                members.push((piece(start, key_end + 1), piece(value, end)));
            },
        )?;
        Ok(members)
    }

    /// Holds the answer against that of `serde_json`, where no limit decides.
    fn agrees(text: &str) -> Result<(), TestCaseError> {
        let read = read(text);
        let expected = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        match (&read, &expected) {
            (Err(Fault::TooDeep | Fault::TooWide), _) => {}
            (Ok(members), Some(Value::Object(map))) => {
                // Of a key that comes twice serde_json keeps the last value, as does whoever collects these.
                let mut again = serde_json::Map::new();
                for (key, value) in members {
                    again.insert(serde_json::from_str(key).unwrap(), serde_json::from_str(value).unwrap());
                }
                prop_assert_eq!(&again, map, "{}", text);
            }
            _ => prop_assert_eq!(read.is_ok(), expected.is_some(), "{}", text),
        }
        Ok(())
    }

    #[test]
    fn members_are_where_they_are() {
        let text = "\t{ \"a\" : 1 ,\"b\\\"\":[ {\"c\":\"]}\"} ] } \n";
        assert_eq!(read(text).unwrap(), [("\"a\"", "1"), ("\"b\\\"\"", "[ {\"c\":\"]}\"} ]")]);
        assert_eq!(read("{}").unwrap(), []);
    }

    const VALUES: &[&str] = &[
        "0",
        "-0",
        "-",
        "01",
        "1.",
        ".5",
        "1.5",
        "1e5",
        "1E+5",
        "1e",
        "1e-",
        "-1.5e-7",
        "1e308",
        "1e309",
        "-1e999",
        "0e999999999999",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "+1",
        "0x1",
        "NaN",
        "Infinity",
        "true",
        "tru",
        "truex",
        "false",
        "null",
        "nul",
        "\"\"",
        "\"",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\n\"",
        "\"\\ud83d\\ud83d\"",
        "\"\\ude00\"",
        "\"\u{7f}\u{80}\u{2028}\"",
        "\"\u{1f}\"",
        "\"\n\"",
        "\"\0\"",
        "\0",
        "\u{b}1",
        "\u{a0}1",
        "1\0",
        "[]",
        "[1,]",
        "[,]",
        "[1 2]",
        "[1,2]",
        "[[],{}]",
        "[}",
        "{]",
        "{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,\"a\":2}",
        "// x\n1",
        "'a'",
        "\u{feff}1",
        "",
    ];

    #[test]
    fn what_json_forbids_is_refused_as_serde_json_does() {
        for value in VALUES {
            for (before, after) in
                [("", ""), (" ", "\r\n"), ("[", "]"), ("{\"\\u0061\": ", "}"), ("1,\"a\":", "")]
            {
                agrees(&format!("{{\"a\":{before}{value}{after}}}")).unwrap();
                agrees(&format!("{before}{value}{after}")).unwrap();
            }
        }
        agrees(&format!("{{\"a\":{}}}", "9".repeat(308))).unwrap();
        agrees(&format!("{{\"a\":{}}}", "9".repeat(309))).unwrap();
        agrees(&format!("{{\"a\":0.{}e400}}", "0".repeat(400))).unwrap();
    }

    #[test]
    fn strings_of_any_length_end_where_they_end() {
        for length in 0..200 {
            for end in ["\"", "\\\"\"", "é\"", "\n\"", ""] {
                agrees(&format!("{{\"{}{end}:1}}", "k".repeat(length))).unwrap();
                agrees(&format!("{{\"a\":\"{}{end}}}", "v".repeat(length))).unwrap();
            }
        }
    }

    #[test]
    fn a_start_is_compared_to_the_last_byte() {
        for length in 0..40 {
            let start = vec![b'x'; length];
            assert!(begins(&[b'x'; 40], &start));
            assert_eq!(begins(&start[..length.saturating_sub(1)], &start), length == 0);
            for at in 0..length {
                let mut other = [b'x'; 40];
                other[at] = b'y';
                assert!(!begins(&other, &start), "{length} {at}");
            }
        }
    }

    #[test]
    fn nesting_ends_at_the_limit_however_it_goes_on() {
        let nested = |depth: usize, end: &str| format!("{{\"a\":{}{end}", "[{\"a\":".repeat(depth / 2));
        assert_eq!(read(&nested(DEPTH + 2, "")), Err(Fault::TooDeep));
        assert_eq!(read(&nested(DEPTH, "1")), Err(Fault::BadJson));
        let whole = nested(DEPTH, &format!("1{}}}", "}]".repeat(DEPTH / 2)));
        assert_eq!(read(&whole).unwrap().len(), 1);
    }

    /// Pieces of JSON, so that what is put together from them is often nearly valid.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":", "\"b\":1", ",\"c\":", "{\"a\":", "1", "-", ".5",
                "e9", "e999", "0", "true", "null", "\\", "\\\"", "\\u", "\\ud83d", "\\ude00", "00e9", " ", "\n", "\t",
                "\0", "é", "{}", "[]", "\"x\"", "\"a\":\"", "\"}", "1}",
            ])
            .prop_map(str::to_owned),
            1 => any::<String>(),
            1 => ".{60,70}",
        ]
    }

    /// Any JSON value with objects in it, as text with white space in it.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        (value, any::<bool>()).prop_map(|(value, pretty)| {
            let value = serde_json::json!({ "a": value });
            if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn pieces_of_json_are_judged_as_serde_json_does(pieces in proptest::collection::vec(piece(), 0..12)) {
            agrees(&pieces.concat())?;
            agrees(&format!("{{\"a\":{}}}", pieces.concat()))?;
        }

        #[test]
        fn whole_and_damaged_json_is_judged_as_serde_json_does(text in json(), at: usize, byte in 0_u8..128, cut: bool) {
            agrees(&text)?;
            let at = text.floor_char_boundary(at % text.len());
            let (before, after) = text.split_at(at);
            let mut rest = after.chars();
            if cut {
                rest.next();
            }
            agrees(&format!("{before}{}{}", char::from(byte), rest.as_str()))?;
            agrees(before)?;
        }
    }
}
