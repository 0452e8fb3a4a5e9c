//! A connection within the process: what one side writes is the body of an answer that the other side reads.
//!
//! The writing half behaves as a socket does: it takes what there is room for, says when there is room again, and can
//! be read to learn that nobody reads any longer. The reading half gives what was written, in pieces. An idle pipe
//! holds no buffer.
//!
//! Limit: [`CAPACITY`] bytes lie in a pipe; a writer that has more gets `WouldBlock`, and waits.

use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use bytes::Bytes;
use tokio::io::Ready;
use tokio::sync::Notify;

/// The bytes that lie in a pipe at the most. Behind it the reader holds as much again, and the kernel its buffers:
/// enough to write in pieces of sensible size, and little beside a client's queue.
const CAPACITY: usize = 16 * 1024;

/// The half that is written to.
#[derive(Debug)]
pub struct Pipe {
    shared: Arc<Shared>,
    /// Told when the half is gone.
    ended: Arc<Notify>,
}

/// The half that is read from.
#[derive(Debug)]
pub struct PipeReader {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    /// Nothing further is written.
    finished: bool,
    /// Nobody reads any longer.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    /// A pipe; `ended` is told when its writing half is dropped.
    #[must_use]
    pub fn new(ended: Arc<Notify>) -> (Self, PipeReader) {
        let shared = Arc::new(Shared::default());
        (Self { shared: Arc::clone(&shared), ended }, PipeReader { shared })
    }

    /// Says that nothing further is written: the reader gets what is there, then the end.
    pub fn finish(&self) {
        let mut state = self.shared.state();
        state.finished = true;
        wake(state, |state| state.reader.take());
    }

