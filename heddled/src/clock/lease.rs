//! The time that deadlines are measured in: monotonic time without the stalls of the daemon itself.
//!
//! A daemon that was stopped or starved could not read the heartbeats that were sent meanwhile, so that time must not
//! count against anybody. Pure: the time is passed in, nothing is read, nothing blocks.
//!
//! Invariants: L1, lease time never exceeds the monotonic time that has passed; L2, it never goes backwards for a reader
//! whose own monotonic time does not; L3, between two ticks it advances by their distance but at most [`MAX_STEP_MS`],
//! so that exactly the excess of a stall is lost, whether it is read before or after the late tick.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// How often [`LeaseClock::tick`] is to be called, in milliseconds.
pub const TICK_MS: u64 = 250;

/// The most that lease time advances from one tick to the next, in milliseconds.
pub const MAX_STEP_MS: u64 = 1_000;

/// The last tick: one value, so that a reader never sees half of a change.
#[derive(Clone, Copy, Debug)]
struct Tick {
    monotonic_ms: u64,
    lease_ms: u64,
}

impl Tick {
    /// A moment before the tick reads as the tick itself: lease time that was given out is never taken back (L2).
    fn lease_at(self, monotonic_ms: u64) -> u64 {
        let step = monotonic_ms.saturating_sub(self.monotonic_ms).min(MAX_STEP_MS);
        self.lease_ms.saturating_add(step)
    }
}

/// Lease time, in milliseconds since the clock was made. Reads take no lock.
#[derive(Debug)]
pub struct LeaseClock {
    last: ArcSwap<Tick>,
}

impl LeaseClock {
    /// Makes a clock that stands at 0 at this moment of monotonic time.
    #[must_use]
    pub fn new(now_mono_ms: u64) -> Self {
        Self { last: ArcSwap::from_pointee(Tick { monotonic_ms: now_mono_ms, lease_ms: 0 }) }
    }

    /// Notes that the daemon is scheduled at this moment. What is beyond [`MAX_STEP_MS`] since the last tick was a stall
    /// and extends every deadline. A tick from before the last one changes nothing, so that several callers may tick.
    pub fn tick(&self, now_mono_ms: u64) {
        self.last.rcu(|last| {
            if now_mono_ms <= last.monotonic_ms {
                return Arc::clone(last);
            }
            Arc::new(Tick { monotonic_ms: now_mono_ms, lease_ms: last.lease_at(now_mono_ms) })
        });
    }

    /// Lease time at this moment. After [`MAX_STEP_MS`] without a tick it stands still.
    #[must_use]
    pub fn now(&self, now_mono_ms: u64) -> u64 {
        self.last.load().lease_at(now_mono_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn regular_ticks_follow_monotonic_time() {
        let clock = LeaseClock::new(10_000);
        assert_eq!(clock.now(10_000), 0);
        for step in 1..=40 {
            let now = 10_000 + step * TICK_MS;
            assert_eq!(clock.now(now), step * TICK_MS, "L3: also before the tick");
            clock.tick(now);
            assert_eq!(clock.now(now), step * TICK_MS, "L3: and after it");
            assert_eq!(clock.now(now + 17), step * TICK_MS + 17);
        }
    }

    #[test]
    fn a_stall_adds_one_step_and_no_more() {
        let clock = LeaseClock::new(0);
        clock.tick(250);
        // Stopped for an hour: a reader that comes before the late tick sees the same as one that comes after it.
        assert_eq!(clock.now(3_600_250), 1_250, "L3: before the tick");
        clock.tick(3_600_250);
        assert_eq!(clock.now(3_600_250), 1_250, "L3: after the tick");
        assert_eq!(clock.now(3_600_500), 1_500, "then it goes on");
    }

    #[test]
    fn exactly_one_step_is_no_stall() {
        let clock = LeaseClock::new(0);
        clock.tick(MAX_STEP_MS);
        assert_eq!(clock.now(MAX_STEP_MS), MAX_STEP_MS);
        clock.tick(2 * MAX_STEP_MS + 1);
        assert_eq!(clock.now(2 * MAX_STEP_MS + 1), 2 * MAX_STEP_MS, "one millisecond too many is lost");
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        let clock = LeaseClock::new(1_000);
        clock.tick(1_500);
        clock.tick(1_200);
        assert_eq!(clock.now(1_500), 500, "an older tick is ignored");
        assert_eq!(clock.now(0), 500, "L2: a moment before the tick reads as the tick");
        let end = LeaseClock::new(u64::MAX - 1);
        assert_eq!(end.now(u64::MAX), 1, "no overflow");
    }

    proptest! {
        #[test]
        fn lease_time_loses_exactly_the_stalls(
            start in 0_u64..1 << 50,
            steps in proptest::collection::vec((0_u64..5_000, any::<bool>()), 1..200),
        ) {
            let clock = LeaseClock::new(start);
            let (mut now, mut last_tick, mut lost, mut before) = (start, start, 0, 0);
            for (step, ticks) in steps {
                now += step;
                let stalled = (now - last_tick).saturating_sub(MAX_STEP_MS);
                if ticks {
                    clock.tick(now);
                    lost += stalled;
                    last_tick = now;
                }
                let lease = clock.now(now);
                let stalled_now = if ticks { 0 } else { stalled };
                prop_assert!(lease <= now - start, "L1");
                prop_assert!(lease >= before, "L2");
                prop_assert_eq!(lease, now - start - lost - stalled_now, "L3");
                before = lease;
            }
        }
    }

    #[test]
    fn readers_beside_tickers_never_see_time_go_back() {
        let clock = LeaseClock::new(0);
        let monotonic = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut before = 0;
                    while !done.load(Ordering::Acquire) {
                        let now = monotonic.load(Ordering::Acquire);
                        let lease = clock.now(now);
                        assert!(lease >= before, "L2: {lease} after {before}");
                        // The other side may have moved on since `now` was read, so the bound is read afterwards.
                        assert!(lease <= monotonic.load(Ordering::Acquire), "L1");
                        before = lease;
                    }
                });
            }
            for turn in 0..20_000_u64 {
                let now = monotonic.fetch_add(1 + (turn % 7) * 300, Ordering::AcqRel) + 1;
                clock.tick(now);
            }
            done.store(true, Ordering::Release);
        });
    }
}
