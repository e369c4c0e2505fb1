//! The methods, as jsonrpsee dispatches them: each reads its parameters, does its work, and names its errors.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::server::Methods;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, RpcModule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{Instrument, debug, debug_span, error};

use super::context::Context;
use super::dispatch::Call;
use super::error::WireError;
use super::handlers::{agent, daemon, events, oplog, repo, thread};
use super::params;
use super::request::RequestName;
use crate::clock::Clock;
use crate::metrics::{MethodMetrics, Metrics, Outcome};

/// Registers every method of the protocol that this daemon serves.
pub(super) fn methods(context: Context) -> Result<Methods, RegisterMethodError> {
    let metrics = Arc::clone(context.coordinator.metrics());
    let mut module = Module { rpc: RpcModule::new(context), metrics };
    let m = &mut module;
    method(m, "agent.reserve", agent::reserve)?;
    method(m, "agent.heartbeat", agent::heartbeat)?;
    method(m, "agent.release", agent::release)?;
    method(m, "agent.resume", agent::resume)?;
    method(m, "agent.list", agent::list)?;
    method(m, "agent.show", agent::show)?;
    method(m, "agent.validate", agent::validate)?;
    method(m, "agent.capture", agent::capture)?;
    method(m, "agent.ready", agent::ready)?;
    method(m, "agent.evict", agent::evict)?;
    method(m, "thread.list", thread::list)?;
    method(m, "thread.show", thread::show)?;
    method(m, "thread.update", thread::update)?;
    method(m, "thread.clean", thread::clean)?;
    method(m, "oplog.list", oplog::list)?;
    method(m, "events.subscribe", events::subscribe)?;
    method(m, "events.unsubscribe", events::unsubscribe)?;
    method(m, "repo.verify", repo::verify)?;
    method(m, "repo.adopt", repo::adopt)?;
    method(m, "daemon.hello", daemon::hello)?;
    method(m, "daemon.info", daemon::info)?;
    method(m, "daemon.health", daemon::health)?;
    method(m, "daemon.metrics", daemon::metrics)?;
    method(m, "daemon.shutdown", daemon::shutdown)?;
    method(m, "rpc.discover", daemon::discover)?;
    Ok(module.rpc.into())
}

/// The methods so far, and what they are measured with.
struct Module {
    rpc: RpcModule<Context>,
    metrics: Arc<Metrics>,
}

/// Registers one method: parameters in, result or error out; the log and an error have the call's name.
fn method<P, R, F, Answer>(module: &mut Module, name: &'static str, handler: F) -> Result<(), RegisterMethodError>
where
    P: DeserializeOwned + Send + 'static,
    R: Serialize,
    F: Fn(Arc<Context>, Arc<Call>, P) -> Answer + Copy + Send + Sync + 'static,
    Answer: Future<Output = Result<R, WireError>> + Send,
{
    let metrics = Arc::new(module.metrics.method(name));
    let called = move |params: Params<'static>, context: Arc<Context>, extensions: Extensions| {
        let metrics = Arc::clone(&metrics);
        async move {
            let Some(call) = extensions.get::<Arc<Call>>() else {
                return Err(super::error::internal("a call without context").into());
            };
            let (request, peer) = (call.request, call.caller.peer);
            let mut measured = Measured::begin(&metrics, context.coordinator.clock());
            let result = match params::read::<P>(&params) {
                Ok(params) => {
                    let span = debug_span!("call", %request, method = name);
                    handler(Arc::clone(&context), Arc::clone(call), params).instrument(span).await
                }
                Err(problem) => Err(problem),
            };
            let written = result.and_then(|result| call.answer(&result));
            measured.outcome = written.as_ref().map_or_else(|problem| Outcome::of(problem.0.kind), |()| Outcome::Ok);
            match written {
                Ok(()) => {
                    debug!(%request, method = name, pid = peer.pid, "answered");
                    Ok(())
                }
                Err(problem) => {
                    context.coordinator.metrics().erred(problem.0.kind);
                    Err(ErrorObjectOwned::from(name_error(name, request, problem)))
                }
            }
        }
    };
    module.rpc.register_async_method(name, called).map(drop)
}

/// A call under way. However it ends, it is counted: one that panics or is cut off has failed.
struct Measured<'a> {
    metrics: &'a MethodMetrics,
    clock: &'a dyn Clock,
    began: Duration,
    outcome: Outcome,
}

impl<'a> Measured<'a> {
    fn begin(metrics: &'a MethodMetrics, clock: &'a dyn Clock) -> Self {
        Self { metrics, clock, began: clock.monotonic(), outcome: Outcome::Failed }
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.metrics.called(self.outcome, self.clock.monotonic().saturating_sub(self.began));
    }
}

/// Gives an error its name in the log. Refusals are everyday business; defects are not.
fn name_error(method: &'static str, request: RequestName, problem: WireError) -> WireError {
    let kind = problem.0.kind;
    if kind == proto_schema::Kind::Internal {
        error!(%request, method, cause = problem.cause(), "an internal error");
    } else {
        debug!(%request, method, kind = kind.as_str(), "refused");
    }
    problem.named(&request.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tests::Shown;
    use crate::server::error::{internal, no_method};
    use crate::server::request::Names;

    #[test]
    fn the_name_of_an_error_is_its_name_in_the_log_and_its_cause_is_there_alone() {
        let names = Names::default();
        let shown = Shown::at("debug");
        for (problem, level) in [(internal("the disk is on fire"), "ERROR"), (no_method("x"), "DEBUG")] {
            let told = name_error("agent.list", names.next(), problem).0;
            let request = told.request.as_deref().unwrap().to_owned();
            let text = shown.text();
            let line = text.lines().find(|line| line.contains(&format!("request={request} "))).unwrap();
            assert!(line.contains(level) && line.contains("agent.list"), "{line}");
            assert!(!serde_json::to_string(&told).unwrap().contains("fire"));
        }
        assert!(shown.text().contains("the disk is on fire"));
    }
}
