//! Tests of the kernel's answers, with real processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn a_child_is_identified_and_its_end_is_seen_before_and_after_reaping() {
    let kernel = Kernel::read().unwrap();
    let mut child = sleeper();
    let pid = i32::try_from(child.id()).unwrap();
    let holder = kernel.identify(Some(own_pid()), pid).unwrap();
    assert_eq!((holder.pid, holder.pid_namespace), (pid, kernel.pid_namespace));
    assert_eq!(kernel.check(&holder), Verdict::Alive);
    assert_eq!(without_handle(&holder), Verdict::Alive);

    child.kill().unwrap();
    while kernel.check(&holder) == Verdict::Alive {
        std::thread::yield_now();
    }
    assert_eq!(Stat::read(pid).unwrap().map(|stat| stat.state), Some(b'Z'), "not reaped yet");
    assert_eq!(kernel.check(&holder), Verdict::Exited, "V2: unreaped");
    assert_eq!(without_handle(&holder), Verdict::Exited, "V2: unreaped, without a pidfd");
    assert_eq!(kernel.identify(Some(own_pid()), pid), Err(HolderProblem::NoSuchProcess.into()));

    child.wait().unwrap();
    assert_eq!(kernel.check(&holder), Verdict::Exited, "V2: reaped");
    assert_eq!(without_handle(&holder), Verdict::Exited);
    assert_eq!(kernel.identify(Some(own_pid()), pid), Err(HolderProblem::NoSuchProcess.into()));
}

#[test]
fn a_parent_that_only_wants_a_processor_is_told_from_one_that_does_not_care() {
    let kernel = Kernel::read().unwrap();
    for (program, command, is_busy) in [("sleep", "sleep 600", false), ("yes", "yes > /dev/null", true)] {
        let script = format!("sleep 600 & echo $!; exec {command}");
        let mut parent = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid: i32 = line.trim().parse().unwrap();
        let holder = kernel.identify(Some(own_pid()), pid).unwrap();
        assert!(!kernel.is_being_reaped(&holder), "it lives");
        // A shell reaps what it finds dead; what it becomes does not.
        while std::fs::read_to_string(format!("/proc/{}/comm", parent.id())).unwrap().trim_end() != program {
            std::thread::yield_now();
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        while kernel.check(&holder) == Verdict::Alive || kernel.is_being_reaped(&holder) != is_busy {
            std::thread::yield_now();
        }
        let reused = HolderProcess { start_time: holder.start_time + 1, ..holder.clone() };
        assert!(!kernel.is_being_reaped(&reused), "the pid is another's");
        parent.kill().unwrap();
        parent.wait().unwrap();
        while kernel.is_being_reaped(&holder) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn only_who_ended_well_and_is_not_reaped_may_have_succeeded() {
    let kernel = Kernel::read().unwrap();
    for (how, expected) in [("exit 0", true), ("exit 3", false), ("kill -9 $$", false)] {
        let script = format!("read line; {how}");
        let mut child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let holder = kernel.identify(Some(own_pid()), pid).unwrap();
        drop(child.stdin.take());
        while kernel.check(&holder) == Verdict::Alive {
            std::thread::yield_now();
        }
        assert_eq!(kernel.may_have_succeeded(&holder), expected, "{how}");
        let reused = HolderProcess { start_time: holder.start_time + 1, ..holder.clone() };
        assert!(!kernel.may_have_succeeded(&reused), "the pid is another's, so it was reaped");
        child.wait().unwrap();
        assert!(!kernel.may_have_succeeded(&holder), "{how}: it was reaped");
    }
}

#[test]
fn another_start_boot_or_namespace_is_not_the_same_process() {
    let kernel = Kernel::read().unwrap();
    let own = kernel.identify(Some(own_pid()), own_pid()).unwrap();
    let reused = HolderProcess { start_time: own.start_time + 1, ..own.clone() };
    assert_eq!(kernel.check(&reused), Verdict::Exited, "V2: the pid is another's");
    assert_eq!(without_handle(&reused), Verdict::Exited, "V2");
    let before = HolderProcess { boot_id: "another boot".into(), ..own.clone() };
    assert_eq!(kernel.check(&before), Verdict::BootChanged);
    let elsewhere = HolderProcess { pid_namespace: own.pid_namespace + 1, namespace_id: 0, ..own.clone() };
    assert_eq!(kernel.check(&elsewhere), Verdict::OtherNamespace, "V3");
    let both = HolderProcess { boot_id: "another boot".into(), ..elsewhere };
    assert_eq!(kernel.check(&both), Verdict::BootChanged, "another boot is certain whatever the namespace");
    assert_eq!(kernel.check(&HolderProcess { pid: 0, ..own }), Verdict::Exited);
}

#[test]
fn peers_whose_pids_may_mean_others_are_refused() {
    let kernel = Kernel::read().unwrap();
    for peer in [None, Some(0), Some(-1), Some(i32::MAX)] {
        assert_eq!(kernel.identify(peer, own_pid()), Err(HolderProblem::OtherNamespace.into()), "{peer:?}");
    }
    for pid in [0, -1, i32::MIN, i32::MAX] {
        assert_eq!(kernel.identify(Some(own_pid()), pid), Err(HolderProblem::NoSuchProcess.into()), "{pid}");
    }
}

#[test]
fn a_thread_is_not_a_process() {
    let kernel = Kernel::read().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let living = std::thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        ended.recv().ok();
    });
    let tid = told.recv().unwrap();
    assert_eq!(kernel.identify(Some(own_pid()), tid), Err(HolderProblem::NoSuchProcess.into()));
    drop(end);
    living.join().unwrap();
}

#[test]
fn the_first_process_belongs_to_root() {
    let kernel = Kernel::read().unwrap();
    let first = kernel.identify(Some(own_pid()), 1);
    match real_uid(1).unwrap() {
        Some(uid) if uid == kernel.uid => assert_eq!(kernel.check(&first.unwrap()), Verdict::Alive),
        _ => assert_eq!(first, Err(HolderProblem::OtherUser.into())),
    }
}

#[test]
fn a_process_of_another_user_is_refused() {
    let mut kernel = Kernel::read().unwrap();
    kernel.uid += 1;
    assert_eq!(kernel.identify(Some(own_pid()), own_pid()), Err(HolderProblem::OtherUser.into()));
}

#[test]
fn only_a_descendant_of_the_holder_descends_from_it() {
    let kernel = Kernel::read().unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let holder = kernel.identify(Some(own), own).unwrap();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    assert!(kernel.descends(own, 0, &holder), "the holder itself");
    assert!(kernel.descends(pid, 0, &holder));
    let childs = kernel.identify(Some(own), pid).unwrap();
    assert!(!kernel.descends(own, 0, &childs), "the parent of the holder");
    assert!(!kernel.descends(1, 0, &holder) && !kernel.descends(i32::MAX, 0, &holder));
    assert!(
        !kernel.descends(pid, 3_600_000, &holder),
        "the connection is older than the process: the pid was another's"
    );
    let other = HolderProcess { start_time: holder.start_time + 1, ..holder.clone() };
    assert!(!kernel.descends(pid, 0, &other), "another process of that pid");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!kernel.descends(pid, 0, &holder) && !kernel.descends(own, 0, &childs));
}
