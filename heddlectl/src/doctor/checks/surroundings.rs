//! Who runs this, with which environment, and whether something stands between.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::unistd::{Uid, User};

use crate::client::connector::SANDBOX;
use crate::doctor::probe::Reach;
use crate::doctor::{Finding, Scene};

/// The user's name, else its number.
pub(super) fn name_of(uid: u32) -> String {
    entry(uid).map_or_else(|| uid.to_string(), |user| user.name)
}

fn entry(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// HOME, and the variables that must be absolute paths.
pub(super) fn environment(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "environment";
    for variable in ["HEDDLE_SOCKET", "HEDDLE_STATE_DIR", "HEDDLE_CONFIG"] {
        let value = scene.env.os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(value) = value.filter(|value| !value.is_absolute()) {
            let absolute = std::path::absolute(&value).unwrap_or(value.clone()).display().to_string();
            let summary = format!("{variable} is not an absolute path but '{}': heddled refuses it", value.display());
            return vec![
                Finding::error(NAME, summary).fix(format!("export {variable}={}", shell_words::quote(&absolute))),
            ];
        }
    }
    if let Err(why) = &scene.socket {
        return vec![Finding::error(NAME, why.clone()).fix("cd /")];
    }
    let home = scene.env.os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let Some(home) = home else {
        let summary = "HOME is not set to an absolute path, so the configuration is not read";
        let finding = match scene.state {
            Some(_) => Finding::warning(NAME, summary),
            None => {
                Finding::error(NAME, "HOME is not set to an absolute path: there is no place for the daemon's state")
            }
        };
        let home = entry(scene.uid).map(|user| user.dir.display().to_string());
        return vec![match home {
            Some(home) => finding.fix(format!("export HOME={}", shell_words::quote(&home))),
            None => finding,
        }];
    };
    vec![match fs::metadata(&home) {
        Ok(meta) if meta.uid() != scene.uid && meta.uid() != 0 => {
            let summary =
                format!("HOME is {}, which belongs to user {}, not to you", home.display(), name_of(meta.uid()));
            let own = entry(scene.uid).map_or_else(|| "/".to_owned(), |user| user.dir.display().to_string());
            Finding::error(NAME, summary).fix(format!("export HOME={}", shell_words::quote(&own)))
        }
        Ok(_) => Finding::ok(NAME, format!("HOME is {}", home.display())),
        Err(cause) => Finding::warning(NAME, format!("HOME is {}, which cannot be looked at: {cause}", home.display())),
    }]
}

/// Whether this is the user whose daemon is meant.
pub(super) fn user(scene: &Scene) -> Vec<Finding> {
    let name = name_of(scene.uid);
    let by_sudo = scene.env.text("SUDO_UID").and_then(|uid| uid.parse::<u32>().ok());
    vec![match by_sudo {
        Some(caller) if scene.uid == 0 && caller != 0 => {
            let caller_name = name_of(caller);
            let summary = format!(
                "this runs as root, by sudo from {caller_name}: root has a daemon of its own, and {caller_name}'s is not asked"
            );
            Finding::warning("user", summary)
                .fix_words(["sudo", "-u", &caller_name, "heddlectl", "doctor"])
                .detail("uid", 0)
                .detail("sudo_uid", caller)
        }
        _ => Finding::ok("user", format!("{name} (uid {})", scene.uid)).detail("uid", scene.uid),
    }]
}

/// `XDG_RUNTIME_DIR`, which logins set, and ssh without one, sudo and cron do not.
pub(super) fn runtime_dir(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "runtime_dir";
    if matches!(&scene.socket, Ok((_, true))) {
        return vec![Finding::skipped(NAME, "the socket is named, so XDG_RUNTIME_DIR is not needed")];
    }
    let login = PathBuf::from(format!("/run/user/{}", scene.uid));
    let has_login = fs::metadata(&login).is_ok_and(|meta| meta.is_dir() && meta.uid() == scene.uid);
    let mend = if has_login {
        format!("export XDG_RUNTIME_DIR={}", login.display())
    } else {
        "unset XDG_RUNTIME_DIR".to_owned()
    };
    let set = scene.env.os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let Some(path) = set else {
        let fallback = scene.tried.display();
        return vec![if scene.daemon().is_some() {
            Finding::ok(NAME, format!("XDG_RUNTIME_DIR is not set; the daemon was found at {fallback}"))
        } else if has_login {
            let summary = "XDG_RUNTIME_DIR is not set (ssh, sudo, su and cron do not set it): the socket is not looked for where your login has it";
            Finding::warning(NAME, summary).fix(mend)
        } else {
            Finding::ok(
                NAME,
                format!("XDG_RUNTIME_DIR is not set, and there is no {}; the socket is {fallback}", login.display()),
            )
        }];
    };
    let shown = path.display().to_string();
    vec![match fs::metadata(&path) {
        Err(cause) => {
            Finding::warning(NAME, format!("XDG_RUNTIME_DIR is {shown}, which cannot be used: {cause}")).fix(mend)
        }
        Ok(meta) if !meta.is_dir() => {
            Finding::error(NAME, format!("XDG_RUNTIME_DIR is {shown}, which is no directory")).fix(mend)
        }
        Ok(meta) if meta.uid() != scene.uid => {
            let whose = name_of(meta.uid());
            let summary =
                format!("XDG_RUNTIME_DIR is {shown}, which belongs to {whose}, not to you: sudo and su may keep it");
            Finding::error(NAME, summary).fix(mend).detail("owner", meta.uid())
        }
        Ok(meta) if meta.mode() & 0o022 != 0 => {
            let summary = format!(
                "XDG_RUNTIME_DIR is {shown}, into which others may write: its mode is {:04o}",
                meta.mode() & 0o7777
            );
            Finding::error(NAME, summary).fix_words(["chmod", "700", &shown])
        }
        Ok(_) => Finding::ok(NAME, shown),
    }]
}

/// Whether a sandbox keeps us from the socket: which is not the same as a daemon that does not run.
pub(super) fn sandbox(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "sandbox";
    let marker = SANDBOX.iter().copied().find(|marker| scene.env.flag(marker));
    let seccomp = seccomp();
    let finding = match (&scene.reach, marker) {
        (Reach::Denied(cause), marker) => {
            let by = marker.map_or_else(String::new, |marker| format!("; {marker} is set"));
            let summary = format!(
                "connecting to {} is forbidden to this process ({cause}){by}: that does not say that no daemon is running",
                scene.tried.display()
            );
            Finding::error(NAME, format!("{summary}; allow the socket, and run this outside of the sandbox"))
                .fix("heddlectl daemon start")
        }
        (Reach::Answers(_), Some(marker)) => Finding::ok(NAME, format!("{marker} is set, and the socket can be used")),
        (_, Some(marker)) => {
            let summary = format!("{marker} is set: no daemon is started inside of a sandbox; start it outside");
            Finding::warning(NAME, summary).fix("heddlectl daemon start")
        }
        (_, None) => Finding::ok(NAME, "nothing keeps this process from the socket"),
    };
    vec![match seccomp {
        Some(mode) => finding.detail("seccomp", mode),
        None => finding,
    }]
}

/// How system calls are filtered: 0 not at all, 2 by a filter.
fn seccomp() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?.trim().parse().ok()
}
