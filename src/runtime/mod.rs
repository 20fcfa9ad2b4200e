//! What the process has: time, chance, cores and memory.
//!
//! Everything else gets these as arguments, so that a test can hand in its
//! own. This is the only place that asks the machine.

pub mod clock;
pub mod memory;
pub mod pool;
