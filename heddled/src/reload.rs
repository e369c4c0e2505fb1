//! SIGHUP: reads the configuration again and puts in force what can change while the daemon runs.
//!
//! Invariants: C1, a configuration that is not sound in every part changes nothing; C2, what is in force is what
//! `daemon.info` says, and what could not be put in force is said in the log.

use tracing::{error, info, warn};

use crate::config::{Config, NEEDS_RESTART, Sources};
use crate::coordinator::Coordinator;
use crate::daemon;
use crate::lifecycle::Hangups;
use crate::observe::Log;
use crate::repo::Claim;
use crate::server::InForce;

/// What a configuration is put in force with.
pub(crate) struct Reloader {
    /// Where it is read from.
    pub(crate) sources: Sources,
    /// What is in force.
    pub(crate) config: Config,
    /// Whose registry this is: that stays.
    pub(crate) claim: Claim,
    /// The limits of reserves and waits, the filters, the worktrees, the repositories.
    pub(crate) coordinator: Coordinator,
    /// The limits of connections, and the default time to live.
    pub(crate) terms: InForce,
    /// What the log shows.
    pub(crate) log: Log,
}

impl Reloader {
    /// Reads the configuration again whenever the process is told to.
    pub(crate) async fn run(mut self, mut hangups: Hangups) {
        while hangups.next().await {
            // A service manager that is told of reloads is told here: before it, and after it.
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let sources = self.sources.clone();
        let loaded = tokio::task::spawn_blocking(move || sources.load()).await;
        match loaded {
            Ok(Ok(config)) => self.put_in_force(config),
            Ok(Err(error)) => {
                let error = error.to_string();
                error!(error = error.trim_end(), "the configuration is not sound: the one before stays in force");
            }
            Err(_) => error!("reading the configuration panicked: the one before stays in force"),
        }
    }

    fn put_in_force(&mut self, mut config: Config) {
        let differing = self.config.differences(&config);
        let (later, now): (Vec<_>, Vec<_>) = differing.into_iter().partition(|key| NEEDS_RESTART.contains(key));
        // These two stay what they are for as long as this daemon runs.
        config.socket.clone_from(&self.config.socket);
        config.state_dir.clone_from(&self.config.state_dir);
        if let Err(error) = self.log.show(&config.log) {
            // It was parsed before, so this is no fault of the file.
            error!(%error, "the log stays as it was");
            config.log.clone_from(&self.config.log);
        }
        self.coordinator.configure(daemon::settings(&config, self.claim.clone()));
        self.terms.change(daemon::terms(&config));
        self.config = config;
        info!(changed = now.join(", "), "the configuration was read again");
        if !later.is_empty() {
            warn!(keys = later.join(", "), "needs a restart: `heddlectl daemon stop`, then `heddlectl daemon start`");
        }
    }
}
