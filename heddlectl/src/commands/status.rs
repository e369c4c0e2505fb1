//! `heddlectl status`: the daemon, and the repository that we are in.
//!
//! With --json `info`, `health` and `repository` are each exactly the wire's result, of `daemon.info`, `daemon.health` and
//! `repo.verify`; `repository` is null outside of one.

use clap::Args;
use proto_schema::{Health, Info, Kind, NoParams, RepoParams, Verification, VerificationStatus};

use crate::app::App;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::{repository, status};

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl status          the daemon, and this repository in eight checks
  heddlectl status --json   {info, health, repository}

It does not start the daemon. Exit 1 if the daemon or the repository is broken.";

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(crate) struct Status {}

impl Status {
    /// Shows how the daemon is, which is not started for that, and the repository.
    #[expect(clippy::unused_self, reason = "every command is called in the same way")]
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let mut client = running(app)?;
        let daemon = Daemon::ask(app, &mut client)?;
        let repository = match verify(app, &mut client) {
            // The daemon is well, and says so, also where the repository cannot be looked at.
            Err(error) if !app.out.json => {
                app.out.print(&daemon.card(app)?)?;
                return Err(error);
            }
            verified => verified?,
        };
        let verification = repository.as_ref().map(Answer::read::<Verification>).transpose()?;
        if app.out.json {
            let (Daemon { info, health }, repository) =
                (&daemon, repository.as_ref().map_or("null", |it| it.0.as_str()));
            let whole = format!("{{\"info\":{},\"health\":{},\"repository\":{repository}}}", info.0, health.0);
            app.out.print_json(&whole)?;
        } else {
            let card = verification.as_ref().map(|it| format!("\n{}", repository::card(it, app.out.page())));
            app.out.print(&format!("{}{}", daemon.card(app)?, card.unwrap_or_default()))?;
        }
        let is_broken = verification.is_some_and(|it| it.status == VerificationStatus::Broken);
        Ok(if daemon.is_well()? && !is_broken { Exit::OK } else { Exit::UNEXPECTED })
    }
}

/// Shows what the daemon is and how it does.
pub(crate) fn show(app: &App) -> Result<Exit, Error> {
    let daemon = Daemon::ask(app, &mut running(app)?)?;
    if app.out.json {
        app.out.print_json(&format!("{{\"info\":{},\"health\":{}}}", daemon.info.0, daemon.health.0))?;
    } else {
        app.out.print(&daemon.card(app)?)?;
    }
    Ok(if daemon.is_well()? { Exit::OK } else { Exit::UNEXPECTED })
}

fn running(app: &App) -> Result<Client, Error> {
    app.connector.running()?.ok_or_else(|| app.connector.not_running())
}

/// What the daemon says of itself.
struct Daemon {
    info: Answer,
    health: Answer,
}

impl Daemon {
    fn ask(app: &App, client: &mut Client) -> Result<Self, Error> {
        let info = app.call(client, "daemon.info", &NoParams {})?;
        Ok(Self { info, health: app.call(client, "daemon.health", &NoParams {})? })
    }

    fn is_well(&self) -> Result<bool, Error> {
        Ok(self.health.read::<Health>()?.healthy)
    }

    fn card(&self, app: &App) -> Result<String, Error> {
        let card = status::info(&self.info.read::<Info>()?, app.out.page());
        Ok(format!("{card}\n{}", status::health(&self.health.read()?)))
    }
}

/// How the repository is that we are in; none where we are in none.
fn verify(app: &App, client: &mut Client) -> Result<Option<Answer>, Error> {
    let Ok(repo) = app.repo() else { return Ok(None) };
    let error = match app.call(client, "repo.verify", &RepoParams { repo }) {
        Ok(answer) => return Ok(Some(answer)),
        Err(error) => error,
    };
    match error.kind() {
        Some(Kind::RepositoryNotFound) => {
            // Who stands in no repository asks about the daemon alone.
            if app.is_in_repository() {
                app.out.warn(error.report().message);
            }
            Ok(None)
        }
        // A daemon of yesterday.
        Some(Kind::MethodNotFound) => Ok(None),
        _ => Err(error),
    }
}
