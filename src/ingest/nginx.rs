//! A line of nginx's error log becomes its parts.
//!
//! `YYYY/MM/DD HH:MM:SS [level] pid#tid: *connection text, client: …, server: …, request: "…", upstream: "…",
//! host: "…", referrer: "…"`, where nginx escapes nothing: the text may hold a decoded path, the request and the
//! referrer what the client sent. So anyone can write `, client: 10.0.0.1, server: x` into a line. The pair of
//! client and server that counts is the one that stands outside quotes; where several do, none is believed and the
//! line stays whole in the message.

use std::borrow::Cow;

use crate::record::Level;

/// A line of nginx's error log taken apart.
#[derive(Debug)]
pub(super) struct ErrorLine<'a> {
    /// How grave it is.
    pub(super) level: Level,
    /// The worker process.
    pub(super) pid: u64,
    /// The thread.
    pub(super) tid: u64,
    /// nginx's number of the connection.
    pub(super) connection: Option<u64>,
    /// The text, and the fields that have no place of their own.
    pub(super) message: Cow<'a, str>,
    /// The client's address.
    pub(super) client: Option<&'a str>,
    /// nginx's server.
    pub(super) server: Option<&'a str>,
    /// The request line.
    pub(super) request: Option<&'a str>,
    /// The upstream's address.
    pub(super) upstream: Option<&'a str>,
    /// Where the client came from.
    pub(super) referrer: Option<&'a str>,
    /// True when more than one client was named and none was believed.
    pub(super) ambiguous: bool,
}

impl<'a> ErrorLine<'a> {
    /// Takes `text` apart; `None` when it is no such line.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(20)?;
        if !is_date(date.as_bytes()) {
            return None;
        }
        let (word, rest) = rest.strip_prefix('[')?.split_once("] ")?;
        let level = level(word)?;
        let (process, rest) = rest.split_once(": ")?;
        let (pid, tid) = process.split_once('#')?;
        let (pid, tid) = (pid.parse().ok()?, tid.parse().ok()?);
        let numbered = rest.strip_prefix('*').and_then(|rest| rest.split_once(' '));
        let connection = numbered.and_then(|(number, _)| number.parse().ok());
        let said = numbered.filter(|_| connection.is_some()).map_or(rest, |(_, rest)| rest);
        let mut line = Self {
            level,
            pid,
            tid,
            connection,
            message: Cow::Borrowed(said),
            client: None,
            server: None,
            request: None,
            upstream: None,
            referrer: None,
            ambiguous: false,
        };
        line.split(said);
        Some(line)
    }

    /// Takes the fields from the end of what was said.
    fn split(&mut self, said: &'a str) {
        let believed = match choose(said) {
            Choice::One(parties) => parties,
            Choice::None => return,
            Choice::Several => {
                self.ambiguous = true;
                return;
            }
        };
        (self.client, self.server) = (Some(believed.client), Some(believed.server));
        let mut rest = believed.rest;
        // nginx writes the fields in this order, so they are taken from the end in the reverse one.
        self.referrer = quoted(&mut rest, ", referrer: \"");
        let host = quoted(&mut rest, ", host: \"");
        self.upstream = quoted(&mut rest, ", upstream: \"");
        self.request = quoted(&mut rest, ", request: \"");
        self.message = match (rest, host) {
            ("", None) => Cow::Borrowed(believed.text),
            (rest, None) => Cow::Owned(format!("{}{rest}", believed.text)),
            (rest, Some(host)) => Cow::Owned(format!("{}{rest}, host: \"{host}\"", believed.text)),
        };
    }
}

/// The level that a word of nginx, syslog or another logger names.
pub(super) fn level(word: &str) -> Option<Level> {
    let known = [
        (Level::Error, &["error", "err", "crit", "critical", "alert", "emerg", "fatal", "panic"][..]),
        (Level::Warn, &["warn", "warning"]),
        (Level::Info, &["info", "notice"]),
        (Level::Debug, &["debug"]),
        (Level::Trace, &["trace"]),
    ];
    let named = known.iter().find(|(_, words)| words.iter().any(|known| known.eq_ignore_ascii_case(word)))?;
    Some(named.0)
}

