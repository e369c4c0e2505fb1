//! The generated part of the Python client: `types.py`, `_methods.py`, `refusals.py`.
//!
//! It reads by Python 3.9, so what may be left out of a dictionary is told by `total=False`, and choices by `Union`.

use crate::NOTICE;
use crate::model::{Definition, Field, Method, Model, Shape, Type, class_name};
use crate::page::Page;

pub(crate) fn files(model: &Model) -> [(&'static str, String); 3] {
    [("types.py", types(model)), ("_methods.py", methods(model)), ("refusals.py", refusals(model))]
}

/// A type as Python writes it; `prefix` is where named ones are found.
fn written(shape: &Shape, prefix: &str) -> String {
    match shape {
        Shape::Text => "str".to_owned(),
        Shape::Integer => "int".to_owned(),
        Shape::Number => "float".to_owned(),
        Shape::Bool => "bool".to_owned(),
        Shape::Any => "Any".to_owned(),
        Shape::Object => "Dict[str, Any]".to_owned(),
        Shape::List(of) => format!("List[{}]", written(of, prefix)),
        Shape::Named(name) => format!("{prefix}{name}"),
        Shape::Nullable(of) => format!("Optional[{}]", written(of, prefix)),
    }
}

/// A text as a docstring, at this indentation.
fn docstring(doc: &str, indent: &str) -> String {
    let doc = doc.replace('\\', "\\\\").replace("\"\"\"", "'''");
    let mut lines = doc.lines();
    let mut written = format!("{indent}\"\"\"{}", lines.next().unwrap_or_default());
    let mut is_long = false;
    for line in lines {
        is_long = true;
        written.push('\n');
        if !line.is_empty() {
            written.push_str(indent);
            written.push_str(line);
        }
    }
    if is_long {
        written.push('\n');
        written.push_str(indent);
    }
    written + "\"\"\"\n"
}

fn members<'a>(fields: impl IntoIterator<Item = &'a Field>) -> String {
    fields
        .into_iter()
        .map(|field| format!("    {}: {}\n{}", field.name, written(&field.shape, ""), docstring(&field.doc, "    ")))
        .collect()
}

/// A dictionary. Where some members may be left out, those that may not are a base of their own.
fn record(name: &str, doc: &str, fields: &[Field]) -> String {
    let (needed, optional): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.needed);
    let doc = docstring(doc, "    ");
    match (needed.is_empty(), optional.is_empty()) {
        (_, true) => format!("class {name}(TypedDict):\n{doc}{}", members(needed)),
        (true, false) => format!("class {name}(TypedDict, total=False):\n{doc}{}", members(optional)),
        (false, false) => {
            let base = format!("class _{name}(TypedDict):\n{}", members(needed));
            format!("{base}\n\nclass {name}(_{name}, total=False):\n{doc}{}", members(optional))
        }
    }
}

fn definition(of: &Type) -> String {
    let name = &of.name;
    let alias = |value: String| format!("{name} = {value}\n{}", docstring(&of.doc, ""));
    match &of.definition {
        Definition::Alias(shape) => alias(written(shape, "")),
        Definition::Choice(words) => {
            let words: String = words
                .iter()
                .map(|(word, doc)| format!("    # {}\n    \"{word}\",\n", doc.replace('\n', " ")))
                .collect();
            alias(format!("Literal[\n{words}]"))
        }
        Definition::Union(shapes) => {
            let shapes: Vec<_> = shapes.iter().map(|shape| format!("\"{}\"", written(shape, ""))).collect();
            alias(format!("Union[{}]", shapes.join(", ")))
        }
        Definition::Record(fields) => record(name, &of.doc, fields),
    }
}

fn head(summary: &str) -> String {
    format!("\"\"\"{summary}\n\n{NOTICE}\n\"\"\"\n\nfrom __future__ import annotations\n\n")
}

fn types(model: &Model) -> String {
    let mut page = Page::new(head("The types of the wire."));
    page.add("from typing import Any, List, Literal, Optional, TypedDict, Union\n\n");
    page.add(format!("VERSION = \"{}\"\n\"\"\"The version of this package.\"\"\"\n", model.version));
    let [lowest, highest] = model.protocol;
    page.add(format!(
        "PROTOCOL = ({lowest}, {highest})\n\"\"\"The protocol versions it speaks, lowest and highest.\"\"\"\n"
    ));
    // Parameters are keyword arguments of the stubs.
    let is_params = |of: &&Type| model.methods.iter().any(|method| method.params_type == of.name);
    let (params, types): (Vec<&Type>, Vec<&Type>) = model.types.iter().partition(is_params);
    for of in types {
        page.add("\n\n");
        page.add(definition(of));
    }
    for of in params {
        if let Definition::Record(fields) = &of.definition
            && fields.iter().any(|field| field.name == "request_id")
        {
            let chosen: Vec<Field> =
                fields.iter().filter(|field| !field.needed && !is_of_the_request(field)).cloned().collect();
            let name = of.name.replace("Params", "Options");
            page.add("\n\n");
            page.add(record(&name, "What a reserve may be given beside the repository and the thread.", &chosen));
        }
    }
    page.done()
}

