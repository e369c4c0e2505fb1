//! A file in the making.

/// A text that grows at its end.
#[derive(Debug)]
pub(crate) struct Page(String);

impl Page {
    /// A page that begins with this.
    pub(crate) fn new(head: String) -> Self {
        Self(head)
    }

    pub(crate) fn add(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
    }

    pub(crate) fn done(self) -> String {
        self.0
    }
}
