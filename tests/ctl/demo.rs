//! `heddlectl demo`: it shows the real thing, and leaves nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::World;

/// Everything below a directory, byte for byte.
fn contents(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("read").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                open.push(entry.path());
                all.insert(entry.path(), Vec::new());
            } else {
                all.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    all
}

/// Processes whose command line or environment names this place.
fn processes(place: &Path) -> Vec<String> {
    let place = place.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = std::process::id().to_string();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
        .filter(|pid| {
            let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let text = [read("cmdline"), read("environ")].concat();
            String::from_utf8_lossy(&text).contains(&place)
        })
        .collect()
}

#[test]
fn it_leaves_nothing_behind() {
    let world = World::new();
    let before = contents(&world.path(""));
    let said = world.run(&["demo"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    assert!(said.stdout.contains("The thread never had two holders"), "{said}");
    assert!(said.stdout.contains("heddlectl capture") && said.stdout.contains("heddlectl ready"), "{said}");
    assert!(said.stdout.contains("heddle-demo") && said.stdout.contains("nothing is left behind"), "{said}");
    assert_eq!(contents(&world.path("")), before, "byte for byte");
    assert_eq!(processes(&world.path("")), Vec::<String>::new());
}

#[test]
fn beside_a_running_daemon_it_has_its_own() {
    let world = World::with_daemon();
    world.reserve("heddle-demo");
    let git = contents(&world.path("app"));
    let value = world.json(&["demo"]);
    for name in ["granted_us", "refused_us", "kill_to_grant_us", "daemon_start_us", "capture_us", "ready_us"] {
        assert!(value[name].as_u64().is_some_and(|us| us > 0), "{name}");
    }
    assert_eq!(contents(&world.path("app")), git);
    assert_eq!(world.standing("heddle-demo").0, "active");
}

#[test]
fn without_a_repository_it_makes_one() {
    let world = World::new();
    let mut command = world.command(&["demo"]);
    let said = world.say(command.current_dir(world.path("home")));
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(std::fs::read_dir(world.path("home")).expect("read").count(), 0);
}
