//! The query of a request: names and values, without their escapes.

/// The pairs of a query that have a `=`; names are taken as they are written.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, String)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name, unescaped(value)))
}

/// The text that a part of a path stands for: as in a query, but `+` is no blank.
pub(super) fn unescaped_path(part: &str) -> String {
    unescaped(&part.replace('+', "%2B"))
}

/// The text that a query value stands for: `%41` and `+` undone; what is no escape stays as it is.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| hex(tail)).flatten();
        match escaped {
            Some((byte, tail)) => {
                bytes.push(byte);
                rest = tail;
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, tail) = digits.split_at_checked(2)?;
    let text = std::str::from_utf8(pair).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some((u8::from_str_radix(text, 16).ok()?, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_escapes_stay_as_they_are() {
        for (value, text) in [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%+1", "% 1"), ("%ff", "\u{fffd}")] {
            assert_eq!(unescaped(value), text);
        }
    }

    #[test]
    fn in_a_path_a_plus_is_a_plus() {
        assert_eq!(unescaped_path("a+b%20c"), "a+b c");
    }

    #[test]
    fn pairs_come_in_their_order() {
        let read: Vec<_> = pairs("a=1&&b&where=d%3E%3D1+s&a=").collect();
        let expected = [("a", "1"), ("where", "d>=1 s"), ("a", "")];
        assert_eq!(read, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
