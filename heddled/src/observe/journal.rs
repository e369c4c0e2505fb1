//! The log as entries of systemd's journal, each fact a field of its own: `journalctl HEDDLE_SESSION=agent-...`.
//!
//! It may not wait: where the journal takes no more, lines are lost, and the next one that goes through says how many.
//! Invariant O1 holds here as well: each value is masked before it leaves the process. That, and that facts can be read in the
//! message too, is why this is not the crate `tracing-journald`.

use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::mask;
use crate::paths::Environment;

/// Where the journal takes entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The most bytes of one value: an entry has to fit into a datagram.
const MOST: usize = 16 * 1024;

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    lost: AtomicU64,
}

impl Journal {
    /// The journal, if that is where `stderr` leads: `JOURNAL_STREAM` names the device and inode of what the service manager
    /// connected. Somebody who has redirected it since wants the lines there.
    #[must_use]
    pub(super) fn behind(environment: &Environment, stderr: impl AsFd) -> Option<Self> {
        let (device, inode) = environment.get("JOURNAL_STREAM")?.to_str()?.split_once(':')?;
        let stat = rustix::fs::fstat(stderr).ok()?;
        let is_it = device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino);
        if is_it { Self::at(Path::new(SOCKET)).ok() } else { None }
    }

    /// The journal that takes entries here.
    fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        // Nothing is an entry of no fields: it tells whether somebody is there.
        socket.send_to(&[], path)?;
        Ok(Self { socket, path: path.to_owned(), lost: AtomicU64::new(0) })
    }

    fn send(&self, entry: &mut Entry) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            entry.field("HEDDLE_LINES_LOST", &lost.to_string());
        }
        if self.socket.send_to(&entry.bytes, &self.path).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    /// Keeps what is known of a call for all that is said in it.
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut known = Entry::default();
        attributes.record(&mut known);
        span.extensions_mut().insert(known);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut entry = Entry::default();
        event.record(&mut entry);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(known) = span.extensions().get::<Entry>() {
                entry.bytes.extend_from_slice(&known.bytes);
                entry.facts.push_str(&known.facts);
            }
        }
        entry.field("PRIORITY", priority(*metadata.level()));
        entry.field("SYSLOG_IDENTIFIER", "heddled");
        entry.field("HEDDLE_TARGET", metadata.target());
        let message = format!("{}{}", entry.message, entry.facts);
        entry.field("MESSAGE", &message);
        self.send(&mut entry);
    }
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// One entry on its way: fields as the journal reads them, and what people read.
#[derive(Default)]
struct Entry {
    bytes: Vec<u8>,
    message: String,
    facts: String,
}

impl Entry {
    /// Adds a field. One line as `NAME=value`, several with their length, as the protocol has it.
    fn field(&mut self, name: &str, value: &str) {
        let masked = mask(value.as_bytes());
        let value = &masked[..masked.len().min(MOST)];
        self.bytes.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.bytes.push(b'\n');
            self.bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.bytes.push(b'=');
        }
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\n');
    }

    fn fact(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        // A String takes all that is written into it.
        let _written = write!(self.facts, " {}={value}", field.name());
        self.field(&name(field.name()), value);
    }
}

/// The name of a field in the journal: `session` is `HEDDLE_SESSION`, as `heddlectl run` calls it in the environment.
fn name(field: &str) -> String {
    let letters =
        field.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' });
    "HEDDLE_".chars().chain(letters).take(64).collect()
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fact(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fact(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The fields of an entry, as the journal would read them.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
            let (name, rest) = (text(&entry[..end]), &entry[end + 1..]);
            let (value, after) = if entry[end] == b'=' {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
                (&rest[..end], &rest[end..])
            } else {
                let (length, rest) = rest.split_at(8);
                rest.split_at(usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap())
            };
            fields.push((name, text(value)));
            entry = after.strip_prefix(b"\n").unwrap();
        }
        fields
    }

    struct Inbox(tempfile::TempDir, UnixDatagram);

    impl Inbox {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let inbox = UnixDatagram::bind(root.path().join("journal")).unwrap();
            inbox.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
            Self(root, inbox)
        }

        fn journal(&self) -> Journal {
            let journal = Journal::at(&self.0.path().join("journal")).unwrap();
            assert_eq!(self.1.recv(&mut [0; 8]).unwrap(), 0, "the question whether somebody is there");
            journal
        }

        fn entry(&self) -> Vec<(String, String)> {
            let mut bytes = vec![0; 200_000];
            let length = self.1.recv(&mut bytes).unwrap();
            fields(&bytes[..length])
        }
    }

    fn value<'a>(entry: &'a [(String, String)], name: &str) -> Option<&'a str> {
        entry.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn each_fact_is_a_field_and_no_token_leaves_in_one() {
        let inbox = Inbox::new();
        let subscriber = tracing_subscriber::registry().with(inbox.journal());
        let token = format!("hrt_{}", "a2".repeat(26));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("call", request = "7-1", method = "agent.show").in_scope(|| {
                tracing::warn!(session = "agent-1", thread = %"fix", pid = 42, line = %token, "it got {token}\nand more");
            });
            tracing::info!("plain");
        });
        let entry = inbox.entry();
        assert_eq!(value(&entry, "HEDDLE_SESSION"), Some("agent-1"));
        assert_eq!(value(&entry, "HEDDLE_THREAD"), Some("fix"));
        assert_eq!(value(&entry, "HEDDLE_PID"), Some("42"));
        assert_eq!(
            (value(&entry, "HEDDLE_REQUEST"), value(&entry, "HEDDLE_METHOD")),
            (Some("7-1"), Some("agent.show"))
        );
        assert_eq!(value(&entry, "PRIORITY"), Some("4"));
        assert_eq!(value(&entry, "SYSLOG_IDENTIFIER"), Some("heddled"));
        let message = value(&entry, "MESSAGE").unwrap();
        assert!(message.starts_with("it got hrt_...\nand more session=agent-1 thread=fix pid=42"), "{message}");
        assert!(!format!("{entry:?}").contains("a2a2"), "O1: {entry:?}");
        let entry = inbox.entry();
        assert_eq!((value(&entry, "MESSAGE"), value(&entry, "PRIORITY")), (Some("plain"), Some("6")));
    }

    #[test]
    fn what_the_journal_does_not_take_is_counted() {
        let inbox = Inbox::new();
        let journal = inbox.journal();
        let path = journal.path.clone();
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        let subscriber = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("nobody hears this");
            tracing::info!("nor this");
            std::fs::rename(path.with_extension("away"), &path).unwrap();
            tracing::info!(long = %"x".repeat(100_000), "it is back");
        });
        let entry = inbox.entry();
        assert_eq!(value(&entry, "HEDDLE_LINES_LOST"), Some("2"));
        assert_eq!(value(&entry, "HEDDLE_LONG").map(str::len), Some(MOST), "an entry fits into a datagram");
    }

    #[test]
    fn only_the_stream_that_is_named_is_the_journal() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let named = |value: &str| Journal::behind(&[("JOURNAL_STREAM", value)].into_iter().collect(), &file).is_some();
        for wrong in ["", "1", "x:y", &format!("{}:{}", metadata.dev(), metadata.ino() + 1)] {
            assert!(!named(wrong), "{wrong}");
        }
        // Whether it is used then is for the journal of this machine to say.
        assert_eq!(named(&format!("{}:{}", metadata.dev(), metadata.ino())), Journal::at(Path::new(SOCKET)).is_ok());
    }
}
