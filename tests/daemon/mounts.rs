//! File systems that a test mounts. That needs root and some programs; elsewhere the test says so and does not run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says that a test does not run here.
pub(crate) fn not_run(why: &str) {
    writeln!(std::io::stdout(), "NOT RUN here: {why}").unwrap();
}

/// Something that is mounted, until it is dropped.
pub(crate) struct Mount {
    pub(crate) path: PathBuf,
    device: Option<String>,
}

impl Mount {
    /// A small file system that folds case: NTFS, as Windows has it.
    pub(crate) fn folding(root: &Path) -> Option<Self> {
        let (image, path) = (root.join("folding.img"), root.join("folding"));
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(&path).unwrap();
        let image = image.to_str().unwrap();
        run("mkntfs", &["-q", "-F", "-Q", image])?;
        let device = run("losetup", &["--find", "--show", image])?;
        let mut mount = Self { path, device: Some(device.clone()) };
        let options = "ignore_case,permissions,umask=0022";
        if run("lowntfs-3g", &["-o", options, &device, mount.path.to_str().unwrap()]).is_none() {
            run("losetup", &["--detach", &mount.device.take().unwrap()]);
            std::mem::forget(mount);
            return None;
        }
        Some(mount)
    }

    /// A directory seen at another place, with another device number and other inodes, as through a network file system.
    pub(crate) fn seen_again(directory: &Path, path: &Path) -> Option<Self> {
        std::fs::create_dir(path).unwrap();
        run("bindfs", &[directory.to_str().unwrap(), path.to_str().unwrap()])?;
        Some(Self { path: path.to_owned(), device: None })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a daemon that is killed next may still have it open.
        run("umount", &["--lazy", self.path.to_str().unwrap()]);
        if let Some(device) = &self.device {
            run("losetup", &["--detach", device]);
        }
    }
}

/// What a program printed, where it is there and succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
