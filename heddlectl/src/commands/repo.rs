//! `heddlectl repo adopt`.

use clap::{Args, Subcommand};
use proto_schema::{AdoptParams, Reason};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;

/// What the help of `repo adopt` ends with.
const ADOPT: &str = "\
Example:
  heddlectl repo adopt --reason 'the old state directory is gone'

A repository belongs to one registry, which `heddle-registry` in its Git
directory names. Adopt it if that registry is gone for good.";

/// The commands about repositories.
#[derive(Subcommand, Debug)]
pub(crate) enum Repo {
    /// Take this repository over from a registry whose daemon is not running
    #[command(after_help = ADOPT)]
    Adopt(Adopt),
}

/// Arguments of `repo adopt`.
#[derive(Args, Debug)]
pub(crate) struct Adopt {
    /// Why; the operation log keeps it
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
}

impl Repo {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let Self::Adopt(adopt) = self;
        let params = AdoptParams { repo: app.repo()?, reason: adopt.reason.clone() };
        let answer = app.call(&mut app.connect()?, "repo.adopt", &params)?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
        } else if !app.out.quiet {
            app.out.print("this repository is now served by your daemon\n")?;
        }
        Ok(Exit::OK)
    }
}
