//! A file that gets its name when it is whole and on the disk, and not before.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What to do with a file that has the name of the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it, and fail.
    Keep,
    /// Put the new one in its place, at once.
    Replace,
}

/// A file that is not whole yet; removed, unless it becomes the file.
pub(super) struct Unfinished(PathBuf);

impl Unfinished {
    pub(super) fn beside(to: &Path) -> Unfinished {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        Unfinished(PathBuf::from(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The name is given when the bytes are on the disk; SQLite does not wait for them.
    pub(super) fn become_file(self, to: &Path, existing: Existing) -> io::Result<u64> {
        let file = File::open(&self.0)?;
        file.sync_all()?;
        let size_bytes = file.metadata()?.len();
        match existing {
            // Whoever made the file meanwhile keeps it.
            Existing::Keep => renameat_with(CWD, &self.0, CWD, to, RenameFlags::NOREPLACE)?,
            Existing::Replace => std::fs::rename(&self.0, to)?,
        }
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(size_bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Also after it became the file: then its name is free.
        let _ = std::fs::remove_file(&self.0);
    }
}
