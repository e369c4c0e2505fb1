//! `heddlectl show`.

use clap::Args;
use proto_schema::{Chain, SessionId, ShowParams};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::sessions;
use crate::session::SessionArgs;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Example:
  heddlectl show agent-abcdefghij234567abcd";

/// Arguments of `show`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The session to show
    #[arg(value_name = "SESSION", conflicts_with = "session")]
    named: Option<SessionId>,
    #[command(flatten)]
    session: SessionArgs,
}

impl Show {
    /// Shows the session.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = app.connect()?;
        let session_id = match self.named {
            Some(id) => id,
            None => self.session.find(app, &mut client)?,
        };
        let answer = app.repeatable(&mut client, "agent.show", &ShowParams { session_id: session_id.into() })?;
        if app.out.json {
            app.out.print_json(&answer.0)?;
            return Ok(Exit::OK);
        }
        let chain: Chain = answer.read()?;
        let page = app.out.page();
        let reservation = &chain.reservation;
        let mut text = sessions::card(&reservation.session_id.to_string(), reservation, page);
        if !chain.chain.is_empty() {
            text += "\nstarted from, root first:\n";
            text += &sessions::list(&chain.chain, page);
        }
        app.out.print(&text)?;
        Ok(Exit::OK)
    }
}
