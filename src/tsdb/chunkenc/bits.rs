//! Bits, most significant first: the reader and the writer under every codec.
//!
//! The reader keeps up to 63 unread bits at the top of a word and refills it
//! with one unaligned 8-byte load, without a branch that depends on the data:
//!
//! ```text
//!  rest   | byte 0 | byte 1 | byte 2 | ..
//!         '-- 8 bytes, shifted right by `have` --.
//!  buf    [ unread: `have` bits | first bits of byte 0 .. ]
//!          ^ bit 63                                 bit 0 ^
//! ```
//!
//! Bits below `have` may already show the start of `rest`; the next refill ORs
//! the same bits into the same place, so they do no harm.
//!
//! Past the end of the data the reader delivers zeros and counts on. Decoders
//! ask [`BitReader::overrun`] once per sample or chunk instead of once per
//! field: that keeps error paths out of the hot loops, and the work is bounded
//! because the number of samples is.

/// Fewest bits that are in the buffer after [`BitReader::refill`].
pub(super) const REFILLED: u32 = 56;

/// Bytes ahead that make a reader roomy: three refills of 8.
const ROOMY: usize = 24;

/// Length of the copy that [`BitReader::padded`] makes: less than [`ROOMY`]
/// bytes of data and as many more as their samples may need.
pub(super) const PADDED: usize = 64;

/// Reads bits from borrowed bytes.
#[derive(Debug, Clone, Copy)]
pub struct BitReader<'a> {
    /// The bytes that the next refill starts at.
    rest: &'a [u8],
    /// Unread bits, the first one on top.
    buf: u64,
    /// How many bits of `buf` count as read.
    have: u32,
    /// Zero bytes that are no data: at the end of `rest` or already read.
    zeros: usize,
    /// Where the data ends, bytes from its start.
    end: usize,
}

impl<'a> BitReader<'a> {
    /// A reader that starts at byte `start`.
    pub(super) fn new(data: &'a [u8], start: usize) -> Self {
        Self {
            rest: data.get(start..).unwrap_or_default(),
            buf: 0,
            have: 0,
            zeros: 0,
            end: data.len(),
        }
    }

    /// True if three calls of [`Self::refill_roomy`] will find what they need.
    #[inline(always)]
    pub(super) fn is_roomy(&self) -> bool {
        self.rest.len() >= ROOMY
    }

    /// The same reader in a copy of its last bytes, followed by zeros. To be
    /// called on one that is not roomy.
    pub(super) fn padded<'b>(&self, copy: &'b mut [u8; PADDED]) -> BitReader<'b> {
        copy.fill(0);
        for (to, from) in copy.iter_mut().zip(self.rest) {
            *to = *from;
        }
        BitReader {
            rest: copy,
            buf: self.buf,
            have: self.have,
            zeros: self.zeros + PADDED.saturating_sub(self.rest.len()),
            end: self.end,
        }
    }

    /// Tops the buffer up to at least [`REFILLED`] bits.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if self.rest.len() >= 8 {
            self.refill_roomy();
        } else {
            *self = self.refill_at_end();
        }
    }

    /// The same where 8 bytes are known to follow; does nothing otherwise.
    #[inline(always)]
    pub(super) fn refill_roomy(&mut self) {
        if let Some(bytes) = self.rest.first_chunk() {
            self.buf |= u64::from_be_bytes(*bytes) >> self.have;
            // The mask changes nothing, but shows that `rest` is long enough.
            let used = ((63 - self.have) >> 3) & 7;
            self.rest = self.rest.get(used as usize..).unwrap_or_default();
            self.have |= REFILLED;
        }
    }

    /// The same for the last 7 bytes. By value, like all that is not inlined,
    /// so that a reader in a hot loop can stay in registers.
    #[cold]
    #[inline(never)]
    fn refill_at_end(mut self) -> Self {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.rest) {
            *to = *from;
        }
        self.buf |= u64::from_be_bytes(bytes) >> self.have;
        let used = ((63 - self.have) >> 3) as usize;
        self.zeros += used.saturating_sub(self.rest.len());
        self.rest = self.rest.get(used..).unwrap_or_default();
        self.have |= REFILLED;
        self
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
            let (after, value) = self.read_wide(n);
            *self = after;
            return value;
        }
        if n > self.have {
            self.refill();
        }
        self.take(n)
    }

    /// By value, so that a reader in a hot loop can stay in registers.
    #[cold]
    #[inline(never)]
    fn read_wide(mut self, n: u32) -> (Self, u64) {
        self.refill();
        let high = self.take(32);
        self.refill();
        let low = self.take(n - 32);
        (self, (high << (n - 32)) | low)
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

    /// Bits that are buffered or follow, zeros included.
    fn ahead(&self) -> usize {
        self.rest.len() * 8 + self.have as usize
    }

    /// True once bits past the end were consumed.
    #[inline(always)]
    pub(super) fn overrun(&self) -> bool {
        self.zeros * 8 > self.ahead()
    }

    /// Bits between the read position and the end, 0 after an overrun.
    pub(super) fn remaining_bits(&self) -> usize {
        self.ahead().saturating_sub(self.zeros * 8)
    }

    /// Byte offset of the read position, for messages.
    pub(super) fn byte_offset(&self) -> usize {
        self.end - self.remaining_bits().div_ceil(8)
    }
}