/// The text before a client and a server, the two, and what follows them.
struct Parties<'a> {
    text: &'a str,
    client: &'a str,
    server: &'a str,
    rest: &'a str,
}

enum Choice<'a> {
    None,
    One(Parties<'a>),
    Several,
}

/// Finds the client and the server that nginx itself wrote.
fn choose(said: &str) -> Choice<'_> {
    let mut outside = Choice::None;
    let mut inside = Choice::None;
    let mut quotes = 0;
    let mut counted = 0;
    for (at, _) in said.match_indices(CLIENT) {
        let (Some(text), Some(parties)) = (said.get(..at), parties(said, at)) else { continue };
        quotes += text.get(counted..).map_or(0, |text| text.bytes().filter(|&byte| byte == b'"').count());
        counted = at;
        let found = if quotes % 2 == 0 { &mut outside } else { &mut inside };
        *found = if matches!(found, Choice::None) { Choice::One(parties) } else { Choice::Several };
    }
    match (outside, inside) {
        // A decoded path with a single quote in it turns inside and outside round.
        (Choice::None, alone) => alone,
        (found, _) => found,
    }
}

const CLIENT: &str = ", client: ";

/// The client and the server that `said` names at `at`, both one word.
fn parties(said: &str, at: usize) -> Option<Parties<'_>> {
    let text = said.get(..at)?;
    let (client, rest) = word(said.get(at + CLIENT.len()..)?)?;
    let (server, rest) = word(rest.strip_prefix(", server: ")?)?;
    (!client.is_empty() && (rest.is_empty() || rest.starts_with(", "))).then_some(Parties {
        text,
        client,
        server,
        rest,
    })
}

/// The word at the start of `text`, and what follows it. It ends early, so that a line full of clients that have no
/// server costs no more than any other.
fn word(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find(SEPARATORS).unwrap_or(text.len()))
}

const SEPARATORS: [char; 3] = [' ', ',', '"'];

/// The text without the queries of the addresses in it, which hold tokens: `/ws?token=x` becomes `/ws`.
///
/// An address is a word with a slash before its question mark; it ends at a blank or a quote.
pub(super) fn without_queries(text: &str) -> Cow<'_, str> {
    if !text.contains('?') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for word in text.split_inclusive([' ', '"']) {
        let (body, end) = match word.strip_suffix([' ', '"']) {
            Some(body) => word.split_at_checked(body.len()).unwrap_or((word, "")),
            None => (word, ""),
        };
        let address =
            body.split_once('?').map(|(address, _)| address).filter(|address| address.contains('/'));
        clean.push_str(address.unwrap_or(body));
        clean.push_str(end);
    }
    Cow::Owned(clean)
}

/// Cuts a quoted field from the end of `rest`.
fn quoted<'a>(rest: &mut &'a str, key: &str) -> Option<&'a str> {
    let (before, value) = rest.strip_suffix('"')?.rsplit_once(key)?;
    *rest = before;
    Some(value)
}

