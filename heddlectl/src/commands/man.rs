//! `heddlectl man`: the manual pages, made of the command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use crate::cli::Cli;
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;

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
    pub(crate) fn run(&self, out: &Output) -> Result<Exit, Error> {
        match &self.directory {
            Some(directory) => write(out, directory)?,
            None => print(out)?,
        }
        Ok(Exit::OK)
    }
}

fn print(out: &Output) -> Result<(), Error> {
    let mut page = Vec::new();
    let rendered = Page::new(Cli::command()).render(&mut page);
    rendered.map_err(|cause| Error::local(Exit::UNEXPECTED, format!("cannot make the manual page: {cause}")))?;
    out.print(&String::from_utf8_lossy(&page))
}

fn write(out: &Output, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|cause| Error::io("make", directory, &cause))?;
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|cause| Error::io("write the manual pages in", directory, &cause))?;
    if out.json {
        return out.print_json("{}");
    }
    out.note(&format!("the manual pages are in {}", directory.display()));
    Ok(())
}