    /// Looks whether the reader has gone, which is all that can be read here; only the last task that asked is woken.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        let mut state = self.shared.state();
        if state.abandoned {
            return Poll::Ready(Ok(Ready::READABLE));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until there is room to write.
    pub(super) async fn room(&self) -> io::Result<Ready> {
        poll_fn(|context| self.poll_room(context)).await;
        Ok(Ready::WRITABLE)
    }

    /// The end, when the reader has gone; `WouldBlock` before.
    pub(super) fn try_read(&self) -> io::Result<usize> {
        if self.shared.state().abandoned { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Writes as much as there is room for; `WouldBlock` when there is none.
    pub(super) fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.shared.state();
        if state.abandoned || state.finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = state.buffer.len();
        for buffer in buffers {
            let room = CAPACITY.saturating_sub(state.buffer.len());
            let taken = buffer.get(..room.min(buffer.len())).unwrap_or_default();
            state.buffer.extend_from_slice(taken);
        }
        let written = state.buffer.len() - before;
        if written == 0 && buffers.iter().any(|buffer| !buffer.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wake(state, |state| state.reader.take());
        Ok(written)
    }

    /// Looks whether there is room to write, or nobody to write for, which the write will tell.
    pub(super) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.state();
        if state.abandoned || state.buffer.len() < CAPACITY {
            return Poll::Ready(());
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.finish();
        self.ended.notify_one();
    }
}

impl PipeReader {
    /// The next bytes, or `None` behind the last ones.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.shared.state();
        if !state.buffer.is_empty() {
            let piece = mem::take(&mut state.buffer);
            wake(state, |state| state.writer.take());
            return Poll::Ready(Some(piece.into()));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.abandoned = true;
        state.buffer = Vec::new();
        wake(state, |state| state.writer.take());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whoever waits, outside the lock: that task may run at once.
fn wake(mut state: MutexGuard<'_, State>, who: impl FnOnce(&mut State) -> Option<Waker>) {
    let waker = who(&mut state);
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::task::Wake;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn pipe() -> (Pipe, PipeReader) {
        Pipe::new(Arc::default())
    }

    fn write(pipe: &Pipe, bytes: &[u8]) -> Result<usize, io::ErrorKind> {
        pipe.try_write_vectored(&[IoSlice::new(bytes)]).map_err(|error| error.kind())
    }

    fn read(reader: &mut PipeReader, count: &Arc<Count>) -> Poll<Option<Bytes>> {
        reader.poll_piece(&mut Context::from_waker(&Waker::from(Arc::clone(count))))
    }

    #[test]
    fn a_full_pipe_takes_a_part_then_nothing_until_it_is_read() {
        let (pipe, mut reader) = pipe();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert!(pipe.poll_room(&mut context).is_ready());
        let slices = [IoSlice::new(b"ab"), IoSlice::new(&[7; CAPACITY])];
        assert_eq!(pipe.try_write_vectored(&slices).unwrap(), CAPACITY);
        assert_eq!(write(&pipe, b"x"), Err(io::ErrorKind::WouldBlock));
        assert_eq!(write(&pipe, b""), Ok(0), "nothing fits everywhere");
        assert!(pipe.poll_room(&mut context).is_pending());
        let Poll::Ready(Some(piece)) = read(&mut reader, &Arc::default()) else { panic!("nothing there") };
        assert_eq!((piece.len(), &piece[..3]), (CAPACITY, &b"ab\x07"[..]));
        assert_eq!(count.woken(), 1);
        assert!(pipe.poll_room(&mut context).is_ready());
        assert_eq!(write(&pipe, b"x"), Ok(1));
    }

    #[test]
    fn the_reader_is_woken_by_what_comes_and_by_the_end() {
        let (pipe, mut reader) = pipe();
        let count = Arc::new(Count::default());
        assert_eq!(read(&mut reader, &count), Poll::Pending);
        assert_eq!((write(&pipe, b"a"), write(&pipe, b"b"), count.woken()), (Ok(1), Ok(1), 1));
        assert_eq!(read(&mut reader, &count), Poll::Ready(Some(Bytes::from_static(b"ab"))));
        assert_eq!(read(&mut reader, &count), Poll::Pending);
        write(&pipe, b"last").unwrap();
        pipe.finish();
        assert_eq!(write(&pipe, b"too late"), Err(io::ErrorKind::BrokenPipe));
        assert_eq!(read(&mut reader, &count), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(read(&mut reader, &count), Poll::Ready(None));
    }

    #[tokio::test]
    async fn whoever_drops_the_writing_half_ends_the_pipe() {
        let ended = Arc::new(Notify::new());
        let (pipe, mut reader) = Pipe::new(Arc::clone(&ended));
        drop(pipe);
        ended.notified().await;
        assert_eq!(read(&mut reader, &Arc::default()), Poll::Ready(None));
    }

    #[test]
    fn a_reader_that_goes_can_be_read_as_the_end() {
        let (pipe, reader) = pipe();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert!(pipe.poll_readable(&mut context).is_pending());
        assert_eq!(pipe.try_read().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        write(&pipe, &[7; CAPACITY]).unwrap();
        assert!(pipe.poll_room(&mut context).is_pending());
        drop(reader);
        assert_eq!(count.woken(), 1);
        assert!(matches!(pipe.poll_readable(&mut context), Poll::Ready(Ok(ready)) if ready.is_readable()));
        assert!(pipe.poll_room(&mut context).is_ready(), "the write tells");
        assert_eq!(pipe.try_read().unwrap(), 0);
        assert_eq!(write(&pipe, b"x"), Err(io::ErrorKind::BrokenPipe));
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            writes in prop::collection::vec((0_usize..9000, any::<bool>()), 0..20),
        ) {
            let (pipe, mut reader) = pipe();
            let (mut sent, mut got) = (Vec::new(), Vec::new());
            for (index, (length, reads)) in writes.into_iter().enumerate() {
                let bytes = vec![index as u8; length];
                if let Ok(written) = write(&pipe, &bytes) {
                    sent.extend_from_slice(&bytes[..written]);
                }
                while let Poll::Ready(Some(piece)) = read(&mut reader, &Arc::default()) {
                    prop_assert!(piece.len() <= CAPACITY);
                    got.extend_from_slice(&piece);
                    if !reads { break; }
                }
            }
            drop(pipe);
            while let Poll::Ready(Some(piece)) = read(&mut reader, &Arc::default()) {
                got.extend_from_slice(&piece);
            }
            prop_assert!(sent == got);
        }
    }
}
