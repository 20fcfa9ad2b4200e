//! Damaged sources, failing writers and broken threads: each ends the merge
//! with an error that names its place, and nothing panics or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::batch::{Batch, Limits};
use super::overlap::PieceError;
use super::test_support::{Block, Chunk, MemSegments, SeriesMap, Setup, float_chunk, labels, pool};
use super::{MergeError, Output};
use crate::tsdb::encoding::crc32c;
use crate::tsdb::index::test_support::MemWriter;
use crate::tsdb::source::{BlobReader, BlobWriter, MemBlob};
use crate::tsdb::{Error, Result};

/// Three chunks a series, times below 64 so that they are one byte in an index.
fn chunks(offset: i64) -> Vec<Chunk> {
    [0, 20, 40]
        .map(|start| float_chunk(&[(start + offset, 1.5), (start + offset + 9, 2.5)]))
        .to_vec()
}

/// Two overlapping blocks of four series.
fn blocks() -> [Block; 2] {
    [("a", 0), ("b", 4)].map(|(name, offset)| {
        let series: SeriesMap = ["w", "x", "y", "z"]
            .map(|job| (labels(&[("__name__", "up"), ("job", job)]), chunks(offset)))
            .into();
        Block::write(name, (0, 60), &series, &[], 1 << 20)
    })
}

/// One series in a batch, so that there are several.
fn setup(blocks: &[Block], threads: usize) -> Setup {
    let mut setup = Setup::new(&pool(threads), blocks);
    setup.tuning.limits = Limits {
        bytes: 1,
        series: 1,
    };
    setup
}

fn error(blocks: &[Block]) -> MergeError {
    setup(blocks, 2).merge(blocks).unwrap_err()
}

/// Changes the body of series `n` of an index and mends its checksum.
fn patch_series(block: &mut Block, n: usize, patch: impl FnOnce(&mut [u8])) {
    let start = block.references()[n] as usize * 16;
    let len = usize::from(block.index[start]);
    let body = &mut block.index[start + 1..][..len];
    patch(body);
    let crc = crc32c(body).to_be_bytes();
    block.index[start + 1 + len..][..4].copy_from_slice(&crc);
}

/// Where the first chunk stands in the body of the first series, whose numbers
/// are all one byte: start, length, reference; gap, length, reference; ...
const FIRST_CHUNK: usize = 6;

#[test]
fn each_changed_byte_of_a_segment_is_blamed_on_its_source() {
    let good = blocks();
    let (expected, _) = setup(&good, 1).merge(&good).unwrap();
    for at in 0..good[1].segments[0].len() {
        let mut bad = good.clone();
        bad[1].segments[0][at] ^= 0x10;
        let result = setup(&bad, 1).merge(&bad);
        if (5..8).contains(&at) {
            // Padding of the header, which nobody reads.
            assert_eq!(result.unwrap().0.segments, expected.segments);
            continue;
        }
        let error = result.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.input, Some(1), "byte {at}: {text}");
        assert!(text.starts_with("b/chunks/000001: "), "byte {at}: {text}");
        let series = error.series.unwrap();
        assert!(text.ends_with(&format!(" (series {series})")), "{text}");
        assert!(matches!(error.error, Error::Corrupt(_)));
    }
}

#[test]
fn each_changed_byte_of_an_index_is_found_or_does_not_matter() {
    let good = blocks();
    let (expected, _) = setup(&good, 1).merge(&good).unwrap();
    let mut found = 0;
    for at in 0..good[1].index.len() {
        let mut bad = good.clone();
        bad[1].index[at] ^= 0x04;
        match setup(&bad, 1).merge(&bad) {
            // Postings and their table, which a merge makes anew.
            Ok((result, _)) => assert_eq!(result.index, expected.index, "byte {at}"),
            Err(error) => {
                found += 1;
                assert_eq!(error.input, Some(1), "byte {at}: {error}");
                assert!(
                    error.to_string().starts_with("b/index: "),
                    "byte {at}: {error}"
                );
            }
        }
    }
    assert!(found > 200, "{found}");
}

