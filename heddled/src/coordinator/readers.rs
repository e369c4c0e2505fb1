//! A few threads that read branches. A read takes some microseconds: a pool that grows with its callers would spend more
//! on waking its threads than on reading.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

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

    /// Has one of them do a job. One that panics answers nobody, and whoever waits for it notices.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // Fails only when every reader is gone, and then nobody gets an answer.
        let _taken = self.0.send(Box::new(job));
    }
}

fn read(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().recv();
        let Ok(job) = job else { return };
        // A job that panics must not take its reader along.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("reading a branch panicked");
        }
    }
}
