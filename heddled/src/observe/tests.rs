//! Tests of what the log shows; and for other tests, what it shows to their thread.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;

use super::*;

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

#[test]
fn no_token_leaves_in_a_line() {
    let shown = Shown::at("heddled=debug,warn");
    let token = format!("hrt_{}", "a2".repeat(26));
    tracing::debug!(line = %format!("{{\"reservation_token\":\"{token}\"}}"), "got {token} and {token}.");
    tracing::trace!("not at this level");
    let text = shown.text();
    assert!(!text.contains("a2a2"), "O1: {text}");
    assert!(text.contains("got hrt_... and hrt_...."), "{text}");
    assert!(text.contains("\"hrt_...\"}"), "{text}");
    assert!(!text.contains("not at this level"), "{text}");
}

#[test]
fn lines_without_tokens_are_left_alone() {
    for line in ["", "hrt", "hrt-x", "a line\n"] {
        assert_eq!(mask(line.as_bytes()), line.as_bytes());
    }
    assert_eq!(&*mask(b"hrt_"), b"hrt_...", "an empty one is masked too");
}

#[test]
fn a_wrong_filter_says_what_a_right_one_is() {
    let error = filter("heddled=loud").unwrap_err().to_string();
    assert!(error.contains("heddled=loud") && error.contains("heddled=debug"), "{error}");
}
