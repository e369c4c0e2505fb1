//! The OpenRPC document as clients need it: types, methods, errors. What this does not understand is an error, never a
//! type that allows everything.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// What a value can be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    Text,
    Integer,
    Number,
    Bool,
    /// Anything; the document says nothing of it.
    Any,
    /// An object of which nothing is said.
    Object,
    List(Box<Self>),
    /// A type by its name.
    Named(String),
    Nullable(Box<Self>),
}

/// One member of a record.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) shape: Shape,
    /// Whether it is always there: what is sent needs it, and what is received has it.
    pub(crate) needed: bool,
}

/// What stands behind the name of a type.
#[derive(Debug)]
pub(crate) enum Definition {
    Alias(Shape),
    /// One of these words, each with its meaning.
    Choice(Vec<(String, String)>),
    /// One of these types.
    Union(Vec<Shape>),
    Record(Vec<Field>),
}

/// A type with a name.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) definition: Definition,
}

/// A method.
#[derive(Debug)]
pub(crate) struct Method {
    /// `noun.verb`.
    pub(crate) name: String,
    pub(crate) doc: String,
    /// The type of its parameters as a whole.
    pub(crate) params_type: String,
    /// What is needed first.
    pub(crate) params: Vec<Field>,
    pub(crate) result: Shape,
    pub(crate) repeatable: bool,
}

/// A kind of errors.
#[derive(Debug)]
pub(crate) struct ErrorKind {
    pub(crate) kind: String,
    pub(crate) doc: String,
    /// The type of its details.
    pub(crate) details: String,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) version: String,
    /// The protocol versions, lowest and highest.
    pub(crate) protocol: [u64; 2],
    pub(crate) types: Vec<Type>,
    pub(crate) methods: Vec<Method>,
    pub(crate) errors: Vec<ErrorKind>,
}

/// What only a transport calls: it opens connections and reads events.
const OF_THE_TRANSPORT: &[&str] = &["daemon.hello", "events.subscribe", "events.unsubscribe"];

impl Method {
    /// Whether callers have a stub for it.
    pub(crate) fn has_stub(&self) -> bool {
        !OF_THE_TRANSPORT.contains(&self.name.as_str())
    }

    /// Whether it is about the caller's own session, whose id and secret it carries.
    pub(crate) fn is_of_a_session(&self) -> bool {
        ["session_id", "reservation_token"]
            .iter()
            .all(|name| self.params.iter().any(|param| param.name == *name && param.needed))
    }

    /// The parameters that its caller chooses when the session is known.
    pub(crate) fn params_beside_the_session(&self) -> Vec<&Field> {
        self.params.iter().filter(|param| param.name != "session_id" && param.name != "reservation_token").collect()
    }

    /// Its name among the methods of a session: `capture`, `thread_update`.
    pub(crate) fn name_in_session(&self) -> String {
        self.name.strip_prefix("agent.").unwrap_or(&self.name).replace('.', "_")
    }
}

type Outcome<T> = Result<T, String>;

fn text(value: &Value) -> Outcome<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("a text was expected, not {value}"))
}

/// A description for readers of another language: without Rust's examples and links.
fn description(schema: &Value) -> String {
    let mut doc = String::new();
    for (number, part) in schema["description"].as_str().unwrap_or_default().split("```").enumerate() {
        // Between fences is code.
        if number % 2 == 0 {
            doc.push_str(part.trim_end());
        }
    }
    doc.replace("[`", "`").replace("`]", "`").trim().to_owned()
}

fn referred(schema: &Value) -> Option<String> {
    Some(schema["$ref"].as_str()?.rsplit('/').next()?.to_owned())
}

fn simple(name: &str, schema: &Value) -> Outcome<Shape> {
    Ok(match name {
        "string" => Shape::Text,
        "integer" => Shape::Integer,
        "number" => Shape::Number,
        "boolean" => Shape::Bool,
        "object" => Shape::Object,
        "array" => Shape::List(Box::new(shape(&schema["items"])?)),
        _ => return Err(format!("no type {name} is known: {schema}")),
    })
}

fn shape(schema: &Value) -> Outcome<Shape> {
    if let Some(name) = referred(schema) {
        return Ok(Shape::Named(name));
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return match choices.as_slice() {
            [one, null] if null["type"] == "null" => Ok(Shape::Nullable(Box::new(shape(one)?))),
            _ => Err(format!("no such choice is known: {schema}")),
        };
    }
    match &schema["type"] {
        Value::String(name) => simple(name, schema),
        Value::Array(names) => match names.as_slice() {
            [Value::String(name), null] if null == "null" => Ok(Shape::Nullable(Box::new(simple(name, schema)?))),
            _ => Err(format!("no such types are known: {schema}")),
        },
        Value::Null => Ok(Shape::Any),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Err(format!("no such type is known: {schema}")),
    }
}