#[test]
fn a_bad_chunk_is_named_with_source_file_offset_and_series() {
    let mut bad = blocks();
    let last = bad[0].segments[0].len() - 1;
    bad[0].segments[0][last] ^= 1;
    let error = error(&bad);
    assert_eq!(error.input, Some(0));
    let data = last + 1 - 4 - chunks(0)[2].data.len();
    let expected = format!(
        "a/chunks/000001: checksum of the chunk differs at byte {data} (series {{__name__=\"up\", \
         job=\"z\"}})"
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_missing_segment_is_named() {
    let mut bad = blocks();
    bad[1].segments.clear();
    let error = error(&bad);
    assert_eq!(error.input, Some(1));
    let expected =
        "b/chunks/000001: no such segment at byte 0 (series {__name__=\"up\", job=\"w\"})";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_unknown_encoding_is_named_with_its_number() {
    let mut series = blocks()[0].read();
    series.values_mut().last().unwrap()[1].encoding = 77;
    let bad = [Block::write("a", (0, 60), &series, &[], 1 << 20)];
    let error = error(&bad);
    assert_eq!(error.input, Some(0));
    let text = error.to_string();
    assert!(
        text.starts_with("a/chunks/000001: chunk encoding 77 is not known"),
        "{text}"
    );
    assert!(
        text.ends_with("(series {__name__=\"up\", job=\"z\"})"),
        "{text}"
    );
}

#[test]
fn chunks_outside_of_the_block_are_refused() {
    let mut bad = blocks();
    for (range, what) in [
        (
            (5, 60),
            "chunk 4..=13 ms lies outside of the block's range 5..60",
        ),
        (
            (0, 52),
            "chunk 44..=53 ms lies outside of the block's range 0..52",
        ),
        (
            (0, 44),
            "chunk 44..=53 ms begins where the block ends (prometheus issue 347)",
        ),
    ] {
        (bad[1].min_time, bad[1].max_time) = range;
        let error = error(&bad);
        assert_eq!(error.input, Some(1));
        let offset = bad[1].references()[0] * 16;
        let expected =
            format!("b/index: {what} at byte {offset} (series {{__name__=\"up\", job=\"w\"}})");
        assert_eq!(error.to_string(), expected);
    }
    // The last sample at the end itself is tolerated.
    bad[1].max_time = 53;
    setup(&bad, 1).merge(&bad).unwrap();
}

#[test]
fn chunks_that_overlap_are_refused() {
    let mut bad = blocks();
    // The second chunk begins where the first one ends.
    patch_series(&mut bad[0], 0, |body| body[FIRST_CHUNK + 3] = 0);
    let text = error(&bad).to_string();
    let what = "a/index: chunk 9..=18 ms overlaps the one before it, 0..=9 ms";
    assert!(text.starts_with(what), "{text}");
    assert!(
        text.ends_with("(series {__name__=\"up\", job=\"w\"})"),
        "{text}"
    );
}

#[test]
fn labels_out_of_order_are_refused() {
    let mut bad = blocks();
    patch_series(&mut bad[0], 3, |body| {
        let (first, second) = body[1..5].split_at_mut(2);
        first.swap_with_slice(second);
    });
    let error = error(&bad);
    assert_eq!(error.input, Some(0));
    let text = error.to_string();
    assert!(
        text.starts_with("a/index: labels of the series do not ascend by name"),
        "{text}"
    );
}

#[test]
fn of_several_errors_the_first_in_series_order_is_reported() {
    let mut bad = blocks();
    let record = bad[0].segments[0].len() / 4;
    for at in [record, 2 * record, 3 * record] {
        bad[0].segments[0][at] ^= 0xff;
        bad[1].segments[0][at] ^= 0xff;
    }
    let first = setup(&bad, 1).merge(&bad).unwrap_err().to_string();
    for _ in 0..20 {
        let again = setup(&bad, 4).merge(&bad).unwrap_err();
        assert_eq!(again.to_string(), first);
    }
}

#[test]
fn an_error_in_a_chunk_goes_before_one_in_the_index_behind_it() {
    let mut bad = blocks();
    bad[1].segments[0][20] ^= 1;
    // Read while the series before it is put into a batch.
    patch_series(&mut bad[0], 2, |body| body[0] = 0x7f);
    for _ in 0..20 {
        let text = error(&bad).to_string();
        assert!(text.starts_with("b/chunks/000001: "), "{text}");
    }
}

/// Fails, or panics, at the n-th read.
struct BadReader {
    inner: MemBlob,
    left: usize,
    panics: bool,
}

impl BlobReader for BadReader {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn window(&mut self, offset: u64, min_len: usize) -> Result<Bytes> {
        if self.left == 0 {
            assert!(!self.panics, "a reader that panics");
            return Err(Error::Read {
                file: self.name().to_owned(),
                offset,
                source: "connection reset".into(),
            });
        }
        self.left -= 1;
        // One entry at a time, so that there are many reads.
        let bytes = self.inner.window(offset, min_len)?;
        Ok(bytes.slice(..bytes.len().min(min_len)))
    }
}

#[test]
fn a_failing_or_panicking_reader_ends_the_merge() {
    let blocks = blocks();
    let mut panics = 0;
    for left in 0..400 {
        let mut sources = Vec::new();
        for (i, block) in blocks.iter().enumerate() {
            let mut source = block.source();
            if i == 1 {
                source.index = Box::new(BadReader {
                    inner: MemBlob::new("b/index", block.index.clone()),
                    left,
                    panics: left % 2 == 1,
                });
            }
            sources.push(source);
        }
        let setup = setup(&blocks, 2);
        let output = Output {
            index: Box::<MemWriter>::default(),
            create_segment: MemSegments::default().create(),
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            setup.merge_into(sources, output)
        }));
        match done {
            Ok(Ok(merged)) => {
                assert!(left > 3 && merged.ledger.balances());
                break;
            }
            Ok(Err(error)) if left % 2 == 0 => {
                assert_eq!(error.input, Some(1));
                assert!(
                    error.to_string().starts_with("b/index: read at byte "),
                    "{error}"
                );
                // What the store said is one level further down.
                let source = std::error::Error::source(&error).unwrap();
                assert_eq!(source.to_string(), "connection reset");
            }
            Ok(Err(error)) => {
                panics += 1;
                assert_eq!(
                    error.to_string(),
                    "the thread that reads the sources panicked"
                );
            }
            // Before the threads start, a panic is the caller's own.
            Err(_) => assert!(left % 2 == 1),
        }
        assert_ne!(left, 399, "never done");
    }
    assert!(panics > 0);
}

/// Fails at the n-th write, of all files together.
struct BadWriter {
    left: Arc<AtomicUsize>,
    size: u64,
}

impl BadWriter {
    fn count(&self) -> Result<()> {
        let step = |n: usize| n.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Write {
                file: "result".to_owned(),
                source: "disk full".into(),
            }),
        }
    }
}

