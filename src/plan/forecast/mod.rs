//! What a dry run tells: the plan with its costs, as values with a stable JSON
//! form. `docs/plan.schema.json` is its schema, made from these types.
//!
//! ```text
//!  Forecast
//!   ├─ totals                    all buckets together
//!   ├─ clusters[]                streams summed up by cluster
//!   └─ buckets[]
//!       ├─ streams[]             blocks now, and once all rounds were executed
//!       ├─ jobs[]                of the first round, each with its products[]
//!       ├─ later[]               jobs and marks of the rounds behind it
//!       ├─ deletions[] marks[] partials[]   what happens to other blocks
//!       ├─ retired[] removals[]  what is past its retention, when bytes go
//!       ├─ findings[]            of the policy linter
//!       ├─ hazards[] not_looked_at[]   settings of the bucket that do harm
//!       └─ held[] cuts[] excluded[] problems[]   what does not happen, and why
//! ```
//!
//! Keys are only ever added; a change of meaning changes [`SCHEMA`].

mod build;
mod clusters;
mod hazards;
mod later;
mod policy;
mod requests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

pub use build::{BucketFacts, forecast};
pub use clusters::SeriesByCluster;
pub use hazards::{BucketSettings, HazardForecast, NotLookedAtForecast};
pub use later::{LaterForecast, ProductForecast, ResolutionTotals};
pub use policy::{
    FindingForecast, PolicyForecast, RemovalForecast, RetentionForecast, RetiredForecast,
    WindowForecast,
};
pub use requests::{Habits, changed};

use super::cost;

/// Name and version of the JSON form.
pub const SCHEMA: &str = "lithify.plan/1";

/// The JSON schema of [`Forecast`], as it stands in `docs/plan.schema.json`.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Forecast)
}

/// At least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Range {
    /// At least.
    pub low: u64,
    /// At most.
    pub high: u64,
}

impl From<cost::Span> for Range {
    fn from((low, high): cost::Span) -> Self {
        Self { low, high }
    }
}

impl From<u64> for Range {
    fn from(n: u64) -> Self {
        Self { low: n, high: n }
    }
}

impl std::ops::AddAssign for Range {
    fn add_assign(&mut self, other: Self) {
        self.low = self.low.saturating_add(other.low);
        self.high = self.high.saturating_add(other.high);
    }
}

impl Range {
    /// The number in the middle.
    pub fn middle(self) -> u64 {
        u64::midpoint(self.low, self.high)
    }
}

/// Everything a dry run tells.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Forecast {
    /// Always `lithify.plan/1`.
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// When the plan was made, RFC 3339.
    pub made_at: String,
    /// Kinds of work that stand in it: `compaction`, `downsampling`,
    /// `retention`, `cleanup`. Others were left out.
    pub lanes: Vec<String>,
    /// True if a run would change something.
    pub pending: bool,
    /// True if something is left undone that a person should look at.
    pub problems: bool,
    /// All buckets together.
    pub totals: Totals,
    /// The label that names a cluster.
    pub cluster_label: String,
    /// All buckets together, by cluster.
    pub clusters: Vec<Cluster>,
    /// Each bucket.
    pub buckets: Vec<BucketForecast>,
}

/// Sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Totals {
    /// Blocks that take part.
    pub blocks_before: u64,
    /// Blocks that are left of them.
    pub blocks_after: u64,
    /// Bytes of index and segments of those.
    pub bytes_before: u64,
    /// The same of those that are left.
    pub bytes_after: Range,
    /// Samples in them.
    pub samples_before: u64,
    /// Samples in those that are left.
    pub samples_after: Range,
    /// Jobs of all rounds.
    pub jobs: u64,
    /// Those of them that only downsample.
    pub downsampling_jobs: u64,
    /// Rounds with jobs: each is planned from what the one before has made.
    pub rounds: u64,
    /// Compactions it would take step by step, and jobs that only downsample.
    pub steps: u64,
    /// The same for each resolution there is, or will be.
    pub resolutions: Vec<ResolutionTotals>,
    /// Bytes that jobs read. What later rounds read is predicted.
    pub bytes_read: u64,
    /// Bytes that jobs write.
    pub bytes_written: Range,
    /// Bytes that are removed at once: marked blocks and abandoned uploads.
    pub bytes_removed: u64,
    /// Requests by kind.
    pub requests: cost::Requests,
    /// The same by what they are for: `looks`, `jobs`, `marks`, `removals`,
    /// `cache`, `report`, `start`; what takes none is left out.
    pub requests_for: BTreeMap<String, cost::Requests>,
    /// Wall time if jobs ran one after the other, seconds.
    pub seconds: f64,
    /// Largest memory of one job, bytes.
    pub memory_bytes: u64,
    /// Largest scratch of one job, bytes.
    pub scratch_bytes: u64,
}

