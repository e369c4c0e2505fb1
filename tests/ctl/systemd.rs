//! A systemd of the test's own, as a user has one: in a control group, a runtime directory and a home of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::process;
use crate::support::{World, pid, text_of, until};

/// Becomes the manager: never in the control group of whoever runs the tests, whose processes it would move. It wants to see
/// that the machine was booted with systemd, so it sees a `/run` of its own.
const BECOME: &str = r#"
set -e
made=
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  if [ -w "$root/cgroup.procs" ] && mkdir "$root/$GROUP"; then echo $$ > "$root/$GROUP/cgroup.procs"; made=1; fi
done
[ -n "$made" ]
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
exec "$SYSTEMD" --user
"#;

/// The running manager; stopped, with all that it runs, when this is dropped.
pub(crate) struct Systemd {
    child: Child,
    group: String,
}

impl Systemd {
    /// Starts one for a world; none, told on stderr, where that cannot be.
    pub(crate) fn of(world: &World) -> Option<Self> {
        let program =
            ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program.filter(|_| geteuid().is_root()) else {
            return not_tested("a systemd of the test's own needs systemd and root");
        };
        let group = format!("heddle-test-{}", world.path("").display().to_string().replace(['/', '.'], ""));
        let mut command = Command::new("unshare");
        world
            .environment(&mut command)
            .args(["--mount", "sh", "-c", BECOME])
            .env("GROUP", &group)
            .env("SYSTEMD", program);
        command.env_remove("HEDDLE_NO_AUTOSTART").env_remove("HEDDLE_STATE_DIR").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut systemd = Self { child: command.spawn().expect("unshare runs"), group };
        let mut ended = false;
        until("systemd serves", || {
            ended = systemd.child.try_wait().expect("looked").is_some();
            ended || systemd.systemctl(world, &["show", "--property=Version"]).is_some()
        });
        if ended {
            return not_tested("systemd --user does not start here");
        }
        Some(systemd)
    }

    /// What systemctl says; none when it fails.
    #[expect(clippy::unused_self, reason = "there must be one")]
    pub(crate) fn systemctl(&self, world: &World, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("systemctl");
        let output = process::try_run(world.environment(&mut command).arg("--user").args(arguments)).ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// The daemon that it runs.
    pub(crate) fn daemon(&self, world: &World) -> Option<i32> {
        let said = self.systemctl(world, &["show", "--property=MainPID", "--value", "heddled.service"])?;
        said.parse().ok().filter(|pid| *pid > 0)
    }

    fn groups(&self) -> impl Iterator<Item = PathBuf> {
        let below = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let roots: Vec<_> = below.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
        let group = self.group.clone();
        roots.into_iter().map(move |root| root.join(&group)).filter(|group| group.is_dir())
    }
}

/// Says that a test did not run.
#[expect(clippy::print_stderr, reason = "whoever reads the log of the tests must know")]
fn not_tested(why: &str) -> Option<Systemd> {
    eprintln!("NOT TESTED: {why}");
    None
}

/// A control group and those in it, the innermost first.
fn tree(group: &Path) -> Vec<PathBuf> {
    let inner = std::fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    inner.flat_map(|entry| tree(&entry.path())).chain([group.to_path_buf()]).collect()
}

impl Drop for Systemd {
    fn drop(&mut self) {
        kill(pid(&self.child), Signal::SIGTERM).ok();
        until("systemd has ended", || !matches!(self.child.try_wait(), Ok(None)));
        for group in self.groups().flat_map(|group| tree(&group)).collect::<Vec<_>>() {
            // Who is in there was started by it.
            for left in text_of(&group.join("cgroup.procs")).lines().filter_map(|line| line.parse().ok()) {
                kill(Pid::from_raw(left), Signal::SIGKILL).ok();
            }
            until("its control group is gone", || std::fs::remove_dir(&group).is_ok() || !group.exists());
        }
    }
}
