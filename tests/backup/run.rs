//! Runs the daemon's program for one command.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::Place;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The JSON that it printed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program, for the state directory of this place.
pub(crate) fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = place.command();
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn say(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Runs it, and fails unless it succeeds; gives the JSON that it printed.
#[track_caller]
pub(crate) fn ok(place: &Place, words: &[&str]) -> Value {
    let said = say(&mut command(place, &[words, &["--json"]].concat()));
    assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
    said.json()
}

/// The same for a state directory anywhere.
#[track_caller]
pub(crate) fn ok_at(place: &Place, state: &Path, words: &[&str]) -> Value {
    let said = say(command(place, &[words, &["--json"]].concat()).env("HEDDLE_STATE_DIR", state));
    assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
    said.json()
}

/// Runs it, and fails unless it ends with this code; gives the error object.
#[track_caller]
pub(crate) fn refused(place: &Place, code: i32, words: &[&str]) -> Value {
    let said = say(&mut command(place, &[words, &["--json"]].concat()));
    assert_eq!((said.code, &*said.stderr), (Some(code), ""), "{words:?}: {said:?}");
    let error = said.json();
    assert_eq!(error["code"], code, "{error}");
    error
}

/// A path as a word of the command line.
pub(crate) fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}