impl BlobWriter for BadWriter {
    fn write(&mut self, data: &[u8]) -> Result<()> {
        self.size += data.len() as u64;
        self.count()
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.count()?;
        Ok(self.size)
    }
}

#[test]
fn a_failing_writer_ends_the_merge() {
    // Enough batches to fill all queues behind the writer.
    let series: SeriesMap = (0..200)
        .map(|n| (labels(&[("n", &format!("{n:03}"))]), chunks(0)))
        .collect();
    let blocks = ["a", "b"].map(|name| Block::write(name, (0, 60), &series, &[], 1 << 20));
    let mut setup = setup(&blocks, 2);
    // Small segments mean many files.
    setup.segment_bytes = 512;
    let mut failures = 0;
    loop {
        let left = Arc::new(AtomicUsize::new(failures));
        let bad = move || -> Box<dyn BlobWriter> {
            Box::new(BadWriter {
                left: Arc::clone(&left),
                size: 0,
            })
        };
        let output = Output {
            index: bad(),
            create_segment: Box::new(move |_| Ok(bad())),
        };
        match setup.merge_into(blocks.iter().map(Block::source).collect(), output) {
            Ok(_) => break,
            Err(error) => {
                assert_eq!((error.input, &error.series), (None, &None));
                assert_eq!(error.to_string(), "result: write");
                assert!(matches!(error.error, Error::Write { .. }));
            }
        }
        failures += 1;
    }
    assert!(failures > 50, "{failures}");
}

