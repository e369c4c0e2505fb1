//! The documents that are generated from the types: OpenRPC, and JSON Schemas.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{
    ErrorData, Kind, ListResult, METHODS, MethodSpec, NOTIFICATIONS, PROTOCOL, ReservationResult, ReserveResult,
};

/// JSON Schema draft 2020-12 with definitions under `path`.
fn generator(path: &str) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = path.to_owned().into();
    settings.meta_schema = None;
    settings.into_generator()
}

/// The parameters as OpenRPC lists them: by name, one content descriptor each.
fn parameters(schema: &Value, definitions: &Map<String, Value>) -> Vec<Value> {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let object = definitions.get(name).unwrap_or(schema);
    let required = object["required"].as_array().cloned().unwrap_or_default();
    let properties = object["properties"].as_object().cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, schema)| json!({"name": name, "required": required.contains(&json!(name)), "schema": schema}))
        .collect()
}

fn error_name(kind: Kind) -> String {
    format!("#/components/errors/{}", kind.as_str())
}

/// Builds the OpenRPC document that `rpc.discover` answers.
#[must_use]
pub fn document() -> Value {
    let mut generator = generator("#/components/schemas");
    let described: Vec<_> = METHODS.iter().map(|method| (method, (method.schemas)(&mut generator))).collect();
    let notified: Vec<_> = NOTIFICATIONS.iter().map(|told| (told, (told.schema)(&mut generator))).collect();
    let data = generator.subschema_for::<ErrorData>();
    let mut errors = Map::new();
    for kind in Kind::ALL {
        let details = kind.details_schema(&mut generator);
        let error = json!({
            "code": kind.code(),
            "message": kind.as_str(),
            "data": {"allOf": [data, {"properties": {"kind": {"const": kind.as_str()}, "details": details}}]},
        });
        errors.insert(kind.as_str().to_owned(), error);
    }
    let definitions = generator.take_definitions(true);
    let methods: Vec<Value> = described
        .into_iter()
        .map(|(method, (params, result))| {
            let kinds = method.errors.iter().chain(MethodSpec::COMMON_ERRORS);
            let params = params.to_value();
            json!({
                "name": method.name,
                "summary": method.summary,
                "paramStructure": "by-name",
                "params": parameters(&params, &definitions),
                "result": {"name": "result", "schema": result},
                "errors": kinds.map(|kind| json!({"$ref": error_name(*kind)})).collect::<Vec<_>>(),
                "x-changes": method.changes,
                // OpenRPC lists parameters one by one; this is their schema as a whole, with what is said of all.
                "x-params": params,
                "x-repeatable": method.repeatable(),
            })
        })
        .collect();
    let notifications: Vec<Value> = notified
        .into_iter()
        .map(|(told, params)| {
            json!({
                "name": told.name,
                "summary": told.summary,
                "paramStructure": "by-name",
                "params": parameters(&params.to_value(), &definitions),
            })
        })
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "heddled",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "JSON-RPC 2.0, one message a line, over a Unix stream socket.",
            "x-protocol": PROTOCOL,
        },
        "methods": methods,
        // OpenRPC has no word for what a server sends by itself.
        "x-notifications": notifications,
        "components": {"schemas": definitions, "errors": errors},
    })
}

/// One self-contained JSON Schema.
fn schema_of(describe: impl FnOnce(&mut SchemaGenerator) -> Value) -> Value {
    let mut generator = generator("#/$defs");
    let mut schema = describe(&mut generator);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$defs"] = Value::Object(generator.take_definitions(true));
    schema
}

/// Builds the schemas of what `heddlectl --json` prints, by type name.
#[must_use]
pub fn envelope_schemas() -> Value {
    fn envelope<T: schemars::JsonSchema>(title: &str) -> Value {
        schema_of(|generator| {
            json!({
                "title": title,
                "oneOf": [generator.subschema_for::<T>(), generator.subschema_for::<crate::ErrorObject>()],
            })
        })
    }
    json!({
        "AgentReservationEnvelope": envelope::<ReserveResult>("AgentReservationEnvelope"),
        "AgentReservationListOutput": envelope::<ListResult>("AgentReservationListOutput"),
        "AgentReservationOutput": envelope::<ReservationResult>("AgentReservationOutput"),
    })
}
