//! The composition root: from a configuration to a daemon that serves, and back to an exit code.
//!
//! Start: state directory, lock, store, liveness, coordinator, socket. Stop: no more connections, calls under way, store,
//! socket, lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto_schema::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Sources};
use crate::coordinator::{Coordinator, Dependencies, Running, Settings};
use crate::lifecycle::{
    self, ActivationError, Handed, Hangups, LockError, Manager, Shutdown, SocketError, SocketWatch, Stop, exit,
    handover,
};
use crate::liveness::LocalLiveness;
use crate::observe::Log;
use crate::paths::{self, Environment, PathError};
use crate::registry::{Actor, MarkKey};
use crate::reload::Reloader;
use crate::repo::{self, Claim, GitRepo, Surroundings};
use crate::server::{self, Identity, InForce, Limits, Service, StopRequest, Stopping, Terms};
use crate::store;

/// How long calls under way may take when the daemon stops, unless the caller says otherwise.
const DRAIN: Duration = Duration::from_secs(10);

/// How long work on repositories that outlasted the drain may still take.
const LAST_WORK: Duration = Duration::from_secs(2);

/// How long the start waits for repositories in which something was left open.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// How long subscribers may take for the last events: whoever is slower resumes from the daemon that is started next.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// Why the daemon could not start or could not stop well.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A directory is not what it must be.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another daemon runs, or the lock cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The socket that a service manager handed over will not do.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// The registry cannot be read, or could not be closed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store did not close well; nothing acknowledged is lost.
    #[error("the store did not close well; the next start replays its journal")]
    Unclosed,
    /// The system refuses something that the daemon needs.
    #[error("{operation}: {source}")]
    System {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The service could not be put together.
    #[error(transparent)]
    Service(#[from] anyhow::Error),
}

impl DaemonError {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Path(error) => error.exit_code(),
            Self::Lock(error) => error.exit_code(),
            Self::Socket(error) => error.exit_code(),
            Self::Activation(error) => error.exit_code(),
            Self::Store(_) | Self::Unclosed => exit::STORE,
            Self::System { .. } | Self::Service(_) => exit::INTERNAL,
        }
    }
}

fn system(operation: &'static str) -> impl Fn(std::io::Error) -> DaemonError {
    move |source| DaemonError::System { operation, source }
}

