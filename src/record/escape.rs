//! JSON strings: what must be escaped, found a run at a time.

/// What a byte becomes inside a JSON string: 0 for itself, the letter of a short escape, or `u`.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time: an index out of range does not build"
)]
const fn escape_table() -> [u8; 256] {
    let mut table = [0_u8; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = b'u';
        i += 1;
    }
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    table[0x08] = b'b';
    table[0x0c] = b'f';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

static ESCAPES: [u8; 256] = escape_table();

/// Appends `text` as the inside of a JSON string, at most `room` bytes of it; false when it was cut.
///
/// The cut falls between characters, and never inside an escape.
pub fn escape_into(out: &mut Vec<u8>, text: &str, room: usize) -> bool {
    let end = out.len().saturating_add(room);
    let mut rest = text;
    while !rest.is_empty() {
        let clean = rest.bytes().position(|byte| escape_of(byte) != 0).unwrap_or(rest.len());
        let (run, tail) = rest.split_at_checked(clean).unwrap_or((rest, ""));
        let space = end.saturating_sub(out.len());
        if run.len() > space {
            let cut = run.floor_char_boundary(space);
            out.extend_from_slice(run.get(..cut).unwrap_or_default().as_bytes());
            return false;
        }
        out.extend_from_slice(run.as_bytes());
        let Some(&byte) = tail.as_bytes().first() else { return true };
        let escape = escape_of(byte);
        let hex = [b'\\', b'u', b'0', b'0', hex_digit(byte >> 4), hex_digit(byte & 15)];
        let short = [b'\\', escape];
        let escaped: &[u8] = if escape == b'u' { &hex } else { &short };
        if out.len() + escaped.len() > end {
            return false;
        }
        out.extend_from_slice(escaped);
        rest = tail.get(1..).unwrap_or_default();
    }
    true
}

/// True when `text` can stand in a JSON string as it is.
#[inline]
pub(super) fn is_clean(text: &[u8]) -> bool {
    // Eight or four bytes at a time; the last ones are looked at twice rather than one by one.
    if let Some(last) = text.last_chunk() {
        let (eights, _) = text.as_chunks();
        eights.iter().fold(special(u64::from_le_bytes(*last)), |found, eight| {
            found | special(u64::from_le_bytes(*eight))
        }) == 0
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let both = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        special(both) == 0
    } else {
        text.iter().all(|byte| escape_of(*byte) == 0)
    }
}

/// Not zero when one of eight bytes must be escaped: a quote, a backslash, a control character.
#[inline]
fn special(eight: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A byte that is smaller than what is taken from it borrows from its highest bit, which no byte of ASCII has. The
    // borrow may make the byte above it look the same, but only beside one that is meant.
    let is = |byte: u8| (eight ^ (EACH * u64::from(byte))).wrapping_sub(EACH);
    let control = eight.wrapping_sub(EACH * 0x20);
    (is(b'"') | is(b'\\') | control) & !eight & (EACH * 0x80)
}

fn escape_of(byte: u8) -> u8 {
    ESCAPES.get(usize::from(byte)).copied().unwrap_or(0)
}

fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escapes_like_serde_json(text: String) {
            let mut out = vec![b'"'];
            prop_assert!(escape_into(&mut out, &text, usize::MAX));
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn what_is_clean_has_nothing_to_escape(bytes: Vec<u8>) {
            prop_assert_eq!(is_clean(&bytes), bytes.iter().all(|byte| escape_of(*byte) == 0));
        }

        #[test]
        fn one_byte_anywhere_is_found(length in 0_usize..40, at in 0_usize..40, byte: u8) {
            let mut bytes = vec![b'x'; length];
            bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            prop_assert_eq!(is_clean(&bytes), at >= length || escape_of(byte) == 0);
        }

        #[test]
        fn a_cut_text_is_a_prefix(text: String, room in 0_usize..40) {
            let mut out = vec![b'"'];
            let whole = escape_into(&mut out, &text, room);
            prop_assert!(out.len() <= 1 + room);
            out.push(b'"');
            let read = serde_json::from_slice::<String>(&out).unwrap();
            prop_assert!(text.starts_with(&read));
            prop_assert_eq!(whole, read == text);
        }
    }
}
