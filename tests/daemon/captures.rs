//! Captures by the real daemon, with `git` as the oracle: what was told is there, what was not is untouched, and nothing is
//! left behind by whatever ended in the middle.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Holder, Place, Repo, Stopwatch, eventually, key};

/// A thread that is held, in a linked worktree of its own.
struct Work {
    repo: Repo,
    held: Value,
    /// The same repository, seen from the worktree.
    tree: Repo,
}

impl Work {
    fn new(place: &Place, client: &mut Client) -> Self {
        let repo = place.repo("r");
        repo.git(&["config", "user.name", "Ada"]);
        repo.git(&["config", "user.email", "ada@example.org"]);
        let held = client.ok(
            "agent.reserve",
            &json!({
                "repo": repo.at(), "thread": "t", "worktree": {}, "harness": "h", "model": "m",
            }),
        )["reservation"]
            .take();
        let tree = repo.seen_from(held["path"].as_str().unwrap());
        Self { repo, held, tree }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.tree.path.join(name), content).unwrap();
    }

    fn params(&self, more: &Value) -> Value {
        let mut params = key(&self.held);
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    }

    fn capture(&self, client: &mut Client) -> Value {
        client.ok("agent.capture", &key(&self.held))["capture"].take()
    }

    fn git_dir(&self) -> PathBuf {
        PathBuf::from(self.tree.git(&["rev-parse", "--absolute-git-dir"]))
    }

    fn status(&self) -> String {
        self.tree.git(&["status", "--porcelain"])
    }

    /// Nothing of a capture is left, and Git finds nothing wrong.
    fn assert_sound(&self, place: &Place) {
        for name in ["index.lock", "heddle-index"] {
            assert!(!self.git_dir().join(name).exists(), "{name} is left");
        }
        assert_eq!(self.repo.locks(), Vec::<PathBuf>::new());
        self.repo.git(&["fsck", "--strict", "--connectivity-only"]);
        let captures = place.state().join("captures");
        let left = std::fs::read_dir(captures).map_or(0, Iterator::count);
        assert_eq!(left, 0, "the workplace is empty");
    }
}

fn log(client: &mut Client, repo: &Repo) -> Vec<Value> {
    let listed = client.ok("oplog.list", &json!({"repo": repo.at(), "limit": 1000}));
    listed["operations"].as_array().unwrap().clone()
}

#[test]
fn a_capture_commits_what_git_would_add_and_says_by_whom() {
    let place = Place::new();
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    let before = work.repo.id("t");
    work.write("file", "changed");
    work.write("new file", "new");
    work.write(".gitignore", "ignored\n");
    work.write("ignored", "ignored");
    let params = work.params(&json!({"message": "Let it be\n\nAnd that is why.", "confidence": 0.75}));
    let answer = client.ok("agent.capture", &params);
    let capture = &answer["capture"];
    assert_eq!(capture["created"], true);
    assert_eq!((&capture["parent"], &capture["changed_count"]), (&json!(before), &json!(3)));
    assert_eq!(capture["changed_paths"], json!([".gitignore", "file", "new file"]));
    assert_eq!(capture["state"], work.repo.id("t"));
    assert_eq!(capture["root"], work.repo.id("t^{tree}"));
    assert_eq!(work.repo.id("t~"), before);
    assert_eq!(work.status(), "", "Git sees no change");
    let session = work.held["session_id"].as_str().unwrap();
    let message = format!(
        "Let it be\n\nAnd that is why.\n\nHeddle-Session: {session}\nHeddle-Agent: h/-/m\nHeddle-Confidence: \
         0.75\nHeddle-Fencing-Token: {}",
        work.held["fencing_token"]
    );
    assert_eq!(work.repo.git(&["show", "-s", "--format=%B", "t"]).trim_end(), message);
    let last = log(&mut client, &work.repo).pop().unwrap();
    assert_eq!((&last["kind"], &last["session_id"]), (&json!("captured"), &work.held["session_id"]));
    assert_eq!(last["detail"], json!({"before": before, "after": capture["state"], "changed_count": 3}));

    let again = work.capture(&mut client);
    assert_eq!(
        (&again["created"], &again["state"], &again["parent"]),
        (&json!(false), &capture["state"], &Value::Null)
    );
    assert_eq!(log(&mut client, &work.repo).pop().unwrap(), last, "nothing happened");
    work.write("file", "more");
    assert_eq!(work.capture(&mut client)["parent"], capture["state"], "it follows what was captured before");
    let default = work.repo.git(&["show", "-s", "--format=%s", "t"]);
    assert_eq!(default, "capture of t");
    work.assert_sound(&place);
}

