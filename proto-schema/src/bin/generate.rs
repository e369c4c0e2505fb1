//! Writes `proto-schema/schema/` from the types. With `--check` it writes nothing and fails where a file differs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

fn json(value: &serde_json::Value) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

/// Every generated file, by its name.
fn files() -> Result<Vec<(PathBuf, String)>, serde_json::Error> {
    let mut files = vec![
        (PathBuf::from("openrpc.json"), json(&proto_schema::document())?),
        (PathBuf::from("envelopes.json"), json(&proto_schema::envelope_schemas())?),
        (PathBuf::from("errors.md"), proto_schema::errors_markdown()),
    ];
    for (name, schema) in proto_schema::method_schemas() {
        files.push((PathBuf::from(format!("methods/{name}.json")), json(&schema)?));
    }
    for (name, schema) in proto_schema::notification_schemas() {
        files.push((PathBuf::from(format!("notifications/{name}.json")), json(&schema)?));
    }
    Ok(files)
}

fn check(folder: &Path, files: &[(PathBuf, String)]) -> io::Result<()> {
    for (name, text) in files {
        if fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text) {
            let advice = "is not what the types say; run `cargo run -p proto-schema --bin generate`";
            return Err(io::Error::other(format!("{} {advice}", folder.join(name).display())));
        }
    }
    Ok(())
}

fn write(folder: &Path, files: &[(PathBuf, String)]) -> io::Result<()> {
    for name in ["methods", "notifications"] {
        fs::create_dir_all(folder.join(name))?;
    }
    files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

#[expect(clippy::print_stderr, reason = "a tool for developers tells what is wrong where they look")]
fn main() -> ExitCode {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    let done = files().map_err(io::Error::other).and_then(|files| {
        if env::args().any(|argument| argument == "--check") { check(&folder, &files) } else { write(&folder, &files) }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}
