//! A lock of the operating system, beside the lease in a folder bucket: among
//! the processes of one machine it tells exactly whether a holder lives.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::LEASES;
use super::part::Part;
use crate::error::{Error, Kind, Result};
use crate::objstore::{Bucket, BucketKind};

/// What became of a lock.
#[derive(Debug)]
pub(super) enum Lock {
    /// Ours until it is dropped.
    Ours(#[expect(dead_code, reason = "the lock goes with the file")] File),
    /// A living process of this machine has it.
    Taken,
    /// No folder, or a file system without locks.
    None,
}

impl Lock {
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

/// Takes the lock of a part, if the bucket is a folder. The file stays: a lock
/// on one that is removed and made anew would not exclude.
///
/// # Errors
/// A file that cannot be made.
pub(super) fn take(bucket: &Bucket, part: &Part) -> Result<Lock> {
    if bucket.kind() != BucketKind::Folder {
        return Ok(Lock::None);
    }
    let file = bucket.local_path(&format!("{LEASES}/{part}.lock"))?;
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    let opened = made.and_then(|()| {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).open(&file)
    });
    let opened = opened.map_err(|e| failed(&file, e))?;
    match opened.try_lock() {
        Ok(()) => Ok(Lock::Ours(opened)),
        Err(TryLockError::WouldBlock) => Ok(Lock::Taken),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "no locks on this file system; the lease has to do");
            Ok(Lock::None)
        }
    }
}

fn failed(file: &Path, error: std::io::Error) -> Error {
    Error::new(Kind::Config, format!("cannot lock {}", file.display()))
        .with_source(error)
        .with_cure("make the folder writable for this user")
}
