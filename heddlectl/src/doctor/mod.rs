//! `heddlectl doctor`: looks at everything that the daemon stands on, and says what is wrong and which command mends it.
//!
//! It starts nothing, changes nothing and takes no lock. Invariants: D1, whatever is broken, every other check still runs;
//! D2, every look at a file system, a program or the daemon has a bound, so that it ends where they hang.

pub(crate) mod bounded;
mod checks;
mod finding;
mod probe;
mod scene;

pub(crate) use finding::{Finding, Status};
pub(crate) use scene::Scene;

use std::sync::Arc;

/// Looks at everything, in the order in which one thing stands on another.
pub(crate) fn examine(scene: Scene) -> Vec<Finding> {
    let scene = Arc::new(scene);
    let mut findings = Vec::new();
    for &(name, check) in checks::ALL {
        let seen = Arc::clone(&scene);
        match bounded::within(bounded::LOOK, move || check(&seen)) {
            Some(found) => findings.extend(found),
            None => findings.push(
                Finding::error(name, format!("this look did not end within {} s", bounded::LOOK.as_secs()))
                    .detail("cause", "a file system or a program that does not answer"),
            ),
        }
    }
    findings
}
