//! `heddlectl schema`: the protocol's documents, without a daemon.

use clap::Args;

use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl schema > openrpc.json
  heddlectl schema --types";

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// Print the JSON Schemas of what --json prints about reservations instead
    #[arg(long)]
    types: bool,
}

impl Schema {
    /// Prints the document.
    pub(crate) fn run(&self, out: &Output) -> Result<Exit, Error> {
        let document = if self.types { proto_schema::envelope_schemas() } else { proto_schema::document() };
        out.print_json(&format!("{document:#}"))?;
        Ok(Exit::OK)
    }
}
