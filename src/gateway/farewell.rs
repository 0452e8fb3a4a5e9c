//! The end of a session: it leaves its rooms, the client is told, and the record says why.

use std::io;
use std::time::Duration;

use tokio::io::Interest;

use crate::clock;
use crate::gateway::CloseReason;
use crate::gateway::client::Client;
use crate::metrics::ByDialect;
use crate::metrics::ByReason;
use crate::trail::Ending;

/// How long a client may take to answer a close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Ends the session of a client.
pub(super) async fn part(client: Client, reason: CloseReason) {
    let link = &client.link;
    link.close(reason.clone());
    for room in client.session.rooms() {
        client.exit(room, None);
    }
    if reason.says_goodbye() {
        if reason != CloseReason::ClientClosed {
            link.say_goodbye(&link.form().goodbye(&reason));
        }
        // Whoever does not take the goodbye in time does without it.
        drop(tokio::time::timeout(CLOSE_WAIT, say_goodbye(&client, &reason)).await);
    }
    client.shared.lost.closed.inc_by(link.give_up() as u64);
    record(&client, &reason);
    client.depart();
}

/// Writes what waits, then reads until the client has closed too: closing first could cost it the goodbye.
async fn say_goodbye(client: &Client, reason: &CloseReason) {
    let link = &client.link;
    let mut scratch = [0; 512];
    loop {
        let Ok(expired) = link.flush(clock::uptime(), &mut client.shared.observer()) else { return };
        client.shared.lost.expired.inc_by(expired as u64);
        let interest = if link.is_flushed() {
            if *reason == CloseReason::ClientClosed {
                return;
            }
            link.stream().finish();
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        if link.stream().ready(interest).await.is_err() {
            return;
        }
        loop {
            match link.stream().try_read(&mut scratch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
    }
}

/// Writes down how the session ended, and counts it.
fn record(client: &Client, reason: &CloseReason) {
    let means = &client.shared.means;
    let (trail, metrics) = (&means.trail, &means.metrics);
    let (subject, detail) = (client.subject(), reason.detail());
    let code = reason.code(client.link.form().dialect());
    metrics.closes.get_or_create(&ByReason { reason: reason.name() }).inc();
    if client.session.identity().is_none() {
        metrics.logins_failed.get_or_create(&ByReason { reason: reason.name() }).inc();
        if reason.refuses_login() && subject.token.is_some() {
            trail.login_failed(&subject, code, &detail);
        } else {
            trail.wsconn_failed(&subject, code, &detail);
        }
        return;
    }
    match reason {
        CloseReason::Slow { .. } => trail.memory_msg(&subject, &detail),
        CloseReason::BadRequest(_)
        | CloseReason::ProtocolError(_)
        | CloseReason::TooLong { .. }
        | CloseReason::NotUtf8 => trail.web_err(&subject, code, &detail),
        _ => {}
    }
    let unsent = client.link.unsent();
    let slowest = client.link.slowest();
    if unsent > 0 {
        trail.msg_send_failed(&subject, slowest, &format!("{unsent} messages were not sent: {detail}"));
    }
    let silence = clock::uptime().saturating_sub(client.link.signs().heard);
    let ending = Ending { code, reason: reason.name(), send_time_delay: slowest, silence, desc: &detail };
    trail.logout(&subject, &ending);
    let dialect = ByDialect { dialect: client.link.form().name() };
    metrics.sessions.get_or_create(&dialect).dec();
}
