//! A few threads that read branches. A read takes some microseconds: a pool that grows with its callers would spend more
//! on waking its threads than on reading.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::failure::Failure;

/// How many reads run side by side: enough that one repository on a slow disk does not hold up the others.
pub(super) const READERS: usize = 4;

/// Something to read.
type Job = Box<dyn FnOnce() + Send>;

/// The way to the readers. They end when it is dropped.
pub(super) struct Readers(Sender<Job>);

impl Readers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..count {
            let waiting = Arc::clone(&waiting);
            std::thread::Builder::new().name(format!("reader-{number}")).spawn(move || read(&waiting))?;
        }
        Ok(Self(jobs))
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
        let _taken = self.0.send(Box::new(job));
    }
}

fn read(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().recv();
        let Ok(job) = job else { return };
        // What follows a read must not take its reader along either.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("reading a branch panicked");
        }
    }
}
