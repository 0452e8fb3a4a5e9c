//! One question for all who ask the same at the same time.
//!
//! The question is driven by whoever waits for it: it goes on when the first who asked leaves, and ends when all have
//! left. There are never more questions than clients that wait for one.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use futures_util::future::WeakShared;

use super::cache::TokenHash;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Questions<T> = Arc<Mutex<HashMap<TokenHash, WeakShared<Boxed<T>>>>>;

/// The questions that are being asked.
pub(super) struct Flight<T: Clone> {
    questions: Questions<T>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// No question yet.
    pub(super) fn new() -> Self {
        Self { questions: Arc::default() }
    }

    /// The answer to the question about `token`, and true if another one asked it; `ask` makes it when nobody does.
    pub(super) async fn join<F>(&self, token: TokenHash, ask: impl FnOnce() -> F) -> (T, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (question, joined) = self.question(token, ask);
        (question.await, joined)
    }

    fn question<F>(&self, token: TokenHash, ask: impl FnOnce() -> F) -> (Shared<Boxed<T>>, bool)
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = questions.get(&token).and_then(WeakShared::upgrade) {
            return (question, true);
        }
        let end = End { questions: Arc::clone(&self.questions), token };
        let asked = ask();
        let boxed: Boxed<T> = Box::pin(async move {
            let _end = end;
            asked.await
        });
        let question = boxed.shared();
        if let Some(weak) = question.downgrade() {
            questions.insert(token, weak);
        }
        (question, false)
    }
}

/// Takes the question out when it is answered or given up.
///
/// When all have left and another asks at the same moment, that one's question may be taken out: a third asks again then.
struct End<T: Clone> {
    questions: Questions<T>,
    token: TokenHash,
}

impl<T: Clone> Drop for End<T> {
    fn drop(&mut self) {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.token);
    }
}

impl<T: Clone> std::fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flight")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;
    use std::task::Context;
    use std::task::Waker;
    use tokio::sync::oneshot;

    fn waits<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn who_asks_the_same_meanwhile_gets_the_same_answer() {
        let flight = Flight::new();
        let token = TokenHash::of("t");
        let asked = Arc::new(AtomicU32::new(0));
        let (answer, answered) = oneshot::channel::<u32>();
        let (first, second) = {
            let asked = Arc::clone(&asked);
            let first = flight.join(token, move || async move {
                asked.fetch_add(1, Ordering::Relaxed);
                answered.await.unwrap()
            });
            (first, flight.join(token, || async { unreachable!("somebody asks already") }))
        };
        let tell = async { answer.send(7).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, tell);
        assert_eq!((first, second), ((7, false), (7, true)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(flight.join(token, || async { 8 }).await, (8, false), "the next one asks anew");
        assert!(flight.questions.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_question_outlives_the_first_who_asked_and_not_the_last() {
        let flight = Flight::new();
        let token = TokenHash::of("t");
        let (answer, answered) = oneshot::channel::<u32>();
        let mut first = Box::pin(flight.join(token, move || async move { answered.await.unwrap() }));
        assert!(waits(&mut first));
        let mut second = Box::pin(flight.join(token, || async { 0 }));
        assert!(waits(&mut second));
        drop(first);
        answer.send(7).unwrap();
        assert_eq!(second.await, (7, true));

        let mut alone = Box::pin(flight.join(token, std::future::pending));
        assert!(waits(&mut alone));
        drop(alone);
        assert!(flight.questions.lock().unwrap().is_empty(), "nobody waits, so nobody asks");
    }
}
