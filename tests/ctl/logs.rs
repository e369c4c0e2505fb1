//! `heddlectl daemon logs`: what the daemon said, wherever that is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{World, until};

#[test]
fn it_follows_the_log_across_the_file_that_is_moved_aside() {
    let world = World::new();
    fs::create_dir(world.path("state")).expect("made");
    let log = world.path("state/heddled.log");
    fs::write(&log, "one\ntwo\nthree\n").expect("written");
    let mut command = world.command(&["daemon", "logs", "--follow", "--lines", "2"]);
    let mut following = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(following.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!([next(), next()], ["two", "three"]);
    fs::rename(&log, world.path("state/heddled.log.1")).expect("moved");
    let old = fs::OpenOptions::new().append(true).open(world.path("state/heddled.log.1")).expect("opened");
    std::io::Write::write_all(&mut &old, b"four\n").expect("written");
    fs::write(&log, "five\n\x1b[31msix\n").expect("written");
    assert_eq!([next(), next(), next()], ["four", "five", "\\u{1b}[31msix"]);
    drop(lines);
    // Whoever read it has gone.
    until("it ends", || following.try_wait().expect("waited").is_some());
    let said = world.run(&["daemon", "logs", "-n", "3"]);
    insta::assert_snapshot!(said, @r"
    four
    five
    \u{1b}[31msix
    [exit 0]
    ");
}

#[test]
fn a_log_that_is_elsewhere_is_said_to_be_there() {
    let world = World::with_daemon();
    insta::assert_snapshot!(world.run(&["daemon", "logs"]), @r"
    ! error: the daemon's log is not in $ROOT/state/heddled.log
    !   its standard error is $ROOT/heddled.log
    ! next: tail $ROOT/heddled.log
    [exit 74]
    ");
    insta::assert_snapshot!(World::new().run(&["daemon", "logs"]), @r"
    ! error: the daemon's log is not in $ROOT/state/heddled.log
    !   there is no such file: no daemon was started in the background here
    ! hint: a daemon that was started as a service says what it has to say there
    ! next: journalctl --user -u heddled
    [exit 74]
    ");
    assert_eq!(world.run(&["daemon", "logs", "--follow", "--json"]).code, Some(2));
}
