//! Answers against the schemas that are generated from the types and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::support::{Client, Fault};

/// The committed schemas, and what has been checked against them.
pub(crate) struct Schemas {
    results: BTreeMap<String, Validator>,
    errors: BTreeMap<String, Validator>,
    event: Validator,
    pub(crate) succeeded: BTreeSet<String>,
    pub(crate) failed: BTreeSet<String>,
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The parameters of the notification `events.event`.
fn event_schema(document: &Value) -> Validator {
    let params = document["x-notifications"][0]["params"].as_array().unwrap();
    let properties: Map<String, Value> =
        params.iter().map(|param| (param["name"].as_str().unwrap().to_owned(), param["schema"].clone())).collect();
    let required: Vec<&String> = properties.keys().collect();
    let params = json!({"type": "object", "required": required, "properties": properties});
    let schema =
        json!({"components": document["components"], "required": ["params"], "properties": {"params": params}});
    jsonschema::validator_for(&schema).unwrap()
}

impl Schemas {
    pub(crate) fn read() -> Self {
        let document = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-schema/schema/openrpc.json"));
        let components = &document["components"];
        let mut results = BTreeMap::new();
        for method in document["methods"].as_array().unwrap() {
            let properties = json!({"params": method["x-params"], "result": method["result"]["schema"]});
            let schema = json!({"components": components, "type": "object", "properties": properties});
            results.insert(method["name"].as_str().unwrap().to_owned(), jsonschema::validator_for(&schema).unwrap());
        }
        let mut errors = BTreeMap::new();
        for (kind, error) in components["errors"].as_object().unwrap() {
            // The data's schema refers to the document's components, and the code goes with the kind.
            let schema = json!({
                "components": components,
                "type": "object",
                "required": ["code", "message", "data"],
                "properties": {"code": {"const": error["code"]}, "message": {"type": "string"}, "data": error["data"]},
            });
            errors.insert(kind.clone(), jsonschema::validator_for(&schema).unwrap());
        }
        let event = event_schema(&document);
        Self { results, errors, event, succeeded: BTreeSet::new(), failed: BTreeSet::new() }
    }

    pub(crate) fn methods(&self) -> BTreeSet<String> {
        self.results.keys().cloned().collect()
    }

    pub(crate) fn kinds(&self) -> BTreeSet<String> {
        self.errors.keys().cloned().collect()
    }

    /// Checks an error object, by its kind.
    #[track_caller]
    pub(crate) fn check_error(&mut self, error: &Value) {
        let kind =
            error["data"]["kind"].as_str().unwrap_or_else(|| panic!("an error without kind: {error}")).to_owned();
        let validator = self.errors.get(&kind).unwrap_or_else(|| panic!("{kind} is not in the document"));
        let problems: Vec<String> = validator.iter_errors(error).map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "{kind}: {problems:?}\n{error}");
        let data = &error["data"];
        assert_ne!(data["error"], "", "{error}");
        assert_ne!(data["hint"], "", "{error}");
        assert_ne!(data["error"], data["unsafe_condition"], "nothing is told twice: {error}");
        assert_eq!(data["primary_command"], data["recovery_commands"].get(0).cloned().unwrap_or_default(), "{error}");
        self.failed.insert(kind);
    }

    /// Checks the parameters of an `events.event`.
    #[track_caller]
    pub(crate) fn check_event(&self, params: &Value) {
        let found: Vec<String> =
            self.event.iter_errors(&json!({"params": params})).map(|problem| problem.to_string()).collect();
        assert!(found.is_empty(), "{found:?}\n{params}");
    }

    #[track_caller]
    fn check_result(&mut self, method: &str, params: &Value, result: &Value) {
        let problems = |value: &Value| -> Vec<String> {
            self.results[method].iter_errors(value).map(|problem| problem.to_string()).collect()
        };
        let found = problems(&json!({"params": params, "result": result}));
        assert!(found.is_empty(), "{method}: {found:?}\n{result}");
        self.succeeded.insert(method.to_owned());
    }

    /// Calls and checks whatever comes.
    #[track_caller]
    pub(crate) fn call(&mut self, client: &mut Client, method: &str, params: &Value) -> Result<Value, Fault> {
        let answer = client.call(method, params);
        match &answer {
            Ok(result) => self.check_result(method, params, result),
            Err(fault) => self.check_error(&fault.0),
        }
        answer
    }

    #[track_caller]
    pub(crate) fn ok(&mut self, client: &mut Client, method: &str, params: &Value) -> Value {
        self.call(client, method, params).unwrap_or_else(|fault| panic!("{method} {params}: {fault:?}"))
    }

    #[track_caller]
    pub(crate) fn refused(&mut self, client: &mut Client, kind: &str, method: &str, params: &Value) -> Fault {
        match self.call(client, method, params) {
            Err(fault) if fault.kind() == kind => fault,
            other => panic!("{method} {params}: expected {kind}, got {other:?}"),
        }
    }
}
