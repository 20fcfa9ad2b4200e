//! Start timestamps: when a counter began, in encodings 4 to 6.

use super::Fault;
use super::bits::BitReader;
use super::varbit::read_int;

/// Decodes the start timestamp that follows a sample, if one does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StartTimes {
    /// Sample 0 carries one.
    first_known: bool,
    /// Number of the first sample whose start differs from that of sample 0;
    /// from there on each sample has a code. 0: there is none.
    change_on: usize,
    /// Last `previous t - start`, ms.
    distance: i64,
    /// Start timestamp of the current sample, ms; 0 means unknown.
    start: i64,
}

impl StartTimes {
    /// From the header byte.
    pub(super) fn new(header: u8) -> Self {
        Self {
            first_known: header & 0x80 != 0,
            change_on: usize::from(header & 0x7f),
            ..Self::default()
        }
    }

    /// True when no sample of the chunk has one.
    pub(super) fn is_absent(&self) -> bool {
        !self.first_known && self.change_on == 0
    }

    /// The current sample's, ms since the epoch.
    pub(super) fn current(&self) -> Option<i64> {
        (self.start != 0).then_some(self.start)
    }

    /// Reads what follows sample `number`, which lies at `t`, the one before at
    /// `before` (ms).
    #[inline]
    pub(super) fn read(
        &mut self,
        r: &mut BitReader<'_>,
        number: usize,
        t: i64,
        before: i64,
    ) -> Result<(), Fault> {
        if number == 0 {
            if self.first_known {
                let distance = r.read_varint().ok_or(Fault::LongVarint)?;
                self.start = t.wrapping_sub(distance);
            }
        } else if self.change_on > 0 && number >= self.change_on {
            let code = read_int(r);
            self.distance = if number == self.change_on {
                code
            } else {
                self.distance.wrapping_add(code)
            };
            self.start = before.wrapping_sub(self.distance);
        }
        Ok(())
    }
}