#[test]
fn a_panicking_worker_ends_the_merge_and_leaves_the_pool_usable() {
    fn broken(batch: &mut Batch) -> Result<(), PieceError> {
        // The third series in order; the ones before are fine.
        assert!(
            batch.inputs[0].meta.chunk_ref().offset() < 100,
            "a worker that panics"
        );
        super::worker::work(batch)
    }
    let blocks = blocks();
    for threads in [1, 3] {
        // This pool has no panic handler: left to itself it would end the process.
        let mut setup = setup(&blocks, threads);
        let (expected, _) = setup.merge(&blocks).unwrap();
        let works = setup.tuning.work;
        setup.tuning.work = broken;
        let error = setup.merge(&blocks).unwrap_err();
        assert_eq!(error.to_string(), "work on a batch of series panicked");
        assert_eq!(error.input, None);
        setup.tuning.work = works;
        let (again, _) = setup.merge(&blocks).unwrap();
        assert_eq!(again.segments, expected.segments);
    }
}

#[test]
fn a_failed_merge_leaves_nothing_in_the_threads_of_the_pool() {
    let good = blocks();
    let mut bad = good.clone();
    // Samples that contradict the index: found while part of the series, the
    // last one, is in the buffers of the thread already. The reference of its
    // first chunk has 2 bytes.
    patch_series(&mut bad[1], 3, |body| body[FIRST_CHUNK + 8] -= 1);
    let setup = setup(&good, 1);
    let (expected, _) = setup.merge(&good).unwrap();
    let text = setup.merge(&bad).unwrap_err().to_string();
    assert!(text.contains("outside of the times in its index"), "{text}");
    assert!(text.contains("job=\"z\""), "{text}");
    let (again, _) = setup.merge(&good).unwrap();
    assert_eq!(again.segments, expected.segments);
    assert_eq!(again.index, expected.index);
}

#[test]
fn a_merge_refuses_to_wait_for_its_own_thread() {
    let blocks = blocks();
    let setup = setup(&blocks, 1);
    let error = setup.pool.install(|| setup.merge(&blocks).unwrap_err());
    assert!(
        error
            .to_string()
            .contains("on a thread of the pool it uses")
    );
}

/// Work that forgets the last chunk of the batch, as a bug might.
fn forgetful(batch: &mut Batch) -> Result<(), PieceError> {
    super::worker::work(batch)?;
    batch.levels[0].chunks.pop();
    if let Some(end) = batch.levels[0].ends.last_mut() {
        *end -= 1;
    }
    Ok(())
}

#[test]
fn a_chunk_that_gets_lost_on_the_way_is_missed() {
    let blocks = blocks();
    let mut setup = setup(&blocks, 2);
    setup.tuning.work = forgetful;
    let error = setup.merge(&blocks).unwrap_err();
    assert!(matches!(error.error, Error::Misuse(_)));
    let text = error.to_string();
    assert!(
        text.contains("booked as written, but the result has"),
        "{text}"
    );
}
