//! Lower resolutions beside Thanos: each step on its own, and all of a run.

use std::path::PathBuf;

use crate::bucket;
use crate::lab::{Input, Lab, Program, REPLICA, Result};
use crate::rows::{cleanup, days_input, heading};
use crate::table;

const FIVE_MINUTES: i64 = 300_000;
const ONE_HOUR: i64 = 3_600_000;

/// One raw block of 14 days.
pub fn input(lab: &Lab) -> Input {
    Input {
        interval: 30,
        hours: 336,
        replicas: 1,
        blocks: 1,
        series: lab.days_series,
    }
}

/// A block of 14 days to both resolutions, and each step alone: Thanos makes
/// what a bucket lacks, so a bucket is given that has the other one.
pub fn steps(lab: &Lab) -> Result<()> {
    let input = input(lab);
    let source = lab.input(input)?;
    heading("1 x 14d block", input, &source)?;
    let run = |name: &str, source: &PathBuf| -> Result<()> {
        let flags: &[&str] = &["--downsample.concurrency=2"];
        let ours = lab.best(Program::Ours, source, flags, None)?;
        let theirs = lab.best(Program::Thanos, source, flags, None)?;
        table::beside(name, &ours, Some(&theirs));
        same(lab)
    };
    run("to 5m and 1h", &source)?;
    // What was made of it, without one resolution.
    let without = |resolution: i64| -> Result<PathBuf> {
        let folder = lab.place(&format!("without-{resolution}"));
        bucket::fresh_copy(&lab.result(Program::Ours), &folder)?;
        for (block, of, _) in bucket::live(&folder)? {
            if of == resolution {
                bucket::remove(&block)?;
            }
        }
        Ok(folder)
    };
    let (five, hour) = (without(FIVE_MINUTES)?, without(ONE_HOUR)?);
    run("raw to 5m", &five)?;
    run("5m to 1h", &hour)?;
    bucket::remove(&five)?;
    bucket::remove(&hour)?;
    cleanup(lab)
}

/// The whole run: an HA pair merged one-to-one, both resolutions.
pub fn whole(lab: &Lab) -> Result<()> {
    let input = days_input(lab);
    let source = lab.input(input)?;
    heading("8 x 2d blocks, with 5m and 1h", input, &source)?;
    let flags: &[&str] = &[REPLICA, "--downsample.concurrency=2"];
    let ours = lab.best(Program::Ours, &source, flags, None)?;
    let more = [flags, &["--compact.concurrency=2"]].concat();
    let theirs = lab.best(Program::Thanos, &source, &more, None)?;
    table::beside("one-to-one", &ours, Some(&theirs));
    same(lab)?;
    cleanup(lab)
}

/// Both programs have left as many samples and windows of each resolution.
fn same(lab: &Lab) -> Result<()> {
    let shape = |program| -> Result<Vec<(i64, u64)>> {
        let live = bucket::live(&lab.result(program))?;
        let mut shape: Vec<_> = live
            .into_iter()
            .map(|(_, r, samples)| (r, samples))
            .collect();
        shape.sort_unstable();
        Ok(shape)
    };
    let (ours, theirs) = (shape(Program::Ours)?, shape(Program::Thanos)?);
    if ours == theirs {
        return Ok(());
    }
    Err(format!(
        "resolutions and samples: ours {ours:?}, theirs {theirs:?}"
    ))
}
