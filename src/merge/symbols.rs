//! One symbol table from many, and what the sources' numbers become in it.
//!
//! ```text
//!  source a   0 ""  1 job  2 up             map a   0 1 3
//!  source b   0 ""  1 node 2 up             map b   0 2 3
//!  result     0 ""  1 job  2 node  3 up
//! ```
//!
//! All symbols of all sources go into the result, used or not, as Prometheus
//! does. Both tables are sorted, so a map is ascending and comparing mapped
//! numbers compares strings.

use super::MergeError;
use super::heap::IndexHeap;
use crate::tsdb;
use crate::tsdb::index::{Index, SymbolBuffer, SymbolRefs, SymbolStream};
use crate::tsdb::spill::{Numbers, NumbersBuilder, Room};

/// Where a symbol number of a source went: `map.get(old) == Some(new)`.
pub(super) type SymbolMap = Numbers;

/// The merged table, and each source on the way to its series.
pub(super) struct MergedSymbols {
    /// Symbols of the result.
    pub table: SymbolBuffer,
    /// By source.
    pub sources: Vec<MappedSource>,
}

/// A source whose symbols have been read.
pub(super) struct MappedSource {
    /// Positioned behind the symbols.
    pub index: Index,
    /// How its series entries name symbols.
    pub refs: SymbolRefs,
    /// What its symbol numbers become.
    pub map: SymbolMap,
}

/// Merges the symbol tables of all sources.
///
/// Memory: the merged table, and 4 bytes for each symbol of each source; maps
/// have half of `room`, the table what they leave. The rest goes to scratch.
///
/// # Errors
/// Damaged tables, with their source; a result of more than 4 GiB, without.
pub(super) fn merge(indexes: Vec<Index>, room: &Room) -> Result<MergedSymbols, MergeError> {
    let blame = |source: u32| move |error| MergeError::in_source(source as usize, error);
    let mut streams = (0..)
        .zip(indexes)
        .map(|(i, index)| index.into_symbols().map_err(blame(i)))
        .collect::<Result<Vec<SymbolStream>, _>>()?;
    let (mut maps, held) = maps(&streams, &room.half())?;
    let mut heap = IndexHeap::default();
    for i in 0..streams.len() {
        if streams[i].advance().map_err(blame(i as u32))? {
            heap.push(i as u32, less(&streams));
        }
    }
    let mut table = SymbolBuffer::with_room(room.less(held));
    let mut last: Vec<u8> = Vec::new();
    let mut number = None;
    while let Some(top) = heap.top() {
        let stream = &mut streams[top as usize];
        let new = match number {
            Some(n) if stream.current() == last.as_slice() => n,
            _ => table.push(stream.current())?,
        };
        last.clear();
        last.extend_from_slice(stream.current());
        number = Some(new);
        maps[top as usize].push(new)?;
        if stream.advance().map_err(blame(top))? {
            heap.sink_top(less(&streams));
        } else {
            heap.drop_top(less(&streams));
        }
    }
    let sources = (0..)
        .zip(streams)
        .zip(maps)
        .map(|((i, stream), map)| {
            let (index, refs) = stream.finish().map_err(blame(i))?;
            let map = map.finish()?;
            Ok(MappedSource { index, refs, map })
        })
        .collect::<Result<Vec<_>, MergeError>>()?;
    Ok(MergedSymbols { table, sources })
}

/// A map for each source, in memory as long as `room` lasts; and the bytes that
/// they will take there.
fn maps(streams: &[SymbolStream], room: &Room) -> tsdb::Result<(Vec<NumbersBuilder>, u64)> {
    let mut held = 0;
    let mut maps = Vec::with_capacity(streams.len());
    for stream in streams {
        let bytes = 4 * u64::from(stream.count());
        let left = room.less(held);
        if left.holds(bytes) {
            held += bytes;
        }
        maps.push(NumbersBuilder::new(stream.count(), &left)?);
    }
    Ok((maps, held))
}

fn less(streams: &[SymbolStream]) -> impl Fn(u32, u32) -> bool {
    |a, b| streams[a as usize].current() < streams[b as usize].current()
}
