//! JSON-RPC 2.0 envelopes, for clients. The daemon's own side is jsonrpsee's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ErrorData;

/// One call.
#[derive(Debug, Serialize)]
pub struct Request<'a, P> {
    /// Always "2.0".
    pub jsonrpc: &'static str,
    /// Chosen by the caller; its answer carries it.
    pub id: u64,
    /// The method's name.
    pub method: &'a str,
    /// Its parameters.
    pub params: &'a P,
}

impl<'a, P> Request<'a, P> {
    /// Makes a call of `method`.
    #[must_use]
    pub fn new(id: u64, method: &'a str, params: &'a P) -> Self {
        Self { jsonrpc: "2.0", id, method, params }
    }
}

/// The error of one call: `code` follows `data.kind`, and the kind is the stable name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorObject {
    /// The number of the kind.
    pub code: i32,
    /// The same as `data.error`.
    pub message: String,
    /// What is wrong and what to do.
    pub data: Option<ErrorData>,
}

/// The answer of one call, before its result is read as a type.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// The caller's id, null where the call's could not be read.
    pub id: Value,
    /// The result, if it succeeded.
    pub result: Option<Value>,
    /// The error, if it did not.
    pub error: Option<ErrorObject>,
}
