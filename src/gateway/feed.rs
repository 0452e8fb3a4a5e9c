//! The websocket library on borrowed bytes: what it reads has come already, what it writes is sent later.

use std::io;
use std::io::Read;
use std::io::Write;

/// What the websocket library reads from and writes to: bytes that have come, bytes to be sent.
pub(super) struct Feed<'a> {
    /// What has come and was not read yet.
    pub(super) input: &'a [u8],
    /// What is to be sent: pongs, and the answer to a close.
    pub(super) output: Vec<u8>,
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
