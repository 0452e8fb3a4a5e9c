//! Patterns of room names, as the original takes them: `*` is any text, `?` any sign, `[a-z]` and `[!a-z]` a sign of
//! or not of a set, `{a,b}` one of several patterns, and `\` takes the next sign as it is.
//!
//! Limits: 255 bytes, [`ALTERNATIVES_MAX`] patterns after `{a,b}` is written out. Matching takes time in proportion to
//! pattern times name at the worst.

/// The longest pattern in bytes.
const LENGTH_MAX: usize = 255;

/// The most patterns that one with `{a,b}` stands for.
const ALTERNATIVES_MAX: usize = 64;

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// It is too long.
    #[error("the pattern is longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// Something that was opened is not closed.
    #[error("the pattern has a {0} without its end")]
    Open(char),
    /// It stands for too many.
    #[error("the pattern stands for more than {ALTERNATIVES_MAX} patterns")]
    TooMany,
}

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This sign.
    Sign(char),
    /// Any sign.
    Any,
    /// Any text.
    Text,
    /// A sign in (true) or not in (false) these ranges.
    Set(bool, Vec<(char, char)>),
}

impl Part {
    /// True if the part is this sign; a text is none.
    fn is(&self, sign: char) -> bool {
        match self {
            Self::Sign(own) => *own == sign,
            Self::Any => true,
            Self::Text => false,
            Self::Set(within, ranges) => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&sign)) == *within
            }
        }
    }
}

/// A pattern: a name fits when it fits one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    alternatives: Vec<Vec<Part>>,
}

impl Pattern {
    /// Reads a pattern; the empty one fits every name.
    pub(super) fn of(text: &str) -> Result<Self, Error> {
        if text.len() > LENGTH_MAX {
            return Err(Error::TooLong);
        }
        if text.is_empty() {
            return Ok(Self { alternatives: vec![vec![Part::Text]] });
        }
        let mut signs = text.chars();
        let (alternatives, _) = sequence(&mut signs, false)?;
        Ok(Self { alternatives })
    }

    /// True if the name fits.
    pub(super) fn fits(&self, name: &str) -> bool {
        let signs: Vec<char> = name.chars().collect();
        self.alternatives.iter().any(|parts| fits(parts, &signs))
    }
}

/// Reads a pattern up to its end, or within braces up to the next `,` or `}`, which it gives.
///
/// Braces within braces go down one level each, and the length of the pattern bounds how far.
fn sequence(signs: &mut std::str::Chars<'_>, inner: bool) -> Result<(Vec<Vec<Part>>, Option<char>), Error> {
    let mut read: Vec<Vec<Part>> = vec![Vec::new()];
    while let Some(sign) = signs.next() {
        let part = match sign {
            ',' | '}' if inner => return Ok((read, Some(sign))),
            '*' => Part::Text,
            '?' => Part::Any,
            '[' => set(signs)?,
            '{' => {
                read = joined(&read, &choices(signs)?)?;
                continue;
            }
            '\\' => Part::Sign(signs.next().ok_or(Error::Open('\\'))?),
            sign => Part::Sign(sign),
        };
        for parts in &mut read {
            parts.push(part.clone());
        }
    }
    if inner { Err(Error::Open('{')) } else { Ok((read, None)) }
}

/// Reads what stands between braces.
fn choices(signs: &mut std::str::Chars<'_>) -> Result<Vec<Vec<Part>>, Error> {
    let mut all = Vec::new();
    loop {
        let (some, end) = sequence(signs, true)?;
        all.extend(some);
        if all.len() > ALTERNATIVES_MAX {
            return Err(Error::TooMany);
        }
        if end == Some('}') {
            return Ok(all);
        }
    }
}

/// Each of the first, followed by each of the second.
fn joined(first: &[Vec<Part>], second: &[Vec<Part>]) -> Result<Vec<Vec<Part>>, Error> {
    if first.len() * second.len() > ALTERNATIVES_MAX {
        return Err(Error::TooMany);
    }
    let pairs =
        first.iter().flat_map(|head| second.iter().map(move |tail| [head.clone(), tail.clone()].concat()));
    Ok(pairs.collect())
}

