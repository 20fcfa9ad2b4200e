//! Staged files: what an upload into a folder leaves behind when its process
//! dies. The library's local store names them `<name>#<n>`.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use object_store::Result;
use object_store::path::Path;

use super::{FolderStore, Walk, failed, is_staged, off_thread};
use crate::objstore::sdk::PendingUpload;

impl FolderStore {
    /// Staged files below `root` whose names, relative to it, begin with `prefix`.
    pub(in crate::objstore) async fn staged(
        &self,
        root: &Path,
        prefix: &str,
    ) -> Result<Vec<PendingUpload>> {
        let (walk, root, prefix) = (Arc::clone(&self.walk), root.clone(), prefix.to_owned());
        off_thread(move || walk.staged(&root, &prefix)).await
    }

    /// Bytes of a staged file; 0 if it is gone.
    pub(in crate::objstore) async fn staged_size(
        &self,
        root: &Path,
        upload: &PendingUpload,
    ) -> Result<u64> {
        let (walk, file) = (Arc::clone(&self.walk), staged_name(root, upload)?);
        off_thread(move || {
            let file = walk.root.join(file.as_ref());
            match fs::symlink_metadata(&file) {
                Ok(found) => Ok(found.len()),
                Err(err) if err.kind() == ErrorKind::NotFound => Ok(0),
                Err(err) => Err(failed(&file, err)),
            }
        })
        .await
    }

    /// Removes a staged file and the directories that this leaves empty.
    pub(in crate::objstore) async fn remove_staged(
        &self,
        root: &Path,
        upload: &PendingUpload,
    ) -> Result<()> {
        let (walk, name) = (Arc::clone(&self.walk), staged_name(root, upload)?);
        let object: Path = root
            .parts()
            .chain(Path::parse(&upload.name)?.parts())
            .collect();
        off_thread(move || {
            // Checks that no link on the way leads out of the folder.
            walk.resolve(&object)?;
            let file = walk.root.join(name.as_ref());
            match fs::remove_file(&file) {
                Err(err) if err.kind() != ErrorKind::NotFound => Err(failed(&file, err)),
                _ => {
                    walk.prune(&name);
                    Ok(())
                }
            }
        })
        .await
    }
}

fn staged_name(root: &Path, upload: &PendingUpload) -> Result<Path> {
    let digits = upload.upload_id.bytes().all(|b| b.is_ascii_digit());
    if upload.upload_id.is_empty() || !digits {
        return Err(super::FolderError::Staged.into());
    }
    // `Path::parse` would refuse nothing here, but `#` must not be encoded.
    let name = Path::parse(format!("{}#{}", upload.name, upload.upload_id))?;
    Ok(root.parts().chain(name.parts()).collect())
}

impl Walk {
    fn staged(&self, root: &Path, prefix: &str) -> Result<Vec<PendingUpload>> {
        let dir = prefix.rsplit_once('/').map_or("", |(dir, _)| dir);
        let dir: Path = root.parts().chain(Path::parse(dir)?.parts()).collect();
        let mut found = Vec::new();
        let mut todo = vec![self.root.join(dir.as_ref())];
        let base = self.root.join(root.as_ref());
        while let Some(dir) = todo.pop() {
            for entry in self.entries(&dir)? {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let file = entry.path();
                if kind.is_dir() {
                    todo.push(file);
                    continue;
                }
                let below = file.strip_prefix(&base).ok().and_then(|name| name.to_str());
                let Some((name, upload_id)) = below.and_then(|name| name.rsplit_once('#')) else {
                    continue;
                };
                let is_ours = entry.file_name().to_str().is_some_and(is_staged);
                if !kind.is_file() || !is_ours || !name.starts_with(prefix) {
                    continue;
                }
                let modified = entry.metadata().and_then(|found| found.modified()).ok();
                let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let begun_ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
                found.push(PendingUpload {
                    name: name.to_owned(),
                    upload_id: upload_id.to_owned(),
                    begun_ms: begun_ms.unwrap_or(i64::MAX),
                });
            }
        }
        found.sort_unstable_by(|a, b| (&a.name, &a.upload_id).cmp(&(&b.name, &b.upload_id)));
        Ok(found)
    }
}
