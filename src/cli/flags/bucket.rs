//! Flags about the bucket, the requests to it and the local folder.

use std::path::{Path, PathBuf};

use super::{Given, path, refuse};
use crate::error::Result;

/// Where blocks come from and go to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bucket")]
pub(crate) struct BucketFlags {
    /// File with the bucket configuration, in the format of Thanos. Can be
    /// repeated.
    #[arg(long = "objstore.config-file", value_name = "FILE", value_parser = path())]
    pub(crate) config_files: Vec<PathBuf>,
    /// The bucket configuration itself, instead of a file.
    #[arg(long = "objstore.config", value_name = "YAML")]
    pub(crate) config: Option<String>,
    /// Folder for what is being made; may be wiped between runs.
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./data")]
    pub(crate) data_dir: PathBuf,
    /// Metas and marks fetched at the same time.
    #[arg(long = "block-meta-fetch-concurrency", value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) meta_fetch_concurrency: u16,
    /// No effect: segments are read in ranges, as the memory allows.
    #[arg(long = "block-files-concurrency", value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) files_concurrency: u16,
    /// No effect: concurrent or recursive, both mean one recursive listing.
    #[arg(
        long = "block-discovery-strategy",
        value_name = "NAME",
        default_value = "concurrent"
    )]
    pub(crate) discovery_strategy: String,
    /// Name of the external label that tells clusters apart, for reports.
    #[arg(long = "cluster-label", value_name = "NAME")]
    pub(crate) cluster_label: Option<String>,
}

impl BucketFlags {
    /// Files that were named; an empty name counts as none.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let named = |path: &&PathBuf| !path.as_os_str().is_empty();
        self.config_files.iter().filter(named).map(PathBuf::as_path)
    }

    /// What cannot be served, and warnings about what has no effect.
    pub(crate) fn check(&self, given: &Given, warnings: &mut Vec<String>) -> Result<()> {
        if !matches!(self.discovery_strategy.as_str(), "concurrent" | "recursive") {
            let why = format!("there is no strategy {:?}", self.discovery_strategy);
            return Err(refuse(
                "block-discovery-strategy",
                &why,
                "drop the flag; concurrent and recursive both mean one recursive listing",
            ));
        }
        let idle = [
            (
                "block-files-concurrency",
                "segments are read in ranges, as the memory allows",
            ),
            (
                "block-discovery-strategy",
                "blocks are found by one recursive listing",
            ),
        ];
        given.warn(&idle, warnings);
        Ok(())
    }
}
