//! Receives datagrams, each of which holds one line or more.

use std::io;
use std::pin::pin;

use super::intake::Ending;
use super::intake::Intake;
use super::intake::LAST_CALL;
use super::intake::LAST_READS;
use super::intake::PAUSE;
use super::intake::READ;
use crate::net::Datagram;

/// The longest datagram.
const DATAGRAM_MAX: usize = 256 * 1024;

/// Receives until the tasks are stopped.
pub(super) async fn receive(socket: Datagram, intake: Intake) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut stopping = pin!(intake.tasks.stopping());
    let mut last = 0;
    while last <= LAST_READS {
        tokio::select! {
            biased;
            ready = socket.readable() => match ready.and_then(|()| drain(&socket, &mut buffer)) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    let troubles = intake.script.as_ref().map(|script| (script, script.troubles(&bytes)));
                    if !intake.give(bytes, Ending::Whole).await {
                        return;
                    }
                    if let Some((script, troubles)) = troubles {
                        script.stall(&troubles, &intake).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the sink could not receive");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            () = &mut stopping, if last == 0 => {}
            () = tokio::time::sleep(LAST_CALL), if last > 0 => return,
        }
        if intake.tasks.is_stopping() {
            last += 1;
        }
    }
}

/// What is there of datagrams, as lines.
fn drain(socket: &Datagram, buffer: &mut [u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < READ {
        match socket.try_recv(buffer) {
            Ok(length) => {
                bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
                if bytes.last() != Some(&b'\n') {
                    bytes.push(b'\n');
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
