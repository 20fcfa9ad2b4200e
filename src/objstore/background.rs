//! Work that goes on after whoever began it has left: aborts of uploads.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Tasks that nobody waits for but [`Background::settle`].
#[derive(Debug, Clone, Default)]
pub(super) struct Background {
    /// Of the whole bucket.
    all: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Ends of those that began in this scope, if it is one.
    own: Option<Arc<Mutex<Vec<oneshot::Receiver<()>>>>>,
}

impl Background {
    /// The same, but [`Self::settle`] waits only for what begins in it.
    pub fn scope(&self) -> Self {
        Self {
            all: Arc::clone(&self.all),
            own: Some(Arc::default()),
        }
    }

    /// Begins a task.
    pub fn begin(&self, handle: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let (done, ended) = oneshot::channel::<()>();
        let task = handle.spawn(async move {
            // Dropped at the end of the task, also if it is cancelled.
            let _done = done;
            task.await;
        });
        if let Some(own) = &self.own {
            lock(own).push(ended);
        }
        let mut all = lock(&self.all);
        all.retain(|task| !task.is_finished());
        all.push(task);
    }

    /// Waits until all of them have ended, those that begin meanwhile included.
    pub async fn settle(&self) {
        while let Some(own) = &self.own {
            let ends = std::mem::take(&mut *lock(own));
            if ends.is_empty() {
                return;
            }
            for end in ends {
                // Nothing is ever sent: the end is what counts.
                let _ = end.await;
            }
        }
        loop {
            let tasks = std::mem::take(&mut *lock(&self.all));
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                // A task that panicked or was cancelled has nothing to wait for.
                drop(task.await);
            }
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scope_waits_for_its_own_tasks_only() {
        let all = Background::default();
        let (one, two) = (all.scope(), all.scope());
        let (wedged, never) = oneshot::channel::<()>();
        one.begin(&Handle::current(), async move {
            let _ = never.await;
        });
        two.begin(&Handle::current(), std::future::ready(()));
        two.settle().await;
        {
            let mut waits = std::pin::pin!(one.settle());
            assert!(futures::poll!(waits.as_mut()).is_pending());
            drop(wedged);
            waits.await;
        }
        all.settle().await;
    }
}
