//! Gathers postings while series are written, and sorts them at the end.
//!
//! Per label name there is a *column*: the values of the series that have the
//! name, in series order, and which series those are. Series lie in label
//! order, so the series of a name form few runs and are kept as runs.
//!
//! ```text
//!  series   0      1      2      3      4         refs    [r0 r1 r2 r3 r4]
//!  job      api    api           db     db        values  [api api db db]   runs  0+2 3+2
//!  le              0.1    1                       values  [0.1 1]           runs  1+2
//! ```
//!
//! Memory: 4 bytes per label, 8 per run and 4 per series. Full blocks of values
//! and runs past the room given go to scratch. At the end one column at a time
//! is grouped by value with a counting sort, which takes another 4 bytes per
//! series that has the name, and a counter per ordinal between its smallest
//! and largest value.

use std::collections::HashMap;
use std::ops::Range;

use super::series::LabelPair;
use crate::tsdb::error::Result;
use crate::tsdb::spill::{Block, Room, Shelf};

/// Bytes per block: large enough to be worth a write to scratch, and small
/// enough that a block is never worth copying.
const BLOCK: usize = 128 << 10;

/// Words of 4 bytes, pushed one after the other.
#[derive(Debug, Default)]
struct Words {
    full: Vec<Block>,
    open: Vec<u8>,
}

impl Words {
    #[inline]
    fn push(&mut self, word: u32, shelf: &mut Shelf) -> Result<()> {
        if self.open.len() == BLOCK {
            self.turn(shelf)?;
        }
        self.open.extend_from_slice(&word.to_le_bytes());
        Ok(())
    }

    #[cold]
    fn turn(&mut self, shelf: &mut Shelf) -> Result<()> {
        self.full.push(shelf.put(&mut self.open)?);
        self.open.reserve_exact(BLOCK);
        Ok(())
    }

    fn len(&self) -> usize {
        self.full.len() * (BLOCK / 4) + self.open.len() / 4
    }

    /// Block `i`; the last one is the open one.
    fn block<'a>(
        &'a self,
        i: usize,
        shelf: &Shelf,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [[u8; 4]]> {
        let bytes = match self.full.get(i) {
            Some(block) => shelf.get(block, buffer)?,
            None => &self.open,
        };
        Ok(bytes.as_chunks().0)
    }
}

/// Which series have one label name, and with which value.
#[derive(Debug, Default)]
struct Column {
    values: Words,
    /// Smallest and largest value.
    span: (u32, u32),
    /// Finished runs of neighbouring series: first, length.
    runs: Words,
    /// The run that may still grow; its first series and the one behind.
    run: (u32, u32),
}

impl Column {
    #[inline]
    fn push(&mut self, series: u32, value: u32, shelf: &mut Shelf) -> Result<()> {
        if self.run.1 != series || self.values.len() == 0 {
            self.end_run(shelf)?;
            self.run = (series, series);
        }
        self.run.1 = series + 1;
        self.span = if self.values.len() == 0 {
            (value, value)
        } else {
            (self.span.0.min(value), self.span.1.max(value))
        };
        self.values.push(value, shelf)
    }

    fn end_run(&mut self, shelf: &mut Shelf) -> Result<()> {
        let (first, end) = self.run;
        if first < end {
            self.runs.push(first, shelf)?;
            self.runs.push(end - first, shelf)?;
            self.run = (end, end);
        }
        Ok(())
    }

    /// Calls `f` with each value.
    fn each_value(&self, shelf: &Shelf, mut f: impl FnMut(u32)) -> Result<()> {
        let mut buffer = Vec::new();
        for i in 0..=self.values.full.len() {
            for word in self.values.block(i, shelf, &mut buffer)? {
                f(u32::from_le_bytes(*word));
            }
        }
        Ok(())
    }

