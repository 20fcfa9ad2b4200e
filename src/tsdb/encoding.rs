//! The few primitives every file of a block is made of.
//!
//! ```text
//!  be32, be64   fixed width, most significant byte first
//!  uvarint      7 bits a byte, least significant group first, high bit = "more follows";
//!               at most 10 bytes, the tenth holds one bit
//!  varint       zigzag of a signed number, then uvarint: 0 -1 1 -2 2 ... -> 0 1 2 3 4 ...
//!  string       uvarint length in bytes, then the bytes
//!  checksum     CRC-32C (Castagnoli), stored be32 after the bytes that it covers
//! ```
//!
//! [`DecBuf`] reads them from borrowed bytes and never beyond the end;
//! [`EncBuf`] appends them to a `Vec<u8>`; [`Append`] hands the result to a
//! [`BlobWriter`] in large pieces and knows the position in the file.

use crc_fast::{CrcAlgorithm, Digest};

use super::error::{Corrupt, Error, Result};
use super::source::BlobWriter;

/// Longest uvarint in bytes.
pub const MAX_UVARINT_LEN: usize = 10;

/// Longest uvarint of a 32-bit number in bytes.
pub const MAX_UVARINT32_LEN: usize = 5;

/// Bytes of a stored checksum.
pub const CRC_LEN: usize = 4;

/// CRC-32C of `data`.
///
/// ```
/// assert_eq!(lithify::tsdb::encoding::crc32c(b"123456789"), 0xe306_9283);
/// ```
#[inline]
pub fn crc32c(data: &[u8]) -> u32 {
    // Series entries and chunks are 50 to 1000 bytes: at that length this
    // entry point is 2 to 3 ns ahead of a `Digest` and never behind `checksum`.
    crc_fast::crc32_iscsi(data)
}

/// CRC-32C of bytes that arrive in pieces.
#[derive(Debug)]
pub struct Crc32c(Digest);