/// Runs the daemon until a signal or a call stops it, on the socket that was handed over, else on one of its own.
///
/// # Errors
/// It could not start, or could not stop well.
pub async fn run(config: Config, sources: Sources, log: Log, handed: Handed) -> Result<(), DaemonError> {
    let clock = Arc::new(SystemClock::new());
    let started_at = clock.wall();
    let shutdown = Shutdown::new();
    // Before the lock is taken: a signal from then on stops the daemon in order.
    let signals = shutdown.on_signals().map_err(system("handling signals"))?;
    let hangups = Hangups::new().map_err(system("handling signals"))?;
    if let Err(error) = lifecycle::raise_open_files() {
        warn!(%error, "the limit of open files could not be raised");
    }
    let manager = Manager::of(&sources.environment);
    let handed = handed.listener(&config.socket)?;
    paths::secure_dir(&config.state_dir)?;
    warn_of_unsafe_parents(&config);
    let patience = if handed.is_some() { handover::PATIENCE } else { Duration::ZERO };
    let lock = handover::acquire(&config.state_dir, &config.socket, started_at, patience, &shutdown);
    let lock = manager.while_busy("waiting for the daemon before", lock).await?;
    let opened = manager.while_busy("reading the store", open_store(&config, started_at)).await?;
    let (deaths, died) = mpsc::unbounded_channel();
    let liveness = LocalLiveness::start(deaths).map_err(system("watching processes"))?;
    let identity = identity(&config, started_at, &opened, Arc::clone(liveness.boot_id()));
    for problem in &identity.quarantined {
        warn!(problem, "a stored record could not be read and was set aside");
    }
    let claim = claim(&config, &opened, Arc::clone(liveness.boot_id()))?;
    let settings = settings(&config, claim.clone());
    let wall = Arc::clone(&clock);
    let repo = GitRepo::new(git_environment(&sources.environment), Arc::new(move || wall.wall()));
    let dependencies = Dependencies {
        clock: clock.clone(),
        liveness: Arc::new(liveness),
        repo: Arc::new(repo.with_workplace(config.state_dir.join("captures"))),
        store: opened.store,
        log: opened.log,
        condition: opened.condition,
        deaths: died,
    };
    let registry = opened.registry;
    let start = off_worker(move || Coordinator::start(registry, dependencies, settings));
    let started = manager.while_busy("settling what was left open", start).await?;
    let (coordinator, running) = started.map_err(system("starting the writer"))?;
    // Whoever calls first finds everything settled, but for repositories that do not answer.
    manager.while_busy("settling what was left open", coordinator.recovered(SETTLED_WITHIN)).await;

    // A socket that was handed over stays where it is when the daemon ends. Its own is watched, and removed at the end.
    let (rebound, rebinds) = mpsc::channel(1);
    let (listener, socket) = match handed {
        Some(listener) => (listener, None),
        None => {
            let (listener, guard) = lifecycle::bind(&lock, &config.socket)?;
            (listener, Some(SocketWatch::start(guard, rebound)))
        }
    };
    let listener = UnixListener::from_std(listener).map_err(system("listening"))?;
    let (stop, stop_requests) = mpsc::channel(1);
    let terms = InForce::new(terms(&config));
    let service = server::service(coordinator.clone(), clock, identity, terms.clone(), stop)?;
    info!(socket = %config.socket.display(), pid = std::process::id(), handed_over = socket.is_none(), "serving");
    let goes_on = coordinator.clone();
    let progress = move || {
        let goes_on = goes_on.clone();
        async move { goes_on.progress().await }
    };
    let told = tokio::spawn(manager.clone().keep_told(config.socket.clone().into(), progress));
    let (coordinating, telling) = (coordinator.clone(), manager.clone());
    let reloader = Reloader { sources, config, claim, coordinator: coordinating, terms, log, manager: telling };
    let reloading = tokio::spawn(reloader.run(hangups));
    let (by, subscribers) = serve(service, (listener, rebinds), &shutdown, stop_requests, &manager).await;
    reloading.abort();
    told.abort();
    let stopped = stop_all(&coordinator, running, by, signals);
    let stopped = manager.while_busy("closing the store", stopped).await;
    tell_the_last(subscribers).await;
    // Before the lock is given up: the next daemon settles what is cut off.
    manager.while_busy("ending work on repositories", coordinator.work_ended(LAST_WORK)).await;
    stopped?;
    drop((socket, lock));
    info!("stopped");
    Ok(())
}

/// Logs where another user can move or replace the state directory or the socket.
fn warn_of_unsafe_parents(config: &Config) {
    for (what, path) in [("state directory", &config.state_dir), ("socket", &config.socket)] {
        if let Some((above, mode)) = paths::writable_by_all_above(path) {
            let (above, mode) = (above.display().to_string(), format!("{mode:04o}"));
            warn!(what, above, mode, "every user may move or replace what lies below this directory; run chmod o-w");
        }
    }
}

/// Reads the store off the worker, which tells the service manager meanwhile.
async fn open_store(config: &Config, now: Timestamp) -> Result<store::Opened, DaemonError> {
    let state_dir = config.state_dir.clone();
    let open = move || {
        let mut opened = store::open(&state_dir, &store::Options::default())?;
        opened.raise_fencing(now);
        Ok::<_, store::Error>(opened)
    };
    Ok(off_worker(open).await??)
}

async fn off_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, DaemonError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|problem| DaemonError::System { operation: "starting", source: std::io::Error::other(problem) })
}

/// Serves until it is to stop, and gives the calls under way their time. Answers who asked, where that was a call, and the
/// connections that stay for the last events.
async fn serve(
    service: Arc<Service>,
    (listener, rebound): (UnixListener, mpsc::Receiver<UnixListener>),
    shutdown: &Shutdown,
    mut stop_requests: mpsc::Receiver<StopRequest>,
    manager: &Manager,
) -> (Option<Actor>, JoinSet<()>) {
    let (announce, announced) = watch::channel(false);
    let mut serving = tokio::spawn(server::serve(service, listener, rebound, Stopping::new(announced)));
    let request = tokio::select! {
        request = stop_requests.recv() => request,
        () = shutdown.reached(Stop::Drain) => None,
    };
    let drain = request.as_ref().and_then(|request| request.drain_ms).map_or(DRAIN, Duration::from_millis);
    info!(?drain, "stopping");
    announce.send_replace(true);
    manager.stopping(drain).await;
    let subscribers = tokio::select! {
        ended = tokio::time::timeout(drain, &mut serving) => match ended {
            Ok(drained) => drained.unwrap_or_default(),
            Err(_elapsed) => {
                warn!("calls under way are cut off");
                JoinSet::new()
            }
        },
        () = shutdown.reached(Stop::Hurry) => {
            warn!("told to hurry: calls under way are cut off");
            JoinSet::new()
        }
    };
    serving.abort();
    (request.and_then(|request| request.by), subscribers)
}

