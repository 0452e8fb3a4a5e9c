//! Named tasks, what their end means, and how they are told to stop.
//!
//! Every task of the daemon is spawned here. A task that must not die ([`OnExit::Stop`]) takes the process down
//! with it, loudly, instead of leaving a daemon that looks alive; a task of one connection ([`OnExit::Ignore`])
//! ends in silence. Stopping has two steps: [`Tasks::stop`] asks, [`Tasks::wait`] waits until all have gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the end of a task means for the process, when nobody asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// The process can not go on without it: everything is asked to stop and `run` reports the name.
    Stop,
    /// The normal end of something short-lived, such as one connection.
    Ignore,
}

/// A cloneable handle that spawns tasks and stops them together.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    failed: Arc<Mutex<Option<&'static str>>>,
}

impl Tasks {
    /// An empty group of tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` as a task called `name`.
    pub fn spawn<F>(&self, name: &'static str, on_exit: OnExit, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match on_exit {
            OnExit::Ignore => drop(self.tracker.spawn(future)),
            OnExit::Stop => {
                let guard = Guard { tasks: self.clone(), name };
                drop(self.tracker.spawn(async move {
                    let _guard = guard;
                    future.await;
                }));
            }
        }
    }

    /// Asks every task to stop; those that listen on [`Self::stopping`] see it at once.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Resolves when the tasks are asked to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// True once the tasks were asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until every task has ended. Without a former [`Self::stop`] it may wait for ever.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// The first task that ended although the process can not go on without it.
    #[must_use]
    pub fn failed(&self) -> Option<&'static str> {
        *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The number of the thread that asks, from 0 in the order of asking: the worker that log records name.
#[must_use]
pub fn worker() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// Notices the end of a task that must not end, by return and by panic alike.
struct Guard {
    tasks: Tasks,
    name: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.tasks.is_stopping() {
            return;
        }
        tracing::error!(task = self.name, "a task that must not end has ended; stopping");
        self.tasks.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(self.name);
        self.tasks.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_must_not_end_stops_the_others() {
        let tasks = Tasks::new();
        let other = tasks.clone();
        tasks.spawn("connection", OnExit::Ignore, async {});
        tasks.spawn("listener", OnExit::Stop, async move { other.stopping().await });
        tasks.spawn("shipper", OnExit::Stop, async {});
        tasks.wait().await;
        assert_eq!(tasks.failed(), Some("shipper"));
    }

    #[tokio::test]
    async fn an_end_after_stop_is_no_failure() {
        let tasks = Tasks::new();
        let worker = tasks.clone();
        tasks.spawn("worker", OnExit::Stop, async move { worker.stopping().await });
        tasks.stop();
        tasks.wait().await;
        assert_eq!(tasks.failed(), None);
    }
}
