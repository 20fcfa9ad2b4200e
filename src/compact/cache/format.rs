//! The bytes of a cache.
//!
//! ```text
//!  "lithmeta"          8 bytes
//!  version      u32    1                       all numbers big endian
//!  unshared     u32    changes that the bucket's copy lacks
//!  count        u32    entries
//!  entries, by block and file:
//!    block      16 bytes
//!    file       u8     0 meta.json, 1 deletion mark, 2 no-compact mark,
//!                      3 no-downsample mark
//!    modified   u64    ms since the epoch, two's complement
//!    etag       u16    its bytes and one; 0 for none
//!               …
//!    body       u32    its bytes, which are the size of the object
//!               …
//!  checksum     u32    CRC-32 (IEEE) of everything before
//! ```
//!
//! Whoever reads it trusts none of its lengths: what is allocated follows from
//! bytes that are there.

use std::collections::HashMap;

use bytes::{Buf, Bytes};
use ulid::Ulid;

use crate::block::markers::{DELETION_MARK, NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK};
use crate::block::meta::MAX_META_BYTES;
use crate::block::{META, path, split_path};

const MAGIC: &[u8; 8] = b"lithmeta";
const VERSION: u32 = 1;
/// Magic, version, unshared, count.
const HEADER: usize = 8 + 4 + 4 + 4;
const CHECKSUM: usize = 4;
/// An entry without its texts.
const ENTRY: usize = 16 + 1 + 8 + 2 + 4;
/// Where `unshared` stands.
const UNSHARED: std::ops::Range<usize> = 12..16;
/// Where `count` stands.
const COUNT: std::ops::Range<usize> = 16..20;
/// ETags that are longer are none that a store gives, bytes.
const MAX_ETAG: usize = 1024;

/// Sorts of small objects, by number.
const FILES: [&str; 4] = [META, DELETION_MARK, NO_COMPACT_MARK, NO_DOWNSAMPLE_MARK];

/// What tells two versions of one small object apart, as a listing says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    /// Last change, ms since the epoch.
    pub modified_ms: i64,
    /// Changes with the content, if the store gives one.
    pub etag: Option<String>,
}

/// A small object by its name in the bucket.
pub type Entry = (Version, Bytes);

/// What a cache holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Small objects by name.
    pub entries: HashMap<String, Entry>,
    /// How many of them changed since the bucket's copy was written.
    pub unshared: u32,
}

/// Why a cache is of no use. Nothing is lost by that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Something else, or nothing.
    #[error("it is no cache of metas")]
    Foreign,
    /// Another program wrote it.
    #[error("it has version {0}, this program knows version 1")]
    Version(u32),
    /// Not all of it is there, or not as it was written.
    #[error("it is torn")]
    Torn,
    /// The checksum fits and the content makes no sense.
    #[error("entry {0} makes no sense")]
    Entry(u32),
}

/// The number of a small object's sort, if the name in the bucket is one.
fn sort_of(name: &str) -> Option<(Ulid, u8)> {
    let (block, file) = split_path(name)?;
    let number = FILES.iter().position(|known| *known == file)?;
    Some((block, u8::try_from(number).ok()?))
}

/// Whether an object is one that a look at the bucket reads.
pub fn is_small(name: &str) -> bool {
    sort_of(name).is_some()
}

/// Bytes that an entry takes, or `None` if it has no place in a cache.
pub fn entry_bytes(name: &str, (version, body): &Entry) -> Option<usize> {
    sort_of(name)?;
    let etag = version.etag.as_ref().map_or(0, String::len);
    let whole = version.size == body.len() as u64 && version.size <= MAX_META_BYTES;
    (whole && etag <= MAX_ETAG).then(|| ENTRY + etag + body.len())
}

