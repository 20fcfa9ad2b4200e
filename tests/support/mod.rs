//! Helpers shared by the integration tests.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code)]

pub mod conformance;
pub mod files;
pub mod s3_server;
