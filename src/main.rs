//! The `lithify` command: allocator and exit code, nothing else.

use std::process::ExitCode;

/// Batches are allocated on one thread and freed on another; glibc's allocator
/// is several times slower at that and keeps what it got.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lithify::cli::main()
}
