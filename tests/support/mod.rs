//! Helpers shared by the integration tests.

// Every test binary compiles all of this and uses a part of it.
#![allow(dead_code)]

pub mod blocks;
pub mod conformance;
pub mod damage;
pub mod damage_rows;
pub mod dying;
pub mod faulty;
pub mod files;
pub mod flaky;
pub mod lower_blocks;
pub mod proxy;
pub mod rounds;
pub mod runs;
pub mod s3_server;
pub mod schema;
pub mod tricks;
pub mod wedged;