/// Reads what stands between brackets.
fn set(signs: &mut std::str::Chars<'_>) -> Result<Part, Error> {
    let (mut within, mut ranges, mut is_first) = (true, Vec::new(), true);
    loop {
        let sign = match signs.next().ok_or(Error::Open('['))? {
            ']' => return Ok(Part::Set(within, ranges)),
            '!' if is_first && within => {
                within = false;
                continue;
            }
            '\\' => signs.next().ok_or(Error::Open('['))?,
            sign => sign,
        };
        is_first = false;
        let mut ahead = signs.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                *signs = ahead;
                last
            }
            _ => sign,
        };
        ranges.push((sign, last));
    }
}

/// Matches sign by sign; where that fails, the last text before takes one sign more.
fn fits(parts: &[Part], signs: &[char]) -> bool {
    let (mut part, mut sign) = (0, 0);
    let mut text: Option<(usize, usize)> = None;
    while let Some(next) = signs.get(sign) {
        match parts.get(part) {
            Some(Part::Text) => {
                text = Some((part, sign));
                part += 1;
            }
            Some(own) if own.is(*next) => {
                part += 1;
                sign += 1;
            }
            _ => {
                let Some((at, taken)) = text else { return false };
                text = Some((at, taken + 1));
                (part, sign) = (at + 1, taken + 1);
            }
        }
    }
    parts.get(part..).is_none_or(|rest| rest.iter().all(|part| *part == Part::Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, fitting: &[&str], others: &[&str]) {
        let read = Pattern::of(pattern).unwrap();
        for name in fitting {
            assert!(read.fits(name), "{name} should fit {pattern}");
        }
        for name in others {
            assert!(!read.fits(name), "{name} should not fit {pattern}");
        }
    }

    #[test]
    fn patterns_fit_as_in_the_original() {
        check("", &["", "a", "chat:1"], &[]);
        check("chat:*", &["chat:", "chat:1:2"], &["chat", "xchat:1"]);
        check("*1*2", &["12", "a1b1c2", "1122"], &["1", "21", "123"]);
        check("c?at", &["chat", "c\u{e4}at"], &["cat", "chaat"]);
        check("[a-c][!0-9]", &["ax", "c-"], &["dx", "a1", "a"]);
        check("[-a]", &["-", "a"], &["b"]);
        check("{a,b*,{c,d}e}1", &["a1", "b1", "bxx1", "ce1", "de1"], &["c1", "e1", "1"]);
        check("a\\*{,x}", &["a*", "a*x"], &["ab", "a*y"]);
        check("a,b}", &["a,b}"], &["a"]);
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        assert_eq!(Pattern::of("a{b"), Err(Error::Open('{')));
        assert_eq!(Pattern::of("[ab"), Err(Error::Open('[')));
        assert_eq!(Pattern::of("a\\"), Err(Error::Open('\\')));
        assert_eq!(Pattern::of(&"x".repeat(256)), Err(Error::TooLong));
        assert_eq!(Pattern::of(&"{a,b}".repeat(7)), Err(Error::TooMany));
        assert!(Pattern::of(&"{a,b}".repeat(6)).is_ok());
        assert_eq!(Pattern::of(&"{".repeat(255)), Err(Error::Open('{')));
    }

    #[test]
    fn many_texts_do_not_take_for_ever() {
        let pattern = Pattern::of(&"*a".repeat(100)).unwrap();
        assert!(!pattern.fits(&format!("{}b", "a".repeat(4000))));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_pattern_or_is_not(pattern in "[a\\[\\]{},*?!\\\\-]{0,40}", name in "[a\\[*-]{0,40}") {
            if let Ok(pattern) = Pattern::of(&pattern) {
                pattern.fits(&name);
            }
        }

        #[test]
        fn a_name_without_signs_of_its_own_fits_itself(name in "[a-z:0-9/]{1,40}") {
            proptest::prop_assert!(Pattern::of(&name).unwrap().fits(&name));
        }
    }
}
