//! Work that takes a processor for long, as that on a large worktree does: it yields to whatever callers wait for.

use super::blocking;
use super::failure::Failure;

/// How much it yields, and every program that it starts with it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Runs it off the async workers, on a thread of its own: a thread that has lowered its priority cannot raise it again.
pub(super) async fn yielding<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    blocking(what, move || {
        let thread = std::thread::Builder::new().name("worktree".to_owned()).spawn(move || {
            give_way();
            work()
        });
        thread.map(|thread| thread.join().unwrap_or(Err(Failure::Broken(what)))).unwrap_or(Err(Failure::Broken(what)))
    })
    .await
}

/// Only where a thread has a priority of its own; that it could not be lowered harms nobody.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "work on a worktree keeps its priority");
    }
}
