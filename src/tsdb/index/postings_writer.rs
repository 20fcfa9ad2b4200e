//! Writes postings lists and the table of their offsets; layouts in `postings`.

use crate::tsdb::encoding::{Append, Crc32c, EncBuf, crc32c, uvarint_len};
use crate::tsdb::error::{Error, Result};

use super::symbols::SymbolLookup;

/// Lists and table entries are written in pieces of about this many bytes.
pub(super) const PIECE: usize = 32 << 10;

/// The lists of one label name: value and number of series of each.
pub(super) struct NameLists {
    pub(super) name: u32,
    pub(super) values: Vec<(u32, u32)>,
}

/// Writes a buffer, adds it to the checksum and empties it.
pub(super) fn flush(out: &mut Append, crc: &mut Crc32c, buf: &mut Vec<u8>) -> Result<()> {
    crc.update(buf);
    out.write(buf)?;
    buf.clear();
    Ok(())
}

/// Bytes of a postings list with length, count and checksum: a multiple of 4,
/// so that the lists need no padding between them.
fn list_len(series: u32) -> u64 {
    4 + 4 + 4 * u64::from(series) + 4
}

/// Writes one list; `buf` is overwritten.
pub(super) fn write_list(out: &mut Append, refs: &[u32], buf: &mut Vec<u8>) -> Result<()> {
    let len = u32::try_from(4 + 4 * refs.len() as u64).map_err(|_| too_many(refs.len()))?;
    buf.clear();
    buf.put_be32(len);
    buf.put_be32(refs.len() as u32);
    if refs.len() <= PIECE / 4 {
        // Most lists are a few series long: one checksum, one write.
        buf.extend(refs.iter().flat_map(|r| r.to_be_bytes()));
        let crc = crc32c(buf.get(4..).unwrap_or_default());
        buf.put_be32(crc);
        return out.write(buf);
    }
    let mut crc = Crc32c::new();
    crc.update(buf.get(4..).unwrap_or_default());
    out.write(buf)?;
    for piece in refs.chunks(PIECE / 4) {
        buf.clear();
        buf.extend(piece.iter().flat_map(|r| r.to_be_bytes()));
        crc.update(buf);
        out.write(buf)?;
    }
    out.write(&crc.value().to_be_bytes())
}

/// Writes the postings offset table of lists that lie without gaps from
/// `start` on, the list of all series first.
pub(super) fn write_offsets(
    out: &mut Append,
    start: u64,
    all: u32,
    names: &[NameLists],
    symbols: &mut dyn SymbolLookup,
) -> Result<()> {
    let mut len = 4u64;
    let mut count = 0u64;
    each_offset(start, all, names, symbols, |name, value, offset| {
        let strings = [name.len() as u64, value.len() as u64];
        let strings: u64 = strings.iter().map(|&s| s + uvarint_len(s) as u64).sum();
        len += 1 + strings + uvarint_len(offset) as u64;
        count += 1;
        Ok(())
    })?;
    let Ok(len) = u32::try_from(len) else {
        return Err(Error::Limit(format!(
            "postings offset table of {len} bytes would exceed 4 GiB: compact fewer blocks at \
             once (lower --debug.max-compaction-level)"
        )));
    };
    let mut crc = Crc32c::new();
    let mut buf = Vec::with_capacity(PIECE + 256);
    out.write(&len.to_be_bytes())?;
    // Each entry has at least 4 bytes, so the count fits if the length does.
    buf.put_be32(count as u32);
    each_offset(start, all, names, symbols, |name, value, offset| {
        buf.push(2);
        buf.put_uvarint_bytes(name);
        buf.put_uvarint_bytes(value);
        buf.put_uvarint(offset);
        if buf.len() >= PIECE {
            flush(out, &mut crc, &mut buf)?;
        }
        Ok(())
    })?;
    flush(out, &mut crc, &mut buf)?;
    out.write(&crc.value().to_be_bytes())
}

/// Calls `f` with name, value and offset of each list in the order of the table.
fn each_offset(
    start: u64,
    all: u32,
    names: &[NameLists],
    symbols: &mut dyn SymbolLookup,
    mut f: impl FnMut(&[u8], &[u8], u64) -> Result<()>,
) -> Result<()> {
    f(b"", b"", start)?;
    let mut offset = start + list_len(all);
    let mut text = Vec::new();
    for NameLists { name, values } in names {
        text.clear();
        text.extend_from_slice(symbols.symbol(*name)?);
        for &(value, series) in values {
            f(&text, symbols.symbol(value)?, offset)?;
            offset += list_len(series);
        }
    }
    Ok(())
}

#[cold]
fn too_many(series: usize) -> Error {
    Error::Limit(format!(
        "postings list of {series} series would exceed 4 GiB: compact fewer blocks at once \
         (lower --debug.max-compaction-level)"
    ))
}
