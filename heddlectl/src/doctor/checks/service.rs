//! The service, where it is installed: whether it outlives the login.

use std::path::{Path, PathBuf};

use super::surroundings::name_of;
use crate::doctor::{Finding, Scene};

/// Where user units are, besides those of the home directory.
const UNITS: [&str; 4] =
    ["/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"];

/// Whether the user's services stay when the user logs out.
pub(super) fn linger(scene: &Scene) -> Vec<Finding> {
    const NAME: &str = "linger";
    let absolute = |name: &str| scene.env.os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("HOME");
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(home.as_ref()?.join(".local/share")));
    let own = [config, data].into_iter().flatten().map(|directory| directory.join("systemd/user"));
    let all = own.chain(UNITS.iter().map(PathBuf::from));
    let unit = all
        .flat_map(|directory| ["heddled.service", "heddled.socket"].map(|unit| directory.join(unit)))
        .find(|unit| unit.exists());
    let Some(unit) = unit else { return vec![Finding::skipped(NAME, "heddled is not installed as a service")] };
    let user = name_of(scene.uid);
    let finding = if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        Finding::ok(NAME, "the service stays when you log out")
    } else {
        let summary = "the service ends when you log out, and agents that run on lose their daemon";
        Finding::warning(NAME, summary).fix_words(["loginctl", "enable-linger", &user])
    };
    vec![finding.detail("unit", unit.display().to_string())]
}
