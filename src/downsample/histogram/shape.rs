//! Which histograms can share a chunk.

use super::arith::Grid;
use super::cursor::Layout;

/// The lists of custom bounds that a run has, each once.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    lists: Vec<Vec<f64>>,
    /// Lists in use; those behind are memory of earlier runs.
    used: usize,
}

impl Bounds {
    /// Forgets the lists and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// A number for a list: the same for equal lists, 0 for exponential buckets.
    fn number(&mut self, layout: &Layout<'_>) -> u32 {
        if layout.bounds.is_empty() && layout.schema != crate::tsdb::chunkenc::CUSTOM_SCHEMA {
            return 0;
        }
        let known = self.lists.iter().take(self.used);
        // Mostly that of the chunk before.
        let found = known.enumerate().rev().find(|(_, l)| *l == layout.bounds);
        let at = found.map_or(self.used, |(at, _)| at);
        if at == self.used {
            match self.lists.get_mut(at) {
                Some(list) => {
                    list.clear();
                    list.extend_from_slice(layout.bounds);
                }
                None => self.lists.push(layout.bounds.to_vec()),
            }
            self.used += 1;
        }
        u32::try_from(at + 1).unwrap_or(u32::MAX)
    }
}

/// What decides whether histograms can share a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) gauge: bool,
    /// Of the list of custom bounds; 0 for exponential buckets.
    pub(super) bounds: u32,
}

impl Kind {
    /// True if a chunk of this kind can go on with `next`. One of gauges takes
    /// counters, too, as upstream has it; the other way round, where upstream
    /// loses what it had, the chunk ends.
    pub(super) fn takes(self, next: Self) -> bool {
        self.bounds == next.bounds && (self.gauge || !next.gauge)
    }
}

/// What the histograms of a chunk are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    schema: i32,
    zero_threshold: f64,
}

impl Shape {
    /// `None` where a zero threshold or a bound is not a number to compare with:
    /// such histograms mean nothing and cannot be added.
    pub(super) fn new(layout: &Layout<'_>, bounds: &mut Bounds) -> Option<Self> {
        let threshold = layout.zero_threshold;
        let sound = threshold >= 0.0
            && threshold.is_finite()
            && !layout.bounds.iter().any(|bound| bound.is_nan());
        sound.then(|| Self {
            kind: Kind {
                gauge: layout.gauge,
                bounds: bounds.number(layout),
            },
            schema: layout.schema,
            zero_threshold: threshold,
        })
    }
}

/// The grid that histograms of several shapes can be brought to.
#[derive(Debug, Clone, Copy)]
pub(super) struct GridBuilder {
    schema: i32,
    zero_threshold: f64,
    alike: bool,
}

impl GridBuilder {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            schema: shape.schema,
            zero_threshold: shape.zero_threshold,
            alike: true,
        }
    }

    /// `shape` is of the same kind as those before.
    pub(super) fn include(&mut self, shape: &Shape) {
        self.schema = self.schema.min(shape.schema);
        self.alike &= self.zero_threshold == shape.zero_threshold;
        self.zero_threshold = self.zero_threshold.max(shape.zero_threshold);
    }

    pub(super) fn build(self) -> Grid {
        Grid::new(self.schema, self.zero_threshold, self.alike)
    }
}
