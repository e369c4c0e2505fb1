//! Reads parameters as their type, and says which one is wrong.

use std::path::PathBuf;

use jsonrpsee::types::Params;
use proto_schema::PathText;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::{WireError, invalid_params};

/// Parameters as they were sent, for a method that must look at them before it knows whether they are valid.
pub(super) struct Sent(Box<RawValue>);

impl Sent {
    /// Reads them as their type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        parse(self.0.get())
    }

    /// Those that are there, by name, however little sense they make.
    pub(super) fn members(&self) -> Map<String, Value> {
        match serde_json::from_str(self.0.get()) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => Map::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::deserialize(deserializer).map(Self)
    }
}

/// Reads parameters by name. Absent ones are an empty object.
pub(super) fn read<T: DeserializeOwned>(params: &Params<'_>) -> Result<T, WireError> {
    match params.as_str().map(str::trim) {
        None | Some("null" | "[]") => parse("{}"),
        Some(text) => parse(text),
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, WireError> {
    // The path to what is wrong costs time, so it is looked for only once something is.
    serde_json::from_str(text).map_err(|plain| {
        let mut reader = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Ok(_) => invalid_params(".", &plain.to_string()),
            Err(error) => {
                let (field, problem) = (error.path().to_string(), error.inner().to_string());
                invalid_params(missing(&problem).unwrap_or(&field), without_position(&problem))
            }
        }
    })
}

/// The name of a parameter that is not there, which has no path.
fn missing(problem: &str) -> Option<&str> {
    problem.strip_prefix("missing field `")?.split('`').next()
}

/// Where in the line a parameter stands helps nobody.
fn without_position(problem: &str) -> &str {
    problem.rsplit_once(" at line ").map_or(problem, |(problem, _)| problem)
}

/// Reads an absolute path: the daemon has no current directory.
pub(super) fn absolute(field: &'static str, path: &PathText) -> Result<PathBuf, WireError> {
    let path = PathBuf::from(path.as_str());
    if path.is_absolute() { Ok(path) } else { Err(invalid_params(field, "an absolute path")) }
}

/// Reads a limit: 1 to 1,000, default 100.
pub(super) fn limit(limit: Option<u64>) -> Result<usize, WireError> {
    match limit.unwrap_or(100) {
        limit @ 1..=1000 => usize::try_from(limit).map_err(|_| invalid_params("limit", "1 to 1000")),
        _ => Err(invalid_params("limit", "1 to 1000")),
    }
}