/// Lets a capture of a file named `slow` run until the test says so: its content goes through a filter that waits.
struct Gate {
    directory: PathBuf,
}

impl Gate {
    fn new(place: &Place) -> Self {
        let directory = place.root.join("gate");
        std::fs::create_dir(&directory).unwrap();
        place.configure("allowed_filters = ['slow']\n");
        let attributes = directory.join("attributes");
        std::fs::write(&attributes, "slow filter=slow\n").unwrap();
        let at = directory.display();
        let script = format!("touch {at}/begun; while [ -d {at} ] && ! [ -e {at}/open ]; do sleep 0.02; done; cat");
        let attributes = attributes.display();
        let config = format!("[filter \"slow\"]\n\tclean = {script:?}\n[core]\n\tattributesFile = {attributes}\n");
        std::fs::write(place.root.join("home/.gitconfig"), config).unwrap();
        Self { directory }
    }

    #[track_caller]
    fn wait_until_begun(&self) {
        eventually("the capture is under way", || self.directory.join("begun").exists().then_some(()));
    }

    fn open(&self) {
        std::fs::write(self.directory.join("open"), "").unwrap();
    }
}

#[test]
fn the_end_of_a_session_comes_at_once_and_cancels_its_capture() {
    for end in ["evict", "release", "holder"] {
        let place = Place::new();
        let gate = Gate::new(&place);
        let daemon = place.start();
        let mut client = daemon.client();
        let work = Work::new(&place, &mut client);
        let mut holder = Holder::start();
        let mut beat = key(&work.held);
        beat["hold_for_pid"] = holder.pid().into();
        client.ok("agent.heartbeat", &beat);
        let before = work.repo.id("t");
        work.write("slow", "work");
        let mut captor = daemon.client();
        captor.start("agent.capture", &key(&work.held));
        gate.wait_until_begun();
        match end {
            "evict" => drop(client.ok("agent.evict", &json!({"session_id": work.held["session_id"], "reason": "r"}))),
            "release" => drop(client.release(&work.held)),
            _ => holder.kill_and_wait(),
        }
        // The gate stays shut: nobody waits for the filter.
        let answer = captor.receive();
        assert_eq!(answer["error"]["data"]["kind"], "fencing_token_stale", "{end}: {answer}");
        assert_eq!(answer["error"]["data"]["details"]["held"], work.held["fencing_token"]);
        assert_eq!(work.repo.id("t"), before, "nothing was written");
        assert_eq!(work.status(), "?? slow", "the work is untouched");
        work.assert_sound(&place);
        let next = client.reserve(work.repo.at(), "t");
        assert!(next["fencing_token"].as_u64() > work.held["fencing_token"].as_u64(), "the thread is free");
    }
}

#[test]
fn expiry_waits_for_a_capture() {
    let place = Place::new();
    let gate = Gate::new(&place);
    let daemon = place.start();
    let mut client = daemon.client();
    let mut work = Work::new(&place, &mut client);
    client.release(&work.held);
    let again = json!({"repo": work.repo.at(), "thread": "t", "at_tip": true, "ttl_ms": 1000, "path": work.tree.at()});
    work.held = client.ok("agent.reserve", &again)["reservation"].take();
    let other = client.ok("agent.reserve", &json!({"repo": work.repo.at(), "thread": "u", "ttl_ms": 1000}));
    work.write("slow", "work");
    let mut captor = daemon.client();
    captor.start("agent.capture", &key(&work.held));
    gate.wait_until_begun();
    let mut other = || client.show(&other["reservation"])["status"].clone();
    eventually("another session of the same age expires", || (other() == "abandoned").then_some(()));
    eventually("so does one that was reserved later", || {
        let later = client.ok("agent.reserve", &json!({"repo": work.repo.at(), "thread": "v", "ttl_ms": 1000}));
        eventually("it expires", || (client.show(&later["reservation"])["status"] == "abandoned").then_some(()));
        Some(())
    });
    assert_eq!(client.show(&work.held)["status"], "active", "its time has run out, and it is capturing");
    gate.open();
    let answer = captor.receive();
    assert_eq!(answer["result"]["capture"]["created"], true, "{answer}");
    assert_eq!(answer["result"]["reservation"]["status"], "active", "the capture was a sign of life");
    work.assert_sound(&place);
}

