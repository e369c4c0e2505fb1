//! What can go wrong, and how it is told: the message, the facts, what to do, and the command that does it.

use std::fmt;
use std::io;
use std::path::Path;

use proto_schema::ErrorObject;

use crate::exit::Exit;

/// A failure, or a correct "no" of the daemon.
#[derive(Debug)]
pub(crate) enum Error {
    /// The daemon answered with an error.
    Refused(Box<Refused>),
    /// Something went wrong on this side of the socket.
    Local(Box<Local>),
    /// Whoever read our output has gone; that is not an error.
    ClosedPipe,
}

/// The daemon's error, as it came and as it reads.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The error object.
    pub(crate) object: ErrorObject,
    /// The same, byte for byte as it was on the wire.
    pub(crate) wire: String,
}

/// A failure of this side, with everything that helps.
#[derive(Debug)]
pub(crate) struct Local {
    exit: Exit,
    message: String,
    facts: Vec<String>,
    hint: Option<String>,
    commands: Vec<String>,
}

impl Error {
    /// A failure of this side.
    pub(crate) fn local(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Local(Box::new(Local { exit, message, facts: Vec::new(), hint: None, commands: Vec::new() }))
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::local(Exit::USAGE, message)
    }

    /// The command line could not be read; told in the words of its parser.
    pub(crate) fn command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        let message = parts.next().unwrap_or_default();
        let facts = parts.filter(|part| !part.is_empty() && !part.starts_with("For more information"));
        let error = Self::usage(message.trim_start_matches("error: "));
        facts.fold(error, Self::fact).command("heddlectl --help")
    }

    /// A file could not be read or written.
    pub(crate) fn io(doing: &str, path: &Path, cause: &io::Error) -> Self {
        Self::local(Exit::IO, format!("cannot {doing}: {}: {cause}", path.display()))
    }

    /// The daemon answered something that this version cannot read.
    pub(crate) fn garbled(what: impl fmt::Display) -> Self {
        Self::local(Exit::UNEXPECTED, format!("cannot read the daemon's answer: {what}"))
            .hint("the daemon and heddlectl may be of different versions")
            .command("heddlectl doctor")
    }

    /// Adds a fact.
    pub(crate) fn fact(mut self, fact: impl Into<String>) -> Self {
        if let Self::Local(local) = &mut self {
            local.facts.push(fact.into());
        }
        self
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Local(local) = &mut self {
            local.hint = Some(hint.into());
        }
        self
    }

    /// Adds a command that helps; the first is the one to run.
    pub(crate) fn command(mut self, command: impl Into<String>) -> Self {
        if let Self::Local(local) = &mut self {
            local.commands.push(command.into());
        }
        self
    }

    /// Ends the process with another code, where a command's contract has fewer; the daemon's errors keep their own.
    pub(crate) fn exits(mut self, exit: Exit) -> Self {
        if let Self::Local(local) = &mut self {
            local.exit = exit;
        }
        self
    }

    /// Sends the commands that people are told to the daemon on this socket; what was on the wire stays as it was.
    pub(crate) fn through(mut self, socket: &Path) -> Self {
        let flag = shell_words::join(["--socket", &socket.display().to_string()]);
        let add = |command: &mut String| {
            // One that names its socket means that one.
            if command.starts_with("heddlectl ") && !command.contains(" --socket ") {
                *command = format!("{command} {flag}");
            }
        };
        match &mut self {
            Self::Refused(refused) => {
                let data = refused.object.data.iter_mut();
                data.for_each(|data| data.primary_command.iter_mut().chain(&mut data.recovery_commands).for_each(add));
            }
            Self::Local(local) => local.commands.iter_mut().for_each(add),
            Self::ClosedPipe => {}
        }
        self
    }

    /// How the process ends for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused(refused) => {
                match (&refused.object.data, proto_schema::Kind::from_code(refused.object.code)) {
                    (Some(data), _) => data.kind.into(),
                    (None, Some(kind)) => kind.into(),
                    (None, None) => Exit::UNEXPECTED,
                }
            }
            Self::Local(local) => local.exit,
            Self::ClosedPipe => Exit::OK,
        }
    }

    /// The kind, where the daemon named one.
    pub(crate) fn kind(&self) -> Option<proto_schema::Kind> {
        match self {
            Self::Refused(refused) => refused.object.data.as_ref().map(|data| data.kind),
            Self::Local(_) | Self::ClosedPipe => None,
        }
    }

    /// What to print for people.
    pub(crate) fn report(&self) -> Report<'_> {
        match self {
            Self::Refused(refused) => Report::of_wire(&refused.object),
            Self::Local(local) => Report {
                message: &local.message,
                facts: local.facts.iter().map(|fact| ("", fact.as_str())).collect(),
                hint: local.hint.as_deref(),
                commands: local.commands.iter().map(String::as_str).collect(),
            },
            Self::ClosedPipe => Report { message: "", facts: Vec::new(), hint: None, commands: Vec::new() },
        }
    }
}

/// An error, ready to be told.
#[derive(Debug, PartialEq)]
pub(crate) struct Report<'a> {
    /// What is wrong.
    pub(crate) message: &'a str,
    /// The facts, each with the word that says what it is about.
    pub(crate) facts: Vec<(&'static str, &'a str)>,
    /// What to do.
    pub(crate) hint: Option<&'a str>,
    /// The commands that help, the one to run first.
    pub(crate) commands: Vec<&'a str>,
}

impl<'a> Report<'a> {
    fn of_wire(object: &'a ErrorObject) -> Self {
        let Some(data) = &object.data else {
            return Self { message: &object.message, facts: Vec::new(), hint: None, commands: Vec::new() };
        };
        let facts = [("why", &data.unsafe_condition), ("risk", &data.would_change), ("kept", &data.preserved)];
        let mut facts: Vec<_> = facts.into_iter().filter_map(|(word, fact)| Some((word, fact.as_deref()?))).collect();
        if data.kind == proto_schema::Kind::Internal
            && let Some(request) = &data.request
        {
            facts.push(("log", request));
        }
        let mut commands: Vec<&str> = data.primary_command.as_deref().into_iter().collect();
        commands.extend(
            data.recovery_commands
                .iter()
                .map(String::as_str)
                .filter(|command| data.primary_command.as_deref() != Some(*command)),
        );
        Self { message: &data.error, facts, hint: Some(data.hint.as_str()).filter(|hint| !hint.is_empty()), commands }
    }
}
