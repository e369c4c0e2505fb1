//! The few calls on which durability rests, behind a seam, so that tests can make them fail.
//!
//! May not: retry. An `fdatasync` that failed must not be asked again: the kernel may have dropped what it could not write.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What the store asks of the disk.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Overwrites a part of the file.
    ///
    /// # Errors
    /// As the system says.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Waits until the file's content is on the disk.
    ///
    /// # Errors
    /// As the system says.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Waits until the directory and all that is below it are on the disk.
    ///
    /// # Errors
    /// As the system says.
    fn sync_all(&self, directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.sync_all(&entry.path())?;
            } else {
                File::open(entry.path())?.sync_all()?;
            }
        }
        File::open(directory)?.sync_all()
    }

    /// Copies a directory and all that is below it. The kernel does it, and shares the blocks where the file system can.
    ///
    /// # Errors
    /// As the system says.
    fn copy_all(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::create_dir(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.copy_all(&entry.path(), &target)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    }

    /// Gives a directory another name.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Removes a directory, if it is there, and all that is below it.
    ///
    /// # Errors
    /// As the system says.
    fn remove_all(&self, directory: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The disk as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// Puts a small file in place, as a whole or not at all, and waits until it is on the disk.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let temporary = path.with_extension("tmp");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Waits until the directory that the path is in is on the disk.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
