//! stub
use clap::Args;
use crate::app::App;
use crate::error::Error;
use crate::exit::Exit;
#[derive(Args, Debug)]
pub(crate) struct Demo {}
impl Demo { pub(crate) fn run(&self, _app: &App) -> Result<Exit, Error> { Ok(Exit::OK) } }
