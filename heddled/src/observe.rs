//! What the daemon says about itself: lines on stderr, or entries of the journal where that leads there, filtered by level
//! and module.
//!
//! It may not print a secret. Invariant O1: whatever a line was made of, a reservation token in it is masked before it
//! leaves the process. Types hide their tokens already; this is for the ones that come in by other ways.

mod journal;

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::paths::Environment;
use journal::Journal;

/// How every reservation token begins.
const TOKEN_PREFIX: &[u8] = b"hrt_";

/// What is wrong with the setting of the log.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The filter is not one.
    #[error("'{filter}' is not a log filter such as 'info' or 'heddled=debug,warn'")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is none.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process writes the log already.
    #[error("the log has been set up already")]
    AlreadySet(#[source] tracing_subscriber::util::TryInitError),
}

/// Parses a filter: a level, or directives such as `heddled=debug,warn`.
///
/// # Errors
///
/// [`ObserveError::Filter`].
pub fn filter(filter: &str) -> Result<EnvFilter, ObserveError> {
    EnvFilter::builder().parse(filter).map_err(|source| ObserveError::Filter { filter: filter.to_owned(), source })
}

/// Begins to write the log to stderr or the journal behind it, for the whole process.
///
/// # Errors
///
/// [`ObserveError::Filter`] if the filter is not one, [`ObserveError::AlreadySet`] if it is the second time.
pub fn init(filter_text: &str, environment: &Environment) -> Result<(), ObserveError> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    if let Some(journal) = Journal::behind(environment, io::stderr()) {
        let subscriber = tracing_subscriber::registry().with(filter(filter_text)?).with(journal);
        return subscriber.try_init().map_err(ObserveError::AlreadySet);
    }
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter(filter_text)?).with_writer(Masked(io::stderr));
    subscriber.finish().try_init().map_err(ObserveError::AlreadySet)
}

/// Makes writers that mask tokens (O1). Each event is written in one piece, so no token can be split between two.
#[derive(Clone, Debug)]
pub struct Masked<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Masked<M> {
    type Writer = MaskedWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        MaskedWriter(self.0.make_writer())
    }
}

/// Masks tokens in what is written.
#[derive(Debug)]
pub struct MaskedWriter<W>(W);

impl<W: Write> Write for MaskedWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(&mask(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A text that somebody sent, as far as it may be repeated: without the tokens in it.
#[must_use]
pub fn masked(text: &str) -> String {
    String::from_utf8_lossy(&mask(text.as_bytes())).into_owned()
}

/// Replaces what follows each token prefix.
fn mask(line: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(mut at) = find_token(line) else { return line.into() };
    let (mut masked, mut rest) = (Vec::with_capacity(line.len()), line);
    loop {
        let (before, token) = rest.split_at(at + TOKEN_PREFIX.len());
        masked.extend_from_slice(before);
        masked.extend_from_slice(b"...");
        let secret = token.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        rest = &token[secret..];
        match find_token(rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    masked.extend_from_slice(rest);
    masked.into()
}

fn find_token(line: &[u8]) -> Option<usize> {
    line.windows(TOKEN_PREFIX.len()).position(|window| window == TOKEN_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_token_leaves_in_a_line() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter("heddled=debug,warn").unwrap())
            .with_writer(Masked(move || writer.clone()))
            .finish();
        let token = format!("hrt_{}", "a2".repeat(26));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(line = %format!("{{\"reservation_token\":\"{token}\"}}"), "got {token} and {token}.");
            tracing::trace!("not at this level");
        });
        let text = String::from_utf8(sink.0.lock().clone()).unwrap();
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
}
