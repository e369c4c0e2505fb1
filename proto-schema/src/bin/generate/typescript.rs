//! The generated part of the TypeScript client: `types.ts`, `methods.ts`, `refusals.ts`.

use crate::NOTICE;
use crate::model::{Definition, Field, Model, Shape, Type, class_name};
use crate::page::Page;

pub(crate) fn files(model: &Model) -> [(&'static str, String); 3] {
    [("types.ts", types(model)), ("methods.ts", methods(model)), ("refusals.ts", refusals(model))]
}

/// A type as TypeScript writes it; `prefix` is where named ones are found.
fn written(shape: &Shape, prefix: &str) -> String {
    match shape {
        Shape::Text => "string".to_owned(),
        Shape::Integer | Shape::Number => "number".to_owned(),
        Shape::Bool => "boolean".to_owned(),
        Shape::Any => "unknown".to_owned(),
        Shape::Object => "Record<string, unknown>".to_owned(),
        Shape::List(of) if matches!(**of, Shape::Nullable(_)) => format!("({})[]", written(of, prefix)),
        Shape::List(of) => format!("{}[]", written(of, prefix)),
        Shape::Named(name) => format!("{prefix}{name}"),
        Shape::Nullable(of) => format!("{} | null", written(of, prefix)),
    }
}

/// A text as a comment, at this indentation.
fn comment(doc: &str, indent: &str) -> String {
    let doc = doc.replace("*/", "* /");
    if !doc.contains('\n') {
        return format!("{indent}/** {doc} */\n");
    }
    let lines: String = doc.lines().map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n").collect();
    format!("{indent}/**\n{lines}{indent} */\n")
}

fn member(field: &Field) -> String {
    let mark = if field.needed { "" } else { "?" };
    format!("{}  {}{mark}: {};\n", comment(&field.doc, "  "), field.name, written(&field.shape, ""))
}

fn definition(of: &Type, is_sent: bool) -> String {
    let (name, doc) = (&of.name, comment(&of.doc, ""));
    match &of.definition {
        Definition::Alias(shape) => format!("{doc}export type {name} = {};\n", written(shape, "")),
        Definition::Choice(words) => {
            let words: String =
                words.iter().map(|(word, doc)| format!("\n{}  | \"{word}\"", comment(doc, "  "))).collect();
            format!("{doc}export type {name} ={words};\n")
        }
        Definition::Union(shapes) => {
            let shapes: Vec<_> = shapes.iter().map(|shape| written(shape, "")).collect();
            format!("{doc}export type {name} = {};\n", shapes.join(" | "))
        }
        // An interface that has no members would allow everything.
        Definition::Record(fields) if fields.is_empty() => {
            let member = if is_sent { "never" } else { "unknown" };
            format!("{doc}export type {name} = Record<string, {member}>;\n")
        }
        Definition::Record(fields) => {
            format!("{doc}export interface {name} {{\n{}}}\n", fields.iter().map(member).collect::<String>())
        }
    }
}

fn head(summary: &str) -> String {
    format!("/**\n * {summary}\n *\n * {NOTICE}\n */\n\n")
}

fn types(model: &Model) -> String {
    let mut page = Page::new(head("The types of the wire."));
    page.add(format!("/** The version of this package. */\nexport const VERSION = \"{}\";\n\n", model.version));
    let [lowest, highest] = model.protocol;
    page.add("/** The protocol versions it speaks, lowest and highest. */\n");
    page.add(format!("export const PROTOCOL: readonly [number, number] = [{lowest}, {highest}];\n"));
    for of in &model.types {
        page.add("\n");
        let is_sent = model.methods.iter().any(|method| method.params_type == of.name);
        page.add(definition(of, is_sent));
    }
    page.done()
}

/// `agent.reserve` as the name of a stub: `agentReserve`.
fn stub_name(name: &str) -> String {
    let class = class_name(name);
    class.get(..1).unwrap_or_default().to_lowercase() + class.get(1..).unwrap_or_default()
}

fn methods(model: &Model) -> String {
    let mut page = Page::new(head("A stub for each method."));
    page.add("import type * as t from \"./types.js\";\n\n");
    page.add("/** What each method is given and answers. */\nexport interface MethodTypes {\n");
    for method in &model.methods {
        let result = written(&method.result, "t.");
        page.add(format!("  \"{}\": {{ params: t.{}; result: {result} }};\n", method.name, method.params_type));
    }
    page.add("}\n\n/** The methods that change nothing more when they are called again after a lost answer. */\n");
    page.add("export const REPEATABLE: ReadonlySet<string> = new Set([\n");
    for method in model.methods.iter().filter(|method| method.repeatable) {
        page.add(format!("  \"{}\",\n", method.name));
    }
    page.add("]);\n\n/** Every method of the daemon. */\nexport abstract class Methods {\n");
    page.add("  /** Calls a method and gives its result. */\n");
    page.add("  abstract call<M extends keyof MethodTypes>(method: M, params: MethodTypes[M][\"params\"]): Promise<MethodTypes[M][\"result\"]>;\n");
    for method in model.methods.iter().filter(|method| method.has_stub()) {
        let default = if method.params.iter().any(|param| param.needed) { "" } else { " = {}" };
        page.add(format!(
            "\n{}  {}(params: t.{}{default}): Promise<{}> {{\n    return this.call(\"{}\", params);\n  }}\n",
            comment(&method.doc, "  "),
            stub_name(&method.name),
            method.params_type,
            written(&method.result, "t."),
            method.name,
        ));
    }
    page.add("}\n\n/** What names a session and shows its secret. */\n");
    page.add("export type SessionKey = \"session_id\" | \"reservation_token\";\n\n");
    page.add("/** The methods that a session calls about itself. */\nexport type SessionMethod =");
    let of_sessions = || model.methods.iter().filter(|method| method.is_of_a_session());
    for method in of_sessions() {
        page.add(format!("\n  | \"{}\"", method.name));
    }
    page.add(";\n\n/** The methods that a session calls about itself. */\nexport abstract class SessionMethods {\n");
    page.add("  /** Calls a method with the session's id and secret and gives its result. */\n");
    page.add("  abstract call<M extends SessionMethod>(method: M, params: Omit<MethodTypes[M][\"params\"], SessionKey>): Promise<MethodTypes[M][\"result\"]>;\n");
    for method in of_sessions() {
        let params = method.params_beside_the_session();
        let default = if params.iter().any(|param| param.needed) { "" } else { " = {}" };
        page.add(format!(
            "\n{}  {}(params: Omit<t.{}, SessionKey>{default}): Promise<{}> {{\n    return this.call(\"{}\", params);\n  }}\n",
            comment(&method.doc, "  "),
            stub_name(&method.name_in_session()),
            method.params_type,
            written(&method.result, "t."),
            method.name,
        ));
    }
    page.add("}\n");
    page.done()
}

fn refusals(model: &Model) -> String {
    let mut page = Page::new(head("What the daemon refuses, one class for each kind."));
    page.add("import type * as t from \"./types.js\";\nimport { Refused } from \"./errors.js\";\n");
    for error in &model.errors {
        let (class, kind) = (class_name(&error.kind), &error.kind);
        page.add(format!(
            "\n{}export class {class} extends Refused {{\n  declare readonly kind: \"{kind}\";\n  declare readonly details: t.{};\n}}\n",
            comment(&error.doc, ""),
            error.details
        ));
    }
    let table: String =
        model.errors.iter().map(|error| format!("  {}: {},\n", error.kind, class_name(&error.kind))).collect();
    page.add(format!(
        "\n/** The class of each kind. */\nexport const REFUSALS: Readonly<Record<string, typeof Refused>> = {{\n{table}}};\n"
    ));
    page.done()
}
