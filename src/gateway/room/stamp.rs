//! What a message of a chat says of itself: who said it, where, when, and under which id.
//!
//! A client says only what it wants to say; the rest is written into it when the room takes it in, so that nobody speaks
//! as somebody else, and clients of all dialects see the same members. What is no JSON object stays as it is.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::value::to_raw_value;

use crate::gateway::room::publication::Publication;
use crate::wire::payload::Payload;

/// Writes room, id, author and time into a message.
pub(in crate::gateway) fn stamp(room: &str, publication: &mut Publication) {
    let members = serde_json::from_slice::<BTreeMap<&str, Box<RawValue>>>(publication.payload.bytes());
    let Ok(mut members) = members else { return };
    let id = publication.id.to_string();
    let author = publication.publisher.as_ref().map(|card| &*card.user).filter(|user| !user.is_empty());
    let texts = [("room_id", Some(room)), ("id", Some(id.as_str())), ("mid", author)];
    for (name, text) in texts {
        if let Some(text) = text.and_then(|text| to_raw_value(text).ok()) {
            members.insert(name, text);
        }
    }
    for (name, usual) in [("mid", "\"\""), ("type", "\"text\"")] {
        if let Ok(usual) = RawValue::from_string(usual.to_owned()) {
            members.entry(name).or_insert(usual);
        }
    }
    if let Ok(seconds) = to_raw_value(&(publication.unix_ms / 1000)) {
        members.insert("dateline", seconds);
    }
    if let Ok(stamped) = to_raw_value(&members) {
        publication.payload = Payload::from_json(&stamped);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gateway::room::publication::Card;
    use crate::ids::MessageId;
    use crate::ids::SessionId;

    fn stamped(user: Option<&str>, text: &str) -> String {
        let session = SessionId::parse("n.0000000000009f86.0.1").unwrap();
        let mut publication = Publication {
            offset: 7,
            id: MessageId::from_number(99),
            idempotency_key: None,
            payload: Payload::from_text(text),
            publisher: user.map(|user| Arc::new(Card { user: user.into(), session, info: None })),
            operation: None,
            tags: BTreeMap::new(),
            unix_ms: 1_795_217_939_404,
            expires_ms: None,
        };
        stamp("live://18000", &mut publication);
        publication.payload.json().into_owned()
    }

    #[test]
    fn nobody_speaks_as_somebody_else_or_at_another_time() {
        assert_eq!(
            stamped(
                Some("1"),
                r#"{"mid":"8000","room_id":"live://28000","id":"1","dateline":0,"msg":"hi <b>"}"#
            ),
            r#"{"dateline":1795217939,"id":"99","mid":"1","msg":"hi <b>","room_id":"live://18000","type":"text"}"#
        );
    }

    #[test]
    fn a_backend_says_for_whom_it_speaks() {
        assert!(stamped(None, r#"{"mid":"8000","msg":"hi"}"#).contains(r#""mid":"8000""#));
        assert!(stamped(None, r#"{"msg":"hi"}"#).contains(r#""mid":"""#));
    }

    #[test]
    fn what_is_no_object_stays_as_it_is() {
        assert_eq!(stamped(Some("1"), "hello"), "\"hello\"");
        assert_eq!(stamped(Some("1"), "[1]"), "[1]");
    }
}
