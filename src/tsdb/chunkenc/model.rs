//! Naive models for the tests: a stream of single bits, and XOR upon it.

/// Bits as a list of `bool`.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits(pub(super) Vec<bool>);

impl Bits {
    /// Appends the low `n` bits of `value`, most significant first.
    pub(super) fn put(&mut self, value: u64, n: u32) {
        for i in (0..n).rev() {
            self.0.push((value >> i) & 1 == 1);
        }
    }

    /// Appends digits written as text; other characters are ignored.
    pub(super) fn text(&mut self, digits: &str) {
        self.0.extend(
            digits
                .chars()
                .filter(|c| "01".contains(*c))
                .map(|c| c == '1'),
        );
    }

    pub(super) fn uvarint(&mut self, mut value: u64) {
        loop {
            let more = value > 0x7f;
            self.put((value & 0x7f) | if more { 0x80 } else { 0 }, 8);
            value >>= 7;
            if !more {
                return;
            }
        }
    }

    pub(super) fn varint(&mut self, value: i64) {
        let doubled = (value as u64) << 1;
        self.uvarint(if value < 0 { !doubled } else { doubled });
    }

    /// The bytes, the last one filled up with zeros.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|byte| {
                byte.iter()
                    .enumerate()
                    .fold(0, |acc, (i, bit)| acc | (u8::from(*bit) << (7 - i)))
            })
            .collect()
    }
}

/// A value coded against `before`, as the description in `window.rs` says.
pub(super) fn put_xor(bits: &mut Bits, before: f64, value: f64, window: &mut Option<(u32, u32)>) {
    let xor = before.to_bits() ^ value.to_bits();
    if xor == 0 {
        return bits.text("0");
    }
    let (mut leading, trailing) = (xor.leading_zeros(), xor.trailing_zeros());
    if leading > 31 {
        leading = 31;
    }
    if let Some((l, t)) = *window
        && l <= leading
        && t <= trailing
    {
        bits.text("10");
        return bits.put(xor >> t, 64 - l - t);
    }
    bits.text("11");
    bits.put(u64::from(leading), 5);
    bits.put(u64::from((64 - leading - trailing) % 64), 6);
    bits.put(xor >> trailing, 64 - leading - trailing);
    *window = Some((leading, trailing));
}

/// An XOR chunk, bit by bit.
pub(super) fn xor_chunk(samples: &[(i64, f64)]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(samples.len() as u64, 16);
    let mut window = None;
    for (i, &(t, v)) in samples.iter().enumerate() {
        let before = |back: usize| samples[i - back];
        match i {
            0 => {
                bits.varint(t);
                bits.put(v.to_bits(), 64);
                continue;
            }
            1 => bits.uvarint(t.wrapping_sub(before(1).0) as u64),
            _ => {
                let step = t.wrapping_sub(before(1).0);
                let dod = step.wrapping_sub(before(1).0.wrapping_sub(before(2).0));
                put_dod(&mut bits, dod);
            }
        }
        put_xor(&mut bits, before(1).1, v, &mut window);
    }
    bits.bytes()
}

fn put_dod(bits: &mut Bits, dod: i64) {
    for (prefix, n) in [("10", 14), ("110", 17), ("1110", 20)] {
        let top = 1i64 << (n - 1);
        if dod != 0 && dod > -top && dod <= top {
            bits.text(prefix);
            return bits.put(dod as u64, n);
        }
    }
    if dod == 0 {
        bits.text("0");
    } else {
        bits.text("1111");
        bits.put(dod as u64, 64);
    }
}
