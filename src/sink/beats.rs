//! Reads windows of records from a connection, and acknowledges each when all of it has been printed.
//!
//! As Logstash does, it takes a window whole or not at all: what came of one that did not end is forgotten, since
//! the sender will send it again. A window with a line that can not be taken is not acknowledged, and its connection
//! closed. While a window waits to be printed, a sign of life is sent every [`KEEP_ALIVE`].

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::oneshot;

use super::faults::Next;
use super::faults::Script;
use super::faults::Trouble;
use super::faults::stall;
use super::intake::Batch;
use super::intake::Ending;
use super::intake::Intake;
use super::intake::Item;
use super::socket::Ear;
use super::socket::Heard;
use super::socket::Socket;
use crate::wire::lumberjack::Event;
use crate::wire::lumberjack::Limits;
use crate::wire::lumberjack::Reader;
use crate::wire::lumberjack::ack_into;

/// The interval of the signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The most bytes of one window: sixteen times what a sender should put into one. More ends the connection.
const WINDOW_MAX: usize = 64 * 1024 * 1024;

/// Reads until the connection ends or the tasks are stopped.
pub(super) async fn read(mut ear: Ear<impl Socket>, intake: &Intake) {
    let mut reader = Reader::new(Limits::default());
    let (mut bytes, mut window, mut first) = (Vec::new(), Vec::new(), true);
    loop {
        bytes.clear();
        match ear.hear(&mut bytes, intake).await {
            Heard::Bytes => {}
            Heard::Closed if reader.is_torn() => {
                intake
                    .complain("a connection closed within a window: nothing of it was taken".to_owned())
                    .await;
                return;
            }
            Heard::Silence => {
                // The abrupt end is what Logstash does.
                ear.reset_at_end();
                return;
            }
            Heard::Closed | Heard::Stopped => return,
        }
        intake.gate().await;
        let foreign = std::mem::take(&mut first) && intake.foreign(&bytes).await.is_some();
        if foreign || !windows(&mut reader, &mut window, &bytes, &mut ear, intake).await {
            return;
        }
    }
}

/// Takes what has been read; false when the connection must end.
async fn windows<S: Socket>(
    reader: &mut Reader,
    window: &mut Vec<u8>,
    bytes: &[u8],
    ear: &mut Ear<S>,
    intake: &Intake,
) -> bool {
    let mut bytes = bytes;
    loop {
        match reader.next(&mut bytes) {
            Ok(None) => return true,
            Ok(Some(Event::Window(_))) => window.clear(),
            Ok(Some(Event::Json { json, .. })) => {
                let start = window.len();
                window.extend_from_slice(json);
                // Between the tokens of JSON a blank is as good as a line break, and within a text none may be.
                if let Some(own) = window.get_mut(start..) {
                    own.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
                }
                window.push(b'\n');
                if window.len() > WINDOW_MAX {
                    let complaint = format!("a connection sent a window of more than {WINDOW_MAX} bytes");
                    intake.complain(complaint).await;
                    return false;
                }
            }
            Ok(Some(Event::End(highest))) => {
                let within = !bytes.is_empty();
                if !end(std::mem::take(window), highest, (ear, within), intake).await {
                    return false;
                }
            }
            Err(error) => {
                intake.complain(format!("a connection broke the protocol of beats: {error}")).await;
                return false;
            }
        }
    }
}

/// Hands a window on and acknowledges it; false when the connection must end.
async fn end<S: Socket>(
    window: Vec<u8>,
    highest: u32,
    (ear, within): (&mut Ear<S>, bool),
    intake: &Intake,
) -> bool {
    let script = intake.script.as_deref();
    if script.is_some_and(|script| script.refuses(&window)) {
        return false;
    }
    let troubles = script.map(|script| script.troubles(&window)).unwrap_or_default();
    if !window.is_empty() {
        let (sender, verdict) = oneshot::channel();
        let batch = Batch { bytes: window, ending: Ending::Whole, verdict: Some(sender) };
        let handed = intake.items.send(Item::Lines(batch)).await.is_ok();
        // Bad lines have been complained of; Logstash closes the connection for them too.
        if !handed || !matches!(alive(ear, verdict).await, Some(Ok(true))) {
            return false;
        }
    }
    intake.gate().await;
    match script {
        Some(script) if highest > 0 => act(script, &troubles, highest, (ear, within), intake).await,
        _ => acknowledge(ear, highest).await,
    }
}

async fn acknowledge<S: Socket>(ear: &mut Ear<S>, sequence: u32) -> bool {
    let mut ack = Vec::new();
    ack_into(&mut ack, sequence);
    ear.say(&ack).await
}

/// Acknowledges as far as nothing goes wrong on purpose; false when the connection must end.
async fn act<S: Socket>(
    script: &Script,
    troubles: &[Trouble],
    highest: u32,
    (ear, within): (&mut Ear<S>, bool),
    intake: &Intake,
) -> bool {
    let mut due = true;
    for &trouble in troubles {
        if trouble == Trouble::Reset && !acknowledge(ear, highest).await {
            return false;
        }
        if script.play(trouble, (ear, within), intake).await == Next::Leave {
            return false;
        }
        due &= trouble != Trouble::Garbage;
    }
    if !due {
        return true;
    }
    if let Some(late) = script.ack_late()
        && alive(ear, stall(Some(late), intake)).await.is_none()
    {
        return false;
    }
    if let Some(half) = script.ack_partly(highest) {
        if acknowledge(ear, half).await {
            ear.reset_at_end();
        }
        return false;
    }
    acknowledge(ear, highest).await
}

/// Sends signs of life until `done`; `None` when the peer does not take them.
async fn alive<S: Socket, F: Future>(ear: &mut Ear<S>, done: F) -> Option<F::Output> {
    let mut done = pin!(done);
    loop {
        tokio::select! {
            biased;
            output = &mut done => return Some(output),
            () = tokio::time::sleep(KEEP_ALIVE) => {
                if !acknowledge(ear, 0).await {
                    return None;
                }
            }
        }
    }
}
