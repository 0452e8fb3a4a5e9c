//! Server-sent events (the HTML standard's `text/event-stream`): one JSON value per event, and where a client stands.
//!
//! An event may have an id. A browser that lost its connection sends the id of the last event that it has got as
//! `Last-Event-ID`, by itself. Here the id is the client's [`Place`]s: in how many rooms it is up to which message. The
//! id of a message names the room of the message only, because all receivers share its bytes.

/// Where a client stands in the stream of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The room.
    pub room: String,
    /// The stream's epoch.
    pub epoch: String,
    /// The offset of the last message that the client has.
    pub offset: u64,
}

/// The longest id, in bytes: it comes back in the head of a request. Beyond it an event has none.
pub const ID_MAX: usize = 2048;

/// Digits of an escaped byte.
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Writes an event: `data` is one line, `id` what [`id`] gives, or nothing.
pub fn write(out: &mut Vec<u8>, id: &str, data: &[u8]) {
    out.reserve(id.len() + data.len() + 16);
    if !id.is_empty() {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// The id that says where a client stands in rooms: `OFFSET:EPOCH:ROOM`, with commas between them; what is no letter,
/// digit or harmless sign in a name is escaped as in addresses. Empty when there is nothing to say, or too much.
#[must_use]
pub fn id<'a>(places: impl IntoIterator<Item = (&'a str, &'a str, u64)>) -> String {
    let mut id = String::new();
    for (room, epoch, offset) in places {
        if !id.is_empty() {
            id.push(',');
        }
        id.push_str(&offset.to_string());
        id.push(':');
        escape(epoch, &mut id);
        id.push(':');
        escape(room, &mut id);
        if id.len() > ID_MAX {
            return String::new();
        }
    }
    id
}

/// Where a client stands, by the id of the last event that it has got; what is no place is passed over.
pub fn places(id: &str) -> impl Iterator<Item = Place> {
    id.split(',').filter_map(|place| {
        let (offset, rest) = place.trim().split_once(':')?;
        let (epoch, room) = rest.split_once(':')?;
        Some(Place { room: unescape(room)?, epoch: unescape(epoch)?, offset: offset.parse().ok()? })
    })
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@!$*".contains(&byte) {
            out.push(char::from(byte));
            continue;
        }
        out.push('%');
        for digit in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(digit)).map_or('0', |digit| char::from(*digit)));
        }
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        rest = tail;
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_has_its_id_before_its_data() {
        let mut out = Vec::new();
        write(&mut out, "", b"{}");
        write(&mut out, &id([("chat:a b", "xyz", 7)]), b"{\"a\":1}");
        assert_eq!(out, b"data: {}\n\nid: 7:xyz:chat:a%20b\ndata: {\"a\":1}\n\n");
    }

    #[test]
    fn an_id_that_would_be_too_long_is_none() {
        let room = "r".repeat(ID_MAX);
        assert_eq!(id([(room.as_str(), "e", 1)]), "");
        assert_eq!(id([]), "");
    }

    #[test]
    fn what_is_no_place_is_passed_over() {
        let read: Vec<_> = places("x, 7:e:r%2C1 ,8:e,:e:r,9:e:r%2,-1:e:r,%,1:%ff:r").collect();
        assert_eq!(read, [Place { room: "r,1".to_owned(), epoch: "e".to_owned(), offset: 7 }]);
    }

    proptest! {
        #[test]
        fn places_come_back_as_they_were(rooms in prop::collection::vec((".{1,40}", "[a-z0-9]{1,8}", any::<u64>()), 0..4)) {
            let id = id(rooms.iter().map(|(room, epoch, offset)| (room.as_str(), epoch.as_str(), *offset)));
            prop_assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
            let expected: Vec<_> = rooms
                .into_iter()
                .map(|(room, epoch, offset)| Place { room, epoch, offset })
                .collect();
            prop_assert_eq!(places(&id).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn no_id_makes_it_panic(id: String) {
            drop(places(&id).collect::<Vec<_>>());
        }
    }
}
