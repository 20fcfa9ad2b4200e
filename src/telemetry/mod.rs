//! What the process tells about itself. So far: logs.

pub mod logging;
