//! What the daemon says about itself: lines on stderr, filtered by level and module.
//!
//! It may not print a secret. Invariant O1: whatever a line was made of, a reservation token in it is masked before it
//! leaves the process. Types hide their tokens already; this is for the ones that come in by other ways.

mod sink;

use std::io::{self, Write};
use std::path::Path;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use sink::{KEPT, MOST_BYTES, Sink};

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
    /// The log is gone, and what it shows with it.
    #[error("what the log shows cannot be changed")]
    Gone(#[source] reload::Error),
}

/// Parses a filter: a level, or directives such as `heddled=debug,warn`.
///
/// # Errors
///
/// [`ObserveError::Filter`].
pub fn filter(filter: &str) -> Result<EnvFilter, ObserveError> {
    EnvFilter::builder().parse(filter).map_err(|source| ObserveError::Filter { filter: filter.to_owned(), source })
}

/// What the log shows, which may change while it is written. Clones share it.
#[derive(Clone, Debug)]
pub struct Log(reload::Handle<EnvFilter, Registry>);

impl Log {
    /// Shows this from now on.
    ///
    /// # Errors
    ///
    /// [`ObserveError::Filter`] if the filter is not one, [`ObserveError::Gone`] if nothing is shown any more.
    pub fn show(&self, filter_text: &str) -> Result<(), ObserveError> {
        self.0.reload(filter(filter_text)?).map_err(ObserveError::Gone)
    }
}

/// Begins to write the log to stderr, for the whole process; see [`Sink`] for what becomes of it where stderr is the log
/// file of this state directory.
///
/// # Errors
///
/// [`ObserveError::Filter`] if the filter is not one, [`ObserveError::AlreadySet`] if it is the second time.
pub fn init(filter_text: &str, state_dir: &Path) -> Result<Log, ObserveError> {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let (shown, handle) = reload::Layer::new(filter(filter_text)?);
    // A layer keeps quiet about a line that it cannot write: the library's own subscriber would say so on stderr, which fails
    // too, and panics (O2).
    let lines = tracing_subscriber::fmt::layer().with_writer(Masked(Sink::stderr(state_dir)));
    tracing_subscriber::registry().with(shown).with(lines).try_init().map_err(ObserveError::AlreadySet)?;
    Ok(Log(handle))
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
pub(crate) mod tests;
