//! For tests: what the log shows to this thread.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;

use super::{Masked, filter};

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is shown to this thread, until it is dropped.
pub(crate) struct Shown {
    page: Page,
    _guard: DefaultGuard,
}

impl Shown {
    /// Shows what this filter lets through.
    pub(crate) fn at(filter_text: &str) -> Self {
        let page = Page::default();
        let writer = page.clone();
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter(filter_text).unwrap())
            .with_writer(Masked(move || writer.clone()));
        let guard = tracing::subscriber::set_default(lines.finish());
        Self { page, _guard: guard }
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.page.0.lock().clone()).unwrap()
    }
}
