//! A few threads that read branches. A read takes some microseconds: a pool that grows with its callers would spend more
//! on waking its threads than on reading. Only where all of them are busy, as with disks that do not answer, one is lent to
//! them: a repository that hangs must not hang the others.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::failure::Failure;

/// How many reads run side by side: enough that one repository on a slow disk does not hold up the others.
pub(super) const READERS: usize = 4;

/// Something to read.
type Job = Box<dyn FnOnce() + Send>;

/// The way to the readers. They end when it is dropped.
pub(super) struct Readers {
    jobs: Sender<Job>,
    desk: Arc<Desk>,
}

/// Where jobs wait.
struct Desk {
    waiting: Mutex<Receiver<Job>>,
    readers: usize,
    busy: AtomicUsize,
    /// Whence a thread is lent; where none is, one reader reads in order.
    lender: Option<Handle>,
}

impl Readers {
    /// Starts so many threads. The runtime lends more where all of them are busy.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(super) fn start(count: usize, lender: Option<Handle>) -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let (waiting, busy) = (Mutex::new(waiting), AtomicUsize::new(0));
        let desk = Arc::new(Desk { waiting, readers: count, busy, lender });
        for number in 0..count {
            let desk = Arc::clone(&desk);
            std::thread::Builder::new().name(format!("reader-{number}")).spawn(move || desk.read())?;
        }
        Ok(Self { jobs, desk })
    }

    /// Has one of them read something, and do what follows from it. A read that panics is a failure like others.
    pub(super) fn run<T>(
        &self,
        read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
        then: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        let job = move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
            then(done.unwrap_or(Err(Failure::Broken("reading a branch"))));
        };
        // Fails only when every reader is gone, and then nobody gets an answer.
        let _taken = self.jobs.send(Box::new(job));
        if self.desk.busy.load(Ordering::SeqCst) == self.desk.readers {
            self.desk.lend();
        }
    }
}

impl Desk {
    fn read(self: &Arc<Self>) {
        loop {
            let job = self.waiting.lock().recv();
            let Ok(job) = job else { return };
            // What came in before this one was the last to be busy has nobody else to see to it.
            if self.busy.fetch_add(1, Ordering::SeqCst) + 1 == self.readers {
                self.lend();
            }
            do_one(job);
            self.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Has a thread do what waits, unless a reader has come back to wait for it. Each job may be one that hangs, and so sends
    /// for the next thread before it is begun.
    fn lend(self: &Arc<Self>) {
        let Some(lender) = &self.lender else { return };
        let desk = Arc::clone(self);
        // Nobody waits for the thread, but for what it reads.
        drop(lender.spawn_blocking(move || {
            let job = desk.waiting.try_lock().and_then(|waiting| waiting.try_recv().ok());
            if let Some(job) = job {
                desk.lend();
                do_one(job);
            }
        }));
    }
}

fn do_one(job: Job) {
    // What follows a read must not take its reader along either.
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
        tracing::error!("reading a branch panicked");
    }
}
