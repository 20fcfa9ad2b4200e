//! Quarantine: a damaged block is kept out of compactions and downsampling by
//! marks, so that everything else can go on and nobody reads it again.
//!
//! ```text
//!  job fails, block to blame --> fresh read of that block alone
//!                                 |  damaged: marks, planned again without it
//!                                 '- clean:   a fault of the transfer, the job
//!                                             is done once more
//!  listing shows wrong sizes ---> fresh listing, then the same
//! ```
//!
//! Many damaged blocks at once are more likely one fault of the store, the
//! network or this program, so the number of blocks marked in one run has a
//! limit. Once it is reached, nothing is marked and no job is begun any more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use ulid::Ulid;

use super::job::{self, JobContext, on_a_thread};
use super::mark;
use super::report::{JobReport, Quarantined};
use super::scratch::ScratchDir;
use super::sync::{files_of, incomplete};
use crate::block::io::{Place, open_source};
use crate::block::meta::{MAX_META_BYTES, Meta};
use crate::block::{self, META, markers, path};
use crate::error::{Error, Kind, Result};
use crate::merge::{self, MergeMemory};
use crate::plan::view::{BlockView, Finding};
use crate::plan::{Job, cure_of_quarantine};
use crate::tsdb::Damage;
use crate::tsdb::spill::Room;

/// Blocks that one run may put into quarantine if nobody says otherwise.
pub const DEFAULT_MAX_BLOCKS: usize = 10;

/// Longest text of a mark, bytes.
const DETAILS_BYTES: usize = 1024;

/// The books of one run, shared by its jobs.
#[derive(Debug)]
pub(super) struct Quarantine {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    marked: usize,
    capped: bool,
    transfer_faults: u64,
    /// Blocks whose listing was looked at again.
    listed: HashSet<Ulid>,
}

/// How a job ended.
pub(super) enum Ended {
    /// Done.
    Done(Box<JobReport>),
    /// Broke off at a block that is in quarantine now.
    Quarantined(Quarantined),
    /// Failed for another reason, or at a block that could not be marked.
    Failed(Error),
}

/// What became of a block whose listing did not fit.
pub(super) enum Listed {
    /// It is in quarantine now.
    Marked(Quarantined),
    /// It fits after all.
    Fine,
    /// There is nothing to be done, or it was done before.
    Skipped,
}

/// What a second look at a block shows.
enum Verdict {
    Damaged(Finding),
    Clean,
    /// It is gone, or marked by somebody else meanwhile.
    Gone,
}

impl Quarantine {
    /// At most `most` blocks are marked; 0 marks none, and is no limit that
    /// could be reached.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// Whether more blocks were found damaged than may be marked.
    pub fn is_capped(&self) -> bool {
        self.lock().capped
    }

