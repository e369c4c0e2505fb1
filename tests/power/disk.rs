//! An ext4 on a loop device, whose power can be cut.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BYTES: u64 = 256 << 20;

/// Nothing reaches the device but what somebody waits for: the journal is not committed by time, and a rename does not
/// write out the file that it puts in another's place.
const OPTIONS: &str = "commit=300,noauto_da_alloc";

/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: what is not on the device yet does not get there.
const NO_LOG_FLUSH: u32 = 2;

mod ioctl {
    // The header says _IOR, though the kernel reads the value.
    nix::ioctl_read!(ext4_shutdown, b'X', 125, u32);
}

/// The file system. It is unmounted, and its loop device detached, when this is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    /// What is not on it: the image, the socket.
    pub(crate) outside: tempfile::TempDir,
    device: Option<String>,
    is_mounted: bool,
}

impl Disk {
    /// A new file system; none, after saying why, where the machine does not allow it.
    pub(crate) fn ready() -> Option<Self> {
        let why = match Self::tried() {
            Ok(disk) => return Some(disk),
            Err(why) => why,
        };
        let required = std::env::var_os("HEDDLE_REQUIRE_POWER_TEST").is_some_and(|value| value == "1");
        assert!(!required, "power: cannot run here, but is required to: {why}");
        // Not `println!`: what a passing test prints is not shown.
        writeln!(std::io::stdout(), "power: not run here: {why}").unwrap();
        None
    }

    fn tried() -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("only root may mount file systems".to_owned());
        }
        let outside = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self { outside, device: None, is_mounted: false };
        let image = disk.outside.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(BYTES));
        made.and_then(|()| std::fs::create_dir(disk.root())).map_err(|error| format!("an image file: {error}"))?;
        let image = image.to_str().ok_or("the temporary directory is not UTF-8")?;
        run("mkfs.ext4", &["-q", "-F", image])?;
        disk.device = Some(run("losetup", &["--find", "--show", image])?.trim().to_owned());
        disk.mount()?;
        disk.cut().map_err(|error| format!("the shutdown ioctl of ext4: {error}"))?;
        disk.restore()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.outside.path().join("disk")
    }

    fn mount(&mut self) -> Result<(), String> {
        let device = self.device.clone().ok_or("no loop device")?;
        run("mount", &["-t", "ext4", "-o", OPTIONS, &device, &text(&self.root())])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Cuts the power: from here on nothing is written to the device.
    pub(crate) fn cut(&self) -> nix::Result<()> {
        let root = File::open(self.root()).unwrap();
        let mut flags = NO_LOG_FLUSH;
        #[expect(
            unsafe_code,
            reason = "the descriptor is open, and the kernel reads four bytes of the value it is given"
        )]
        let done = unsafe { ioctl::ext4_shutdown(root.as_raw_fd(), &raw mut flags) };
        done.map(drop)
    }

    /// Brings the power back. Nobody may have anything open on it.
    pub(crate) fn restore(&mut self) -> Result<(), String> {
        run("umount", &[&text(&self.root())])?;
        self.is_mounted = false;
        self.mount()
    }

    /// Writes out everything, as time would have.
    pub(crate) fn settle(&self) {
        run("sync", &["-f", &text(&self.root())]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let root = text(&self.root());
        let mut failed = Vec::new();
        if self.is_mounted {
            // Lazily, so that the device is given back even when something is still open after a failure.
            failed.extend(run("umount", &["--lazy", &root]).err());
        }
        if let Some(device) = &self.device {
            failed.extend(run("losetup", &["--detach", device]).err());
        }
        for failure in failed {
            writeln!(std::io::stderr(), "power: left behind: {failure}").ok();
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