/// A stream of bits in a reusable buffer.
///
/// Bits are put through a [`BitRun`], for which room is made beforehand: that
/// leaves a put without a call, and the state of a run in registers.
#[derive(Debug, Clone, Default)]
pub struct BitWriter {
    /// Longer than the stream; what lies behind the stream is scratch.
    buf: Vec<u8>,
    end: End,
}

/// Where a stream of bits ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct End {
    /// Complete bytes written.
    len: usize,
    /// The last bits written, from the bottom; those of complete bytes too.
    acc: u64,
    /// How many of them are not in a complete byte; fewer than 8.
    used: u32,
}

impl BitWriter {
    /// Starts over with `header` zero bytes and keeps the memory.
    pub(super) fn restart(&mut self, header: usize) {
        if self.buf.len() < header {
            self.buf.resize(header, 0);
        }
        if let Some(head) = self.buf.get_mut(..header) {
            head.fill(0);
        }
        self.end = End {
            len: header,
            ..End::default()
        };
    }

    /// Continues the stream with at most `bits` bits. To be ended by
    /// [`Self::resume`].
    #[inline]
    pub(super) fn run(&mut self, bits: usize) -> BitRun<'_> {
        // Each put stores a whole word.
        let room = self.end.len + bits / 8 + 16;
        if self.buf.len() < room {
            self.buf.resize(room * 2, 0);
        }
        let rest = self.buf.get_mut(self.end.len..).unwrap_or_default();
        BitRun {
            room: rest.len(),
            rest,
            end: self.end,
        }
    }

    /// Takes over the end of a run.
    #[inline]
    pub(super) fn resume(&mut self, end: End) {
        debug_assert!(end.len + 8 <= self.buf.len(), "run without room");
        self.end = end;
    }

    /// The header bytes, to be filled in when the chunk is finished.
    pub(super) fn header_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.buf.first_chunk_mut()
    }

    /// Everything written, the last byte padded with zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        let end = self.end.len + usize::from(self.end.used > 0);
        self.buf.get(..end).unwrap_or_default()
    }
}

/// A piece of a bit stream being written.
#[derive(Debug)]
pub struct BitRun<'a> {
    /// What follows the complete bytes.
    rest: &'a mut [u8],
    /// Length of `rest` at the start of the run.
    room: usize,
    /// The end of the stream; its `len` is that at the start of the run.
    end: End,
}

impl BitRun<'_> {
    /// Appends the low `n` bits of `value`, `1 <= n <= 56`; the bits above must
    /// be zero.
    #[inline(always)]
    pub(super) fn put(&mut self, value: u64, n: u32) {
        debug_assert!((1..=56).contains(&n) && value >> n == 0);
        let end = &mut self.end;
        end.acc = (end.acc << n) | value;
        let bits = end.used + n;
        end.used = bits & 7;
        let rest = std::mem::take(&mut self.rest);
        debug_assert!(rest.len() >= 8, "run without room");
        if let Some(slot) = rest.first_chunk_mut() {
            *slot = (end.acc << (64 - bits)).to_be_bytes();
            self.rest = rest.get_mut((bits >> 3 & 7) as usize..).unwrap_or_default();
        }
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

    /// Appends an unsigned varint of 7 bits per byte, 80 bits at most.
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

    /// Where the run ends, for [`BitWriter::resume`].
    #[inline(always)]
    pub(super) fn end(self) -> End {
        End {
            len: self.end.len + self.room - self.rest.len(),
            ..self.end
        }
    }
}
