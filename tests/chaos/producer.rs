//! Whoever logs: numbered lines at a steady pace, over a unix stream.

use std::io;
use std::path::Path;
use std::time::Duration;

use pillion::clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::book::Book;
use super::within;

/// Bytes of a line, its newline included.
pub(super) const LINE: usize = 300;

/// How often it writes.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// How often it says that the last line has been said.
const LAST_TICK: Duration = Duration::from_millis(50);

/// Gives lines until `finish` and a last one until that has arrived; returns how many it gave. When the daemon goes
/// it waits for the next one, and goes on with the first line that the kernel did not take whole.
pub(super) async fn produce(path: &Path, rate: u32, finish: &CancellationToken, book: &Book) -> u64 {
    let mut given = 0;
    loop {
        let mut stream = connect(path).await;
        let begin = (clock::now(), given);
        loop {
            if finish.is_cancelled() {
                if say_last(&mut stream, book).await.is_ok() {
                    return given;
                }
                break;
            }
            tokio::time::sleep(TICK).await;
            let due = begin.1 + (begin.0.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            // What was held up is made good for in steps.
            let due = due.min(given + u64::from(rate) / 20);
            let (taken, result) = give(&mut stream, given..due).await;
            given += taken;
            if result.is_err() {
                break;
            }
        }
    }
}

async fn connect(path: &Path) -> UnixStream {
    let connected = async {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(TICK).await,
            }
        }
    };
    within("pillion takes lines", connected).await
}

/// Writes lines; how many the kernel took whole.
async fn give(stream: &mut UnixStream, numbers: std::ops::Range<u64>) -> (u64, io::Result<()>) {
    let bytes: Vec<u8> = numbers.flat_map(line).collect();
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest).await {
            Ok(more) => written += more,
            Err(error) => return ((written / LINE) as u64, Err(error)),
        }
    }
    ((written / LINE) as u64, Ok(()))
}

async fn say_last(stream: &mut UnixStream, book: &Book) -> io::Result<()> {
    while !book.tally().ended {
        stream.write_all(b"{\"last\":true}\n").await?;
        tokio::time::sleep(LAST_TICK).await;
    }
    Ok(())
}

fn line(number: u64) -> Vec<u8> {
    let mut line = format!("{{\"n\":{number},\"message\":\"").into_bytes();
    line.resize(LINE - 3, b'x');
    line.extend_from_slice(b"\"}\n");
    line
}
