//! `heddlectl status`: the daemon's part.

use clap::Args;
use proto_schema::{Health, Info, NoParams};

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::status;

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(crate) struct Status {}

impl Status {
    /// Shows how the daemon is; it is not started for that.
    #[expect(clippy::unused_self, reason = "every command is called in the same way")]
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        show(app)
    }
}

/// Shows what the daemon is and how it does.
pub(crate) fn show(app: &App) -> Result<Exit, Error> {
    let Some(mut client) = app.connector.running()? else {
        return Err(app.connector.not_running());
    };
    let info = app.call(&mut client, "daemon.info", &NoParams {})?;
    let health = app.call(&mut client, "daemon.health", &NoParams {})?;
    let well: Health = health.read()?;
    if app.out.json {
        app.out.print_json(&format!("{{\"info\":{},\"health\":{}}}", info.0, health.0))?;
    } else {
        let card = status::info(&info.read::<Info>()?, app.out.page());
        app.out.print(&format!("{card}\n{}", status::health(&well)))?;
    }
    Ok(if well.healthy { Exit::OK } else { Exit::UNEXPECTED })
}
