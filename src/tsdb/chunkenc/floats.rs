//! Float samples in columns, the currency of the float decoders and encoders.

use super::Fault;

/// Timestamps and values of float samples; equally long. Reused: decoders append.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FloatSamples {
    /// Timestamps, ms since the epoch.
    pub ts: Vec<i64>,
    /// Values; NaN payloads are kept.
    pub vs: Vec<f64>,
}

impl FloatSamples {
    /// Samples held.
    pub fn len(&self) -> usize {
        self.ts.len()
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// Drops the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.ts.clear();
        self.vs.clear();
    }

    /// Appends one sample.
    pub fn push(&mut self, t: i64, v: f64) {
        self.ts.push(t);
        self.vs.push(v);
    }

    /// The samples in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, f64)> + '_ {
        self.ts.iter().copied().zip(self.vs.iter().copied())
    }

    /// Makes room for `total` samples that `data` is said to hold, has them
    /// filled in, and takes all back when that fails, which comes with the byte
    /// offset.
    pub(super) fn append<R>(
        &mut self,
        data: &[u8],
        total: usize,
        fill: impl FnOnce(&mut [i64], &mut [f64]) -> Result<R, (Fault, usize)>,
    ) -> Result<R, (Fault, usize)> {
        // A sample takes at least one bit, so a count beyond that is a lie and
        // gets no memory.
        if total > data.len() * 8 {
            return Err((Fault::TooShort, data.len()));
        }
        let start = self.ts.len();
        self.ts.resize(start + total, 0);
        self.vs.resize(start + total, 0.0);
        let (ts, vs) = (self.ts.get_mut(start..), self.vs.get_mut(start..));
        let done = fill(ts.unwrap_or_default(), vs.unwrap_or_default());
        if done.is_err() {
            self.ts.truncate(start);
            self.vs.truncate(start);
        }
        done
    }
}
