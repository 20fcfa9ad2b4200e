//! What becomes of floats while they are decoded: nothing has to be stored that
//! is used once.

/// Takes samples in one by one, straight from the loop that decodes them.
///
/// That loop waits for its bits most of the time, so a few additions per sample
/// cost next to nothing in it, and much less than a pass of their own.
pub trait FloatFold {
    /// What goes from one sample to the next: handed from call to call, so that
    /// it stays in registers.
    type Carry: Copy;

    /// Takes in the next sample, `t` in ms. To be inlined where it does little.
    #[must_use]
    fn fold(&mut self, carry: Self::Carry, t: i64, v: f64) -> Self::Carry;
}

/// Stores samples in two slices, which are equally long; carries how many.
pub(super) struct Fill<'a> {
    /// Timestamps, ms.
    pub ts: &'a mut [i64],
    /// Values.
    pub vs: &'a mut [f64],
}

impl FloatFold for Fill<'_> {
    type Carry = usize;

    #[inline(always)]
    fn fold(&mut self, at: usize, t: i64, v: f64) -> usize {
        if let (Some(to_t), Some(to_v)) = (self.ts.get_mut(at), self.vs.get_mut(at)) {
            (*to_t, *to_v) = (t, v);
        }
        at + 1
    }
}

/// What a chunk says of the times of its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// First and last sample, ms; `None` without any.
    pub ends: Option<(i64, i64)>,
    /// They are known to ascend, each above the one before.
    pub ascending: bool,
}
