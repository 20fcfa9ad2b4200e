//! Encoding 0xff: the aggregates of a downsampled series, side by side.
//!
//! ```text
//!  column   count | sum | min | max | counter     always in this order
//!  absent   0x00
//!  present  length uvarint | encoding byte | data of `length` bytes
//! ```
//!
//! The length does not cover the encoding byte. Each column is a chunk of
//! encoding 1 to 3 with its own sample count. Columns of floats are all there;
//! those of histograms lack min and max, and sum and counter are float
//! histograms.

use super::{Encoding, num_samples};
use crate::tsdb::{Corrupt, Result};

/// One of the five aggregates, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggr {
    /// Samples in the window.
    Count = 0,
    /// Their sum.
    Sum = 1,
    /// The smallest.
    Min = 2,
    /// The largest.
    Max = 3,
    /// The total of a counter, resets taken out.
    Counter = 4,
}

impl Aggr {
    /// All five, in the order of the columns.
    pub const ALL: [Self; 5] = [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Counter];

    /// Lowercase name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Counter => "counter",
        }
    }
}

/// A column that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggrColumn<'a> {
    /// How to read it; never [`Encoding::Aggr`].
    pub encoding: Encoding,
    /// The chunk.
    pub data: &'a [u8],
    /// Where `data` begins in the aggregate chunk, bytes.
    pub offset: usize,
}

/// A view of an aggregate chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggrChunk<'a> {
    columns: [Option<AggrColumn<'a>>; 5],
}

impl<'a> AggrChunk<'a> {
    /// Splits the columns without reading what is in them.
    ///
    /// # Errors
    /// Corrupt data: a column that does not fit, an encoding that is unknown or
    /// has no place in a column, bytes behind the last column.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let mut columns = [None; 5];
        let mut at = 0;
        for (aggr, slot) in Aggr::ALL.into_iter().zip(&mut columns) {
            (*slot, at) = read_column(data, at, aggr)?;
        }
        if at != data.len() {
            return Err(Corrupt::at(at, "bytes behind the last aggregate").into());
        }
        Ok(Self { columns })
    }

    /// The column of an aggregate, if there is one.
    pub fn column(&self, aggr: Aggr) -> Option<AggrColumn<'a>> {
        self.columns.get(aggr as usize).copied().flatten()
    }

    /// Samples of the count column; 0 without one.
    ///
    /// # Errors
    /// Corrupt when that column is shorter than its header.
    pub fn num_samples(&self) -> Result<usize> {
        match self.column(Aggr::Count) {
            Some(count) => num_samples(count.encoding, count.data)
                .map_err(|e| e.in_file("", count.offset as u64)),
            None => Ok(0),
        }
    }
}

/// The column that starts at `at`, and where it ends.
fn read_column(data: &[u8], at: usize, aggr: Aggr) -> Result<(Option<AggrColumn<'_>>, usize)> {
    let name = aggr.name();
    let Some((len, start)) = read_uvarint(data, at) else {
        return Err(Corrupt::at(at, format!("no length of aggregate {name}")).into());
    };
    if len == 0 {
        return Ok((None, start));
    }
    let column = usize::try_from(len)
        .ok()
        .and_then(|len| start.checked_add(1)?.checked_add(len))
        .and_then(|end| Some((data.get(start..end)?.split_first()?, end)));
    let Some(((byte, chunk), end)) = column else {
        let what = format!("aggregate {name} of {len} bytes is cut off");
        return Err(Corrupt::at(start, what).into());
    };
    let encoding = match Encoding::from_byte(*byte) {
        None | Some(Encoding::Aggr) => {
            let what = format!("aggregate {name} has encoding {byte}");
            return Err(Corrupt::at(start, what).into());
        }
        Some(encoding) => encoding,
    };
    let column = AggrColumn {
        encoding,
        data: chunk,
        offset: start + 1,
    };
    Ok((Some(column), end))
}

/// The uvarint at `at`, and where it ends.
fn read_uvarint(data: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, byte) in data.get(at..)?.iter().take(10).enumerate() {
        if i == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, at + i + 1));
        }
    }
    None
}

/// Appends an aggregate chunk made of `columns` (in the order of [`Aggr::ALL`])
/// to `out`. Columns without bytes count as absent.
pub fn encode_aggr(columns: [Option<(Encoding, &[u8])>; 5], out: &mut Vec<u8>) {
    for column in columns {
        put_aggr_column(column, out);
    }
}

/// Appends the next column of an aggregate chunk to `out`; five make a chunk.
/// One without bytes counts as absent.
pub fn put_aggr_column(column: Option<(Encoding, &[u8])>, out: &mut Vec<u8>) {
    let Some((encoding, data)) = column.filter(|(_, data)| !data.is_empty()) else {
        out.push(0);
        return;
    };
    let mut len = data.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.push(encoding.as_byte());
    out.extend_from_slice(data);
}
