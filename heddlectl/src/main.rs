//! `heddlectl`: the command line of `heddled`.
//!
//! A process of its own for one question: it reads its arguments and environment once, sends one call over the daemon's
//! socket, prints the answer and ends with the exit code that docs/protocol.md gives it. It decides nothing about threads.

mod app;
mod cli;
mod client;
mod clock;
mod commands;
mod complete;
mod doctor;
mod duration;
mod env;
mod error;
mod exit;
mod files;
mod global;
mod grant;
mod hidden;
mod output;
mod overview;
mod paths;
mod probe;
mod run;
mod service;
mod session;
mod tidy;
mod tokens;
mod wait;
mod worktree;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};

use crate::app::App;
use crate::cli::Cli;
use crate::client::patience::Patience;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

fn main() -> ExitCode {
    run(std::env::args_os().collect()).into()
}

/// Runs the program with these arguments.
fn run(arguments: Vec<OsString>) -> Exit {
    let mut plain = Output { json: false, quiet: false, color: anstream::ColorChoice::Auto };
    if let Some((error, exit)) = hidden::dispatch(&arguments) {
        plain.fail(&error);
        return exit;
    }
    if let Some(exit) = complete::dispatch(&arguments, Cli::command) {
        return exit;
    }
    if arguments.len() <= 1 {
        // Help that cannot be printed is no failure of its own.
        std::io::stderr().write_all(overview::text().as_bytes()).ok();
        return Exit::USAGE;
    }
    plain.json = arguments.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let parsed = cli::quick(&arguments).map_or_else(|| Cli::try_parse_from(arguments), Ok);
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) if plain.json && error.use_stderr() => return plain.fail(&Error::command_line(&error)),
        Err(error) => {
            // Help that nobody reads is no failure.
            error.print().ok();
            return if error.use_stderr() { Exit::USAGE } else { Exit::OK };
        }
    };
    let out = cli.global.output();
    let app = || {
        let mut app = App::new(&cli.global, out.clone(), Env::of_process())?;
        app.connector.patience = patience(&cli, &out);
        Ok(app)
    };
    let done = cli.command.run(&out, &cli.global, app);
    match (done, &cli.global.socket) {
        (Ok(exit), _) => exit,
        (Err(error), None) => out.fail(&error),
        // Whoever named the socket here must name it in the next command too.
        (Err(error), Some(socket)) => out.fail(&error.through(&std::path::absolute(socket).unwrap_or(socket.clone()))),
    }
}

/// How long the daemon may take to answer this command.
fn patience(cli: &Cli, out: &Output) -> Patience {
    let notes = out.clone();
    let announce = move |text: &str| {
        // With --json nothing but the answer is printed.
        if !notes.json {
            notes.note(text);
        }
    };
    Patience::of_command(cli.command.only_reads(), cli.global.timeout.map(Duration::from_millis), announce)
}
