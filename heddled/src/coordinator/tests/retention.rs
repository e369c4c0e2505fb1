//! What a wrong wall clock must not forget, and what a right one does.

use proto_schema::SessionStatus;

use super::*;
use crate::coordinator::{Failure, hash};
use crate::registry::Refusal;

const HOUR_MS: u32 = 3_600_000;
const FORTY_DAYS_MS: i64 = 40 * 24 * 3_600_000;

fn jump(world: &World, ms: i64) {
    let wall = crate::clock::Clock::wall(&*world.clock);
    world.clock.set_wall(wall.plus_ms(ms));
}

async fn ask(daemon: &mut Daemon, number: u64) -> Result<crate::coordinator::Reserved, Failure> {
    let request = named(number, reserve(number, thread(number)));
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.reserve(request).await }).await
}

/// Makes a session by a request, and releases it.
async fn released(daemon: &mut Daemon, number: u64) {
    let granted = ask(daemon, number).await.unwrap();
    let (id, token) = (granted.view.session.id, hash(&granted.token));
    let coordinator = daemon.coordinator.clone();
    daemon.run(async move { coordinator.release(id, token, SessionStatus::Complete).await }).await.unwrap();
}

/// Whether the request is known: then it is answered that its session has ended, and gets no other.
async fn is_known(daemon: &mut Daemon, number: u64) -> bool {
    match ask(daemon, number).await {
        Err(Failure::Refused(Refusal::Inactive(session))) => {
            assert!(!session.is_active());
            true
        }
        Ok(_) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn pass(daemon: &mut Daemon, ms: u32) {
    daemon.pass(ms);
    daemon.rest().await;
}

#[test]
fn a_request_stays_known_when_the_clock_is_wrong_at_a_start() {
    runtime().block_on(async {
        let world = World::new();
        released(&mut Daemon::start(&world), 1).await;
        jump(&world, FORTY_DAYS_MS);
        let mut daemon = Daemon::start(&world);
        // Changes of each kind, recorded with the wrong time.
        released(&mut daemon, 2).await;
        pass(&mut daemon, HOUR_MS / 2).await;
        assert!(is_known(&mut daemon, 1).await, "while the clock is wrong");
        jump(&world, -FORTY_DAYS_MS);
        for hour in 0..3 {
            pass(&mut daemon, HOUR_MS).await;
            assert!(is_known(&mut daemon, 1).await && is_known(&mut daemon, 2).await, "after {hour} hours more");
        }
        let mut daemon = Daemon::start(&world);
        assert!(is_known(&mut daemon, 1).await && is_known(&mut daemon, 2).await, "after a start");
    });
}

#[test]
fn a_request_stays_known_when_the_clock_jumps_while_the_daemon_runs() {
    runtime().block_on(async {
        let world = World::new();
        let mut daemon = Daemon::start(&world);
        released(&mut daemon, 1).await;
        pass(&mut daemon, HOUR_MS).await;
        // Wrong at one look.
        pass(&mut daemon, HOUR_MS / 2).await;
        jump(&world, FORTY_DAYS_MS);
        pass(&mut daemon, HOUR_MS).await;
        released(&mut daemon, 2).await;
        assert!(is_known(&mut daemon, 1).await, "while the clock is wrong");
        jump(&world, -FORTY_DAYS_MS);
        for hour in 0..3 {
            pass(&mut daemon, HOUR_MS).await;
            assert!(is_known(&mut daemon, 1).await && is_known(&mut daemon, 2).await, "after {hour} hours more");
        }
    });
}

#[test]
fn what_two_looks_find_old_is_forgotten() {
    runtime().block_on(async {
        let world = World::new();
        let mut daemon = Daemon::start(&world);
        released(&mut daemon, 1).await;
        jump(&world, FORTY_DAYS_MS);
        pass(&mut daemon, HOUR_MS).await;
        assert!(is_known(&mut daemon, 1).await, "one look finds it old");
        pass(&mut daemon, HOUR_MS).await;
        assert!(!is_known(&mut daemon, 1).await, "two looks find it old");
        let pruned = daemon.coordinator.snapshot().registry.counters().pruned.unwrap();
        assert!(pruned <= crate::clock::Clock::wall(&*world.clock));
        let daemon = Daemon::start(&world);
        assert_eq!(daemon.coordinator.snapshot().registry.counters().pruned, Some(pruned), "the journal has it");
        assert_eq!(daemon.coordinator.snapshot().registry.sessions(None).count(), 1, "and the start forgets it, too");
    });
}
