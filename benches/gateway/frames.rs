//! Frames as a client writes and reads them, and the message in them: its number and when it was due.

/// How a message begins; its number and its time follow, [`DIGITS`] digits each.
const MARK: &[u8] = b"message ";
const DIGITS: usize = 20;

/// A message of `size` bytes, its quotes included: the `number`th, due `at` nanoseconds after the start.
pub(crate) fn message(number: u64, at: u64, size: usize) -> Vec<u8> {
    let text = format!("\"message {number:020}{at:020}{:.<1$}\"", "", size - 2 - MARK.len() - 2 * DIGITS);
    text.into_bytes()
}

/// Where the message is in a frame.
pub(crate) fn place(frame: &[u8]) -> Option<usize> {
    frame.windows(MARK.len()).position(|part| part == MARK).map(|at| at - 1)
}

/// Number and time of the message of `size` bytes at `place` in `frame`, when it is there and whole.
pub(crate) fn read(frame: &[u8], place: usize, size: usize) -> Option<(u64, u64)> {
    let message = frame.get(place..place + size)?;
    let rest = message.strip_prefix(b"\"")?.strip_prefix(MARK)?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    Some((number(&rest[..DIGITS])?, number(&rest[DIGITS..2 * DIGITS])?))
}

/// A text frame from a client. The mask is zero, which leaves the text as it is.
pub(crate) fn from_client(text: &[u8]) -> Vec<u8> {
    let mut frame = head(text.len(), 0x80);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}

/// A text frame from a server.
pub(crate) fn from_server(text: &[u8]) -> Vec<u8> {
    let mut frame = head(text.len(), 0);
    frame.extend_from_slice(text);
    frame
}

fn head(length: usize, mask: u8) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short) if short < 126 => vec![0x81, mask | short],
        _ => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            vec![0x81, mask | 126, high, low]
        }
    }
}

/// The lengths of the header and of the whole of the first frame, once its header has come.
pub(crate) fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    assert!(bytes.first().is_none_or(|first| *first == 0x81), "not a text frame: {bytes:?}");
    match bytes {
        [_, len @ 0..=125, ..] => Some((2, 2 + usize::from(*len))),
        [_, 126, high, low, ..] => Some((4, 4 + usize::from(u16::from_be_bytes([*high, *low])))),
        [_, 127, length @ ..] => {
            let length = u64::from_be_bytes(*length.first_chunk()?);
            Some((10, 10 + usize::try_from(length).unwrap()))
        }
        _ => None,
    }
}
