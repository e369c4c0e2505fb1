//! Tests of the store on a real disk, and of the memory store by the same contract.

mod base;
mod contract;
mod converge;
mod crash;
mod damage;
mod examining;
mod failing;
mod fencing;
mod history;
mod images;
mod location;
mod measure;
mod replacing;
mod retention;

/// Waits until something is so, and panics after a minute.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    panic!("timed out: {what}");
}
