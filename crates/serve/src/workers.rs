//! The threads that run the model, and the queue before them.
//!
//! One thread a session, taking the next inference the moment it has finished one: under load nothing is handed back and
//! forth between them and the event loop but the answers. An inference whose caller has gone is not run.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRun {
    /// As many wait already as may.
    Full,
    /// It panicked, or the workers are gone.
    Abandoned,
}

/// Threads and their queue. They end with this handle, after what they are at.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    /// How many jobs may wait.
    capacity: usize,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.jobs.len()).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts `threads` threads, before which `capacity` jobs may wait.
    pub(crate) fn start(threads: usize, capacity: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let workers = Self { shared: Arc::clone(&shared), capacity };
        for i in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("infer-{i}")).spawn(move || shared.work())?;
        }
        Ok(workers)
    }

    /// Runs `work` on one of the threads, in order of arrival.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRun> {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move || {
            if !sender.is_closed() {
                drop(sender.send(work()));
            }
        }))?;
        receiver.await.map_err(|_| NotRun::Abandoned)
    }

    fn push(&self, job: Job) -> Result<(), NotRun> {
        let mut queue = self.shared.lock();
        // A job that an idle thread is about to take does not wait.
        if queue.jobs.len() >= self.capacity + queue.idle {
            return Err(NotRun::Full);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The caller learns of a panic by its channel closing; the thread goes on with the next.
            drop(catch_unwind(AssertUnwindSafe(job)));
        }
    }

    /// The next job; waits for one. `None` when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Barrier, mpsc},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn work_is_done_and_a_panic_spoils_only_itself() {
        let workers = Workers::start(1, 8).expect("a thread");
        assert_eq!(workers.run(|| 7).await, Ok(7));
        assert_eq!(workers.run(|| panic!("as a broken model might")).await, Err::<(), _>(NotRun::Abandoned));
        assert_eq!(workers.run(|| 8).await, Ok(8));
    }

    #[tokio::test]
    async fn what_is_more_than_may_wait_is_refused_and_what_nobody_awaits_is_not_run() {
        let workers = Arc::new(Workers::start(1, 1).expect("a thread"));
        let gate = Arc::new(Barrier::new(2));
        let (ran, runs) = mpsc::channel();
        let busy = {
            let (workers, gate) = (Arc::clone(&workers), Arc::clone(&gate));
            tokio::spawn(async move { workers.run(move || gate.wait().is_leader()).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = {
            let workers = Arc::clone(&workers);
            tokio::spawn(async move { workers.run(move || ran.send(())).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(workers.run(|| ()).await, Err(NotRun::Full));
        waiting.abort();
        drop(waiting.await);
        gate.wait();
        assert!(busy.await.expect("no panic").is_ok());
        // The job nobody awaits is still in the queue until the thread has passed it over.
        let passed_over = async {
            while workers.run(|| ()).await == Err(NotRun::Full) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), passed_over).await.expect("the queue moves on");
        assert!(runs.recv().is_err(), "its caller had gone");
    }
}
