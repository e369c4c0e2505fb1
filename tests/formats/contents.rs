//! All that a state has, as lines of JSON, and whether one has all that another has.

use std::path::{Path, PathBuf};
use std::process::Command;

use heddled::store::{self, Filter, Image, Options};
use serde::Serialize;
use serde_json::{Value, json};

/// Where the fixtures are.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/formats/fixtures")
}

/// Every fixture, oldest first.
pub(crate) fn released() -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Unpacks the state of a fixture: with its preallocated journal, as it was.
pub(crate) fn unpack(fixture: &Path, state: &Path) {
    use std::os::unix::fs::DirBuilderExt;

    std::fs::DirBuilder::new().mode(0o700).create(state).unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(fixture.join("state.tar.gz")).arg("-C").arg(state).status();
    assert!(unpacked.unwrap().success());
}

fn line<T: Serialize>(kind: &str, record: &T) -> Value {
    json!({kind: serde_json::to_value(record).unwrap()})
}

/// Everything that the state has: it is opened for that, and left as after a crash.
pub(crate) fn contents(state: &Path) -> Vec<Value> {
    let scratch = tempfile::tempdir().unwrap();
    Image::take(state).unwrap().unpack(scratch.path()).unwrap();
    let examined = store::examine(scratch.path()).unwrap();
    assert_eq!(examined.problems, Vec::<String>::new());
    let opened = store::open(state, &Options::default()).unwrap();
    assert!(opened.quarantined.is_empty(), "{:?}", opened.quarantined);
    assert_eq!(opened.registry, examined.registry, "what is examined is what is opened");
    let registry = &opened.registry;
    let mut lines = vec![json!({"registry": format!("{:032x}", opened.id)}), line("counters", &registry.counters())];
    lines.extend(registry.repos().map(|repo| line("repo", &**repo)));
    let threads = registry.repos().flat_map(|repo| registry.threads_of(repo.id, None));
    lines.extend(threads.map(|thread| line("thread", &**thread)));
    lines.extend(registry.sessions(None).map(|session| line("session", &**session)));
    let page = opened.log.after(&Filter::default(), 0, 10_000).unwrap();
    lines.extend(page.operations.iter().map(|operation| line("operation", &**operation)));
    lines
}

/// What a fixture has, by its own word.
pub(crate) fn expected(fixture: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(fixture.join("expected.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether all of `old` is in `new`: later versions add fields, and take none away.
pub(crate) fn has(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, old)| new.get(name).is_some_and(|new| has(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| has(new, old))
        }
        (new, old) => new == old,
    }
}

/// The records of one kind.
pub(crate) fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter_map(|line| line.get(kind)).collect()
}
