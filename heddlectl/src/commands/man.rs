//! `heddlectl man`: the manual pages, made of the command line itself.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, roman};

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
    pub(crate) fn run(&self, out: &Output, command: Command) -> Result<Exit, Error> {
        // `help` explains the others, and has no page of its own.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        match &self.directory {
            Some(directory) => write(out, &command, directory)?,
            None => print(out, &command)?,
        }
        Ok(Exit::OK)
    }
}

fn print(out: &Output, command: &Command) -> Result<(), Error> {
    let mut page = Vec::new();
    let rendered = render(command, &mut page);
    rendered.map_err(|cause| Error::local(Exit::UNEXPECTED, format!("cannot make the manual page: {cause}")))?;
    out.print(&String::from_utf8_lossy(&page))
}

fn write(out: &Output, command: &Command, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|cause| Error::io("make", directory, &cause))?;
    write_all(command, directory).map_err(|cause| Error::io("write the manual pages in", directory, &cause))?;
    if out.json {
        return out.print_json("{}");
    }
    out.note(&format!("the manual pages are in {}", directory.display()));
    Ok(())
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    let mut page = Vec::new();
    render(command, &mut page)?;
    fs::write(directory.join(format!("{}.1", name(command))), page)?;
    command.get_subcommands().try_for_each(|below| write_all(below, directory))
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// One page. Its heading and its end are ours: clap's leave the heading one word short where no date is known, and run the
/// lines of examples together.
fn render(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let (version, name) = (env!("CARGO_PKG_VERSION"), name(command));
    // The day of the commit, where the build knows it.
    let day = env!("HEDDLE_VERSION").trim_end_matches(')').rsplit_once(' ').map_or("", |(_, day)| day);
    let day = if day.starts_with("20") { day } else { "" };
    let heading = name.to_uppercase().replace('-', "\\-");
    writeln!(page, ".TH \"{heading}\" 1 \"{day}\" \"heddlectl {version}\" \"heddled\"")?;
    let clap = Page::new(command.clone());
    clap.render_name_section(page)?;
    clap.render_synopsis_section(page)?;
    clap.render_description_section(page)?;
    clap.render_options_section(page)?;
    if command.has_subcommands() {
        clap.render_subcommands_section(page)?;
    }
    let mut end = Roff::new();
    if let Some(notes) = command.get_after_help() {
        end.control("SH", ["NOTES"]);
        for (number, part) in notes.to_string().split("\n\n").enumerate() {
            if number > 0 {
                end.control("PP", []);
            }
            add(&mut end, part);
        }
    }
    end.control("SH", ["SEE ALSO"]);
    let above = name.rsplit_once('-').map(|(above, _)| format!("{above}(1), ")).unwrap_or_default();
    end.text([roman(format!("{above}heddled(1)"))]);
    end.to_writer(page)
}

/// A paragraph, whose lines may be broken elsewhere; or one with indented lines, which are examples and stay as they are.
fn add(page: &mut Roff, part: &str) {
    let is_example = part.lines().any(|line| line.starts_with(' '));
    if is_example {
        page.control("nf", []);
    }
    part.lines().for_each(|line| {
        page.text([roman(line)]);
    });
    if is_example {
        page.control("fi", []);
    }
}