/// What makes a request repeatable is drawn by the client.
fn is_of_the_request(field: &Field) -> bool {
    field.name == "request_id" || field.name == "reservation_token"
}

fn parameter(field: &Field) -> String {
    let of = written(&field.shape, "t.");
    if field.needed { format!("{}: {of}", field.name) } else { format!("{}: Optional[{of}] = None", field.name) }
}

/// One stub: it only gives names and types to what `call` does.
fn stub(method: &Method, name: &str, params: &[&Field], call: &str) -> String {
    let result = written(&method.result, "t.");
    let listed: String = params.iter().map(|field| format!("        {},\n", parameter(field))).collect();
    let receiver =
        if listed.is_empty() { "self".to_owned() } else { format!("\n        self,\n        *,\n{listed}    ") };
    let explained: String =
        params.iter().map(|field| format!("\n{}: {}", field.name, field.doc.replace('\n', "\n    "))).collect();
    let gap = if explained.is_empty() { "" } else { "\n" };
    let doc = format!("{}{gap}{explained}", method.doc);
    let given: String = params.iter().map(|field| format!("            \"{0}\": {0},\n", field.name)).collect();
    let given = if given.is_empty() { "{}".to_owned() } else { format!("{{\n{given}        }}") };
    format!(
        "\n    def {name}({receiver}) -> {result}:\n{}        answer: {result} = self.{call}(\"{}\", {given})\n        \
         return answer\n",
        docstring(&doc, "        "),
        method.name,
    )
}

fn methods(model: &Model) -> String {
    let mut page = Page::new(head("A stub for each method."));
    page.add("import abc\nfrom typing import Any, Dict, List, Optional\n\nfrom . import types as t\n\n");
    page.add("REPEATABLE = frozenset(\n    [\n");
    for method in model.methods.iter().filter(|method| method.repeatable) {
        page.add(format!("        \"{}\",\n", method.name));
    }
    page.add(
        "    ]\n)\n\"\"\"The methods that change nothing more when they are called again after a lost answer.\"\"\"\n",
    );
    page.add("\n\nclass Methods(abc.ABC):\n    \"\"\"Every method of the daemon. An argument that is None is left out.\"\"\"\n");
    page.add("\n    @abc.abstractmethod\n    def call(self, method: str, params: Dict[str, Any]) -> Any:\n");
    page.add("        \"\"\"Calls a method and gives its result.\"\"\"\n");
    for method in model.methods.iter().filter(|method| method.has_stub()) {
        let params: Vec<&Field> = method.params.iter().collect();
        page.add(stub(method, &method.name.replace('.', "_"), &params, "call"));
    }
    page.add("\n\nclass SessionMethods(abc.ABC):\n    \"\"\"The methods that a session calls about itself.\"\"\"\n");
    page.add("\n    @abc.abstractmethod\n    def call(self, method: str, params: Dict[str, Any]) -> Any:\n");
    page.add("        \"\"\"Calls a method with the session's id and secret and gives its result.\"\"\"\n");
    for method in model.methods.iter().filter(|method| method.is_of_a_session()) {
        page.add(stub(method, &method.name_in_session(), &method.params_beside_the_session(), "call"));
    }
    page.done()
}

fn refusals(model: &Model) -> String {
    let mut page = Page::new(head("What the daemon refuses, one class for each kind."));
    page.add("from typing import Dict, Literal, Type\n\nfrom . import types as t\nfrom .errors import Refused\n");
    for error in &model.errors {
        let (class, kind) = (class_name(&error.kind), &error.kind);
        let doc = docstring(&error.doc, "    ");
        page.add(format!(
            "\n\nclass {class}(Refused):\n{doc}\n    kind: Literal[\"{kind}\"]\n    details: t.{}\n",
            error.details
        ));
    }
    let table: String =
        model.errors.iter().map(|error| format!("    \"{0}\": {1},\n", error.kind, class_name(&error.kind))).collect();
    page.add(format!("\n\nREFUSALS: Dict[str, Type[Refused]] = {{\n{table}}}\n\"\"\"The class of each kind.\"\"\"\n"));
    page.done()
}
