//! The threads plugins run on, and the queue before them.
//!
//! Runs never take a thread of the async runtime: they are short, but nobody else waits for
//! them. Owns threads and queue; knows nothing of what it runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender};
use tokio::sync::{Semaphore, oneshot};

use super::settings::GUEST_STACK;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads behind a bounded queue.
pub(super) struct Workers {
    /// Taken when the threads are to stop.
    sender: Option<Sender<Job>>,
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start(threads: usize, queue: usize) -> std::io::Result<Self> {
        let (threads, queue) = (threads.max(1), queue.max(1));
        let (sender, receiver) = crossbeam_channel::bounded(queue);
        let threads = (0..threads)
            .map(|i| {
                let receiver = receiver.clone();
                thread::Builder::new()
                    .name(format!("plugin-{i}"))
                    // The guest's part, and as much again and more for the host's own frames.
                    .stack_size(GUEST_STACK + (2 << 20))
                    .spawn(move || work(&receiver))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { sender: Some(sender), room: Arc::new(Semaphore::new(queue)), threads })
    }

    /// Runs `job` on one of the threads; waits while the queue is full. None if it panicked.
    ///
    /// Once it is in the queue it runs, also if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let (answer, wait) = oneshot::channel();
        let job = Box::new(move || {
            let result = job();
            drop(permit);
            // Whoever asked may have gone.
            let _ = answer.send(result);
        });
        // There are as many permits as places, so this does not block.
        self.sender.as_ref()?.send(job).ok()?;
        wait.await.ok()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        drop(self.sender.take());
        for handle in self.threads.drain(..) {
            // The last owner may be a job on one of these threads, which cannot wait for
            // itself.
            if handle.thread().id() != thread::current().id() {
                // A worker catches panics; there is nothing left to report.
                let _ = handle.join();
            }
        }
    }
}

fn work(jobs: &Receiver<Job>) {
    wasmtime::Engine::tls_eager_initialize();
    for job in jobs {
        // The panic itself was reported by the panic hook; the asker sees a dropped answer.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn a_full_queue_waits_and_a_panic_harms_nobody() {
        let workers = Arc::new(Workers::start(2, 2).unwrap());
        let ran = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..50)
            .map(|i| {
                let (workers, ran) = (Arc::clone(&workers), Arc::clone(&ran));
                tokio::spawn(async move {
                    workers
                        .run(move || {
                            ran.fetch_add(1, Ordering::SeqCst);
                            assert!(i % 10 != 0, "as some jobs do");
                            std::thread::sleep(Duration::from_millis(1));
                            i
                        })
                        .await
                })
            })
            .collect();
        for (i, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), (i % 10 != 0).then_some(i));
        }
        assert_eq!(ran.load(Ordering::SeqCst), 50);
    }
}
