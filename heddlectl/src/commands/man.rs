//! `heddlectl man`: the manual pages, made of the command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::app::App;
use crate::cli::Cli;
use crate::error::Error;
use crate::exit::Exit;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl man | man -l -
  heddlectl man ~/.local/share/man/man1";

/// Arguments of `man`.
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// Write the pages of all commands into this directory [default: print the first page]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    /// Prints the page, or writes all of them.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        match &self.directory {
            Some(directory) => write(app, directory)?,
            None => print(app)?,
        }
        Ok(Exit::OK)
    }
}

fn print(app: &App) -> Result<(), Error> {
    let mut page = Vec::new();
    let rendered = Page::new(Cli::command()).render(&mut page);
    rendered.map_err(|cause| Error::local(Exit::UNEXPECTED, format!("cannot make the manual page: {cause}")))?;
    app.out.print(&String::from_utf8_lossy(&page))
}

fn write(app: &App, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|cause| Error::io("make", directory, &cause))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|cause| Error::io("write the manual pages in", directory, &cause))?;
    if app.out.json {
        return app.out.print_json("{}");
    }
    app.out.note(&format!("the manual pages are in {}", directory.display()));
    Ok(())
}
