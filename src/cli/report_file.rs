//! `--report`: the document about the run, in a file or on standard output.
//!
//! ```text
//!  start: can it be written? --no--> exit code 2, nothing is done
//!  after each bucket: the file anew, with all buckets so far
//!  end: the document on standard output | what the last attempt failed with
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::compact::document::{self, Ended};
use crate::compact::report::RunReport;
use crate::error::{Error, Kind, Result};

/// Where `--report` goes.
#[derive(Debug, Clone)]
enum To {
    Nowhere,
    File(PathBuf),
    Stdout,
}

impl To {
    fn of(flag: Option<&Path>) -> Self {
        match flag {
            None => Self::Nowhere,
            Some(path) if path == Path::new("-") => Self::Stdout,
            Some(path) => Self::File(path.to_owned()),
        }
    }
}

/// The document of this process.
#[derive(Debug)]
pub(super) struct ReportFile {
    to: To,
    buckets: Vec<Ended>,
    /// How the last attempt to write the file ended.
    written: Result<()>,
}

impl ReportFile {
    /// `flag` is the value of `--report`.
    pub(super) fn new(flag: Option<&Path>) -> Self {
        Self {
            to: To::of(flag),
            buckets: Vec::new(),
            written: Ok(()),
        }
    }

    /// Whether standard output belongs to the document.
    pub(super) fn takes_stdout(&self) -> bool {
        matches!(self.to, To::Stdout)
    }

    /// Adds a bucket, and writes the file: a process that is killed later leaves
    /// what it knew. A failure waits for [`ReportFile::finish`], and the next
    /// attempt may make it good.
    pub(super) fn add(
        &mut self,
        bucket: &str,
        at_ms: i64,
        report: Option<RunReport>,
        error: Option<&Error>,
    ) {
        if matches!(self.to, To::Nowhere) {
            return;
        }
        self.buckets.push(Ended {
            bucket: bucket.to_owned(),
            report,
            at_ms,
            error: error.map(|e| (e.chain(), e.cure().map(str::to_owned))),
        });
        if let To::File(file) = &self.to {
            self.written = document::to_json(&self.buckets)
                .and_then(|json| fs::write(file, json).map_err(|e| failed(&file.display(), e)));
        }
    }

    /// Once all buckets are done.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub(super) fn finish(self) -> Result<()> {
        if !self.takes_stdout() {
            return self.written;
        }
        let json = document::to_json(&self.buckets)?;
        let mut out = io::stdout().lock();
        let done = out.write_all(&json).and_then(|()| out.flush());
        done.map_err(|e| failed(&"standard output", e))
    }
}

fn failed(to: &dyn std::fmt::Display, why: io::Error) -> Error {
    Error::new(Kind::Config, format!("cannot write the report to {to}"))
        .with_source(why)
        .with_cure(
            "the run itself is done, and its reports are in the buckets under lithify/reports; \
             make room there or give --report another file",
        )
}

/// Finds out whether a file can be written, without changing what is in it.
///
/// # Errors
/// A folder, a file in no folder, and what the system does not let us write.
pub(super) fn check(flag: Option<&Path>) -> Result<()> {
    let To::File(file) = To::of(flag) else {
        return Ok(());
    };
    let refused = |why: String| {
        let what = format!("--report: cannot write to {}: {why}", file.display());
        Error::new(Kind::Config, what)
    };
    match fs::metadata(&file) {
        Ok(found) if found.is_dir() => {
            Err(refused("it is a folder".to_owned()).with_cure("name a file in it"))
        }
        // Opening a pipe would wait for its reader.
        Ok(found) if !found.is_file() => Ok(()),
        Ok(_) => match OpenOptions::new().append(true).open(&file) {
            Ok(_) => Ok(()),
            Err(e) => Err(refused(e.to_string()).with_cure("name a file that can be written")),
        },
        Err(_) => match OpenOptions::new().write(true).create_new(true).open(&file) {
            Ok(_) => fs::remove_file(&file).map_err(|e| refused(e.to_string())),
            // A link to a file that is yet to be.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let what = refused("its folder does not exist".to_owned());
                Err(what.with_cure("create the folder, or name another file"))
            }
            Err(e) => Err(refused(e.to_string()).with_cure("name a file that can be written")),
        },
    }
}
