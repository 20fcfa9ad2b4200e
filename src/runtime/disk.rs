//! How much room a disk has.

use std::path::Path;

/// Bytes that may still be written under `path`, which need not exist yet;
/// `None` where the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let whole = std::path::absolute(path).ok()?;
    let found = whole.ancestors().find(|p| p.exists())?;
    let stats = rustix::fs::statvfs(found).ok()?;
    Some(stats.f_bavail.saturating_mul(stats.f_frsize))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_folder_that_does_not_exist_yet_has_the_room_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        assert!(super::free_bytes(&dir.path().join("a/b")).is_some());
    }
}
