//! What can be wrong with the bytes of a block.

use std::borrow::Cow;
use std::fmt;

use crate::damage::Damage;

/// Result of everything in [`crate::tsdb`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One damaged place in one file of a block.
///
/// Decoders that see only a slice leave `file` empty and count `offset` from
/// the slice; whoever knows the file adds it with [`Corrupt::in_file`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// Object name, `<ULID>/index` or `<ULID>/chunks/000001`; empty if unknown.
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// What was found there, lowercase, without a full stop.
    pub what: Cow<'static, str>,
    /// The same for programs.
    pub damage: Damage,
}

impl Corrupt {
    /// A damaged place `offset` bytes into a slice whose file is not yet known.
    /// The reason is a general one until [`Corrupt::because`] gives a better.
    pub fn at(offset: usize, what: impl Into<Cow<'static, str>>) -> Self {
        Self {
            file: String::new(),
            offset: offset as u64,
            what: what.into(),
            damage: Damage::Malformed,
        }
    }

    /// Gives the reason.
    #[must_use]
    pub fn because(mut self, damage: Damage) -> Self {
        self.damage = damage;
        self
    }

    /// Names the file and moves the offset by where the slice began in it.
    /// A file that is already named stays. A general reason becomes that of the
    /// file.
    #[must_use]
    pub fn in_file(mut self, file: &str, slice_start: u64) -> Self {
        if self.file.is_empty() {
            self.file = file.to_owned();
            self.damage = self.damage.in_file(file);
            self.offset = self.offset.saturating_add(slice_start);
        }
        self
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            write!(f, "{} at byte {}", self.what, self.offset)
        } else {
            write!(f, "{}: {} at byte {}", self.file, self.what, self.offset)
        }
    }
}

impl std::error::Error for Corrupt {}

/// Precise error of the block format layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes themselves are wrong: no retry helps.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The bytes could not be fetched; `source` says whether a retry helps.
    #[error("{file}: read at byte {offset}")]
    Read {
        /// Object name.
        file: String,
        /// Bytes from the start of the object.
        offset: u64,
        /// What the store or the operating system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bytes could not be stored.
    #[error("{file}: write")]
    Write {
        /// Object name.
        file: String,
        /// What the store or the operating system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A limit of the format itself, for example a 2^32 symbol count.
    #[error("{0}")]
    Limit(String),
    /// The caller broke a rule of the format, for example series out of order.
    #[error("{0}")]
    Misuse(String),
}

impl Error {
    /// Names the file of a [`Corrupt`] that was found in a slice of it.
    #[must_use]
    pub fn in_file(self, file: &str, slice_start: u64) -> Self {
        match self {
            Self::Corrupt(c) => Self::Corrupt(c.in_file(file, slice_start)),
            other => other,
        }
    }
}