impl Crc32c {
    /// The checksum of nothing so far.
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u32 {
        // The digest is as wide as its widest polynomial; ours fills 32 bits.
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads primitives from the front of borrowed bytes.
///
/// After an error the position is where the damaged field began.
#[derive(Debug, Clone, Copy)]
pub struct DecBuf<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> DecBuf<'a> {
    /// Starts at the first byte of `data`.
    #[inline]
    pub fn new(data: &'a [u8]) -> Self {
        Self {
            rest: data,
            len: data.len(),
        }
    }

    /// Bytes read so far.
    #[inline]
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Bytes that are left.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// True when nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that are left, without reading them.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A [`Corrupt`] at the present position.
    #[cold]
    pub fn corrupt(&self, what: impl Into<std::borrow::Cow<'static, str>>) -> Corrupt {
        Corrupt::at(self.position(), what)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Corrupt`] at the end of the bytes.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(self.corrupt("ends where a byte should follow"));
        };
        self.rest = rest;
        Ok(byte)
    }

    /// The next `n` bytes, borrowed from the input.
    ///
    /// # Errors
    /// [`Corrupt`] when fewer are left.
    #[inline]
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        let Some((bytes, rest)) = self.rest.split_at_checked(n) else {
            return Err(self.short(n as u64));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// A 32-bit number, most significant byte first.
    ///
    /// # Errors
    /// [`Corrupt`] when fewer than 4 bytes are left.
    #[inline]
    pub fn be32(&mut self) -> Result<u32, Corrupt> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.short(4));
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A 64-bit number, most significant byte first.
    ///
    /// # Errors
    /// [`Corrupt`] when fewer than 8 bytes are left.
    #[inline]
    pub fn be64(&mut self) -> Result<u64, Corrupt> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.short(8));
        };
        self.rest = rest;
        Ok(u64::from_be_bytes(*bytes))
    }

    /// An unsigned number of 1 to 10 bytes.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes end inside it or it exceeds 64 bits.
    #[inline]
    pub fn uvarint64(&mut self) -> Result<u64, Corrupt> {
        let (value, len) = match self.short_uvarint() {
            Some(found) => found,
            None => self.long_uvarint()?,
        };
        self.skip(len);
        Ok(value)
    }

    /// An unsigned number that must fit 32 bits.
    ///
    /// # Errors
    /// As [`Self::uvarint64`], and when the number is larger.
    #[inline(always)] // left to itself the compiler calls it for every symbol of a series
    pub fn uvarint32(&mut self) -> Result<u32, Corrupt> {
        let (value, len) = match self.short_uvarint() {
            Some(found) => found,
            None => self.long_uvarint()?,
        };
        if value > u64::from(u32::MAX) {
            return Err(self.too_wide(value));
        }
        self.skip(len);
        Ok(value as u32)
    }

    /// Value and length of the uvarint that follows, if it ends within the
    /// next 8 bytes and those exist.
    #[inline(always)]
    fn short_uvarint(&self) -> Option<(u64, usize)> {
        // Lengths of neighbouring numbers vary, so a branch per byte would often
        // be predicted wrong: the first byte that ends a number is sought in a word.
        let word = u64::from_le_bytes(*self.rest.first_chunk()?);
        let stops = !word & 0x8080_8080_8080_8080;
        if stops == 0 {
            return None;
        }
        let len = stops.trailing_zeros() as usize / 8 + 1;
        // All bits up to the first stop bit.
        Some((join_groups(word & (stops ^ (stops - 1))), len))
    }

    /// The same for long numbers and at the end of the bytes.
    fn long_uvarint(&self) -> Result<(u64, usize), Corrupt> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(MAX_UVARINT_LEN).enumerate() {
            // Nine bytes carry 63 bits, so the tenth may only hold the last.
            if i == MAX_UVARINT_LEN - 1 && byte > 1 {
                return Err(self.corrupt("varint exceeds 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok((value, i + 1));
            }
        }
        Err(self.corrupt("ends inside a varint"))
    }

    #[inline(always)]
    fn skip(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }

    /// A signed number in zigzag form.
    ///
    /// # Errors
    /// As [`Self::uvarint64`].
    #[inline]
    pub fn varint64(&mut self) -> Result<i64, Corrupt> {
        let zigzag = self.uvarint64()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A string as bytes, borrowed from the input.
    ///
    /// # Errors
    /// [`Corrupt`] when the length is damaged or exceeds what is left.
    #[inline]
    pub fn uvarint_bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let (len, prefix) = match self.short_uvarint() {
            Some(found) => found,
            None => self.long_uvarint()?,
        };
        let rest = self.rest.get(prefix..).unwrap_or_default();
        let found = usize::try_from(len).ok();
        match found.and_then(|len| rest.split_at_checked(len)) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.short(len)),
        }
    }

    /// A string that must be UTF-8.
    ///
    /// # Errors
    /// As [`Self::uvarint_bytes`], and when the bytes are no UTF-8.
    pub fn uvarint_str(&mut self) -> Result<&'a str, Corrupt> {
        let before = *self;
        let bytes = self.uvarint_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| {
            *self = before;
            self.corrupt("string is not utf-8")
        })
    }

    #[cold]
    fn too_wide(&self, value: u64) -> Corrupt {
        self.corrupt(format!("varint {value} exceeds 32 bits"))
    }

    #[cold]
    fn short(&self, wanted: u64) -> Corrupt {
        let left = self.rest.len();
        self.corrupt(format!("{wanted} bytes should follow but {left} are left"))
    }
}

/// Joins the low 7 bits of each byte: neighbours pairwise, then pairs, then fours.
#[inline(always)]
fn join_groups(word: u64) -> u64 {
    let x = word & 0x7f7f_7f7f_7f7f_7f7f;
    let x = (x & 0x007f_007f_007f_007f) | (x & 0x7f00_7f00_7f00_7f00) >> 1;
    let x = (x & 0x0000_3fff_0000_3fff) | (x & 0x3fff_0000_3fff_0000) >> 2;
    (x & 0x0fff_ffff) | (x & 0x0fff_ffff_0000_0000) >> 4
}

/// Appends primitives to a buffer.
pub trait EncBuf {
    /// A 32-bit number, most significant byte first.
    fn put_be32(&mut self, value: u32);
    /// A 64-bit number, most significant byte first.
    fn put_be64(&mut self, value: u64);
    /// An unsigned number of 1 to 10 bytes.
    fn put_uvarint(&mut self, value: u64);
    /// A signed number in zigzag form.
    fn put_varint(&mut self, value: i64);
    /// A string with its length.
    fn put_uvarint_bytes(&mut self, bytes: &[u8]);
}

impl EncBuf for Vec<u8> {
    #[inline]
    fn put_be32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_be64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    #[inline]
    fn put_uvarint(&mut self, value: u64) {
        // Fixed lengths become one store; see `DecBuf::uvarint64` for how common
        // they are.
        let group = |n: u32| (value >> (7 * n)) as u8;
        match value {
            0..0x80 => self.push(group(0)),
            0x80..0x4000 => self.extend_from_slice(&[group(0) | 0x80, group(1)]),
            0x4000..0x20_0000 => {
                self.extend_from_slice(&[group(0) | 0x80, group(1) | 0x80, group(2)]);
            }
            _ => {
                let (bytes, len) = uvarint(value);
                self.extend_from_slice(bytes.get(..len).unwrap_or(&bytes));
            }
        }
    }

    #[inline]
    fn put_varint(&mut self, value: i64) {
        self.put_uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    #[inline]
    fn put_uvarint_bytes(&mut self, bytes: &[u8]) {
        self.put_uvarint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// The bytes of a uvarint and how many of them count.
#[inline]
pub fn uvarint(mut value: u64) -> ([u8; MAX_UVARINT_LEN], usize) {
    let mut bytes = [0; MAX_UVARINT_LEN];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        if value < 0x80 {
            *byte = value as u8;
            break;
        }
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    (bytes, len)
}

/// Length of `value` as a uvarint in bytes.
#[inline]
pub fn uvarint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Collects small writes into pieces worth a system call or a request, and
/// counts the position in the file.
pub struct Append {
    blob: Box<dyn BlobWriter>,
    buf: Vec<u8>,
    position: u64,
}

impl Append {
    /// Every piece but the last has at least this many bytes.
    pub const PIECE: usize = 256 << 10;

    /// Starts at byte 0 of a new object.
    pub fn new(blob: Box<dyn BlobWriter>) -> Self {
        Self {
            blob,
            buf: Vec::with_capacity(Self::PIECE),
            position: 0,
        }
    }

    /// Bytes written so far.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Whatever the blob returns.
    #[inline]
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        self.position += data.len() as u64;
        if self.buf.len() + data.len() < Self::PIECE {
            self.buf.extend_from_slice(data);
            return Ok(());
        }
        self.overflow(data)
    }

    /// Fills the buffer up, hands it over and passes a long rest through.
    fn overflow(&mut self, mut data: &[u8]) -> Result<()> {
        if !self.buf.is_empty() {
            let (head, rest) = data.split_at(Self::PIECE - self.buf.len());
            self.buf.extend_from_slice(head);
            self.blob.write(&self.buf)?;
            self.buf.clear();
            data = rest;
        }
        if data.len() >= Self::PIECE {
            return self.blob.write(data);
        }
        self.buf.extend_from_slice(data);
        Ok(())
    }

    /// Appends zeros up to a multiple of `align` bytes (at most 16).
    ///
    /// # Errors
    /// As [`Self::write`].
    #[inline]
    pub fn pad_to(&mut self, align: u64) -> Result<()> {
        const ZEROS: [u8; 16] = [0; 16];
        let missing = (self.position.next_multiple_of(align) - self.position) as usize;
        self.write(ZEROS.get(..missing).unwrap_or(&ZEROS))
    }

    /// Hands over the rest and makes the object visible; returns its size.
    ///
    /// # Errors
    /// Whatever the blob returns, and when it counts other bytes than we do.
    pub fn finish(mut self) -> Result<u64> {
        if !self.buf.is_empty() {
            self.blob.write(&self.buf)?;
        }
        let stored = self.blob.finish()?;
        if stored != self.position {
            let ours = self.position;
            let what = format!("{ours} bytes were written but the object has {stored}");
            return Err(Error::Misuse(what));
        }
        Ok(stored)
    }
}

impl std::fmt::Debug for Append {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "encoding_tests.rs"]
mod tests;