/// `YYYY/MM/DD HH:MM:SS `.
fn is_date(text: &[u8]) -> bool {
    const SHAPE: &[u8; 20] = b"0000/00/00 00:00:00 ";
    text.len() == SHAPE.len()
        && text.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "2026/11/20 23:40:00 [error] 77#78: *12 ";

    fn parsed(said: &str) -> String {
        let line = format!("{HEAD}{said}");
        let line = ErrorLine::parse(&line).unwrap();
        let fields = [line.client, line.server, line.request, line.upstream, line.referrer];
        let fields: Vec<_> = fields.iter().map(|field| field.unwrap_or("-")).collect();
        format!("{}|{}", line.message, fields.join("|"))
    }

    fn check(said: &str, expected: &str) {
        assert_eq!(parsed(said), expected);
    }

    #[test]
    fn queries_are_cut_wherever_an_address_stands() {
        let cases = [
            ("no question", "no question"),
            (r#"x, request: "GET /ws?token=a&b=c HTTP/1.1""#, r#"x, request: "GET /ws HTTP/1.1""#),
            (
                r#"upstream: "http://unix:/run/p.sock:/ws?token=a""#,
                r#"upstream: "http://unix:/run/p.sock:/ws""#,
            ),
            (r#"referrer: "https://e.org/a?token=b" end"#, r#"referrer: "https://e.org/a" end"#),
            ("really? yes", "really? yes"),
        ];
        for (text, clean) in cases {
            assert_eq!(without_queries(text), clean);
        }
    }

    #[test]
    fn the_fields_are_taken_from_the_end() {
        check(
            concat!(
                r#"connect() failed (111: Connection refused) while connecting to upstream, client: 203.0.113.7, "#,
                r#"server: example.org, request: "GET /ws?a=b HTTP/1.1", upstream: "http://unix:/run/p.sock:/ws", "#,
                r#"host: "example.org", referrer: "https://example.org/a, b""#
            ),
            concat!(
                r#"connect() failed (111: Connection refused) while connecting to upstream, host: "example.org"|"#,
                "203.0.113.7|example.org|GET /ws?a=b HTTP/1.1|http://unix:/run/p.sock:/ws|https://example.org/a, b"
            ),
        );
        check(
            "peer closed while SSL handshaking, client: ::1, server: 0.0.0.0:443",
            "peer closed while SSL handshaking|::1|0.0.0.0:443|-|-|-",
        );
        check(r#"x, client: unix:, server: , request: "GET / HTTP/1.1""#, "x|unix:||GET / HTTP/1.1|-|-");
        check("signal process started", "signal process started|-|-|-|-|-");
    }

    #[test]
    fn a_client_inside_quotes_is_not_believed() {
        check(
            concat!(
                r#"open() "/x, client: 6.6.6.6, server: evil" failed (2: No such file), client: 1.2.3.4, server: s, "#,
                r#"request: "GET /x HTTP/1.1""#
            ),
            concat!(
                r#"open() "/x, client: 6.6.6.6, server: evil" failed (2: No such file)|1.2.3.4|s|GET /x HTTP/1.1"#,
                "|-|-"
            ),
        );
        check(
            concat!(
                r#"x, client: 1.2.3.4, server: s, request: "GET / HTTP/1.1", host: "h", "#,
                r#"referrer: "r, client: 6.6.6.6, server: evil, request: "GET /evil HTTP/1.1""#
            ),
            concat!(
                r#"x, host: "h"|1.2.3.4|s|GET / HTTP/1.1|-|"#,
                r#"r, client: 6.6.6.6, server: evil, request: "GET /evil HTTP/1.1"#
            ),
        );
    }

    #[test]
    fn of_two_clients_outside_quotes_none_is_believed() {
        let said = r#"open() "/x", client: 6.6.6.6, server: evil, "" failed, client: 1.2.3.4, server: s"#;
        let line = format!("{HEAD}{said}");
        let line = ErrorLine::parse(&line).unwrap();
        assert!(line.ambiguous);
        assert_eq!((line.client, line.message.as_ref()), (None, said));
    }

    #[test]
    fn a_line_that_was_cut_in_its_request_keeps_the_rest_as_text() {
        check(
            r#"x, client: 1.2.3.4, server: s, request: "GET /aaaa"#,
            r#"x, request: "GET /aaaa|1.2.3.4|s|-|-|-"#,
        );
    }

    #[test]
    fn the_header_tells_level_process_and_connection() {
        let line =
            ErrorLine::parse("2026/11/20 23:40:00 [notice] 1#0: using the \"epoll\" event method").unwrap();
        assert_eq!((line.level, line.pid, line.tid, line.connection), (Level::Info, 1, 0, None));
        let line = ErrorLine::parse("2026/11/20 23:40:00 [warn] 9#8: *7 x").unwrap();
        assert_eq!((line.level, line.pid, line.tid, line.connection), (Level::Warn, 9, 8, Some(7)));
    }

    #[test]
    fn other_text_is_no_error_line() {
        for text in [
            "",
            "2026/11/20 23:40:00 [loud] 1#0: x",
            "2026/11/20 23:40:00 [error] 1: x",
            "2026-11-20 23:40:00 [error] 1#0: x",
            "2026/11/20 23:40:00 error 1#0: x",
            "2026/11/20 23:40:0é [error] 1#0: x",
        ] {
            assert!(ErrorLine::parse(text).is_none(), "{text}");
        }
    }
}