#[test]
fn captures_of_one_worktree_queue_and_those_of_others_do_not_wait() {
    let place = Place::new();
    let gate = Gate::new(&place);
    let daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    let at = work.repo.at();
    let other = client.ok("agent.reserve", &json!({"repo": at, "thread": "u", "worktree": {}}))["reservation"].take();
    work.write("slow", "work");
    let mut captors = [daemon.client(), daemon.client()];
    captors[0].start("agent.capture", &key(&work.held));
    gate.wait_until_begun();
    captors[1].start("agent.capture", &key(&work.held));
    let elsewhere = std::path::Path::new(other["path"].as_str().unwrap()).join("file");
    std::fs::write(elsewhere, "other work").unwrap();
    assert_eq!(client.ok("agent.capture", &key(&other))["capture"]["created"], true, "it does not wait");
    gate.open();
    let created = captors.map(|mut captor| captor.receive()["result"]["capture"]["created"].clone());
    assert_eq!(created, [json!(true), json!(false)], "one after the other, and nothing twice");
    work.assert_sound(&place);
}

/// A place whose state lies on another file system than its repositories; none where there is no second one.
fn split_place() -> Option<(Place, tempfile::TempDir)> {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new();
    let device = |path: &std::path::Path| std::fs::metadata(path).map(|data| data.dev());
    let other = std::path::Path::new("/dev/shm");
    if device(other).ok()? == device(&place.root).ok()? {
        return None;
    }
    Some((place, tempfile::tempdir_in(other).ok()?))
}

fn start_with<'a>(place: &'a Place, state: &tempfile::TempDir) -> crate::support::Daemon<'a> {
    let mut command = place.command();
    command.env("HEDDLE_STATE_DIR", state.path().join("state"));
    let daemon = place.launch(&mut command);
    eventually("the daemon serves", || Client::try_connect(&place.socket()).ok());
    daemon
}

/// Objects are copied there, under a temporary name in the repository.
#[test]
fn what_a_killed_capture_left_of_an_object_is_no_obstacle_to_that_content() {
    let Some((place, state)) = split_place() else { return };
    let daemon = start_with(&place, &state);
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    work.write("new", "the same content");
    let id = work.tree.git(&["hash-object", "new"]);
    let folder = work.repo.path.join(".git/objects").join(&id[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("tmp_obj_{}", &id[2..])), "half of").unwrap();
    assert_eq!(work.capture(&mut client)["created"], true);
    assert_eq!(work.repo.git(&["cat-file", "blob", &id]), "the same content");
    work.assert_sound(&place);
}

#[test]
fn two_worktrees_can_capture_the_same_new_content_at_once() {
    let Some((place, state)) = split_place() else { return };
    let daemon = start_with(&place, &state);
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    let at = work.repo.at();
    let other = client.ok("agent.reserve", &json!({"repo": at, "thread": "u", "worktree": {}}))["reservation"].take();
    let elsewhere = std::path::Path::new(other["path"].as_str().unwrap());
    for number in 0..200 {
        let content = format!("{number}\n").repeat(5_000);
        work.write(&format!("file-{number}"), &content);
        std::fs::write(elsewhere.join(format!("file-{number}")), content).unwrap();
    }
    let mut captors = [daemon.client(), daemon.client()];
    captors[0].start("agent.capture", &key(&work.held));
    captors[1].start("agent.capture", &key(&other));
    for mut captor in captors {
        let answer = captor.receive();
        assert_eq!(answer["result"]["capture"]["created"], true, "{answer}");
    }
    work.assert_sound(&place);
}

/// The moments of a capture at which the daemon is killed, by what can be seen of it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Moment {
    /// It has begun.
    Begun,
    /// The new index is written; the intent is recorded next.
    IndexWritten,
    /// The branch is being moved: the intent is recorded.
    BranchLocked,
    /// The branch was moved.
    BranchMoved,
    /// HEAD's reflog says so.
    Logged,
    /// The index was replaced.
    IndexReplaced,
}

