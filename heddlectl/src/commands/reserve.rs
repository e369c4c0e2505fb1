//! `heddlectl reserve`.

use std::path::{Path, PathBuf};

use clap::Args;
use proto_schema::{Kind, ReserveParams, Revision, Task, WorktreeRequest};

use crate::app::App;
use crate::duration::duration_ms;
use crate::error::Error;
use crate::exit::Exit;
use crate::grant::{self, Granted};
use crate::output::sessions;
use crate::probe::{self, AgentArgs};
use crate::tidy;

/// What its help ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  heddlectl reserve --thread fix-login --at-tip
  heddlectl reserve --thread fix-login --hold-for-pid $$ --task 'Fix the login'
  heddlectl reserve --thread fix-login --wait 10m

Keep the session alive with `heddlectl heartbeat`, unless a process holds it,
and end it with `heddlectl release`. Waiting callers are served first come,
first served; Ctrl-C gives the place up, and so does a time that is over (exit
75).";

/// Arguments of `reserve`.
#[derive(Args, Debug)]
pub(crate) struct Reserve {
    /// The thread: a branch, which is created if it does not exist
    #[arg(long, short, value_name = "NAME")]
    thread: String,
    #[command(flatten)]
    what: What,
    /// Reserve at this commit: any Git revision [default: HEAD]
    #[arg(long, value_name = "REV", conflicts_with = "at_tip")]
    anchor: Option<Revision>,
    /// Reserve at the thread's tip, or at HEAD if the thread does not exist
    #[arg(long)]
    at_tip: bool,
    /// Hold the thread while this process lives
    #[arg(long, value_name = "PID", conflicts_with_all = ["hold_for_agent", "no_hold_for_agent"])]
    hold_for_pid: Option<i32>,
    /// Hold the thread while the agent's process lives [default if one is found]
    #[arg(long, conflicts_with = "no_hold_for_agent")]
    hold_for_agent: bool,
    /// Hold the thread by heartbeats only
    #[arg(long)]
    no_hold_for_agent: bool,
    /// End the session after this long without a heartbeat [default: 5m, or never if a process holds it]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    ttl: Option<u64>,
    /// Print the reservation token as well
    #[arg(long)]
    show_token: bool,
}

/// What `reserve` and `run` both take.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct What {
    /// What the agent works on; shown in lists
    #[arg(long, value_name = "TEXT")]
    task: Option<Task>,
    /// The branch to merge into [default: the branch checked out here]
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// If the thread is held, wait this long for it: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    wait: Option<u64>,
    /// Use the thread's own worktree, which is created if it does not exist
    #[arg(long, value_name = "PATH")]
    worktree: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub(crate) agent: AgentArgs,
}

impl What {
    /// Whether the work is done in a worktree of the thread's own.
    pub(crate) fn has_worktree(&self) -> bool {
        self.worktree.is_some()
    }

    /// The call for this thread.
    pub(crate) fn params(&self, app: &App, thread: &str) -> Result<ReserveParams, Error> {
        let mut params = ReserveParams::new(app.repo()?, thread);
        params.task.clone_from(&self.task);
        params.target_thread = self.target.as_deref().map(Into::into);
        params.wait_ms = self.wait;
        params.worktree = self.worktree.as_ref().map(|path| worktree(path.as_deref())).transpose()?;
        Ok(params)
    }
}

fn worktree(path: Option<&Path>) -> Result<WorktreeRequest, Error> {
    let Some(path) = path else {
        return Ok(WorktreeRequest { path: None });
    };
    let absolute = std::path::absolute(path).map_err(|cause| Error::io("find", path, &cause))?;
    let text = absolute.to_str().ok_or_else(|| Error::usage("the worktree's path is not UTF-8"))?;
    let text = text.parse().map_err(|error| Error::usage(format!("cannot use the worktree's path: {error}")))?;
    Ok(WorktreeRequest { path: Some(text) })
}

impl Reserve {
    /// Reserves.
    pub(crate) fn run(&self, app: &App) -> Result<Exit, Error> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let found = probe::look(&self.what.agent, app.env(), None, Path::new("/proc"), pid);
        let mut params = self.what.params(app, &self.thread)?;
        found.fill(&mut params);
        params.anchor.clone_from(&self.anchor);
        params.at_tip = self.at_tip.then_some(true);
        params.ttl_ms = self.ttl;
        let agent = found.process.as_ref().map(|process| process.pid);
        if self.hold_for_agent && agent.is_none() {
            return Err(Error::usage("no agent's process was found above this one")
                .hint("name the process with --hold-for-pid, or keep the session alive by heartbeats"));
        }
        params.hold_for_pid = self.hold_for_pid.or(agent.filter(|_| !self.no_hold_for_agent));
        let asked_for = self.hold_for_pid.is_some() || self.hold_for_agent;
        let (mut client, granted) = match grant::obtain(app, params.clone()) {
            // Nobody asked for this hold, and the daemon cannot watch the process: heartbeats it is.
            Err(error) if !asked_for && params.hold_for_pid.is_some() && error.kind() == Some(Kind::HolderNotFound) => {
                params.hold_for_pid = None;
                grant::obtain(app, params)?
            }
            granted => granted?,
        };
        self.tell(app, &granted)?;
        tidy::after_reserve(app, &mut client, granted.reservation().fencing_token.0);
        Ok(Exit::OK)
    }

    fn tell(&self, app: &App, granted: &Granted) -> Result<(), Error> {
        if app.out.json {
            let json = if self.show_token { granted.answer.0.clone() } else { granted.redacted() };
            return app.out.print_json(&json);
        }
        let reservation = granted.reservation();
        let id = reservation.session_id;
        let token = if self.show_token { format!("  token    {}\n", granted.token.expose()) } else { String::new() };
        if app.out.quiet {
            return app.out.print(&format!("{id}\n{token}"));
        }
        let made = if granted.result.thread_created { ", a new branch" } else { "" };
        let title = format!("reserved {}{made}", reservation.thread);
        let card = sessions::card(&title, reservation, app.out.page());
        app.out.print(&format!("{card}{token}\nexport HEDDLE_SESSION={id}\n"))?;
        if let (Some(heartbeat), None) = (&reservation.hold.heartbeat, &reservation.hold.process) {
            app.out.note(&format!(
                "it expires at {} unless `heddlectl heartbeat` renews it; --hold-for-pid holds it for a process",
                heartbeat.expires_at
            ));
        }
        Ok(())
    }
}
