//! Bits, most significant first: the reader and the writer under every codec.
//!
//! The reader keeps up to 63 unread bits at the top of a word and refills it
//! with one unaligned 8-byte load, without a branch that depends on the data:
//!
//! ```text
//!  data   .. | byte next-1 | byte next | byte next+1 | ..
//!                          '-- 8 bytes, shifted right by `have` --.
//!  buf    [ unread: `have` bits | first bits of byte `next` ..... ]
//!          ^ bit 63                                          bit 0 ^
//! ```
//!
//! Bits below `have` may already show the start of byte `next`; the next refill
//! ORs the same bits into the same place, so they do no harm.
//!
//! Past the end of the data the reader delivers zeros and counts on. Decoders
//! ask [`BitReader::overrun`] once per sample instead of once per field: that
//! keeps error paths out of the hot loops, and the work is bounded because the
//! number of samples is.

/// Fewest bits that are in the buffer after [`BitReader::refill`].
pub(super) const REFILLED: u32 = 56;

/// Reads bits from borrowed bytes.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// The byte that the next refill starts at; may lie past the end.
    next: usize,
    /// Unread bits, the first one on top.
    buf: u64,
    /// How many bits of `buf` count as read from `data`.
    have: u32,
}

impl<'a> BitReader<'a> {
    /// A reader that starts at byte `start`.
    pub(super) fn new(data: &'a [u8], start: usize) -> Self {
        Self {
            data,
            next: start,
            buf: 0,
            have: 0,
        }
    }

    /// Tops the buffer up to at least [`REFILLED`] bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let word = match self.data.get(self.next..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => tail_word(self.data, self.next),
        };
        self.buf |= word >> self.have;
        self.next += ((63 - self.have) >> 3) as usize;
        self.have |= REFILLED;
    }

    /// The buffer: unread bits from the top, at least [`Self::buffered`] valid.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.buf
    }

    /// Valid bits in the buffer.
    #[inline(always)]
    pub(super) fn buffered(&self) -> u32 {
        self.have
    }

    /// Drops `n` buffered bits; `n` is at most [`Self::buffered`].
    #[inline(always)]
    pub(super) fn skip(&mut self, n: u32) {
        debug_assert!(n <= self.have);
        self.buf <<= n;
        self.have -= n;
    }

    /// Takes `n` buffered bits; `n` is at most [`Self::buffered`].
    #[inline(always)]
    pub(super) fn take(&mut self, n: u32) -> u64 {
        // Two shifts, since one by 64 does not exist and n may be 0.
        let value = (self.buf >> 1) >> (63 - n);
        self.skip(n);
        value
    }

    /// Reads `n <= 64` bits, refilling as needed.
    #[inline(always)]
    pub(super) fn read(&mut self, n: u32) -> u64 {
        if n > REFILLED {
            return self.read_wide(n);
        }
        if n > self.have {
            self.refill();
        }
        self.take(n)
    }

    #[inline(never)]
    fn read_wide(&mut self, n: u32) -> u64 {
        self.refill();
        let high = self.take(32);
        self.refill();
        (high << (n - 32)) | self.take(n - 32)
    }

    /// Reads an unsigned varint of 7 bits per byte, whether the stream stands
    /// at a byte boundary or not; `None` if it does not end within 64 bits.
    pub(super) fn read_uvarint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.read(8);
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a zigzag varint, see [`Self::read_uvarint`].
    pub(super) fn read_varint(&mut self) -> Option<i64> {
        let raw = self.read_uvarint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// True once bits past the end were consumed.
    #[inline(always)]
    pub(super) fn overrun(&self) -> bool {
        // One byte of buffer more or less matters here, so count in bits.
        self.next * 8 > self.data.len() * 8 + self.have as usize
    }

    /// Bits between the read position and the end, 0 after an overrun.
    pub(super) fn remaining_bits(&self) -> usize {
        (self.data.len() * 8 + self.have as usize).saturating_sub(self.next * 8)
    }

    /// Byte offset of the read position, for messages.
    pub(super) fn byte_offset(&self) -> usize {
        (self.next - (self.have as usize).div_ceil(8)).min(self.data.len())
    }
}

/// The word at `start` where fewer than 8 bytes are left, zeros behind.
#[cold]
#[inline(never)]
fn tail_word(data: &[u8], start: usize) -> u64 {
    let rest = data.get(start..).unwrap_or_default();
    let mut word = [0u8; 8];
    for (to, from) in word.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(word)
}

/// Appends bits to a reusable buffer.
///
/// `buf` is kept longer than the stream, so that every [`BitWriter::put`] is one
/// 8-byte store at `len`; what lies behind the stream is scratch.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    buf: Vec<u8>,
    /// Complete bytes written.
    len: usize,
    /// The bits behind them, from the top; fewer than 8.
    acc: u64,
    used: u32,
}

impl BitWriter {
    /// Starts over with `header` zero bytes and keeps the memory.
    pub(super) fn restart(&mut self, header: usize) {
        self.len = header;
        self.acc = 0;
        self.used = 0;
        if self.buf.len() < header + 8 {
            self.buf.resize(header + 256, 0);
        }
        if let Some(head) = self.buf.get_mut(..header) {
            head.fill(0);
        }
    }

    /// Appends the low `n` bits of `value`, `1 <= n <= 56`; the bits above must
    /// be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, n: u32) {
        debug_assert!((1..=56).contains(&n) && value >> n == 0);
        self.acc |= value << (64 - self.used - n);
        let word = self.acc.to_be_bytes();
        match self
            .buf
            .get_mut(self.len..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            Some(slot) => *slot = word,
            None => self.grow_and_store(word),
        }
        let bits = self.used + n;
        self.len += (bits >> 3) as usize;
        self.acc <<= bits & !7;
        self.used = bits & 7;
    }

    /// Appends the low `n` bits of `value`, `1 <= n <= 64`.
    #[inline(always)]
    pub(super) fn put_wide(&mut self, value: u64, n: u32) {
        if n <= 56 {
            self.put(value, n);
        } else {
            self.put(value >> 32, n - 32);
            self.put(value & 0xffff_ffff, 32);
        }
    }

    /// Appends an unsigned varint of 7 bits per byte.
    pub(super) fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put((value & 0x7f) | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// Appends a zigzag varint.
    pub(super) fn put_varint(&mut self, value: i64) {
        self.put_uvarint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    #[cold]
    #[inline(never)]
    fn grow_and_store(&mut self, word: [u8; 8]) {
        self.buf.resize((self.len + 8) * 2, 0);
        if let Some(slot) = self
            .buf
            .get_mut(self.len..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *slot = word;
        }
    }

    /// The header bytes, to be filled in when the chunk is finished.
    pub(super) fn header_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.buf.first_chunk_mut()
    }

    /// Everything written, the last byte padded with zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        let end = self.len + usize::from(self.used > 0);
        self.buf.get(..end).unwrap_or_default()
    }
}
