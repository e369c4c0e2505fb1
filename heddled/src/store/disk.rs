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

    /// Waits until every file of the database's directory, and the directory, are on the disk. The database's own flush
    /// does not: on Linux it ends in `sync_file_range`, which leaves both metadata and the drive's cache alone.
    ///
    /// # Errors
    /// As the system says.
    fn sync_database(&self, directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match File::open(entry.path()) {
                    Ok(file) => file.sync_all()?,
                    // The database drops snapshots that it no longer needs.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        File::open(directory)?.sync_all()
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
