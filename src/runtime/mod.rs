//! What the process has: time, chance, cores, memory and disk.
//!
//! Everything else gets these as arguments, so that a test can hand in its
//! own. This is the only place that asks the machine.

pub mod clock;
pub mod disk;
pub mod host;
pub mod memory;
pub mod pool;
