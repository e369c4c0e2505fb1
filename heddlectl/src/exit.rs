//! The exit codes, as docs/operations.md lists them.

use std::process::ExitCode;

use proto_schema::Kind;

/// How the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// It was done.
    pub(crate) const OK: Self = Self(0);
    /// Something went wrong that no rule foresees.
    pub(crate) const UNEXPECTED: Self = Self(1);
    /// The command line asks for something that cannot be.
    pub(crate) const USAGE: Self = Self(2);
    /// The daemon said no.
    pub(crate) const REFUSED: Self = Self(3);
    /// `ready` found something in the way.
    pub(crate) const BLOCKED: Self = Self(5);
    /// The daemon cannot be reached.
    pub(crate) const UNREACHABLE: Self = Self(69);
    /// A file could not be read or written.
    pub(crate) const IO: Self = Self(74);
    /// Not allowed.
    pub(crate) const DENIED: Self = Self(77);
    /// The configuration or the environment is wrong.
    pub(crate) const CONFIG: Self = Self(78);
    /// The command cannot be executed, as shells say it.
    pub(crate) const NOT_EXECUTABLE: Self = Self(126);
    /// The command was not found, as shells say it.
    pub(crate) const NOT_FOUND: Self = Self(127);

    /// The stable name of an error of this side that ends the process so; the daemon's have their own kinds.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::USAGE => "usage",
            Self::REFUSED => "refused",
            Self::UNREACHABLE => "daemon_unreachable",
            Self::IO => "io",
            Self::DENIED => "not_allowed",
            Self::CONFIG => "bad_configuration",
            Self::NOT_EXECUTABLE => "command_not_executable",
            Self::NOT_FOUND => "command_not_found",
            _ => "unexpected",
        }
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        Self(kind.exit_code())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
