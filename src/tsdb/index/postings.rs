//! Postings: which series have a label pair.
//!
//! ```text
//!  list    len be32 | count be32 | reference be32 ... | crc be32     begins at a multiple of 4
//!  table   len be32 | count be32 | 2, name, value, offset uvarint ... | crc be32
//! ```
//!
//! The table of version 2 ascends by name and value; that of version 1 stands
//! in any order and is sorted when it is loaded.

use std::ops::Range;

use bytes::Bytes;

use crate::tsdb::encoding::DecBuf;
use crate::tsdb::error::{Corrupt, Error, Result};

use super::reader::Index;

/// One postings list, borrowed from the file.
#[derive(Debug, Clone)]
pub struct Postings {
    refs: Bytes,
}

impl Postings {
    /// Takes what lies between length and checksum.
    ///
    /// # Errors
    /// [`Corrupt`] when the count does not fit the length.
    pub fn new(content: Bytes) -> Result<Self, Corrupt> {
        let mut dec = DecBuf::new(&content);
        let count = u64::from(dec.be32()?);
        if dec.remaining() as u64 != count * 4 {
            let what = format!("{count} postings in {} bytes", dec.remaining());
            return Err(dec.corrupt(what));
        }
        Ok(Self {
            refs: content.slice(4..),
        })
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.refs.len() / 4
    }

    /// True for a list without series.
    pub fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// The references; each must be larger than the one before.
    pub fn iter(&self) -> PostingsIter<'_> {
        PostingsIter {
            refs: self.refs.as_chunks().0.iter(),
            read: 0,
            last: None,
        }
    }
}

/// Iterator over the series references of a list.
#[derive(Debug, Clone)]
pub struct PostingsIter<'a> {
    refs: std::slice::Iter<'a, [u8; 4]>,
    read: usize,
    last: Option<u32>,
}

impl Iterator for PostingsIter<'_> {
    type Item = Result<u32, Corrupt>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let reference = u32::from_be_bytes(*self.refs.next()?);
        if self.last.is_some_and(|last| last >= reference) {
            let what = format!("series {reference} stands out of order in a postings list");
            return Some(Err(Corrupt::at(4 * self.read, what)));
        }
        self.last = Some(reference);
        self.read += 1;
        Some(Ok(reference))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.refs.size_hint()
    }
}

/// One line of the postings offset table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostingsEntry<'a> {
    /// Label name.
    pub name: &'a [u8],
    /// Label value.
    pub value: &'a [u8],
    /// Where the list begins, bytes from the start of the file.
    pub offset: u64,
}

impl<'a> PostingsEntry<'a> {
    fn decode(dec: &mut DecBuf<'a>) -> Result<Self, Corrupt> {
        let keys = dec.uvarint64()?;
        if keys != 2 {
            return Err(dec.corrupt(format!("postings entry has {keys} keys instead of 2")));
        }
        Ok(Self {
            name: dec.uvarint_bytes()?,
            value: dec.uvarint_bytes()?,
            offset: dec.uvarint64()?,
        })
    }

    fn key(&self) -> (&'a [u8], &'a [u8]) {
        (self.name, self.value)
    }
}

/// The postings offset table, for lookups: 4 bytes of memory per label pair
/// beside the bytes of the reader.
#[derive(Debug, Clone)]
pub struct PostingsTable {
    content: Bytes,
    /// Where each entry begins in `content`, in order of name and value.
    places: Vec<u32>,
}

impl PostingsTable {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// [`Corrupt`] when the checksum differs, an entry is damaged, lies
    /// outside of the postings or stands twice; what reading returns.
    pub fn load(index: &mut Index) -> Result<Self> {
        let section = index.toc().postings_table_range(index.size());
        if section.is_empty() {
            return Ok(Self {
                content: Bytes::new(),
                places: Vec::new(),
            });
        }
        let content = index.section(section.start, "postings offset table")?;
        let lists = index.toc().postings_range(index.size());
        let places = scan(&content, lists)
            .map_err(|c| Error::from(c.in_file(index.name(), section.start + 4)))?;
        let mut table = Self { content, places };
        if !table.is_sorted() {
            let mut places = std::mem::take(&mut table.places);
            places.sort_by(|a, b| {
                let key = |place: &u32| table.at(*place).map(|e| (e.name, e.value));
                key(a).cmp(&key(b))
            });
            table.places = places;
        }
        if let Some(twice) = table.first_duplicate() {
            return Err(index.corrupt(section.start, twice));
        }
        Ok(table)
    }

    /// Number of label pairs, the pair of all series included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True for a table without pairs.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All entries by name and value.
    pub fn iter(&self) -> impl Iterator<Item = PostingsEntry<'_>> {
        self.places.iter().filter_map(|&place| self.at(place))
    }

    /// Where the list of a pair begins in the file. Two empty strings name the
    /// list of all series.
    pub fn find(&self, name: &[u8], value: &[u8]) -> Option<u64> {
        let from = self.lower_bound(|e| e.key() < (name, value));
        let entry = self.at(*self.places.get(from)?)?;
        (entry.key() == (name, value)).then_some(entry.offset)
    }

    /// Label names in order.
    pub fn names(&self) -> Vec<&[u8]> {
        let mut names: Vec<&[u8]> = Vec::new();
        for entry in self.iter().filter(|e| !e.name.is_empty()) {
            if names.last().is_none_or(|&last| last != entry.name) {
                names.push(entry.name);
            }
        }
        names
    }

    /// The entries of one label name by value.
    pub fn values(&self, name: &[u8]) -> impl Iterator<Item = PostingsEntry<'_>> {
        let from = self.lower_bound(|e| e.name < name);
        let to = self.lower_bound(|e| e.name <= name);
        let places = self.places.get(from..to).unwrap_or_default();
        places.iter().filter_map(|&place| self.at(place))
    }

    fn lower_bound(&self, before: impl Fn(PostingsEntry<'_>) -> bool) -> usize {
        self.places
            .partition_point(|&place| self.at(place).is_some_and(&before))
    }

    fn at(&self, place: u32) -> Option<PostingsEntry<'_>> {
        let entry = self.content.get(place as usize..)?;
        PostingsEntry::decode(&mut DecBuf::new(entry)).ok()
    }

    fn is_sorted(&self) -> bool {
        self.iter().is_sorted_by(|a, b| a.key() <= b.key())
    }

    fn first_duplicate(&self) -> Option<String> {
        let twice = self
            .iter()
            .zip(self.iter().skip(1))
            .find(|(a, b)| a.key() == b.key())?;
        Some(format!(
            "label pair {:?}={:?} has two postings lists",
            String::from_utf8_lossy(twice.0.name),
            String::from_utf8_lossy(twice.0.value)
        ))
    }
}

/// Decodes every entry once and notes where it begins.
fn scan(content: &[u8], lists: Range<u64>) -> Result<Vec<u32>, Corrupt> {
    /// Keys, two lengths and an offset have a byte each.
    const LEAST: usize = 4;
    let mut dec = DecBuf::new(content);
    let count = dec.be32()? as usize;
    if count > dec.remaining() / LEAST {
        return Err(dec.corrupt(format!("{count} label pairs do not fit the table")));
    }
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        let at = dec.position();
        let entry = PostingsEntry::decode(&mut dec)?;
        if !lists.contains(&entry.offset) {
            return Err(Corrupt::at(at, "label pair points outside of the postings"));
        }
        // The length of the table is 32 bits.
        places.push(at as u32);
    }
    if !dec.is_empty() {
        let what = format!("{} bytes follow the last label pair", dec.remaining());
        return Err(dec.corrupt(what));
    }
    Ok(places)
}
