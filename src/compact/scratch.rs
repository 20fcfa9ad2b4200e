//! A file of our own that lives as long as a job needs it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::tsdb::source::BlobWriter;

/// A folder under the work folder that is removed when dropped.
#[derive(Debug)]
pub(super) struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// Creates `<root>/<name>`.
    ///
    /// # Errors
    /// [`Kind::Config`] when the folder cannot be made.
    pub fn create(root: &Path, name: &str) -> Result<Self> {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(|e| {
            let what = format!("cannot create scratch folder {}", path.display());
            Error::new(Kind::Config, what)
                .with_source(e)
                .with_cure("give a writable folder with --data-dir")
        })?;
        Ok(Self { path })
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove scratch folder");
        }
    }
}

/// Writes one scratch file.
///
/// The writers above hand over large pieces, so there is no buffer here.
#[derive(Debug)]
pub(super) struct ScratchFile {
    file: File,
    path: PathBuf,
    written: u64,
}

impl ScratchFile {
    /// Creates or empties a file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|e| {
            let what = format!("cannot create scratch file {}", path.display());
            Error::new(Kind::Retry, what).with_source(e)
        })?;
        Ok(Self {
            file,
            path,
            written: 0,
        })
    }

    fn failed(&self, source: std::io::Error) -> crate::tsdb::Error {
        crate::tsdb::Error::Write {
            file: self.path.display().to_string(),
            source: Box::new(source),
        }
    }
}

impl BlobWriter for ScratchFile {
    fn write(&mut self, data: &[u8]) -> crate::tsdb::Result<()> {
        self.file.write_all(data).map_err(|e| self.failed(e))?;
        self.written += data.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> crate::tsdb::Result<u64> {
        self.file.flush().map_err(|e| self.failed(e))?;
        Ok(self.written)
    }
}
