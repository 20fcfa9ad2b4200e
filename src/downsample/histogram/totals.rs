//! What is kept while samples are added up: the sum of a window, and the total
//! of a counter.

use super::arith::{Arith, Grid, is_reset};
use crate::tsdb::Result;
use crate::tsdb::chunkenc::{CounterReset, FloatHistogram};

/// The sum of the histograms of a window.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) value: FloatHistogram,
    /// False before the first one.
    begun: bool,
}

impl Sum {
    /// Begins a window.
    pub(super) fn start(&mut self) {
        self.begun = false;
    }

    /// Adds `h`, which is at `grid`.
    ///
    /// # Errors
    /// Buckets too far apart, see [`Arith::add`].
    pub(super) fn add(&mut self, h: &FloatHistogram, grid: &Grid, arith: &mut Arith) -> Result<()> {
        if self.begun {
            return arith.add(&mut self.value, h, grid);
        }
        self.begun = true;
        self.value.copy_from(h);
        Ok(())
    }
}

/// What a counter would show had it begun with the first histogram of the chunk
/// and never been reset. For gauges, which have no resets, the latest value.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) value: FloatHistogram,
    last: FloatHistogram,
    begun: bool,
}

impl Total {
    /// Begins a chunk.
    pub(super) fn start(&mut self) {
        self.begun = false;
    }

    /// Goes on to `h`, which is at `grid`; leaves another histogram there.
    ///
    /// A chunk of counters promises that they do not go down in it. That is
    /// checked all the same: this is what makes the column go up, and only then
    /// does it fit a chunk.
    ///
    /// # Errors
    /// Buckets too far apart, see [`Arith::add`].
    pub(super) fn add(
        &mut self,
        h: &mut FloatHistogram,
        grid: &Grid,
        arith: &mut Arith,
    ) -> Result<()> {
        if !self.begun {
            self.begun = true;
            self.value.copy_from(h);
        } else if h.counter_reset != CounterReset::Gauge && is_reset(&self.last, h, grid) {
            arith.add(&mut self.value, h, grid)?;
        } else {
            arith.add_increase(&mut self.value, h, &self.last, grid)?;
        }
        std::mem::swap(&mut self.last, h);
        Ok(())
    }
}
