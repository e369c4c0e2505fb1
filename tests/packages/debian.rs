//! The Debian package: it is built, installed into a root of its own, used there, and removed.
//!
//! It is made of the programs that this test run has built, so it takes seconds. As another user than root it is unpacked instead of
//! installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::is_installed;
use crate::support::{HEDDLED, Said, World};

/// The root of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Builds the package.
fn build(world: &World) -> PathBuf {
    // Where the programs are, whoever chose that place.
    let target = Path::new(HEDDLED).ancestors().nth(2).expect("a target directory");
    let mut sh = Command::new("sh");
    sh.args(["packaging/deb.sh", "--profile", "dev", "--no-build"])
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", target);
    let said = world.say(sh.env_remove("HEDDLE_BUILD_COMMIT").env("SOURCE_DATE_EPOCH", "1796000000"));
    assert_eq!(said.code, Some(0), "{said}");
    workspace().join(said.stdout.trim_end())
}

fn run(world: &World, program: &str, arguments: &[&str]) -> Said {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    world.say(&mut command)
}

/// Runs dpkg on a root of its own. What it depends on is not installed there.
fn dpkg(world: &World, root: &Path, arguments: &[&str]) {
    let at = format!("--root={}", root.display());
    let said =
        run(world, "dpkg", &[&[at.as_str(), "--force-depends", "--force-script-chrootless"], arguments].concat());
    assert_eq!(said.code, Some(0), "{said}");
}

/// The files below a folder, and how they may be used.
fn files(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
            found.push((path, mode));
        }
    }
}

#[test]
fn the_package_is_installed_used_and_removed() {
    if !["cargo-deb", "dpkg", "dpkg-shlibdeps"].iter().all(|program| is_installed(program)) {
        return;
    }
    let world = World::new();
    let package = build(&world);
    let package = package.to_str().expect("text");
    let root = world.path("root");
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        for folder in ["info", "updates"] {
            fs::create_dir_all(root.join("var/lib/dpkg").join(folder)).expect("made");
        }
        fs::write(root.join("var/lib/dpkg/status"), "").expect("written");
        dpkg(&world, &root, &["--install", package]);
    } else {
        eprintln!("not root: the package is unpacked, and not installed");
        assert_eq!(run(&world, "dpkg-deb", &["-x", package, root.to_str().expect("text")]).code, Some(0));
    }
    what_it_has(&root);
    its_programs_work(&world, &root);
    its_documents_are_found(&world, &root);
    let control = run(&world, "dpkg-deb", &["--field", package]).stdout;
    assert!(control.contains("git (>= 1:2.38)") && control.contains("libc6"), "{control}");
    assert!(control.contains(&format!("Version: {}-1", env!("CARGO_PKG_VERSION"))), "{control}");
    if is_installed("lintian") {
        let said = run(
            &world,
            "lintian",
            &[
                "--allow-root",
                "--suppress-tags",
                "initial-upload-closes-no-bugs",
                "--fail-on",
                "error,warning",
                package,
            ],
        );
        assert_eq!(said.code, Some(0), "{said}");
    }
    if is_root {
        dpkg(&world, &root, &["--remove", "heddled"]);
        assert!(!root.join("usr/bin/heddled").exists() && !root.join("usr/share/doc/heddled").exists(), "all is gone");
    }
}

/// Every file that there must be, each with the right of use that it needs.
fn what_it_has(root: &Path) {
    let mut found = Vec::new();
    files(&root.join("usr"), &mut found);
    for (path, mode) in &found {
        let wanted = if path.starts_with(root.join("usr/bin")) { 0o755 } else { 0o644 };
        assert_eq!(*mode, wanted, "{}", path.display());
    }
    let has = |path: &str| assert!(root.join(path).is_file(), "{path} in {found:#?}");
    for path in [
        "usr/bin/heddled",
        "usr/bin/heddlectl",
        "usr/share/man/man1/heddled.1.gz",
        "usr/share/man/man1/heddlectl.1.gz",
        "usr/share/man/man1/heddlectl-thread-list.1.gz",
        "usr/share/man/man5/heddled.toml.5.gz",
        "usr/share/bash-completion/completions/heddlectl",
        "usr/share/zsh/vendor-completions/_heddlectl",
        "usr/share/fish/vendor_completions.d/heddlectl.fish",
        "usr/share/doc/heddled/copyright",
        "usr/share/doc/heddled/changelog.Debian.gz",
        "usr/share/doc/heddled/README.md",
        "usr/share/doc/heddled/docs/harnesses/codex.md",
    ] {
        has(path);
    }
    // Units and the sample of the configuration are there where the checkout has them.
    for unit in ["heddled.service", "heddled.socket"] {
        if workspace().join("packaging/systemd").join(unit).exists() {
            has(&format!("usr/lib/systemd/user/{unit}"));
        }
    }
    let service = fs::read_to_string(root.join("usr/lib/systemd/user/heddled.service")).unwrap_or_default();
    for start in service.lines().filter(|line| line.starts_with("ExecStart=")) {
        assert!(start.starts_with("ExecStart=/usr/bin/heddled"), "it starts what the package has: {start}");
    }
    if workspace().join("packaging/heddled.toml").exists() {
        has("usr/share/doc/heddled/examples/heddled.toml");
    }
}

/// heddlectl of the package starts the daemon of the package, and a thread is held.
fn its_programs_work(world: &World, root: &Path) {
    let mut ctl = Command::new(root.join("usr/bin/heddlectl"));
    world.environment(&mut ctl).env_remove("HEDDLE_NO_AUTOSTART");
    let said = world.say(ctl.args(["run", "--quiet", "--thread", "packed", "--", "sh", "-c", "echo $HEDDLE_THREAD"]));
    assert_eq!((said.stdout.as_str(), said.code), ("packed\n", Some(0)), "{said}");
    let daemon = world.recorded_daemon().expect("it has started the daemon");
    let program = fs::read_link(format!("/proc/{daemon}/exe")).expect("it runs");
    assert_eq!(program, root.join("usr/bin/heddled"), "its own");
    assert_eq!(world.standing("packed"), ("complete".to_owned(), "released".to_owned()));
}

/// Shells and `man` find what the package has for them where they look.
fn its_documents_are_found(world: &World, root: &Path) {
    let path = format!("{}:/usr/bin:/bin", root.join("usr/bin").display());
    let script = root.join("usr/share/bash-completion/completions/heddlectl");
    let ask = format!("source {} && complete -p heddlectl", script.display());
    let mut bash = Command::new("bash");
    let said = world.say(world.environment(&mut bash).env("PATH", &path).args(["--norc", "-c", &ask]));
    assert!(said.code == Some(0) && said.stdout.contains("_heddlectl"), "{said}");
    if is_installed("man") {
        let mut man = Command::new("man");
        let pages = root.join("usr/share/man");
        let said = world.say(world.environment(&mut man).arg("-M").arg(pages).args(["-P", "cat", "heddlectl-run"]));
        assert!(said.stdout.contains("Run a command that holds a thread"), "{said}");
    }
}
