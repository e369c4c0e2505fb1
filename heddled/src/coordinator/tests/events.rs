//! Followers of the operation log: V1 to V3 of `coordinator/events.rs`. The log in memory has only the newest few without
//! reading, so what is further back is read as from a disk.

use super::super::{Failure, Followed, Follower, Interest};
use super::*;

/// Everything that is there for a follower, by revision.
async fn given(follower: &mut Follower) -> Vec<u64> {
    let mut revisions = Vec::new();
    // What is there is given at once; where nothing is, the paused time runs out.
    while let Ok(followed) = tokio::time::timeout(std::time::Duration::from_secs(1), follower.next()).await {
        match followed.unwrap() {
            Followed::Operations(operations) => revisions.extend(operations.iter().map(|one| one.revision)),
            other @ (Followed::Compacted | Followed::Stopped) => panic!("{other:?}"),
        }
    }
    revisions
}

fn follow(daemon: &Daemon, after: Option<u64>) -> impl Future<Output = Result<Follower, Failure>> + Send + use<> {
    let coordinator = daemon.coordinator.clone();
    async move { coordinator.follow(Interest::default(), after).await }
}

/// Reserves threads, each a few operations.
async fn happen(daemon: &mut Daemon, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let coordinator = daemon.coordinator.clone();
        daemon.run(async move { coordinator.reserve(reserve(number, thread(number))).await }).await.unwrap();
    }
}

#[test]
fn v1_each_operation_is_given_once_whether_it_is_read_back_or_comes_live() {
    runtime().block_on(async {
        let mut daemon = Daemon::start(&World::new());
        happen(&mut daemon, 0..20).await;
        let newest = daemon.coordinator.snapshot().registry.revision();
        let mut followers = Vec::new();
        // From each place, among them those at the seam of what is in memory.
        for after in 0..=newest {
            followers.push((after, follow(&daemon, Some(after)).await.unwrap()));
        }
        happen(&mut daemon, 20..25).await;
        let now = daemon.coordinator.snapshot().registry.revision();
        tokio::time::pause();
        for (after, mut follower) in followers {
            assert_eq!(given(&mut follower).await, (after + 1..=now).collect::<Vec<_>>(), "after {after}");
            assert_eq!(follower.place(), now);
        }
    });
}

#[test]
fn without_a_revision_it_begins_with_what_happens_from_now_on() {
    runtime().block_on(async {
        let mut daemon = Daemon::start(&World::new());
        happen(&mut daemon, 0..3).await;
        let newest = daemon.coordinator.snapshot().registry.revision();
        let mut follower = follow(&daemon, None).await.unwrap();
        happen(&mut daemon, 3..4).await;
        let now = daemon.coordinator.snapshot().registry.revision();
        tokio::time::pause();
        assert_eq!(given(&mut follower).await, (newest + 1..=now).collect::<Vec<_>>());
        let ahead = follow(&daemon, Some(now + 1)).await;
        assert!(matches!(ahead, Err(Failure::Invalid { field: "after", .. })), "{ahead:?}");
    });
}

#[test]
fn v2_nothing_is_given_that_is_not_durable() {
    runtime().block_on(async {
        let world = World::new();
        let mut daemon = Daemon::start(&world);
        happen(&mut daemon, 0..1).await;
        let mut follower = follow(&daemon, None).await.unwrap();
        let place = follower.place();
        world.disk.fail_next(Fault::BeforeDurability);
        let coordinator = daemon.coordinator.clone();
        let refused = daemon.run(async move { coordinator.reserve(reserve(9, thread(9))).await }).await;
        assert!(matches!(refused, Err(Failure::Store(_))), "{refused:?}");
        tokio::time::pause();
        assert_eq!(given(&mut follower).await, [0; 0]);
        assert_eq!(follower.place(), place);
    });
}

#[test]
fn a_repository_is_followed_before_anything_happens_in_it() {
    runtime().block_on(async {
        let mut daemon = Daemon::start(&World::new());
        let coordinator = daemon.coordinator.clone();
        let interest = Interest { repo: Some("/r".into()), ..Interest::default() };
        let mut follower = daemon.run(async move { coordinator.follow(interest, Some(0)).await }).await.unwrap();
        happen(&mut daemon, 0..1).await;
        let now = daemon.coordinator.snapshot().registry.revision();
        tokio::time::pause();
        assert_eq!(given(&mut follower).await, (2..=now).collect::<Vec<_>>(), "all but the daemon's start");
    });
}

#[test]
fn what_it_had_to_catch_up_with_does_not_count_as_being_behind() {
    runtime().block_on(async {
        let mut daemon = Daemon::start(&World::new());
        happen(&mut daemon, 0..20).await;
        let follower = follow(&daemon, Some(0)).await.unwrap();
        assert_eq!(follower.behind(0), 0);
        let before = daemon.coordinator.snapshot().registry.revision();
        happen(&mut daemon, 20..23).await;
        let now = daemon.coordinator.snapshot().registry.revision();
        assert_eq!(follower.behind(0), now - before);
        assert_eq!(follower.behind(now - 1), 1);
    });
}

#[test]
fn v3_what_is_no_longer_kept_is_not_passed_over() {
    runtime().block_on(async {
        let world = World::new();
        let mut daemon = Daemon::start(&world);
        happen(&mut daemon, 0..20).await;
        let mut follower = follow(&daemon, Some(0)).await.unwrap();
        world.disk.forget(10);
        let followed = follower.next().await.unwrap();
        assert!(matches!(followed, Followed::Compacted), "{followed:?}");
        assert_eq!(follower.place(), 0);
        let late = follow(&daemon, Some(9)).await;
        assert!(matches!(late, Err(Failure::Compacted { after: 9, oldest: 11 })), "{late:?}");
        tokio::time::pause();
        let mut follower = follow(&daemon, Some(10)).await.unwrap();
        assert_eq!(given(&mut follower).await.first(), Some(&11));
    });
}
