//! packaging/install.sh, on a machine that has Rust, Git and the tools of every system, and nothing else.
//!
//! Cargo is a stand-in that takes the programs of this test run: a real one takes minutes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{HEDDLED, Said, World};

/// What it may use: nothing that downloads or interprets, and of shells only `sh`.
const TOOLS: &[&str] = &["sh", "git", "dirname", "cp", "mkdir"];

const CARGO: &str = r#"#!/bin/sh
set -eu
[ "$1 $2 $3" = "install --locked --path" ] && [ -f "$4/Cargo.toml" ] || { echo "cargo $*" >&2; exit 101; }
bin=${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}/bin
mkdir -p "$bin"
cp "$BUILT/${4##*/}" "$bin/"
"#;

/// Runs the script with these tools, from elsewhere.
fn install(world: &World, tools: &[&str], arguments: &[&str]) -> Said {
    let bin = world.path("tools");
    fs::create_dir(&bin).expect("made");
    for tool in tools {
        let from = ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(tool)).find(|path| path.exists());
        symlink(from.expect("a tool of every system"), bin.join(tool)).expect("linked");
    }
    fs::write(bin.join("cargo"), CARGO).expect("written");
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).expect("mode");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/install.sh");
    let mut sh = Command::new("/bin/sh");
    // No TMPDIR, no XDG_RUNTIME_DIR, no TERM: HOME and PATH, and what the stand-in needs.
    sh.env_clear().env("HOME", world.path("home")).env("PATH", &bin);
    sh.env("BUILT", Path::new(HEDDLED).parent().expect("a folder"));
    world.say(sh.arg(script).args(arguments).current_dir("/"))
}

#[test]
fn it_installs_both_programs_and_shows_them_with_rust_and_git_alone() {
    let world = World::new();
    let before = world.git(&["for-each-ref"]);
    let said = install(&world, TOOLS, &[world.path("app").to_str().expect("text")]);
    assert_eq!(said.code, Some(0), "{said}");
    for program in ["heddled", "heddlectl"] {
        assert!(world.path("home/.cargo/bin").join(program).is_file(), "{program}: {said}");
    }
    assert!(said.stderr.contains("add $ROOT/home/.cargo/bin to your PATH"), "{said}");
    assert!(said.stderr.contains("cargo uninstall heddled heddlectl"), "it says how to undo it: {said}");
    assert!(said.stdout.contains("live_owner") || said.stdout.contains("is held by"), "the demo was shown: {said}");
    assert_eq!(world.git(&["for-each-ref"]), before, "and the repository is as it was");
}

#[test]
fn what_is_missing_is_said_before_anything_is_built() {
    let world = World::new();
    let said = install(&world, &["sh", "dirname"], &[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(69), "install.sh: please install git first\n"), "{said}");
    let world = World::new();
    let said = install(&world, TOOLS, &["/nonexistent"]);
    assert_eq!(said.code, Some(66), "{said}");
    assert!(!world.path("home/.cargo").exists(), "nothing was installed");
}