    /// Calls `f` with the value and the place of each series.
    fn each(&self, shelf: &Shelf, mut f: impl FnMut(u32, u32)) -> Result<()> {
        let mut runs = Runs::new(&self.runs, shelf);
        let mut run = 0..0;
        let mut buffer = Vec::new();
        for i in 0..=self.values.full.len() {
            for word in self.values.block(i, shelf, &mut buffer)? {
                if run.is_empty() {
                    run = runs.next()?;
                }
                f(u32::from_le_bytes(*word), run.next().unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// Goes through the runs of a column.
struct Runs<'a> {
    words: &'a Words,
    shelf: &'a Shelf,
    /// The next block, and what is left of the one before.
    block: usize,
    pairs: std::vec::IntoIter<[u8; 4]>,
}

impl<'a> Runs<'a> {
    fn new(words: &'a Words, shelf: &'a Shelf) -> Self {
        Self {
            words,
            shelf,
            block: 0,
            pairs: Vec::new().into_iter(),
        }
    }

    /// The next run; empty after the last one.
    fn next(&mut self) -> Result<Range<u32>> {
        if self.pairs.len() == 0 && self.block <= self.words.full.len() {
            // Copied: runs are few beside the values.
            let mut buffer = Vec::new();
            let words = self.words.block(self.block, self.shelf, &mut buffer)?;
            let mut pairs = Vec::with_capacity(words.len());
            pairs.extend_from_slice(words);
            self.pairs = pairs.into_iter();
            self.block += 1;
        }
        // A block has an even number of words: no run crosses its end.
        let first = self.pairs.next().map_or(0, u32::from_le_bytes);
        let len = self.pairs.next().map_or(0, u32::from_le_bytes);
        Ok(first..first + len)
    }
}

/// The label pairs of all series written so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    shelf: Shelf,
    refs: Vec<u32>,
    columns: Vec<Column>,
    by_name: HashMap<u32, u32>,
    /// Names of the series before with their columns: neighbours nearly always
    /// have the same names at the same places, which saves the hash.
    guess: Vec<(u32, u32)>,
}

impl Collector {
    /// Nothing yet; full blocks are held as far as `room` goes.
    pub(super) fn new(room: Room) -> Self {
        Self {
            shelf: Shelf::new(room),
            ..Self::default()
        }
    }

    /// Adds a series; references must ascend, names must not repeat.
    ///
    /// # Errors
    /// When scratch is full.
    pub(super) fn add(&mut self, reference: u32, labels: &[LabelPair]) -> Result<()> {
        let series = self.refs.len() as u32;
        self.refs.push(reference);
        self.guess.resize(labels.len(), (u32::MAX, u32::MAX));
        for (guess, &(name, value)) in self.guess.iter_mut().zip(labels) {
            if guess.0 != name || guess.1 == u32::MAX {
                let fresh = self.columns.len() as u32;
                let column = *self.by_name.entry(name).or_insert(fresh);
                if column == fresh {
                    self.columns.push(Column::default());
                }
                *guess = (name, column);
            }
            if let Some(column) = self.columns.get_mut(guess.1 as usize) {
                column.push(series, value, &mut self.shelf)?;
            }
        }
        Ok(())
    }

    /// References of all series, ascending.
    pub(super) fn all(&self) -> &[u32] {
        &self.refs
    }

    /// Label names in ascending order.
    pub(super) fn names(&self) -> Vec<u32> {
        let mut names: Vec<u32> = self.by_name.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// Groups the series of one name by value and frees its column.
    ///
    /// # Errors
    /// When scratch cannot be read back.
    pub(super) fn take(&mut self, name: u32, groups: &mut Groups) -> Result<()> {
        let column = self
            .by_name
            .get(&name)
            .and_then(|&i| self.columns.get_mut(i as usize));
        let mut column = column.map(std::mem::take).unwrap_or_default();
        column.end_run(&mut self.shelf)?;
        groups.fill(&column, &self.refs, &self.shelf)
    }

    /// Bytes of memory that the collector holds.
    pub(super) fn memory(&self) -> usize {
        let open = |w: &Words| w.open.capacity() + w.full.capacity() * size_of::<Block>();
        let columns = self.columns.iter().map(|c| open(&c.values) + open(&c.runs));
        let open: usize = columns.sum();
        open + self.shelf.memory() as usize + self.refs.capacity() * size_of::<u32>()
    }
}

/// The postings lists of one label name, reused from name to name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Lists one after the other, each ascending.
    refs: Vec<u32>,
    /// Value and length of each list, by value.
    lists: Vec<(u32, u32)>,
    counts: Vec<u32>,
}

impl Groups {
    /// Value and references of each list, by value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        let mut rest = self.refs.as_slice();
        self.lists.iter().map(move |&(value, len)| {
            let (list, behind) = rest.split_at_checked(len as usize).unwrap_or_default();
            rest = behind;
            (value, list)
        })
    }

    fn fill(&mut self, column: &Column, refs: &[u32], shelf: &Shelf) -> Result<()> {
        self.lists.clear();
        self.refs.clear();
        let len = column.values.len();
        if len == 0 {
            return Ok(());
        }
        let (low, high) = column.span;
        let span = (high - low) as usize + 1;
        // Counters beyond a few per entry would cost more than sorting.
        if span / 8 <= len + 4096 {
            self.count(column, refs, shelf, (low, span))
        } else {
            self.sort(column, refs, shelf)
        }
    }

    /// Stable counting sort by value; values are `low..low + span`.
    fn count(
        &mut self,
        column: &Column,
        refs: &[u32],
        shelf: &Shelf,
        (low, span): (u32, usize),
    ) -> Result<()> {
        self.counts.clear();
        self.counts.resize(span, 0);
        let counts = self.counts.as_mut_slice();
        column.each_value(shelf, |value| {
            if let Some(count) = counts.get_mut((value - low) as usize) {
                *count += 1;
            }
        })?;
        // Counts become the place where the next reference of a value goes.
        let mut start = 0;
        for (i, count) in counts.iter_mut().enumerate() {
            let len = std::mem::replace(count, start);
            if len > 0 {
                self.lists.push((low + i as u32, len));
            }
            start += len;
        }
        self.refs.resize(column.values.len(), 0);
        let sorted = self.refs.as_mut_slice();
        column.each(shelf, |value, series| {
            let place = counts.get_mut((value - low) as usize);
            let reference = refs.get(series as usize);
            if let (Some(place), Some(&reference)) = (place, reference) {
                if let Some(slot) = sorted.get_mut(*place as usize) {
                    *slot = reference;
                }
                *place += 1;
            }
        })
    }

    /// Sort of (value, reference) pairs, for few values far apart.
    fn sort(&mut self, column: &Column, refs: &[u32], shelf: &Shelf) -> Result<()> {
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(column.values.len());
        column.each(shelf, |value, series| {
            pairs.extend(
                refs.get(series as usize)
                    .map(|&reference| (value, reference)),
            );
        })?;
        pairs.sort_unstable();
        for list in pairs.chunk_by(|a, b| a.0 == b.0) {
            if let Some(&(value, _)) = list.first() {
                self.lists.push((value, list.len() as u32));
                self.refs
                    .extend(list.iter().map(|&(_, reference)| reference));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::tsdb::spill::test_support::MemorySpill;

    proptest! {
        #[test]
        fn groups_are_those_of_a_map(
            // Wide values take the sort, narrow ones the counting sort.
            series in proptest::collection::vec(
                proptest::collection::btree_map(0u32..6, prop_oneof![0u32..9, any::<u32>()], 0..6),
                0..60,
            ),
            repeat in 1usize..3,
        ) {
            let mut collector = Collector::default();
            let mut model: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
            for (i, labels) in series.iter().cycle().take(series.len() * repeat).enumerate() {
                let reference = 7 + 3 * i as u32;
                let labels: Vec<LabelPair> = labels.iter().map(|(&n, &v)| (n, v)).collect();
                collector.add(reference, &labels).unwrap();
                for pair in labels {
                    model.entry(pair).or_default().push(reference);
                }
            }
            let mut found = BTreeMap::new();
            let mut groups = Groups::default();
            for name in collector.names() {
                collector.take(name, &mut groups).unwrap();
                let mut last = None;
                for (value, list) in groups.iter() {
                    prop_assert!(last < Some(value));
                    last = Some(value);
                    found.insert((name, value), list.to_vec());
                }
            }
            prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn columns_longer_than_a_block_keep_their_order_in_memory_and_in_scratch() {
        let spill = MemorySpill::new();
        let scarce = Room::limited(BLOCK as u64, Arc::new(Arc::clone(&spill)));
        for room in [Room::unlimited(), scarce] {
            let mut collector = Collector::new(room);
            // Label 2 or 3 in turn: as many runs as series.
            let n = 2 * BLOCK as u32 / 4 + 5;
            for i in 0..n {
                let labels = [(1, i % 3), (2 + i % 2, 7)];
                collector.add(i, &labels).unwrap();
            }
            let mut groups = Groups::default();
            collector.take(1, &mut groups).unwrap();
            let lists: Vec<_> = groups.iter().collect();
            assert_eq!(lists.len(), 3);
            for (value, list) in lists {
                assert!(list.iter().copied().eq((value..n).step_by(3)));
            }
            collector.take(3, &mut groups).unwrap();
            let odd = groups.iter().next().unwrap();
            assert!(odd.1.iter().copied().eq((1..n).step_by(2)));
        }
        // Two blocks of values of label 1, and of each other label one of values
        // and two of runs; the first of all is held.
        assert_eq!(spill.bytes(), 7 * BLOCK as u64);
    }
}
