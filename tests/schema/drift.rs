//! No type moves without its documents, and no document without its type.

use std::process::Command;

#[test]
fn the_committed_documents_are_what_the_types_say() {
    let checked = Command::new(env!("CARGO_BIN_EXE_generate")).arg("--check").output().expect("generate runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn every_generated_schema_is_a_schema() {
    let document = proto_schema::document();
    let schemas = document["components"]["schemas"].as_object().expect("the document has schemas");
    assert!(schemas.len() > 50, "{}", schemas.len());
    for (name, schema) in schemas {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
    for (name, schema) in proto_schema::envelope_schemas().as_object().expect("an object") {
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    }
}