    /// How often a block that had been blamed was fine when read again.
    pub fn transfer_faults(&self) -> u64 {
        self.lock().transfer_faults
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of the places; false if none is left.
    fn reserve(&self) -> bool {
        let mut state = self.lock();
        let free = state.marked < self.most;
        state.marked += usize::from(free);
        state.capped |= !free && self.most > 0;
        free
    }

    fn release(&self) {
        let mut state = self.lock();
        state.marked = state.marked.saturating_sub(1);
    }

    /// Runs a job; what happens to a block that it blames is told above.
    pub async fn run_job(&self, context: &JobContext, job: &Job) -> Ended {
        let mut again = true;
        loop {
            let error = match job::run(context, job).await {
                Ok(report) => return Ended::Done(Box::new(report)),
                Err(error) => error,
            };
            let blamed = error.block().filter(|_| error.kind() == Kind::Corrupt);
            let Some(block) = blamed else {
                return Ended::Failed(error);
            };
            match examine(context, block).await {
                Ok(Verdict::Damaged(finding)) => {
                    let marked = self.shut(context, block, finding).await;
                    return marked.map_or_else(Ended::Failed, Ended::Quarantined);
                }
                Ok(Verdict::Clean) if again => {
                    again = false;
                    self.lock().transfer_faults += 1;
                    tracing::warn!(
                        %block, error = error.chain(),
                        "a fresh read of the block finds nothing wrong, the compaction is repeated"
                    );
                }
                Ok(Verdict::Clean | Verdict::Gone) => return Ended::Failed(error),
                Err(unknown) => {
                    tracing::warn!(
                        %block, error = unknown.chain(), "the blamed block cannot be read again"
                    );
                    return Ended::Failed(error);
                }
            }
        }
    }

    /// Looks once more at a block whose listing does not fit its `meta.json`.
    ///
    /// # Errors
    /// That it could not be looked at, or not marked.
    pub async fn listed(&self, context: &JobContext, view: &BlockView) -> Result<Listed> {
        let id = view.id();
        let marked = view.deletion.is_some() || view.no_compact.is_some();
        if self.most == 0 || marked || !self.lock().listed.insert(id) {
            return Ok(Listed::Skipped);
        }
        let Some(fresh) = look_again(context, id).await? else {
            return Ok(Listed::Skipped);
        };
        match fresh.damaged {
            Some(finding) => self.shut(context, id, finding).await.map(Listed::Marked),
            None => {
                self.lock().transfer_faults += 1;
                tracing::warn!(block = %id, "a fresh listing of the block finds nothing wrong");
                Ok(Listed::Fine)
            }
        }
    }

    /// Marks a damaged block, if there is a place left.
    async fn shut(
        &self,
        context: &JobContext,
        block: Ulid,
        mut finding: Finding,
    ) -> Result<Quarantined> {
        let damaged = |finding: &Finding| {
            Error::new(Kind::Corrupt, format!("block {block}: {}", finding.what))
                .with_block(block)
                .with_damage(finding.reason)
                .with_cure(finding.reason.cure(block))
        };
        if !self.reserve() {
            return Err(damaged(&finding));
        }
        finding.what = one_line(&finding.what, DETAILS_BYTES);
        let marks = mark::for_quarantine(context, block, &finding);
        if let Err(error) = marks.await {
            self.release();
            let what = format!("{}; its marks could not be set", finding.what);
            tracing::error!(%block, error = error.chain(), "block cannot be put into quarantine");
            return Err(damaged(&Finding { what, ..finding }));
        }
        let cure = cure_of_quarantine(finding.reason, block);
        tracing::warn!(
            %block, reason = finding.reason.as_str(), details = finding.what, cure,
            "damaged block is in quarantine from now on"
        );
        Ok(Quarantined {
            block,
            reason: finding.reason,
            details: finding.what,
            cure,
        })
    }
}

/// Reads a block alone and afresh: listing, `meta.json`, and every byte that a
/// compaction would read.
async fn examine(context: &JobContext, block: Ulid) -> Result<Verdict> {
    let Some(view) = look_again(context, block).await? else {
        return Ok(Verdict::Gone);
    };
    if let Some(finding) = view.damaged {
        return Ok(Verdict::Damaged(finding));
    }
    let found = match read_alone(context, view).await {
        Ok(()) => return Ok(Verdict::Clean),
        Err(error) if error.kind() == Kind::Corrupt => error,
        Err(error) => return Err(error),
    };
    let chain = found.chain();
    let prefix = format!("block {block}: ");
    Ok(Verdict::Damaged(Finding {
        reason: found.damage().unwrap_or(Damage::Malformed),
        what: chain.strip_prefix(&prefix).unwrap_or(&chain).to_owned(),
    }))
}

async fn read_alone(context: &JobContext, view: BlockView) -> Result<()> {
    /// Read-ahead, and each of the two kinds of tables, bytes.
    const SHARE: u64 = 32 << 20;
    let (id, meta) = (view.id(), Arc::clone(&view.meta));
    let grant = context.budget.take(3 * SHARE, (0, view.index_bytes()));
    let grant = grant.await;
    let share = grant.memory_bytes() / 3;
    let name = context.clock.new_ulid().to_string();
    let scratch = ScratchDir::create(&context.scratch, &name, context.budget.space())?;
    let room = || Room::limited(share, Arc::new(scratch.clone()));
    let memory = MergeMemory {
        symbols: room(),
        postings: room(),
        ..MergeMemory::default()
    };
    let place = Place {
        keep: (i64::MIN, i64::MAX),
        run: 0,
        replica: 0,
    };
    let sizes = move |file: &str| view.file_size(file);
    let mut source = open_source(&context.bucket, &meta.tsdb, sizes, (1, share), place).await?;
    source.stated = meta.stated();
    let pool = Arc::clone(&context.pool);
    let resolution = meta.thanos.downsample.resolution;
    on_a_thread("verify", move || {
        merge::verify(source, resolution, &pool, memory).map_err(|e| block::of_merge(e, &[id]))
    })
    .await
}

/// One block as it lies in the bucket now. `None` if it is none any more, or if
/// a mark keeps it out that came since.
async fn look_again(context: &JobContext, id: Ulid) -> Result<Option<BlockView>> {
    let objects = context.bucket.list(&id.to_string()).await?;
    let files = files_of(&objects);
    let has = |name: &str| files.iter().any(|f| f.path == name);
    if has(markers::NO_COMPACT_MARK) {
        return Ok(None);
    }
    let json = context
        .bucket
        .get_bounded(&path(id, META), MAX_META_BYTES)
        .await?;
    let meta = json.and_then(|json| Meta::parse(id, &json).ok());
    Ok(meta.map(|meta| BlockView {
        damaged: incomplete(&meta, &files),
        meta: Arc::new(meta),
        files: Arc::new(files),
        deletion: None,
        no_compact: None,
        no_downsample: None,
    }))
}

/// A text in one line of at most `most` bytes.
fn one_line(text: &str, most: usize) -> String {
    const MORE: &str = "…";
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if clean.len() <= most {
        return clean;
    }
    let end = clean.floor_char_boundary(most - MORE.len());
    format!("{}{MORE}", &clean[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_line_and_not_too_long() {
        assert_eq!(one_line("a\nb\tc", 100), "a b c");
        let long = "ß".repeat(2000);
        let cut = one_line(&long, DETAILS_BYTES);
        assert!(cut.len() <= DETAILS_BYTES && cut.ends_with('…'), "{cut}");
    }

    #[test]
    fn places_are_taken_and_the_limit_is_remembered() {
        let quarantine = Quarantine::new(2);
        assert!(quarantine.reserve() && quarantine.reserve());
        assert!(!quarantine.is_capped(), "full is not yet too many");
        quarantine.release();
        assert!(quarantine.reserve());
        assert!(!quarantine.reserve() && quarantine.is_capped());
        let off = Quarantine::new(0);
        assert!(!off.reserve() && !off.is_capped());
    }
}
