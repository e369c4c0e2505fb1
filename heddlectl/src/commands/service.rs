//! `heddlectl service install|uninstall|status`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use proto_schema::{Info, NoParams};
use serde_json::json;

use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::human::Card;
use crate::service::{self, State, Step};

/// The commands about the daemon as a service.
#[derive(Subcommand, Debug)]
pub(crate) enum Service {
    /// Let your systemd or launchd start the daemon and keep its socket
    ///
    /// A daemon that runs by itself is stopped first; sessions stay. Running it again brings the files of the service up to
    /// date, or changes nothing.
    #[command(after_help = "Example:\n  heddlectl service install --dry-run")]
    Install(Install),
    /// Undo what install did; the registry stays
    #[command(after_help = "Example:\n  heddlectl service uninstall")]
    Uninstall(Uninstall),
    /// Show whether the service is installed and runs
    #[command(after_help = "Example:\n  heddlectl service status")]
    Status,
}

/// Arguments of `service install`.
#[derive(Args, Debug)]
pub(crate) struct Install {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace files that heddlectl did not write
    #[arg(long)]
    force: bool,
}

/// Arguments of `service uninstall`.
#[derive(Args, Debug)]
pub(crate) struct Uninstall {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Service {
    /// Does it.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        match self {
            Self::Install(install) => {
                let steps = service::install(&app.connector, install.force)?;
                carry_out(app, &steps, install.dry_run, "the daemon is a service already, and nothing has to be done")?;
                if !install.dry_run {
                    tell_what_remains(app);
                }
                Ok(Exit::OK)
            }
            Self::Uninstall(uninstall) => {
                let steps = service::uninstall(&app.connector)?;
                carry_out(app, &steps, uninstall.dry_run, "the daemon is no service, and nothing has to be done")?;
                app.out.note(&format!("the registry stays: {}", app.connector.paths.state.display()));
                Ok(Exit::OK)
            }
            Self::Status => status(app),
        }
    }
}

/// Does the steps, or only says them.
fn carry_out(app: &App, steps: &[Step], dry_run: bool, nothing: &str) -> Result<(), Error> {
    if !dry_run {
        service::carry_out(app, steps)?;
    }
    if app.out.json {
        let objects: Vec<_> = steps.iter().map(Step::object).collect();
        let service = service::state(&app.connector);
        return app.out.print_json(&json!({"dry_run": dry_run, "steps": objects, "service": service}).to_string());
    }
    if app.out.quiet && !dry_run {
        return Ok(());
    }
    if steps.is_empty() {
        return app.out.print(&format!("{nothing}\n"));
    }
    let mut text = String::new();
    for step in steps {
        // Writing to a String cannot fail.
        writeln!(text, "{}{}", if dry_run { "would: " } else { "" }, step.text()).ok();
    }
    app.out.print(&text)
}

/// What the user has to know, or to do, that we cannot.
fn tell_what_remains(app: &App) {
    let state = service::state(&app.connector);
    if let Some(socket) = &state.socket {
        app.out.note(&format!("the daemon is started by the first call on {}", socket.display()));
    }
    if state.linger == Some(false) {
        app.out.note("it ends when you log out, with all that runs; to keep it: loginctl enable-linger");
    }
}

/// Shows how the service is. The daemon is asked only where it runs: looking does not start it.
fn status(app: &App) -> Result<Exit, Error> {
    let state = service::state(&app.connector);
    let detached = service::detached(&app.connector, &state);
    let daemon = match (state.pid, detached) {
        (None, None) => None,
        _ => app.connector.running()?.map(|mut it| app.call(&mut it, "daemon.info", &NoParams {})).transpose()?,
    };
    let info = daemon.as_ref().map(crate::client::Answer::read::<Info>).transpose()?;
    let runs_as = match &info {
        None => None,
        Some(info) if state.pid == Some(info.pid) => Some("service"),
        Some(_) => Some("detached"),
    };
    if app.out.json {
        let daemon = info.as_ref().map(|info| json!({"pid": info.pid, "version": info.version, "runs_as": runs_as}));
        let whole = json!({"service": state, "daemon": daemon, "version": env!("CARGO_PKG_VERSION")});
        app.out.print_json(&whole.to_string())?;
    } else {
        app.out.print(&card(app, &state, info.as_ref(), runs_as))?;
    }
    Ok(Exit::OK)
}

fn card(app: &App, state: &State, info: Option<&Info>, runs_as: Option<&str>) -> String {
    let title = match (&state.manager, state.installed) {
        (None, _) => "there is nothing here that heddled could be a service of",
        (Some(_), true) => "heddled is a service",
        (Some(_), false) => "heddled is no service",
    };
    let list = |paths: &[std::path::PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    let runs = info.map(|info| match runs_as {
        Some("service") => format!("heddled {}, pid {}, by the service", info.version, info.pid),
        _ => format!("heddled {}, pid {}, by itself, not by the service", info.version, info.pid),
    });
    let starts = match (state.enabled, state.listening) {
        (true, true) => "with the first call, also after the next login",
        (true, false) => "with the first call after the next login; now it is stopped",
        (false, true) => "with the first call, but not after the next login",
        (false, false) => "not by itself",
    };
    let next = match (state.manager, state.installed, state.outdated) {
        (None, ..) => Some("heddlectl daemon start"),
        (Some(_), true, false) if state.enabled && state.active.as_deref() != Some("failed") => None,
        (Some(_), true, false) if state.enabled => Some("systemctl --user status heddled.service"),
        _ => Some("heddlectl service install"),
    };
    Card::new(title, 7, app.out.page())
        .maybe("why", state.unavailable.clone())
        .maybe("files", state.installed.then(|| list(&state.files)))
        .maybe("written", (state.installed && !state.written_by_heddlectl).then_some("by a package or somebody else"))
        .maybe("program", state.program.as_ref().map(|path| path.display().to_string()))
        .maybe("socket", state.socket.as_ref().map(|path| path.display().to_string()))
        .maybe("starts", state.installed.then(|| starts.to_owned()))
        .fact("runs", runs.as_deref().unwrap_or(state.active.as_deref().unwrap_or("not now")))
        .maybe("linger", state.linger.map(|on| if on { "on" } else { "off: it ends when you log out" }.to_owned()))
        .maybe("stale", state.outdated.then_some("not those of this version"))
        .maybe("next", next)
        .end()
}
