//! Random histories, each with what Git's rules for renames could fall over: small trees of like files, moved around.
//!
//! They are the same at every run: the seed of the one that fails is in the message.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proto_schema::ObjectId;

use super::super::fixture::Fixture;
use super::{GO_ON, assert_agree, conflicting};
use crate::repo::compare::independent::are_independent;
use crate::repo::objects::{self, id};
use crate::repo::{MergeRequest, Repo as _};

/// How many are compared in full, each with a process of the daemon's own where it needs one.
const IN_FULL: u64 = 600;

/// How many more are only asked whether their sides are independent.
const IN_PROCESS: u64 = 3000;

/// Enough randomness, and the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let at = self.below(things.len() as u64);
        &things[usize::try_from(at).unwrap()]
    }
}

type Tree = BTreeMap<String, (&'static str, Vec<String>)>;

const FOLDERS: [&str; 8] = ["", "p/", "q/", "p/s/", "p/t/", "q/s/", "r/", "r/s/u/"];
const NAMES: [&str; 6] = ["a", "b", "c", "d", "s", "t"];

fn place(random: &mut Random) -> String {
    format!("{}{}", random.of(&FOLDERS), random.of(&NAMES))
}

/// Puts a file in the tree, and takes away what is in its way.
fn put(tree: &mut Tree, path: String, file: (&'static str, Vec<String>)) {
    let below = format!("{path}/");
    tree.retain(|known, _| !known.starts_with(&below) && !path.starts_with(&format!("{known}/")));
    tree.insert(path, file);
}

fn content(random: &mut Random) -> Vec<String> {
    let kind = random.below(12);
    (0..6).map(|line| format!("kind {kind} line {line}")).collect()
}

fn base(random: &mut Random) -> Tree {
    let mut tree = Tree::new();
    for _ in 0..4 + random.below(8) {
        let (path, content) = (place(random), content(random));
        put(&mut tree, path, ("100644", content));
    }
    tree
}

/// Changes a tree by one thing that somebody may do.
fn change(random: &mut Random, tree: &mut Tree) {
    let paths: Vec<String> = tree.keys().cloned().collect();
    if paths.is_empty() {
        return put(tree, place(random), ("100644", content(random)));
    }
    let path = random.of(&paths).clone();
    match random.below(12) {
        0..=2 => {
            let file = tree.get_mut(&path).unwrap();
            let line = usize::try_from(random.below(6)).unwrap();
            file.1[line] = format!("changed {}", random.below(3));
        }
        3 => drop(tree.remove(&path)),
        4..=5 => put(tree, place(random), ("100644", content(random))),
        6..=7 => {
            let mut file = tree.remove(&path).unwrap();
            if random.below(2) == 0 {
                file.1[0] = format!("moved {}", random.below(3));
            }
            put(tree, place(random), file);
        }
        8..=9 => {
            // A folder, or a file, to another place.
            let from = path.rsplit_once('/').map_or(path.clone(), |(folder, _)| folder.to_owned());
            let to = format!("{}{}", random.of(&FOLDERS), random.of(&["n", "m", "p", "q"]));
            for path in paths.iter().filter(|path| **path == from || path.starts_with(&format!("{from}/"))) {
                // What was moved before may have taken its place.
                if let Some(file) = tree.remove(path) {
                    put(tree, path.replacen(&from, &to, 1), file);
                }
            }
        }
        10 => {
            let file = tree.get_mut(&path).unwrap();
            file.0 = if file.0 == "100644" { "100755" } else { "100644" };
        }
        _ => {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            tree.retain(|path, _| folder.is_empty() || !path.starts_with(&format!("{folder}/")));
        }
    }
}

fn changed(random: &mut Random, tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for _ in 0..1 + random.below(3) {
        change(random, &mut tree);
    }
    tree
}

/// What `git fast-import` reads.
#[derive(Default)]
struct Stream {
    text: String,
    marks: u64,
}

impl Stream {
    fn commit(&mut self, tree: &Tree, parents: &[u64]) -> u64 {
        self.marks += 1;
        let (mark, text) = (self.marks, &mut self.text);
        write!(text, "commit refs/random/{mark}\nmark :{mark}\ncommitter A <a@b> {mark} +0000\ndata 0\n").unwrap();
        for (at, parent) in parents.iter().enumerate() {
            writeln!(text, "{} :{parent}", if at == 0 { "from" } else { "merge" }).unwrap();
        }
        text.push_str("deleteall\n");
        for (path, (mode, lines)) in tree {
            let content = lines.join("\n") + "\n";
            write!(text, "M {mode} inline {path}\ndata {}\n{content}\n", content.len()).unwrap();
        }
        mark
    }

    /// A base, or two bases, and two sides: the marks of the target and the tip.
    fn history(&mut self, seed: u64) -> (u64, u64) {
        let mut random = Random(seed);
        let random = &mut random;
        let base = base(random);
        let first = self.commit(&base, &[]);
        let (target, mut tip) = (changed(random, &base), changed(random, &base));
        if random.below(5) == 0 {
            // Some of it was done by both.
            let mut both = Random(seed);
            change(&mut both, &mut tip);
        }
        let (one, other) = (self.commit(&target, &[first]), self.commit(&tip, &[first]));
        if random.below(8) > 0 {
            return (one, other);
        }
        let (target, tip) = (changed(random, &target), changed(random, &tip));
        (self.commit(&target, &[one, other]), self.commit(&tip, &[other, one]))
    }
}

/// What Git says to an input; `None` when it fails.
fn git(f: &Fixture, at: &Path, arguments: &[&str], input: String) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", f.root.join("home")).current_dir(at).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may fail before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.status.success().then_some(output.stdout)
}

/// Where each of these merges conflicts for Git; `None` for one at which it crashes, as it does at some renames of folders.
fn oracles(f: &Fixture, at: &Path, merges: &[[ObjectId; 2]]) -> Vec<Option<Vec<String>>> {
    let input: String = merges.iter().fold(String::new(), |mut input, [target, tip]| {
        writeln!(input, "{target} {tip}").unwrap();
        input
    });
    let arguments = ["merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", "--stdin"];
    let Some(said) = git(f, at, &arguments, input) else {
        return merges.iter().map(|[target, tip]| f.merge_oracle(at, *target, *tip)).collect();
    };
    let mut fields = said.split(|byte| *byte == 0);
    let mut answer = |_: &[ObjectId; 2]| {
        let is_clean = fields.next().unwrap() == b"1";
        fields.next().unwrap();
        let paths = fields.by_ref().take_while(|path| !path.is_empty());
        let paths: Vec<String> = paths.map(|path| String::from_utf8(path.to_vec()).unwrap()).collect();
        Some(conflicting(is_clean, paths))
    };
    merges.iter().map(&mut answer).collect()
}

/// A seed, the target and the tip that it makes, and where their merge conflicts for Git.
type Merge = (u64, [ObjectId; 2], Vec<String>);

/// Makes histories in a new repository: the target and the tip of each, and whether their merge is clean for Git.
fn histories(f: &Fixture, seeds: std::ops::Range<u64>) -> (PathBuf, Vec<Merge>) {
    let at = f.init("random", &[]);
    let (mut stream, seeds): (_, Vec<u64>) = (Stream::default(), seeds.collect());
    let sides: Vec<_> = seeds.iter().map(|seed| stream.history(*seed)).collect();
    let (marks, seeds_count) = (at.join("marks"), seeds.len() as u64);
    git(f, &at, &["fast-import", "--quiet", &format!("--export-marks={}", marks.display())], stream.text).unwrap();
    let marks = std::fs::read_to_string(marks).unwrap();
    let marks: BTreeMap<u64, ObjectId> = marks
        .lines()
        .map(|line| line[1..].split_once(' ').unwrap())
        .map(|(mark, id)| (mark.parse().unwrap(), id.parse().unwrap()))
        .collect();
    let sides: Vec<_> = sides.into_iter().map(|(target, tip)| [marks[&target], marks[&tip]]).collect();
    let answers: Vec<_> = sides.chunks(50).flat_map(|sides| oracles(f, &at, sides)).collect();
    let merges = seeds.into_iter().zip(sides).zip(answers);
    let merges: Vec<_> = merges.filter_map(|((seed, sides), paths)| Some((seed, sides, paths?))).collect();
    assert!(merges.len() as u64 > seeds_count * 9 / 10, "Git has an answer to {} of {seeds_count}", merges.len());
    (at, merges)
}

#[test]
fn every_merge_conflicts_where_git_says_so() {
    let f = Fixture::new();
    let (at, merges) = histories(&f, 0..IN_FULL);
    let git_dir = f.git_dir(&at);
    for (seed, [target, tip], expected) in &merges {
        let request = MergeRequest { git_dir: &git_dir, target: *target, tip: *tip, cancelled: &GO_ON };
        let found = f.repo.conflicts(&request).unwrap();
        assert_agree(&found, expected, &format!("seed {seed}"));
    }
    let conflicting = merges.iter().filter(|(_, _, paths)| !paths.is_empty()).count();
    assert!(conflicting > 150 && merges.len() - conflicting > 150, "{conflicting} conflict: there are enough of both");
}

#[test]
fn sides_that_are_independent_merge_cleanly() {
    let f = Fixture::new();
    let (at, merges) = histories(&f, 1_000_000..1_000_000 + IN_PROCESS);
    let library = objects::open(&at.join(".git")).unwrap().to_thread_local();
    let root = |state: &ObjectId| library.find_commit(id(*state).unwrap()).unwrap().tree_id().unwrap().detach();
    let (mut clean, mut independent) = (0, 0);
    for (seed, [target, tip], paths) in &merges {
        let parents = |state: &ObjectId| library.find_commit(id(*state).unwrap()).unwrap().parent_ids().count();
        if parents(target) > 1 {
            continue;
        }
        clean += u32::from(paths.is_empty());
        let base = library.find_commit(id(*tip).unwrap()).unwrap().parent_ids().next().unwrap().detach();
        let base = library.find_commit(base).unwrap().tree_id().unwrap().detach();
        if are_independent(&library, Some(base), root(target), root(tip)).unwrap() {
            independent += 1;
            assert_eq!(paths, &[] as &[String], "seed {seed}: {target} {tip}");
        }
    }
    assert!(clean > 500, "only {clean} are clean");
    assert!(independent * 3 > clean, "{independent} of {clean} clean merges need no process");
}