/// One cluster over all buckets and streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Cluster {
    /// Value of the cluster label; empty where there is none.
    pub name: String,
    /// From an external label (`label`) or from the series in the index
    /// (`series`): then the numbers are shares of the streams' by series.
    pub found_in: ClusterSource,
    /// Streams it has blocks in.
    pub streams: u64,
    /// Blocks that hold samples of it.
    pub blocks_before: u64,
    /// The same once the plan was executed.
    pub blocks_after: u64,
    /// Bytes of index and segments.
    pub bytes_before: u64,
    /// The same once the plan was executed.
    pub bytes_after: Range,
    /// Samples.
    pub samples_before: u64,
    /// The same once the plan was executed.
    pub samples_after: Range,
    /// Jobs of all rounds that concern it.
    pub jobs: u64,
}

/// Where the name of a cluster stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterSource {
    /// In the external labels.
    #[default]
    Label,
    /// In the labels of the series.
    Series,
    /// Nowhere.
    None,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BucketForecast {
    /// Its name, or the folder.
    pub name: String,
    /// Sums of this bucket.
    pub totals: Totals,
    /// Its streams, by resolution and labels.
    pub streams: Vec<StreamForecast>,
    /// Jobs of the first round: compactions, with what they downsample, and
    /// jobs that only downsample.
    pub jobs: Vec<JobForecast>,
    /// What is planned from what those have made, to the end.
    pub later: Vec<LaterForecast>,
    /// True if jobs are still due after the last of `later`.
    pub later_is_cut: bool,
    /// Marked blocks that are removed.
    pub deletions: Vec<DeletionForecast>,
    /// Blocks past their retention that are marked for deletion.
    pub retired: Vec<RetiredForecast>,
    /// When the bytes of marked blocks go, and of those that are to be marked.
    pub removals: Vec<RemovalForecast>,
    /// What the policy linter finds.
    pub findings: Vec<FindingForecast>,
    /// Settings of the bucket that do harm.
    pub hazards: Vec<HazardForecast>,
    /// Settings that could not be looked at.
    pub not_looked_at: Vec<NotLookedAtForecast>,
    /// Marked blocks whose delay has passed as well, but which a limit leaves
    /// to a later run.
    pub deletions_left: u64,
    /// Blocks past their retention that the same limit leaves to a later run.
    pub retired_left: u64,
    /// Marks that are set.
    pub marks: Vec<MarkForecast>,
    /// Abandoned uploads that are removed.
    pub partials: Vec<PartialForecast>,
    /// Blocks that are left alone.
    pub held: Vec<HeldForecast>,
    /// Streams whose plan ends early; a run plans them again.
    pub cuts: Vec<CutForecast>,
    /// Blocks that take part in nothing, by reason.
    pub excluded: Vec<Excluded>,
    /// Folders that are no usable blocks.
    pub problems: Vec<ProblemForecast>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StreamForecast {
    /// `<resolution>@<hash of the labels>`, as in Thanos' logs.
    pub group: String,
    /// External labels without the replica labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Window of the samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// What holds for it.
    pub policy: PolicyForecast,
    /// Blocks that take part, and those that are retired, by time.
    pub before: Vec<TileForecast>,
    /// Blocks that are left once all rounds were executed, by time.
    pub after: Vec<TileForecast>,
}

/// One block, now or in future.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TileForecast {
    /// ULID; absent for a block that a job will make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// The job that takes it, or makes it; it may be one of a later round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// Start, ms since the epoch.
    pub min_time: i64,
    /// End, ms since the epoch, exclusive.
    pub max_time: i64,
    /// `compaction.level`.
    pub level: u32,
    /// Bytes of index and segments.
    pub bytes: Range,
    /// Samples.
    pub samples: Range,
    /// Kept out of compactions.
    pub no_compact: bool,
    /// Files are not as `meta.json` states, or the block is in quarantine.
    pub damaged: bool,
}

