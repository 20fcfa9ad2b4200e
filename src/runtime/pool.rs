//! The CPU pool: one thread per core, for decoding and encoding only.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Kind, Result};

/// Builds the pool.
///
/// `threads` 0 means one per core the process may use (a container's CPU quota
/// counts).
///
/// # Errors
/// [`Kind::Config`] if the system refuses threads.
pub fn cpu_pool(threads: usize) -> Result<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("cpu-{i}"))
        // A panic has been reported by its hook; whoever waits for the work
        // sees that it never came. Without a handler the process would end.
        .panic_handler(|_| {})
        .build()
        .map(Arc::new)
        .map_err(|e| Error::new(Kind::Config, "cannot start the CPU threads").with_source(e))
}
