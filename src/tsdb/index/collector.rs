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
//! Memory: 4 bytes per label, 8 per run and 4 per series. At the end one
//! column at a time is grouped by value with a counting sort, which takes
//! another 4 bytes per series that has the name, and a counter per ordinal
//! between its smallest and largest value. Full blocks of a column never
//! change again: that is the unit that can go to scratch one day.

use std::collections::HashMap;

use super::series::LabelPair;

/// Values per block: large enough to be worth a write to scratch, and small
/// enough that a block is never worth copying.
const BLOCK: usize = 32 << 10;

/// Series `first..first + len` by their place in the index.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    len: u32,
}

/// Which series have one label name, and with which value.
#[derive(Debug, Default)]
struct Column {
    full: Vec<Vec<u32>>,
    open: Vec<u32>,
    runs: Vec<Run>,
}

impl Column {
    #[inline]
    fn push(&mut self, series: u32, value: u32) {
        match self.runs.last_mut() {
            Some(run) if run.first + run.len == series => run.len += 1,
            _ => self.runs.push(Run {
                first: series,
                len: 1,
            }),
        }
        if self.open.len() == BLOCK {
            self.full.push(std::mem::take(&mut self.open));
            self.open.reserve_exact(BLOCK);
        }
        self.open.push(value);
    }

    fn len(&self) -> usize {
        self.full.len() * BLOCK + self.open.len()
    }

    fn values(&self) -> impl Iterator<Item = u32> {
        self.full.iter().flatten().chain(&self.open).copied()
    }

    fn series(&self) -> impl Iterator<Item = u32> {
        self.runs
            .iter()
            .flat_map(|run| run.first..run.first + run.len)
    }

    fn memory(&self) -> usize {
        let values = self.full.len() * BLOCK + self.open.capacity();
        values * size_of::<u32>() + self.runs.capacity() * size_of::<Run>()
    }
}

/// The label pairs of all series written so far.
#[derive(Debug, Default)]
pub(super) struct Collector {
    refs: Vec<u32>,
    columns: Vec<Column>,
    by_name: HashMap<u32, u32>,
    /// Names of the series before with their columns: neighbours nearly always
    /// have the same names at the same places, which saves the hash.
    guess: Vec<(u32, u32)>,
}

impl Collector {
    /// Adds a series; references must ascend, names must not repeat.
    pub(super) fn add(&mut self, reference: u32, labels: &[LabelPair]) {
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
                column.push(series, value);
            }
        }
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
    pub(super) fn take(&mut self, name: u32, groups: &mut Groups) {
        let column = self
            .by_name
            .get(&name)
            .and_then(|&i| self.columns.get_mut(i as usize))
            .map(std::mem::take)
            .unwrap_or_default();
        groups.fill(&column, &self.refs);
    }

    /// Bytes of memory that the collector holds.
    pub(super) fn memory(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::memory).sum();
        columns + self.refs.capacity() * size_of::<u32>()
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

    fn fill(&mut self, column: &Column, refs: &[u32]) {
        self.lists.clear();
        self.refs.clear();
        let Some(low) = column.values().min() else {
            return;
        };
        let span = (column.values().max().unwrap_or(low) - low) as usize + 1;
        // Counters beyond a few per entry would cost more than sorting.
        if span / 8 <= column.len() + 4096 {
            self.count(column, refs, low, span);
        } else {
            self.sort(column, refs);
        }
    }

    /// Stable counting sort by value.
    fn count(&mut self, column: &Column, refs: &[u32], low: u32, span: usize) {
        self.counts.clear();
        self.counts.resize(span, 0);
        let counts = self.counts.as_mut_slice();
        for value in column.values() {
            if let Some(count) = counts.get_mut((value - low) as usize) {
                *count += 1;
            }
        }
        // Counts become the place where the next reference of a value goes.
        let mut start = 0;
        for (i, count) in counts.iter_mut().enumerate() {
            let len = std::mem::replace(count, start);
            if len > 0 {
                self.lists.push((low + i as u32, len));
            }
            start += len;
        }
        self.refs.resize(column.len(), 0);
        for (value, series) in column.values().zip(column.series()) {
            let place = counts.get_mut((value - low) as usize);
            let reference = refs.get(series as usize);
            if let (Some(place), Some(&reference)) = (place, reference) {
                if let Some(slot) = self.refs.get_mut(*place as usize) {
                    *slot = reference;
                }
                *place += 1;
            }
        }
    }

    /// Sort of (value, reference) pairs, for few values far apart.
    fn sort(&mut self, column: &Column, refs: &[u32]) {
        let mut pairs: Vec<(u32, u32)> = column
            .values()
            .zip(column.series())
            .filter_map(|(value, series)| Some((value, *refs.get(series as usize)?)))
            .collect();
        pairs.sort_unstable();
        for list in pairs.chunk_by(|a, b| a.0 == b.0) {
            if let Some(&(value, _)) = list.first() {
                self.lists.push((value, list.len() as u32));
                self.refs
                    .extend(list.iter().map(|&(_, reference)| reference));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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
                collector.add(reference, &labels);
                for pair in labels {
                    model.entry(pair).or_default().push(reference);
                }
            }
            let mut found = BTreeMap::new();
            let mut groups = Groups::default();
            for name in collector.names() {
                collector.take(name, &mut groups);
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
    fn columns_longer_than_a_block_keep_their_order() {
        let mut collector = Collector::default();
        let n = 2 * BLOCK as u32 + 5;
        for i in 0..n {
            collector.add(i, &[(1, i % 3)]);
        }
        let mut groups = Groups::default();
        collector.take(1, &mut groups);
        let lists: Vec<_> = groups.iter().collect();
        assert_eq!(lists.len(), 3);
        for (value, list) in lists {
            assert!(list.iter().copied().eq((value..n).step_by(3)));
        }
    }
}
