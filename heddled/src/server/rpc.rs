//! The methods, as jsonrpsee dispatches them: each reads its parameters, does its work, and names its errors.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::core::server::Methods;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, RpcModule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::{debug, error};

use super::dispatch::Call;
use super::error::WireError;
use super::handlers::{agent, daemon, events, oplog, repo, thread};
use super::{Context, params};
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

/// Registers one method: parameters in, result or error out; an error gets a name that the log has too.
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
            let Some(call) = extensions.get::<Arc<Call>>() else { return Err(super::error::internal().into()) };
            let mut measured = Measured::begin(&metrics, context.coordinator.clock());
            let result = match params::read::<P>(&params) {
                Ok(params) => handler(Arc::clone(&context), Arc::clone(call), params).await,
                Err(problem) => Err(problem),
            };
            let written = result.and_then(|result| call.answer(&result));
            measured.outcome = written.as_ref().map_or_else(|problem| Outcome::of(problem.0.kind), |()| Outcome::Ok);
            written.map_err(|problem| ErrorObjectOwned::from(name_error(&context, name, problem)))
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
fn name_error(context: &Context, method: &'static str, problem: WireError) -> WireError {
    let number = context.answers.fetch_add(1, Ordering::Relaxed);
    let request = format!("{}-{number}", std::process::id());
    let kind = problem.0.kind.as_str();
    context.coordinator.metrics().erred(problem.0.kind);
    if problem.0.kind == proto_schema::Kind::Internal {
        error!(method, request, "an internal error");
    } else {
        debug!(method, request, kind, "refused");
    }
    problem.named(&request)
}
