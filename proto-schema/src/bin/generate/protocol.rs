//! docs/protocol.md: what is written by hand, with the tables that the types give.

use proto_schema::{Kind, METHODS};

use super::model::{Definition, Field, Method, Model, Shape, Type};

/// The page, with `{methods}`, `{types}` and `{errors}` where the tables belong.
const PAGE: &str = include_str!("protocol.md");

/// A shape as the tables name it.
fn shape(of: &Shape) -> String {
    match of {
        Shape::Text => "text".to_owned(),
        Shape::Integer => "integer".to_owned(),
        Shape::Number => "number".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Any => "any".to_owned(),
        Shape::Object => "object".to_owned(),
        Shape::List(inner) => format!("[{}]", shape(inner)),
        Shape::Named(name) => name.clone(),
        Shape::Nullable(inner) => format!("{} or null", shape(inner)),
    }
}

fn parameters(fields: &[Field]) -> String {
    let named = fields.iter().map(|field| format!("`{}`{}", field.name, if field.needed { "" } else { "?" }));
    let named: Vec<String> = named.collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}

fn methods(model: &Model) -> String {
    let row = |method: &Method| {
        format!(
            "| `{}` | {} | {} | {} |\n",
            method.name,
            parameters(&method.params),
            shape(&method.result),
            sentence(&method.doc)
        )
    };
    model.methods.iter().map(row).collect()
}

/// The first sentence.
fn sentence(doc: &str) -> String {
    let line = doc.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    line.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

fn types(model: &Model) -> String {
    let row = |named: &Type| {
        let what = match &named.definition {
            Definition::Record(fields) => {
                let members = fields.iter().map(|field| format!("`{}`: {}", field.name, shape(&field.shape)));
                members.collect::<Vec<_>>().join("; ")
            }
            Definition::Choice(words) => {
                words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Definition::Alias(of) => shape(of),
            Definition::Union(shapes) => shapes.iter().map(shape).collect::<Vec<_>>().join(" or "),
        };
        format!("| `{}` | {} | {what} |\n", named.name, sentence(&named.doc))
    };
    // Parameters are in the table of methods.
    model.types.iter().filter(|named| !named.name.ends_with("Params")).map(row).collect()
}

fn errors() -> String {
    let row = |kind: &Kind| {
        let methods = METHODS.iter().filter(|method| method.errors.contains(kind));
        let methods: Vec<String> = methods.map(|method| format!("`{}`", method.name)).collect();
        let methods = if methods.is_empty() { "any".to_owned() } else { methods.join(", ") };
        let retryable = if kind.retryable() { "yes" } else { "no" };
        let (code, name, exit) = (kind.code(), kind.as_str(), kind.exit_code());
        format!("| {code} | `{name}` | {exit} | {retryable} | {methods} |\n")
    };
    Kind::ALL.iter().map(row).collect()
}

/// The whole page.
pub(crate) fn page(model: &Model) -> String {
    let tables = [("{methods}", methods(model)), ("{types}", types(model)), ("{errors}\n", errors())];
    tables.iter().fold(PAGE.to_owned(), |page, (mark, table)| page.replace(mark, table))
}
