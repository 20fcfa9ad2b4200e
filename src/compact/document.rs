//! What one process did to all of its buckets, as one JSON document for
//! `--report`.
//!
//! ```text
//!  { schema, version, buckets: [ { name, report | null, error, cure } ] }
//! ```
//!
//! One shape for one bucket and for many. `report` is what [`super::keep`] puts
//! into the bucket; a bucket that could not be worked on has only an error.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::keep::Kept;
use super::report::RunReport;
use crate::error::{Error, Kind, Result};

/// Name and version of the form.
pub const SCHEMA: &str = "lithify.run/1";

/// How the run over one bucket ended.
#[derive(Debug)]
pub struct Ended {
    /// The bucket's name, or its folder.
    pub bucket: String,
    /// What was done; `None` if the bucket could not be worked on.
    pub report: Option<RunReport>,
    /// When, ms since the epoch.
    pub at_ms: i64,
    /// Why the run counts as failed, if it does, and what to do about it.
    pub error: Option<(String, Option<String>)>,
}

/// A run over some buckets as JSON; times in ms since the epoch, sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
struct Document<'a> {
    /// Always `lithify.run/1`.
    schema: &'static str,
    /// Version of the program.
    version: &'static str,
    /// In the order in which they were worked on.
    buckets: Vec<Entry<'a>>,
}

/// One bucket.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry<'a> {
    /// Its name, or the folder, as in the log.
    name: &'a str,
    /// As it is kept in the bucket; none if that could not be worked on.
    #[schemars(schema_with = "as_kept")]
    report: Option<Kept<'a>>,
    /// Why the run over this bucket failed, if it did.
    error: Option<&'a str>,
    /// What to do about it.
    cure: Option<&'a str>,
}

/// The schema of a kept report has a file of its own.
fn as_kept(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "$ref": "report.schema.json" }, { "type": "null" }] })
}

/// The JSON schema of the document, as it stands in `docs/run.schema.json`.
pub fn schema() -> Schema {
    schemars::schema_for!(Document<'_>)
}

/// The document about these buckets, with a line end.
///
/// # Errors
/// Never in practice: all of it can be written as JSON.
pub fn to_json(buckets: &[Ended]) -> Result<Vec<u8>> {
    let entries = buckets.iter().map(|ended| Entry {
        name: &ended.bucket,
        report: ended.report.as_ref().map(|r| r.kept(ended.at_ms)),
        error: ended.error.as_ref().map(|(what, _)| what.as_str()),
        cure: ended.error.as_ref().and_then(|(_, cure)| cure.as_deref()),
    });
    let document = Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        buckets: entries.collect(),
    };
    let mut json = serde_json::to_vec_pretty(&document)
        .map_err(|e| Error::new(Kind::Internal, "cannot write the report").with_source(e))?;
    json.push(b'\n');
    Ok(json)
}
