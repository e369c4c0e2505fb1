//! Which time may be taken for the present when old records are pruned. Pure: the times are passed in.
//!
//! The wall clock may be wrong, at a start before the machine has asked for the time as well as later, and what was pruned
//! does not come back when the clock is right again. So one look at it prunes nothing: it needs a second one that agrees,
//! after an hour of lease time, which neither a suspend nor a jump of the wall clock makes shorter.

use proto_schema::Timestamp;

/// How much lease time passes between two looks, in milliseconds.
const BETWEEN_LOOKS_MS: u64 = 60 * 60 * 1000;

/// The last look at the wall clock.
#[derive(Debug)]
pub(super) struct Retention {
    wall: Timestamp,
    lease_ms: u64,
}

impl Retention {
    /// Takes the first look.
    pub(super) fn new(wall: Timestamp, lease_ms: u64) -> Self {
        Self { wall, lease_ms }
    }

    /// Takes the next look once it is due, and returns the time that this one and the one before agree has come: the earlier of
    /// what the clock shows, and what it showed before plus the lease time since.
    pub(super) fn look(&mut self, wall: Timestamp, lease_ms: u64) -> Option<Timestamp> {
        let passed = lease_ms.saturating_sub(self.lease_ms);
        if passed < BETWEEN_LOOKS_MS {
            return None;
        }
        let before = std::mem::replace(self, Self { wall, lease_ms });
        Some(wall.min(before.wall.plus_ms(i64::try_from(passed).unwrap_or(i64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const FORTY_DAYS: i64 = 40 * 24 * HOUR;

    /// Looks once an hour at a clock that is off by so much each time. Returns by how much each answer is off.
    fn looks(off: &[i64]) -> Vec<i64> {
        let mut hours = off.iter().zip(0_i64..).map(|(off, hour)| (Timestamp::from_unix_ms(hour * HOUR + off), hour));
        let (first, _) = hours.next().unwrap();
        let mut retention = Retention::new(first, 0);
        let answers = hours.map(|(wall, hour)| {
            let lease_ms = u64::try_from(hour * HOUR).unwrap();
            assert_eq!(retention.look(wall, lease_ms - 1), None, "not before the hour is over");
            let answer = retention.look(wall, lease_ms).unwrap();
            assert_eq!(retention.look(wall, lease_ms), None, "once");
            answer.unix_ms() - hour * HOUR
        });
        answers.collect()
    }

    #[test]
    fn no_single_look_at_a_wrong_clock_prunes_anything() {
        assert_eq!(looks(&[0, 0, 0]), [0, 0], "a clock that goes right");
        assert_eq!(looks(&[FORTY_DAYS, 0, 0]), [0, 0], "ahead at the start");
        assert_eq!(looks(&[0, FORTY_DAYS, 0]), [0, 0], "ahead for a while");
        assert_eq!(looks(&[0, -FORTY_DAYS, 0]), [-FORTY_DAYS, -FORTY_DAYS], "behind for a while");
        assert_eq!(looks(&[0, FORTY_DAYS, FORTY_DAYS]), [0, FORTY_DAYS], "what a second look still finds");
        assert_eq!(looks(&[FORTY_DAYS, -FORTY_DAYS, FORTY_DAYS]), [-FORTY_DAYS, -FORTY_DAYS], "to and fro");
    }

    #[test]
    fn a_suspend_counts_from_the_second_look_after_it_on() {
        let mut retention = Retention::new(Timestamp::from_unix_ms(0), 0);
        let hour = BETWEEN_LOOKS_MS;
        let awake = Timestamp::from_unix_ms(FORTY_DAYS);
        assert_eq!(retention.look(awake, hour - 1), None, "the suspend is no lease time");
        assert_eq!(retention.look(awake, hour), Some(Timestamp::from_unix_ms(HOUR)));
        assert_eq!(retention.look(awake.plus_ms(HOUR), 2 * hour), Some(awake.plus_ms(HOUR)));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let end = Timestamp::from_unix_ms(i64::MAX);
        assert_eq!(Retention::new(end, 0).look(end, u64::MAX), Some(end));
    }
}
