//! The connections that stay for the last events only, when the daemon stops.

use tokio::sync::watch;

/// Counts a connection that stays for the last events only.
pub(super) struct Lingering<'a>(&'a watch::Sender<usize>);

impl<'a> Lingering<'a> {
    pub(super) fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