/// Gives subscribers what is left for them: the stop is the last event, and the end of the stream comes after it.
async fn tell_the_last(mut subscribers: JoinSet<()>) {
    let told = async { while subscribers.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_EVENTS, told).await.is_err() {
        warn!("subscribers that take no more are cut off");
    }
}

async fn stop_all(
    coordinator: &Coordinator,
    running: Running,
    by: Option<Actor>,
    signals: JoinHandle<()>,
) -> Result<(), DaemonError> {
    let closed = coordinator.stop(running, by).await;
    signals.abort();
    if closed { Ok(()) } else { Err(DaemonError::Unclosed) }
}

/// What Git needs of the environment, and nothing else of it.
pub(crate) fn git_environment(environment: &Environment) -> repo::Environment {
    let directory = |name| environment.get(name).map(PathBuf::from);
    repo::Environment {
        path: environment.get("PATH").map_or_else(|| "/usr/local/bin:/usr/bin:/bin".into(), Into::into),
        home: directory("HOME"),
        xdg_config_home: directory("XDG_CONFIG_HOME"),
    }
}

fn text(path: &Path) -> Arc<str> {
    repo::shown(path)
}

fn identity(config: &Config, started_at: Timestamp, opened: &store::Opened, boot_id: Arc<str>) -> Identity {
    Identity {
        started_at,
        socket: text(&config.socket),
        state_dir: text(&config.state_dir),
        registry: registry_id(opened),
        boot_id,
        quarantined: opened.quarantined.iter().map(ToString::to_string).collect(),
    }
}

/// How the registry marks repositories. A state of an older version gets its key now; the coordinator makes it durable before
/// anything is signed with it.
fn claim(config: &Config, opened: &store::Opened, boot_id: Arc<str>) -> Result<Claim, DaemonError> {
    let key = match opened.registry.counters().mark_key {
        Some(key) => key,
        None => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| system("drawing random bytes")(error.into()))?;
            MarkKey(key)
        }
    };
    if let Err(error) = repo::write_key(&config.state_dir, key) {
        warn!(%error, "another registry will not be able to prove whose marks these are");
    }
    let surroundings = Surroundings::current(boot_id);
    Ok(Claim { id: registry_id(opened), state_dir: config.state_dir.clone(), key, surroundings })
}

fn registry_id(opened: &store::Opened) -> Arc<str> {
    format!("{:032x}", opened.id).into()
}

/// What the coordinator is configured with.
pub(crate) fn settings(config: &Config, claim: Claim) -> Settings {
    Settings {
        max_active: usize::try_from(config.limits.active_sessions).unwrap_or(usize::MAX),
        max_waiters: usize::try_from(config.limits.waiters).unwrap_or(usize::MAX),
        worktree_roots: config.worktree_roots.clone(),
        allowed_filters: config.allowed_filters.clone(),
        repos: config.repos.clone(),
        claim,
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// What the edge serves under.
pub(crate) fn terms(config: &Config) -> Terms {
    Terms { limits: limits(config), default_ttl_ms: config.default_ttl_ms }
}

fn limits(config: &Config) -> Limits {
    let size = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
    Limits {
        line_bytes: size(config.limits.line_bytes),
        connections: size(config.limits.connections),
        calls_in_flight: size(config.limits.calls_in_flight),
        batch: size(config.limits.batch),
        active_sessions: size(config.limits.active_sessions),
        waiters: size(config.limits.waiters),
        subscriptions: size(config.limits.subscriptions),
        events_behind: config.limits.events_behind,
        request_timeout_ms: config.limits.request_timeout_ms,
    }
}