/// Which way an object goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The parameters of a method: what is not required may be left out, and null says nothing else.
    Params,
    /// Within parameters, and perhaps within results too, where absent members are null.
    Both,
    /// Within results alone: complete, but for what was added later and has a default for that; an older daemon does not
    /// send it.
    Received,
}

fn fields(schema: &Value, way: Way) -> Outcome<Vec<Field>> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let nothing = Map::new();
    let mut fields = Vec::new();
    for (name, schema) in schema["properties"].as_object().unwrap_or(&nothing) {
        let needed = match way {
            Way::Params | Way::Both => required.contains(&name.as_str()),
            Way::Received => schema.get("default").is_none(),
        };
        let mut shape = shape(schema)?;
        if let Shape::Nullable(of) = &shape
            && way == Way::Params
            && !needed
        {
            shape = Shape::clone(of);
        }
        fields.push(Field { name: name.clone(), doc: description(schema), shape, needed });
    }
    fields.sort_by_key(|field| !field.needed);
    Ok(fields)
}

/// Words, each with its meaning, if that is what the schema is.
fn choice(schema: &Value) -> Option<Vec<(String, String)>> {
    let words = schema["oneOf"].as_array()?;
    words.iter().map(|word| Some((word["const"].as_str()?.to_owned(), description(word)))).collect()
}

fn definition(schema: &Value, way: Way) -> Outcome<Definition> {
    if let Some(words) = choice(schema) {
        return Ok(Definition::Choice(words));
    }
    if let Some(types) = schema["anyOf"].as_array() {
        return Ok(Definition::Union(types.iter().map(shape).collect::<Outcome<_>>()?));
    }
    if schema["type"] == "object" {
        return Ok(Definition::Record(fields(schema, way)?));
    }
    Ok(Definition::Alias(shape(schema)?))
}

/// The names that a schema refers to, at any depth.
fn mentions(schema: &Value, found: &mut Vec<String>) {
    found.extend(referred(schema));
    match schema {
        Value::Object(members) => members.values().for_each(|member| mentions(member, found)),
        Value::Array(members) => members.iter().for_each(|member| mentions(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every type that some parameters are made of.
fn sent(document: &Value) -> BTreeSet<String> {
    let mut open = Vec::new();
    for method in document["methods"].as_array().into_iter().flatten() {
        mentions(&method["x-params"], &mut open);
    }
    let mut sent = BTreeSet::new();
    while let Some(name) = open.pop() {
        if sent.insert(name.clone()) {
            mentions(&document["components"]["schemas"][&name], &mut open);
        }
    }
    sent
}

impl Model {
    /// Reads an OpenRPC document.
    pub(crate) fn read(document: &Value) -> Outcome<Self> {
        let schemas = &document["components"]["schemas"];
        let mut methods: Vec<Method> = Vec::new();
        for method in document["methods"].as_array().ok_or("there are no methods")? {
            let params_type = referred(&method["x-params"]).ok_or("the parameters have no name")?;
            let params = &schemas[&params_type];
            let said = description(params);
            // "Parameters of `agent.capture`." is said by the name already; what follows is worth reading.
            let said = said.split_once(". ").map_or("", |(_, rest)| rest);
            methods.push(Method {
                name: text(&method["name"])?,
                doc: format!("{}\n\n{said}", text(&method["summary"])?).trim().to_owned(),
                params: fields(params, Way::Params)?,
                params_type,
                result: shape(&method["result"]["schema"])?,
                repeatable: method["x-repeatable"] == true,
            });
        }
        let sent = sent(document);
        let mut types = Vec::new();
        for (name, schema) in schemas.as_object().ok_or("there are no schemas")? {
            let way = match () {
                () if methods.iter().any(|method| method.params_type == *name) => Way::Params,
                () if sent.contains(name) => Way::Both,
                () => Way::Received,
            };
            let definition = definition(schema, way).map_err(|problem| format!("{name}: {problem}"))?;
            types.push(Type { name: name.clone(), doc: description(schema), definition });
        }
        let meanings = choice(&schemas["Kind"]).ok_or("the kinds of errors have no names")?;
        let mut errors = Vec::new();
        for (kind, doc) in meanings {
            let data = &document["components"]["errors"][&kind]["data"]["allOf"][1];
            let details = referred(&data["properties"]["details"]).ok_or_else(|| format!("{kind} has no details"))?;
            errors.push(ErrorKind { kind, doc, details });
        }
        let info = &document["info"];
        let protocol = |at: usize| info["x-protocol"][at].as_u64().ok_or("no version of the protocol is given");
        Ok(Self { version: text(&info["version"])?, protocol: [protocol(0)?, protocol(1)?], types, methods, errors })
    }
}

/// `live_owner` or `agent.live_owner` as the name of a class: `LiveOwner`.
pub(crate) fn class_name(name: &str) -> String {
    let capital = |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    name.split(['_', '.']).map(capital).collect()
}
