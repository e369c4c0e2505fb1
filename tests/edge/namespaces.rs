//! A peer in another pid namespace names other processes than we do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use heddled::liveness::{Liveness, LocalLiveness, Verdict};
use proto_schema::HolderProblem;

#[tokio::test]
async fn the_pids_of_another_namespace_are_not_ours() {
    // As root, or as any user where user namespaces are allowed.
    let mut unshare = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            "echo ready; exec sleep 600",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.trim_end() != "ready" {
        assert!(!unshare.wait().unwrap().success());
        eprintln!("NOT TESTED: this system forbids making pid namespaces");
        return;
    }
    let own = i32::try_from(std::process::id()).unwrap();
    let outer = i32::try_from(unshare.id()).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    let inner: i32 = children.trim().parse().unwrap();

    let (died, mut deaths) = tokio::sync::mpsc::unbounded_channel();
    let liveness = LocalLiveness::start(died).unwrap();
    assert_eq!(liveness.identify(Some(inner), own), Err(HolderProblem::OtherNamespace.into()), "its pids are others");
    let holder = liveness.identify(Some(own), inner).unwrap();
    assert_eq!(liveness.check(&holder), Verdict::Alive, "but by our own pid it can be watched");
    liveness.watch(&holder);
    unshare.kill().unwrap();
    assert_eq!(deaths.recv().await, Some(holder.clone()));
    assert_eq!(liveness.check(&holder), Verdict::Exited);
    unshare.wait().unwrap();
}
