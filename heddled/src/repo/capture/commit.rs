//! Making the commit: who made it, as the configuration says, and signed where it is to be.

use chrono::{Local, Offset as _, TimeZone as _};
use gix::actor::Signature;
use gix::date::Time;
use proto_schema::{ObjectId, Timestamp};

use super::{CaptureRefused, CaptureRequest, adopt, message};
use crate::repo::error::{Cause, Error};
use crate::repo::refs::convert;
use crate::repo::workplace::Snapshot;
use crate::repo::workplace::Work;

const OPERATION: &str = "make the commit";

/// Writes the commit of a tree into the repository.
pub(super) fn write(
    work: &Work<'_>,
    request: &CaptureRequest<'_>,
    library: &gix::Repository,
    snapshot: &Snapshot,
    (root, parent): (ObjectId, ObjectId),
    now: Timestamp,
) -> Result<ObjectId, Error> {
    let message = message::compose(request.message, request.trailers);
    let author = identity(work, snapshot, "author", now)?;
    let committer = identity(work, snapshot, "committer", now)?;
    if snapshot.is_true("commit.gpgsign") {
        return signed(work, (root, parent), &message);
    }
    let id = |id: ObjectId| gix::ObjectId::try_from(id.as_bytes()).map_err(|error| Error::library(OPERATION, error));
    let commit = gix::objs::Commit {
        tree: id(root)?,
        parents: [id(parent)?].into_iter().collect(),
        author,
        committer,
        encoding: None,
        message: message.into(),
        extra_headers: Vec::new(),
    };
    let written = library.write_object(&commit).map_err(|error| Error::library(OPERATION, error))?;
    convert(&written)
}

/// Lets Git make and sign it, by the program that the user's configuration names.
fn signed(work: &Work<'_>, (root, parent): (ObjectId, ObjectId), message: &str) -> Result<ObjectId, Error> {
    let mut command = work.git();
    command.args(["commit-tree", "-S", "-p", &parent.to_string(), "-F", "-", &root.to_string()]);
    let refused = |reason: String| Error::from(CaptureRefused::SigningRefused { reason });
    let said = match work.run_with(command, "commit-tree", message.as_bytes()) {
        Err(Error::Unavailable { cause: Cause::Program { stderr, .. }, .. }) => return Err(refused(stderr)),
        other => other?,
    };
    let id = std::str::from_utf8(said.trim_ascii()).ok().and_then(|id| id.parse().ok());
    let id: ObjectId = id.ok_or_else(|| refused("Git did not say which commit it made".to_owned()))?;
    let object = gix::ObjectId::try_from(id.as_bytes()).map_err(|error| Error::library(OPERATION, error))?;
    adopt::object(work, object)?;
    Ok(id)
}

/// Who a commit names in a role, `author` or `committer`.
fn identity(work: &Work<'_>, snapshot: &Snapshot, role: &str, now: Timestamp) -> Result<Signature, Error> {
    let setting =
        |name: &str| snapshot.get(&format!("{role}.{name}")).or_else(|| snapshot.get(&format!("user.{name}")));
    let (name, email) = match (setting("name"), setting("email")) {
        (Some(name), Some(email)) => (name.to_owned(), email.to_owned()),
        // Git may know them from the machine, or refuses to guess.
        _ => guessed(work, role)?,
    };
    let name = clean(&name);
    if name.is_empty() {
        return Err(CaptureRefused::IdentityMissing.into());
    }
    let seconds = now.unix_ms().div_euclid(1000);
    let offset = Local.timestamp_opt(seconds, 0).earliest().map_or(0, |at| at.offset().fix().local_minus_utc());
    Ok(Signature { name: name.into(), email: clean(&email).into(), time: Time { seconds, offset } })
}

fn guessed(work: &Work<'_>, role: &str) -> Result<(String, String), Error> {
    let mut command = work.git();
    command.args(["var", &format!("GIT_{}_IDENT", role.to_ascii_uppercase())]);
    let said = match work.run(command, "var") {
        Err(Error::Unavailable { cause: Cause::Program { .. }, .. }) => {
            return Err(CaptureRefused::IdentityMissing.into());
        }
        other => other?,
    };
    let said = String::from_utf8_lossy(&said).into_owned();
    let parts = said.split_once(" <").and_then(|(name, rest)| Some((name, rest.split_once('>')?.0)));
    parts.map(|(name, email)| (name.to_owned(), email.to_owned())).ok_or(CaptureRefused::IdentityMissing.into())
}

/// A name or address as Git writes it: without what would end its field, and without punctuation around it.
fn clean(text: &str) -> String {
    let is_crud = |character: char| character <= ' ' || ",:;<>\"\\'".contains(character);
    text.trim_matches(is_crud).chars().filter(|character| !matches!(character, '\n' | '<' | '>')).collect()
}
