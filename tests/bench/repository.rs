//! A real Git repository, made by `git`, away from the user's configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

/// Files of the one commit: enough to be a repository, not what is measured.
const FILES: usize = 50;

/// A repository with one commit on `main`.
pub(crate) struct Repository {
    /// Its worktree.
    pub(crate) path: PathBuf,
    /// The id of its commit.
    pub(crate) tip: String,
}

impl Repository {
    /// Makes one at `path`.
    pub(crate) fn make(path: &Path) -> anyhow::Result<Self> {
        Self::make_with(path, FILES)
    }

    /// Makes one at `path` with that many files, in folders of a hundred.
    pub(crate) fn make_with(path: &Path, files: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        run(path, &["init", "--quiet", "--initial-branch=main"])?;
        run(path, &["config", "user.name", "Load"])?;
        run(path, &["config", "user.email", "load@example.invalid"])?;
        // Nobody is measured while Git packs what others have written.
        run(path, &["config", "gc.auto", "0"])?;
        for number in 0..files {
            let file = path.join(file(number));
            file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(file, format!("line of file {number}\n"))?;
        }
        run(path, &["add", "--all"])?;
        run(path, &["commit", "--quiet", "--message", "Begin"])?;
        let tip = run(path, &["rev-parse", "HEAD"])?.trim().to_owned();
        Ok(Self { path: path.to_owned(), tip })
    }

    /// Makes the branches `<prefix><number>` at the tip, by one process; `settings` go before the command.
    pub(crate) fn branches(&self, settings: &[&str], prefix: &str, count: usize) -> anyhow::Result<()> {
        let lines = (0..count).map(|number| format!("create refs/heads/{prefix}{number} {}\n", self.tip));
        let input: String = lines.collect();
        let mut child = git(&self.path)
            .args(settings)
            .args(["update-ref", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start git")?;
        child.stdin.take().context("git has no input")?.write_all(input.as_bytes())?;
        let status = child.wait()?;
        if !status.success() {
            bail!("git update-ref --stdin ended with {status}");
        }
        Ok(())
    }
}

/// The path of one of its files.
pub(crate) fn file(number: usize) -> PathBuf {
    PathBuf::from(format!("folder-{}/file-{number}.txt", number / 100))
}

/// Where `git` lies: with a full path, a process is started without a fork of this one.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|directory| directory.join("git"));
        places.find(|place| place.is_file()).unwrap_or_else(|| "git".into())
    })
}

/// `git` in `path`, with nothing of the user's configuration and environment but PATH.
pub(crate) fn git(path: &Path) -> Command {
    let mut command = Command::new(program());
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").arg("-C").arg(path);
    command
}

fn run(path: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = git(path).args(arguments).stdin(Stdio::null()).output().context("cannot start git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
