//! Messages that leave together: in one frame, as far as they can share a fate.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Slow;
use crate::gateway::frame::Origin;
use crate::gateway::room::publication::Publication;
use crate::gateway::room::step::Entered;

/// A frame of several messages is not made longer than this, in bytes of payload.
const BYTES_MAX: usize = 16 * 1024;

/// The most messages in a frame.
const MESSAGES_MAX: usize = 64;

/// A message, and where it comes from.
#[derive(Debug)]
pub(in crate::gateway) struct Said {
    /// The message.
    pub(in crate::gateway) publication: Arc<Publication>,
    /// Where it comes from.
    pub(in crate::gateway) origin: Origin,
}

/// Messages that leave in one frame.
#[derive(Debug)]
pub(in crate::gateway) struct Group {
    /// The messages, in their order.
    pub(in crate::gateway) publications: Vec<Arc<Publication>>,
    /// Where they come from: the first of them, and how many they are.
    pub(in crate::gateway) origin: Arc<Origin>,
}

/// Puts those together that may share a frame: what has a key, a receipt or an end of its own stays alone.
pub(in crate::gateway) fn grouped(run: Vec<Said>) -> Vec<Group> {
    let mut groups: Vec<(Vec<Arc<Publication>>, Origin)> = Vec::new();
    let mut bytes = 0;
    for Said { publication, origin } in run {
        let length = publication.payload.bytes().len();
        if let Some((publications, first)) = groups.last_mut()
            && !stands_alone(first)
            && !stands_alone(&origin)
            && publications.len() < MESSAGES_MAX
            && bytes + length <= BYTES_MAX
        {
            bytes += length;
            publications.push(publication);
            first.messages += 1;
            continue;
        }
        bytes = length;
        groups.push((vec![publication], origin));
    }
    let group = |(publications, origin)| Group { publications, origin: Arc::new(origin) };
    groups.into_iter().map(group).collect()
}

/// What a session missed, in groups: it is as old as it is, and was not late.
pub(in crate::gateway) fn missed(entered: &Entered) -> Vec<Group> {
    let said = |publication: &Arc<Publication>| Said {
        publication: Arc::clone(publication),
        origin: Origin {
            room: Arc::clone(&entered.room),
            at: Duration::MAX,
            messages: 1,
            slow: Slow::Disconnect,
            key: None,
            expires: None,
            receipt: None,
        },
    };
    grouped(entered.missed.iter().map(said).collect())
}

fn stands_alone(origin: &Origin) -> bool {
    origin.key.is_some() || origin.receipt.is_some() || origin.expires.is_some()
}
