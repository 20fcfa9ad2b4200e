//! Which instructions this processor has. The loops over bits are compiled twice:
//! for any processor, and for those that shift without flags and count zeros in
//! one step.
//!
//! Nearly every x86-64 processor since 2013 has these, but a program may not
//! count on them: virtual machines often hide them. A tenth of the time of
//! decoding and encoding is worth a question per chunk, whose answer is kept.

/// True if this processor has BMI1, BMI2 and LZCNT.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn has_bit_instructions() -> bool {
    std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("lzcnt")
}
