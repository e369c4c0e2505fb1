//! Work that takes a processor for long, as that on a large worktree does: it yields to whatever callers wait for.

use super::blocking;
use super::failure::Failure;
use crate::priority::give_way;

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
