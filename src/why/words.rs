//! Plain words for what stands in a record.

use super::line::Line;

/// What a reason for the end of a session means, and what to check; `None` for words that pillion does not write.
pub(super) fn reason(name: &str) -> Option<(&'static str, &'static str)> {
    REASONS.iter().find(|(known, ..)| *known == name).map(|(_, means, check)| (*means, *check))
}

/// Whether a session that ended for this reason was dropped: everything but the client's own goodbye.
pub(super) fn is_drop(line: &Line) -> bool {
    line.err.as_deref() != Some("client_closed")
}

const REASONS: [(&str, &str, &str); 18] = [
    ("client_closed", "the client closed the connection itself", ""),
    (
        "peer_gone",
        "the connection broke without a goodbye",
        "the network, nginx (a reload, proxy_read_timeout) or the client's process: nginx's error log has the same \
         request_id",
    ),
    (
        "protocol_error",
        "the client broke the websocket protocol",
        "the client's library, and proxies in between",
    ),
    (
        "too_long",
        "the client sent a message longer than the limit",
        "limits.frame, and what the client sends",
    ),
    ("not_utf8", "the client sent text that is not UTF-8", "what the client sends"),
    (
        "bad_request",
        "the client broke the rules of its dialect",
        "what the client sends; docs/PROTOCOL.md has the rules",
    ),
    (
        "login_timeout",
        "the client did not log in within the time allowed",
        "auth.timeout, and what the client sends first",
    ),
    ("token_missing", "the client brought no token", "how the client gets its token and hands it over"),
    ("token_invalid", "the token was not accepted", "the token's end, its key and its signature"),
    ("refused", "the business API refused the token", "the business API, with this token"),
    (
        "auth_unavailable",
        "the business API could not be asked",
        "auth.api_url, and whether the business API runs",
    ),
    ("auth_nonsense", "the business API gave an answer that makes no sense", "what the business API answers"),
    ("no_user", "the business API named no user", "what the business API answers for this token"),
    (
        "expired",
        "the token expired and the client did not renew it",
        "whether the client refreshes its token in time",
    ),
    (
        "heartbeat_timeout",
        "the client gave no sign of life",
        "the network and the client: a sleeping phone, a busy page; nginx must wait longer than the heartbeat",
    ),
    (
        "slow",
        "the client read too slowly and its queue was full",
        "the client's network; gateway.client_queue is the limit",
    ),
    (
        "too_many_requests",
        "the user logged in more often than the limit allows",
        "limits.connect_rate_user, and why the client connects so often",
    ),
    ("shutdown", "the daemon was stopped", "nothing: clients come back by themselves"),
];

/// What a line says, in words, without its time.
pub(super) fn narrate(line: &Line) -> String {
    let said = said(line);
    let code = line.code.as_deref().map(|code| format!(" (code {code})")).unwrap_or_default();
    let room = line.room.as_deref().unwrap_or("?");
    match line.action.as_str() {
        "login" if line.err.is_some() => format!("login refused{code}: {said}"),
        "login" => format!("logged in, {said}"),
        "wsconn" => format!("could not connect{code}: {said}"),
        "logout" => logout(line, &code),
        "room_manage" => match line.desc.as_deref() {
            Some(desc) if desc.starts_with("in room") => format!("joined room {room}"),
            Some(desc) if desc.starts_with("out room") => format!("left room {room}"),
            _ => format!("room {room}: {said}"),
        },
        "room_msg" if line.more > 0 => {
            format!("published {} messages into room {room}, the first of {said}", line.more + 1)
        }
        "room_msg" => {
            let id = line.message_id.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
            format!("published message{id} into room {room}: {said}")
        }
        "msg_send" if line.err.is_some() => format!("not sent: {said}"),
        "msg_send" if line.delay.is_none() => format!("sent by a backend: {said}"),
        "msg_send" => format!("a message came {} after it was published", seconds(line.delay)),
        "memory_msg" => format!("the queue in memory was full: {said}"),
        "web_err" => format!("broke the rules{code}: {said}"),
        "redis_connected_msg" => format!("the connection to Redis: {said}"),
        "log_gap" => gap(line),
        "drain" => format!("the daemon stops: {said}"),
        "nginx_access" => {
            let parts: Vec<&str> = line.request.iter().flatten().map(String::as_str).collect();
            format!("nginx: {}", parts.join(" "))
        }
        action => format!("{action}{code}: {said}"),
    }
}

fn logout(line: &Line, code: &str) -> String {
    let name = line.err.as_deref().unwrap_or("an unknown reason");
    let detail = match (reason(name), line.desc.as_deref()) {
        (_, Some(desc)) => desc,
        (Some((means, _)), None) => means,
        (None, None) => "no more is said",
    };
    let silence = line.silence.filter(|seconds| *seconds >= 1.0);
    let silence = silence.map(|_| format!("; the client had been silent for {}", seconds(line.silence)));
    let delay = line.delay.filter(|seconds| *seconds >= super::LATE_SECONDS);
    let delay = delay.map(|_| format!("; its slowest message took {}", seconds(line.delay)));
    let (silence, delay) = (silence.unwrap_or_default(), delay.unwrap_or_default());
    format!("logged out by {name}{code}: {detail}{silence}{delay}")
}

fn gap(line: &Line) -> String {
    let cause = line.gap.cause.as_deref().unwrap_or("cause unknown");
    let range = match (line.gap.from, line.gap.to) {
        (Some(from), Some(to)) => format!(", between numbers {from} and {to} of run {}", line.boot),
        _ => String::new(),
    };
    format!("{} log lines were lost here ({cause}){range}", line.gap.lines)
}

/// What the line says in its own words.
pub(super) fn said(line: &Line) -> String {
    let parts: Vec<&str> =
        [&line.err, &line.desc, &line.message].into_iter().flatten().map(String::as_str).collect();
    if parts.is_empty() { "no more is said".to_owned() } else { parts.join(", ") }
}

pub(super) fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "an unknown time".to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// `1 line`, `2 lines`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
