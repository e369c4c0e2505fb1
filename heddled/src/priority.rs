//! Who goes first, where several threads of this program and the Git that they start want one processor: whoever callers wait
//! for, and then work that takes long.

/// How much long work yields, and every program that it starts with it. Not more: beside agents that keep every processor
/// busy, with 19 or as `SCHED_IDLE` captures got half of it done or less.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of this thread, for good: it cannot be raised again. Only where a thread has a priority of its own; that
/// it could not be lowered harms nobody.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "long work keeps its priority");
    }
}