/// One job: a compaction, downsampling, or both in one pass.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct JobForecast {
    /// Number in this bucket, from 1.
    pub job: u64,
    /// The stream.
    pub group: String,
    /// External labels of the result.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Window of the sources' samples in ms, 0 for raw.
    pub resolution_ms: i64,
    /// `horizontal`, `vertical`, or `downsampling` where the sources stay as
    /// they are.
    pub kind: String,
    /// Why, for people: `overlap`, `range 8h`, `tombstones`, `downsample`.
    pub reason: String,
    /// The blocks that it makes, by resolution.
    pub products: Vec<ProductForecast>,
    /// Compactions that are done as one.
    pub steps: u32,
    /// `compaction.level` of the result.
    pub level: u32,
    /// What is read.
    pub sources: Vec<String>,
    /// Start of the result, ms since the epoch.
    pub min_time: i64,
    /// End of the result, ms since the epoch, exclusive.
    pub max_time: i64,
    /// Bytes that are read.
    pub bytes_in: u64,
    /// Bytes of all products.
    pub bytes_out: Range,
    /// Series entries that are read.
    pub series_in: u64,
    /// Series once merged.
    pub series_out: Range,
    /// Samples that are read.
    pub samples_in: u64,
    /// Samples once merged, before they are downsampled.
    pub samples_out: Range,
    /// Bytes in scratch: the indexes of the products.
    pub scratch_bytes: Range,
    /// Peak of memory, bytes.
    pub memory_bytes: u64,
    /// Requests by kind.
    pub requests: cost::Requests,
    /// Wall time, seconds.
    pub seconds: f64,
    /// One in how many series was read for these numbers; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<u32>,
}

/// A marked block that is removed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DeletionForecast {
    /// The block.
    pub block: String,
    /// When it was marked, RFC 3339.
    pub marked_at: String,
    /// Why it was marked.
    pub details: String,
    /// Objects that are removed.
    pub objects: u64,
    /// Bytes that are removed.
    pub bytes: u64,
}

/// A mark that is set.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MarkForecast {
    /// The block.
    pub block: String,
    /// File name of the marker.
    pub marker: String,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub details: String,
}

/// An abandoned upload that is removed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PartialForecast {
    /// The folder.
    pub folder: String,
    /// Why.
    pub why: String,
    /// Latest change of any of its objects, RFC 3339.
    pub modified_at: String,
    /// Objects that are removed.
    pub objects: u64,
    /// Bytes that are removed.
    pub bytes: u64,
}

/// Blocks that are left alone.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct HeldForecast {
    /// The stream.
    pub group: String,
    /// Its external labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub what: String,
    /// How to get it done.
    pub cure: String,
    /// The blocks.
    pub blocks: Vec<String>,
    /// Start of their range, ms since the epoch.
    pub min_time: i64,
    /// End of their range, ms since the epoch, exclusive.
    pub max_time: i64,
    /// True if a person should look at it.
    pub problem: bool,
    /// When its retention passed, RFC 3339; absent if that is not what it is
    /// held for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<String>,
    /// What has to come before it is retired, by a stable name; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// A stream whose plan ends early.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CutForecast {
    /// The stream.
    pub group: String,
    /// `index size` or `job time`.
    pub why: String,
    /// Start of the compaction that comes next, ms since the epoch.
    pub min_time: i64,
    /// Its end, ms since the epoch, exclusive.
    pub max_time: i64,
}

/// Blocks that take part in nothing for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Excluded {
    /// By the name of upstream's metric.
    pub state: String,
    /// The blocks.
    pub blocks: Vec<String>,
}

/// A folder that is no usable block.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ProblemForecast {
    /// The folder.
    pub folder: String,
    /// Sort of problem.
    pub kind: String,
    /// What is damaged, by its code; absent for an upload under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong, for people.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}
