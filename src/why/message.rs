//! Where one message stopped, on its way to one user or session.

use super::line::Line;
use super::words::narrate;
use super::words::said;
use super::words::seconds;

/// A message that was published longer before the end of a session is taken for written.
const NEAR_SECONDS: f64 = 60.0;

/// One sentence about the message `id` for `who`; `lines` are in the order of time, `is_about` tells those about `who`.
pub(super) fn verdict(lines: &[Line], who: &str, id: &str, is_about: impl Fn(&Line) -> bool) -> String {
    let published = lines.iter().find(|line| line.is("room_msg") && line.message_id.as_deref() == Some(id));
    let Some(published) = published else {
        return format!(
            "message {id}: no line says that it was published; either no room took it, or its line is not among \
             those that were read"
        );
    };
    let room = published.room.as_deref().unwrap_or("?");
    let at = &published.stamp;
    if is_about(published) {
        return format!(
            "message {id}: {who} published it at {at} and room {room} took it; to see where it stopped, ask for \
             whoever misses it: pillion why USER --msg {id}"
        );
    }
    let about: Vec<&Line> = lines.iter().filter(|line| is_about(line)).collect();
    let mut sessions: Vec<&str> = Vec::new();
    for session in about.iter().filter_map(|line| line.session.as_deref()) {
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }
    let paths: Vec<(Rank, String)> = sessions
        .iter()
        .map(|session| {
            let lines: Vec<&Line> =
                about.iter().filter(|line| line.session.as_deref() == Some(*session)).copied().collect();
            path(&lines, published, room, session)
        })
        .collect();
    match paths.into_iter().max_by_key(|(rank, _)| *rank) {
        Some((_, path)) => format!("message {id}, published into room {room} at {at}: {path}"),
        None => format!(
            "message {id} was published into room {room} at {at}, and no line tells of a session of {who}: not \
             logged in then, or the lines are elsewhere"
        ),
    }
}

/// How far the message came: the session in which it came farthest tells most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Absent,
    Ended,
    Outside,
    Inside,
}

/// What became of the message on its way to one session, of which `lines` tell.
fn path(lines: &[&Line], published: &Line, room: &str, session: &str) -> (Rank, String) {
    let after = |line: &&&Line| line.order(published).is_gt();
    let before = |line: &&&Line| !after(line);
    let ended = lines.iter().filter(before).rfind(|line| line.is("logout"));
    if let Some(ended) = ended {
        let text = format!("session {session} was over by then: {} at {}", narrate(ended), ended.stamp);
        return (Rank::Ended, text);
    }
    let began = lines.iter().filter(before).any(|line| line.is("login") && line.err.is_none());
    let membership = lines.iter().filter(before).rfind(|line| line.is("room_manage") && line.room_is(room));
    match membership.and_then(|line| line.desc.as_deref()) {
        Some(desc) if desc.starts_with("out") => {
            let stamp = membership.map(|line| line.stamp.as_str()).unwrap_or_default();
            let text = format!("session {session} had left the room at {stamp}; messages go to members only");
            return (Rank::Outside, text);
        }
        Some(_) => {}
        None if began => {
            let text = format!("session {session} was not in the room; messages go to members only");
            return (Rank::Outside, text);
        }
        None => {
            let text =
                format!("session {session} had not logged in yet, or its login is not among the lines read");
            return (Rank::Absent, text);
        }
    }
    (Rank::Inside, inside(lines.iter().filter(after).copied(), published, session))
}

/// What became of the message in a session that was in the room.
fn inside<'l>(lines: impl Iterator<Item = &'l Line>, published: &Line, session: &str) -> String {
    for line in lines {
        let later = line.seconds_after(published);
        let near = later.is_some_and(|seconds| seconds <= NEAR_SECONDS);
        match line.action.as_str() {
            "msg_send" if line.err.is_some() && near => {
                return format!(
                    "it stopped in the queue of session {session}: {} after it was published, {}",
                    seconds(later),
                    said(line)
                );
            }
            "memory_msg" if near => {
                return format!(
                    "it stopped in the queue of session {session}, which was full {} after it was published: {}",
                    seconds(later),
                    said(line)
                );
            }
            // The line is written when the message is, so that it was published about that long before.
            "msg_send" if later.zip(line.delay).is_some_and(|(later, delay)| later <= delay + 1.0) => {
                return format!("it reached session {session} late, after up to {}", seconds(line.delay));
            }
            "logout" if near => {
                return format!(
                    "it was written to session {session}, which ended {} later with nothing left unsent ({}): what \
                     the client had not read by then is lost with the connection",
                    seconds(later),
                    line.err.as_deref().unwrap_or("no reason")
                );
            }
            "logout" => break,
            _ => {}
        }
    }
    format!(
        "session {session} was in the room, and no line tells of a failure or a delay: it was written to the \
         connection; look at nginx, the network and the client"
    )
}
