//! Folder buckets: fresh copies, sizes, and what lies in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::Result;

/// Removes a folder, if there is one.
pub fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {e}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// A copy in place of what was there. Index and segments are linked where the
/// file system allows: no program writes to a source, and what a copy would
/// leave to be written to disk would be part of the next measurement.
pub fn fresh_copy(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    copy(from, to).map_err(|e| format!("cannot copy {}: {e}", from.display()))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_name() == "meta.json" || fs::hard_link(entry.path(), &target).is_err()
        {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Bytes of all files.
pub fn size(folder: &Path) -> Result<u64> {
    fn sum(folder: &Path) -> std::io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            bytes += if meta.is_dir() {
                sum(&entry.path())?
            } else {
                meta.len()
            };
        }
        Ok(bytes)
    }
    sum(folder).map_err(|e| format!("cannot look into {}: {e}", folder.display()))
}

/// Samples of all blocks without a deletion mark, as their metas state.
pub fn live_samples(folder: &Path) -> Result<u64> {
    Ok(live(folder)?.iter().map(|(_, _, samples)| samples).sum())
}

/// Folder, resolution (ms) and samples of all blocks without a deletion mark.
pub fn live(folder: &Path) -> Result<Vec<(PathBuf, i64, u64)>> {
    let failed = |e: std::io::Error| format!("cannot look into {}: {e}", folder.display());
    let mut blocks = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let block = entry.map_err(failed)?.path();
        if !block.join("meta.json").is_file() || block.join("deletion-mark.json").exists() {
            continue;
        }
        let json = fs::read(block.join("meta.json")).map_err(failed)?;
        let meta: Value = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
        let samples = meta["stats"]["numSamples"].as_u64().unwrap_or(0);
        let resolution = &meta["thanos"]["downsample"]["resolution"];
        blocks.push((block, resolution.as_i64().unwrap_or(0), samples));
    }
    Ok(blocks)
}
