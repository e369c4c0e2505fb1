//! The one way to the terminal: human text or the wire's JSON on stdout, everything else on stderr.
//!
//! Nothing else in this crate writes to a stream. A reader that went away is [`Error::ClosedPipe`], which ends the
//! process with 0.

pub(crate) mod clean;
pub(crate) mod color;
pub(crate) mod doctor;
pub(crate) mod human;
pub(crate) mod log;
mod object;
pub(crate) mod problem;
pub(crate) mod ready;
pub(crate) mod repository;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod text;
pub(crate) mod threads;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use anstream::adapter::strip_str;
use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock;
use crate::error::Error;
use crate::exit::Exit;

/// How and where to print.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The wire's JSON instead of text.
    pub(crate) json: bool,
    /// Nothing but what was asked for.
    pub(crate) quiet: bool,
    /// Whether to use color.
    pub(crate) color: ColorChoice,
}

impl Output {
    /// How wide the page is; unbounded when nobody looks at it directly, so that pipes get whole values.
    pub(crate) fn page(&self) -> human::Page {
        let stdout = io::stdout();
        let columns = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
        human::Page { now_ms: clock::wall_ms(), width: columns.map(|size| usize::from(size.ws_col)).filter(|w| *w > 0) }
    }

    /// Prints text for people to stdout.
    pub(crate) fn print(&self, text: &str) -> Result<(), Error> {
        self.write(&text::without_invisible(text))
    }

    fn write(&self, text: &str) -> Result<(), Error> {
        let mut stream = io::stdout().lock();
        let text = styled(text, self.color, &stream);
        stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).map_err(|cause| {
            if cause.kind() == io::ErrorKind::BrokenPipe {
                return Error::ClosedPipe;
            }
            Error::local(Exit::IO, format!("cannot write to stdout: {cause}"))
        })
    }

    /// Prints one JSON value and a newline.
    pub(crate) fn print_json(&self, json: &str) -> Result<(), Error> {
        self.write(&format!("{json}\n"))
    }

    /// Waits for input from elsewhere, which is to be printed; or until nobody is left to read that.
    pub(crate) fn wait_for(&self, input: BorrowedFd<'_>) -> Result<(), Error> {
        let stdout = io::stdout();
        let watched = [PollFd::new(stdout.as_fd(), PollFlags::empty()), PollFd::new(input, PollFlags::POLLIN)];
        is_read(watched, PollTimeout::NONE)
    }

    /// Fails when nobody is left to read what would be printed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let stdout = io::stdout();
        is_read([PollFd::new(stdout.as_fd(), PollFlags::empty())], PollTimeout::ZERO)
    }

    /// Tells how things go, unless asked to be quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(&text::wrap("", &text::clean(text), 2, text::WRAP));
        }
    }

    /// Warns, unless asked to be quiet.
    pub(crate) fn warn(&self, text: &str) {
        if !self.quiet {
            let style = color::WARNING;
            self.say(&format!("{style}warning:{style:#} {}\n", text::clean(text)));
        }
    }

    /// Tells what must be known, asked to be quiet or not.
    pub(crate) fn alert(&self, text: &str) {
        let style = color::ERROR;
        self.say(&format!("{style}error:{style:#} {}\n", text::clean(text)));
    }

    /// Tells of a failure: as text on stderr, or as the wire's error object on stdout.
    pub(crate) fn fail(&self, error: &Error) -> Exit {
        match error {
            Error::ClosedPipe => return Exit::OK,
            // The exit code says it too, so a failure to print is not told.
            Error::Refused(refused) if self.json => self.print_json(&refused.wire).ok(),
            Error::Local(_) if self.json => self.print_json(&object::render(&error.report(), error.exit())).ok(),
            Error::Refused(_) | Error::Local(_) => {
                self.say(&problem::render(&error.report(), text::WRAP));
                None
            }
        };
        error.exit()
    }

    fn say(&self, text: &str) {
        let text = text::without_invisible(text);
        let mut stream = io::stderr().lock();
        // There is nowhere left to tell that stderr cannot be written.
        stream.write_all(styled(&text, self.color, &stream).as_bytes()).ok();
    }
}

/// Looks at descriptors until something is so of one of them. The first is what we print to.
fn is_read<const COUNT: usize>(mut watched: [PollFd<'_>; COUNT], time: PollTimeout) -> Result<(), Error> {
    loop {
        match poll(&mut watched, time) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(cause) => return Err(Error::local(Exit::IO, format!("cannot wait for input: {cause}"))),
        }
    }
    // Of errors and hang-ups it is told without being asked.
    let is_gone = watched.first().and_then(PollFd::revents).is_some_and(|found| !found.is_empty());
    if is_gone { Err(Error::ClosedPipe) } else { Ok(()) }
}

/// The text as this stream wants it, in one piece: a stream that strips by itself writes piece by piece.
fn styled<'a>(text: &'a str, color: ColorChoice, stream: &impl RawStream) -> Cow<'a, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let color = if color == ColorChoice::Auto { AutoStream::choice(stream) } else { color };
    match color {
        ColorChoice::Never => Cow::Owned(strip_str(text).to_string()),
        ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests;