impl Moment {
    const ALL: [Self; 6] =
        [Self::Begun, Self::IndexWritten, Self::BranchLocked, Self::BranchMoved, Self::Logged, Self::IndexReplaced];

    /// Looks without a pause until it has come.
    #[track_caller]
    fn wait(self, place: &Place, work: &Work, before: &str) {
        let (private, common) = (work.git_dir(), work.repo.path.join(".git"));
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
        let logged = size(private.join("logs/HEAD"));
        let is_moved =
            || std::fs::read_to_string(common.join("refs/heads/t")).is_ok_and(|tip| tip.trim_end() != before);
        let is_over = || is_moved() && !private.join("index.lock").exists();
        let is_there = || match self {
            Self::Begun => std::fs::read_dir(place.state().join("captures")).is_ok_and(|entries| entries.count() > 0),
            Self::IndexWritten => size(private.join("index.lock")) > 0,
            Self::BranchLocked => common.join("refs/heads/t.lock").exists(),
            Self::BranchMoved => is_moved(),
            Self::Logged => size(private.join("logs/HEAD")) > logged,
            Self::IndexReplaced => false,
        };
        // Some last less than a millisecond: where one was missed, the kill comes late.
        let has_come = || is_there() || is_over();
        let watch = Stopwatch::start();
        while !has_come() {
            assert!(watch.elapsed() < Duration::from_secs(60), "{self:?} never came");
            std::hint::spin_loop();
        }
    }
}

/// How often the daemon is killed at each moment.
const KILLS: usize = 4;

#[test]
fn a_capture_that_kill_9_cuts_off_is_finished_or_undone() {
    let place = Place::new();
    let mut daemon = place.start();
    let mut client = daemon.client();
    let work = Work::new(&place, &mut client);
    work.write("file", "the first");
    work.capture(&mut client);
    let (mut finished, mut undone, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for (life, moment) in Moment::ALL.repeat(KILLS).into_iter().enumerate() {
        let before = work.repo.id("t");
        work.write("file", &format!("content {life}"));
        work.write(&format!("new {life}"), "new");
        let status = work.status();
        let mut captor = daemon.client();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| moment.wait(&place, &work, &before));
            captor.start("agent.capture", &key(&work.held));
            waiting.join().unwrap();
            daemon.kill();
        });
        let answer = captor.try_line().ok().flatten();
        daemon.restart();
        let mut client = daemon.client();
        // It serves before every repository is settled, and answers about one once it is.
        client.ok("thread.list", &json!({"repo": work.repo.at()}));
        let after = work.repo.id("t");
        for name in ["index.lock", "heddle-index"] {
            assert!(!work.git_dir().join(name).exists(), "{name} is left by a kill at {moment:?}");
        }
        assert_eq!(client.show(&work.held)["status"], "active");
        let last = log(&mut client, &work.repo).into_iter().rfind(|one| one["kind"] == "captured").unwrap();
        assert_eq!(last["detail"]["after"], after, "what the branch has is recorded, and nothing else: {moment:?}");
        let is_new = after != before;
        assert_eq!(work.status(), if is_new { String::new() } else { status }, "{moment:?}");
        let reflog = work.tree.git(&["reflog", "-1", "--format=%H", "HEAD"]);
        assert_eq!(reflog, after, "HEAD's reflog says the same: {moment:?}");
        if is_new {
            assert_eq!(work.repo.id("t~"), before);
        }
        if answer.is_some() {
            assert!(is_new, "R3: what was told is there: {answer:?}");
            told.push(moment);
        }
        (if is_new { &mut finished } else { &mut undone }).push(moment);
        // And the work goes on.
        assert_eq!(work.capture(&mut client)["created"], !is_new);
        assert_eq!(work.status(), "");
    }
    eprintln!("finished: {finished:?}\nundone: {undone:?}\ntold: {told:?}");
    assert!(finished.len() > told.len(), "kills came between the move of the branch and the answer");
    assert!(undone.len() > KILLS, "and before it, with the index locked");
    work.assert_sound(&place);
}
