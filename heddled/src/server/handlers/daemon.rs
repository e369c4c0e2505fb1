//! `daemon.*` and `rpc.discover`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto_schema::{
    Counts, Empty, Health, HealthCheck, HelloParams, HelloResult, Info, Kind, NoParams, PROTOCOL, ProtocolDetails,
    ShutdownParams,
};
use serde_json::Value;

use crate::metrics::Figures;
use crate::server::advice::{About, explain};
use crate::server::context::{Context, StopRequest};
use crate::server::dispatch::Call;
use crate::server::error::{WireError, invalid_params};

/// `daemon.hello`.
pub(in crate::server) async fn hello(
    _: Arc<Context>,
    _: Arc<Call>,
    params: HelloParams,
) -> Result<HelloResult, WireError> {
    let [lowest, highest] = params.protocol;
    if lowest > highest {
        return Err(invalid_params("protocol", "the lowest version, then the highest"));
    }
    let common = highest.min(PROTOCOL[1]);
    if common < lowest.max(PROTOCOL[0]) {
        let error =
            format!("this daemon speaks versions {} to {}, the client {lowest} to {highest}", PROTOCOL[0], PROTOCOL[1]);
        let (hint, commands) = if highest < PROTOCOL[0] {
            ("the client is older than this daemon: use the heddlectl of this version", own_client())
        } else {
            let restart = vec!["heddlectl daemon stop".to_owned(), "heddlectl daemon start".to_owned()];
            ("this daemon is older than the client: stop it and start the new one; sessions stay", restart)
        };
        return Err(WireError::new(Kind::ProtocolUnsupported, error, hint, &ProtocolDetails { server: PROTOCOL })
            .with_commands(commands));
    }
    Ok(HelloResult {
        protocol: common,
        server: concat!("heddled/", env!("CARGO_PKG_VERSION")).to_owned(),
        capabilities: [
            "process_hold",
            "connection_hold",
            "worktree",
            "request_id",
            "wait",
            "events",
            "http",
            "websocket",
        ]
        .map(str::to_owned)
        .to_vec(),
    })
}

/// The heddlectl that was installed with this daemon, as a command; none where there is none beside it.
fn own_client() -> Vec<String> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("heddlectl")));
    let client = beside.filter(|path| path.is_file()).and_then(|path| Some(path.to_str()?.to_owned()));
    client.into_iter().map(|path| shell_words::join([path.as_str(), "status"])).collect()
}

/// `daemon.info`.
pub(in crate::server) async fn info(context: Arc<Context>, _: Arc<Call>, _: NoParams) -> Result<Info, WireError> {
    let snapshot = context.coordinator.snapshot();
    let (sessions, threads, repositories) = snapshot.registry.sizes();
    let identity = &context.identity;
    let limits = context.terms.now().limits;
    Ok(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        started_at: identity.started_at,
        socket: Arc::clone(&identity.socket),
        state_dir: Arc::clone(&identity.state_dir),
        registry: Arc::clone(&identity.registry),
        boot_id: Arc::clone(&identity.boot_id),
        counts: Counts {
            connections: context.connections.load(Ordering::Relaxed) as u64,
            subscriptions: context.subscriptions.now() as u64,
            active_sessions: snapshot.registry.active_count() as u64,
            waiters: snapshot.waiters.values().sum::<usize>() as u64,
            sessions: sessions as u64,
            threads: threads as u64,
            repositories: repositories as u64,
            quarantined: identity.quarantined.len() as u64,
        },
        limits: proto_schema::Limits {
            line_bytes: limits.line_bytes as u64,
            connections: limits.connections as u64,
            calls_in_flight: limits.calls_in_flight as u64,
            batch: limits.batch as u64,
            active_sessions: limits.active_sessions as u64,
            waiters: limits.waiters as u64,
            subscriptions: limits.subscriptions as u64,
            events_behind: limits.events_behind,
            request_timeout_ms: limits.request_timeout_ms,
        },
        revision: snapshot.registry.revision(),
    })
}

/// `daemon.health`.
pub(in crate::server) async fn health(context: Arc<Context>, _: Arc<Call>, _: NoParams) -> Result<Health, WireError> {
    let check = |name: &str, problem: Option<String>, well: &str| HealthCheck {
        name: name.to_owned(),
        clean: problem.is_none(),
        summary: problem.unwrap_or_else(|| well.to_owned()),
    };
    let failed = context.coordinator.failure().map(|why| {
        format!(
            "the store failed ({why}); changes are refused until `heddlectl daemon stop` and `heddlectl daemon start`"
        )
    });
    let failed = failed.or_else(|| {
        context.coordinator.checkpoint_failure().map(|why| {
            format!(
                "the last checkpoint failed ({why}); it is tried again, and changes are refused once the journal is full; \
                 when space is missing, free some: see `heddlectl doctor`"
            )
        })
    });
    let quarantined = &context.identity.quarantined;
    let set_aside = (!quarantined.is_empty()).then(|| {
        format!("{} stored records could not be read and were set aside: {}", quarantined.len(), quarantined.join("; "))
    });
    let unreadable: Vec<String> = context.coordinator.unreadable_operations().iter().map(u64::to_string).collect();
    let gaps = (!unreadable.is_empty()).then(|| {
        format!("the operation log cannot be read from revision {} on, each for a part", unreadable.join(", "))
    });
    let active = context.coordinator.snapshot().registry.active_count();
    let max = context.terms.now().limits.active_sessions;
    let full = (active >= max).then(|| format!("{active} of at most {max} sessions are active; reserves are refused"));
    let checks = vec![
        check("store", failed, "changes are durable"),
        check("records", set_aside, "every stored record is readable"),
        check("operations", gaps, "the operation log is readable, as far as it was asked for"),
        check("sessions", full, "there is room for more sessions"),
    ];
    Ok(Health { healthy: checks.iter().all(|check| check.clean), checks })
}

/// `daemon.metrics`.
pub(in crate::server) async fn metrics(
    context: Arc<Context>,
    _: Arc<Call>,
    _: NoParams,
) -> Result<proto_schema::Metrics, WireError> {
    let edge = Figures {
        connections: context.connections.load(Ordering::Relaxed),
        subscriptions: context.subscriptions.now(),
        started: context.identity.started_at.unix_ms() / 1000,
        ..Figures::default()
    };
    let text = context.coordinator.figures(edge).await;
    let text = text.map_err(|failure| explain(&context, &failure, &About::default()))?;
    Ok(proto_schema::Metrics { text })
}

/// `daemon.shutdown`.
pub(in crate::server) async fn shutdown(
    context: Arc<Context>,
    call: Arc<Call>,
    params: ShutdownParams,
) -> Result<Empty, WireError> {
    if params.drain_ms.is_some_and(|drain_ms| drain_ms > 600_000) {
        return Err(invalid_params("drain_ms", "at most 600000"));
    }
    // A full channel means that it is stopping already.
    let _stopping =
        context.stop.try_send(StopRequest { drain_ms: params.drain_ms, by: Some(call.caller.peer.actor()) });
    Ok(Empty {})
}

/// `rpc.discover`.
pub(in crate::server) async fn discover(_: Arc<Context>, _: Arc<Call>, _: NoParams) -> Result<Value, WireError> {
    Ok(proto_schema::document())
}
