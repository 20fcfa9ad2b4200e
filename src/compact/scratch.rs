//! Files of our own that live as long as a job needs them.
//!
//! All of them lie in one folder per job, are counted against `--max-scratch`
//! as they are written, and go when the job ends, however it ends. What a
//! killed process left behind is removed when the next run begins.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::budget::Space;
use crate::error::{Error, Kind, Result};
use crate::objstore;
use crate::tsdb;
use crate::tsdb::source::BlobWriter;
use crate::tsdb::spill::{Spill, SpillFile};

/// A folder under the work folder that is removed when the last of its files
/// and handles is dropped.
#[derive(Debug, Clone)]
pub(super) struct ScratchDir(Arc<Dir>);

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    space: Arc<Space>,
    /// Booked with `space`.
    used: AtomicU64,
    /// Spill files so far.
    spills: AtomicU64,
}

impl ScratchDir {
    /// Creates `<root>/<name>`.
    ///
    /// # Errors
    /// [`Kind::Config`] when the folder cannot be made.
    pub fn create(root: &Path, name: &str, space: &Arc<Space>) -> Result<Self> {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(|e| {
            let what = format!("cannot create scratch folder {}", path.display());
            Error::new(Kind::Config, what)
                .with_source(e)
                .with_cure("give a writable folder with --data-dir")
        })?;
        Ok(Self(Arc::new(Dir {
            path,
            space: Arc::clone(space),
            used: AtomicU64::new(0),
            spills: AtomicU64::new(0),
        })))
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path.join(name)
    }

    /// Bytes written so far.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A writer of one file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn writer(&self, name: &str) -> Result<Box<dyn BlobWriter>> {
        let file = ScratchFile::create(self.clone(), self.file(name)).map_err(|e| {
            Error::new(Kind::Retry, "cannot create a scratch file")
                .with_cure("see that --data-dir is writable and not full")
                .with_source(e)
        })?;
        Ok(Box::new(file))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove scratch folder");
        }
        self.space.give(self.used.load(Ordering::Relaxed));
    }
}

/// Held by every run that uses a work folder, so that none removes the files
/// of another.
#[derive(Debug)]
pub(super) struct InUse(#[expect(dead_code, reason = "the lock goes with the file")] Option<File>);

/// Takes part in the use of a work folder. If nobody else does, what runs that
/// were killed left there is removed: folders named by a ULID, which are ours.
///
/// A folder that cannot be made or locked is left alone; the first job says why.
pub(super) fn enter(root: &Path) -> InUse {
    let open = || -> io::Result<File> {
        fs::create_dir_all(root)?;
        let lock = File::open(root)?;
        if lock.try_lock().is_ok() {
            sweep(root);
        }
        lock.lock_shared()?;
        Ok(lock)
    };
    InUse(open().ok())
}

fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = |n: &str| ulid::Ulid::from_string(n).is_ok();
        if !name.to_str().is_some_and(ours) {
            continue;
        }
        let path = entry.path();
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed old scratch folder"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove scratch folder");
            }
        }
    }
}

/// One file, written front to back.
///
/// The writers above hand over large pieces, so there is no buffer here.
#[derive(Debug)]
struct ScratchFile {
    dir: ScratchDir,
    file: File,
    path: PathBuf,
    written: u64,
}

impl ScratchFile {
    fn create(dir: ScratchDir, path: PathBuf) -> tsdb::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).map_err(|e| failed(&path, e))?;
        Ok(Self {
            dir,
            file,
            path,
            written: 0,
        })
    }

    fn append(&mut self, data: &[u8]) -> tsdb::Result<u64> {
        let at = self.written;
        let bytes = data.len() as u64;
        let space = &self.dir.0.space;
        if !space.take(bytes) {
            let what = format!("all {} bytes of --max-scratch are in use", space.limit());
            let full = io::Error::new(io::ErrorKind::QuotaExceeded, what);
            return Err(failed(&self.path, full));
        }
        self.dir.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.file
            .write_all(data)
            .map_err(|e| failed(&self.path, e))?;
        self.written += bytes;
        Ok(at)
    }
}

fn failed(path: &Path, source: io::Error) -> tsdb::Error {
    tsdb::Error::Write {
        file: path.display().to_string(),
        source: Box::new(source),
    }
}

impl BlobWriter for ScratchFile {
    fn write(&mut self, data: &[u8]) -> tsdb::Result<()> {
        self.append(data).map(|_| ())
    }

    fn finish(mut self: Box<Self>) -> tsdb::Result<u64> {
        self.file.flush().map_err(|e| failed(&self.path, e))?;
        Ok(self.written)
    }
}

impl Spill for ScratchDir {
    fn create(&self) -> tsdb::Result<Box<dyn SpillFile>> {
        let number = self.0.spills.fetch_add(1, Ordering::Relaxed);
        let path = self.file(&format!("spill-{number:04}"));
        Ok(Box::new(ScratchFile::create(self.clone(), path)?))
    }
}

impl SpillFile for ScratchFile {
    fn append(&mut self, data: &[u8]) -> tsdb::Result<u64> {
        Self::append(self, data)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> tsdb::Result<()> {
        let read = self.file.read_exact_at(out, offset);
        read.map_err(|source| tsdb::Error::Read {
            file: self.name(),
            offset,
            source: Box::new(source),
        })
    }

    fn map(&self) -> tsdb::Result<Bytes> {
        let map = objstore::map_file(&self.path, "table in scratch");
        let blob = map.map_err(|source| tsdb::Error::Read {
            file: self.name(),
            offset: 0,
            source: Box::new(source),
        })?;
        Ok(blob.into_bytes())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::Budget;
    use super::*;
    use crate::plan::cost::Machine;

    #[test]
    fn everything_is_counted_and_goes_with_the_last_handle() {
        let root = tempfile::tempdir().unwrap();
        let budget = Budget::new(&Machine {
            scratch_bytes: 1000,
            ..Machine::default()
        });
        let dir = ScratchDir::create(root.path(), "job", budget.space()).unwrap();
        let mut index = dir.writer("index").unwrap();
        index.write(&[7; 600]).unwrap();
        let mut spill = Spill::create(&dir).unwrap();
        spill.append(&[8; 300]).unwrap();
        let error = spill.append(&[9; 101]).unwrap_err();
        let text = crate::error::Error::new(Kind::Retry, "x")
            .with_source(error)
            .chain();
        assert!(
            text.contains("all 1000 bytes of --max-scratch are in use"),
            "{text}"
        );
        spill.append(&[9; 100]).unwrap();
        let mut back = [0; 150];
        spill.read(200, &mut back).unwrap();
        assert_eq!((back[0], back[149]), (8, 9));
        assert_eq!(spill.map().unwrap().len(), 400);
        assert_eq!(dir.used(), 1000);
        drop((dir, index));
        assert!(root.path().join("job").exists());
        drop(spill);
        assert!(!root.path().join("job").exists());
        assert!(budget.space().take(1000));
    }

    #[test]
    fn what_a_killed_run_left_goes_unless_another_one_is_at_work() {
        let root = tempfile::tempdir().unwrap();
        let old = root.path().join("01JAFE9KTKA5ZM1EJGZ9B3ZT2G");
        let other = root.path().join("photos");
        fs::create_dir_all(&other).unwrap();
        let first = enter(root.path());
        fs::create_dir_all(&old).unwrap();
        let second = enter(root.path());
        assert!(old.exists());
        drop((first, second));
        drop(enter(root.path()));
        assert!(!old.exists() && other.exists());
    }
}