/// A cache of these entries, which [`entry_bytes`] has found fit; others are
/// left out. `unshared` is 0.
pub fn encode<'a>(entries: impl IntoIterator<Item = (&'a str, &'a Entry)>) -> Vec<u8> {
    let mut sorted: Vec<(&str, &Entry)> = entries.into_iter().collect();
    sorted.retain(|(name, entry)| entry_bytes(name, entry).is_some());
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted.dedup_by_key(|(name, _)| *name);
    let sizes = sorted.iter().filter_map(|(name, e)| entry_bytes(name, e));
    let mut out = Vec::with_capacity(HEADER + sizes.sum::<usize>() + CHECKSUM);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    let mut count = 0_u32;
    for (name, (version, body)) in sorted {
        let Some((block, number)) = sort_of(name) else {
            continue;
        };
        count += 1;
        out.extend_from_slice(&block.to_bytes());
        out.push(number);
        out.extend_from_slice(&version.modified_ms.to_be_bytes());
        // Both fit: the limits of an entry are far smaller.
        let etag = version.etag.as_deref();
        let etag_len = etag.map_or(0, |etag| etag.len() as u16 + 1);
        out.extend_from_slice(&etag_len.to_be_bytes());
        out.extend_from_slice(etag.unwrap_or_default().as_bytes());
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(body);
    }
    out[COUNT].copy_from_slice(&count.to_be_bytes());
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out
}

/// Changes what an encoded cache says of the bucket's copy.
pub fn set_unshared(cache: &mut [u8], unshared: u32) {
    let Some(end) = cache.len().checked_sub(CHECKSUM).filter(|n| *n >= HEADER) else {
        return;
    };
    cache[UNSHARED].copy_from_slice(&unshared.to_be_bytes());
    let checksum = crc32fast::hash(&cache[..end]);
    cache[end..].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads a cache; bodies are slices of `data`.
///
/// # Errors
/// What keeps it from being used.
pub fn decode(data: &Bytes) -> Result<Image, Unusable> {
    if data.get(..MAGIC.len()) != Some(MAGIC.as_slice()) {
        return Err(Unusable::Foreign);
    }
    let mut rest = data.slice(MAGIC.len()..);
    if rest.len() < HEADER - MAGIC.len() + CHECKSUM {
        return Err(Unusable::Torn);
    }
    match rest.get_u32() {
        VERSION => {}
        other => return Err(Unusable::Version(other)),
    }
    let end = data.len() - CHECKSUM;
    if data.slice(end..).get_u32() != crc32fast::hash(&data[..end]) {
        return Err(Unusable::Torn);
    }
    rest.truncate(rest.len() - CHECKSUM);
    let unshared = rest.get_u32();
    let count = rest.get_u32();
    let room = (count as usize).min(rest.len() / ENTRY);
    let mut entries = HashMap::with_capacity(room);
    for number in 0..count {
        let (name, entry) = entry(&mut rest).ok_or(Unusable::Entry(number))?;
        if entries.insert(name, entry).is_some() {
            return Err(Unusable::Entry(number));
        }
    }
    if !rest.is_empty() {
        return Err(Unusable::Entry(count));
    }
    Ok(Image { entries, unshared })
}

/// Takes the next entry; `None` if it is none.
fn entry(rest: &mut Bytes) -> Option<(String, Entry)> {
    let block = u128::from_be_bytes(take(rest, 16)?.as_ref().try_into().ok()?);
    let file = FILES.get(usize::from(rest.try_get_u8().ok()?))?;
    let modified_ms = rest.try_get_i64().ok()?;
    let etag = match rest.try_get_u16().ok()? {
        0 => None,
        len => {
            let len = usize::from(len) - 1;
            let text = take(rest, len).filter(|_| len <= MAX_ETAG)?;
            Some(std::str::from_utf8(&text).ok()?.to_owned())
        }
    };
    let size = u64::from(rest.try_get_u32().ok()?);
    let body = take(rest, usize::try_from(size).ok()?).filter(|_| size <= MAX_META_BYTES)?;
    let version = Version {
        size,
        modified_ms,
        etag,
    };
    Some((path(Ulid(block), file), (version, body)))
}

fn take(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
