//! The one error type that leaves a module: what happened, and what to do.
//!
//! Modules keep precise private errors; at their border they become an
//! [`Error`], whose [`Kind`] is less specific and more prescriptive: it tells
//! the driver whether to try again, to leave a block alone or to stop, and it
//! maps onto the exit code of the process.

use std::error::Error as StdError;
use std::fmt;

use ulid::Ulid;

use crate::damage::Damage;

/// Result of everything above the codec.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What whoever runs Lithify has to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The next run may well succeed: store or network trouble, a full disk.
    Retry,
    /// One block is damaged; everything else can go on.
    Corrupt,
    /// A flag, a file or a right is wrong; nothing works until it is mended.
    Config,
    /// A rule of ours was broken: a bug. Nothing was marked.
    Internal,
    /// Somebody asked us to stop.
    Cancelled,
    /// Somebody else works on the bucket.
    Locked,
}

impl Kind {
    /// Stable lowercase name, used in logs, metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Corrupt => "corrupt",
            Self::Config => "config",
            Self::Internal => "internal",
            Self::Cancelled => "cancelled",
            Self::Locked => "locked",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with a kind, a place and, where one is known, a cure.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    what: String,
    cure: Option<String>,
    block: Option<Ulid>,
    damage: Option<Damage>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `what` is lowercase and names the place.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            cure: None,
            block: None,
            damage: None,
            source: None,
        }
    }

    /// The same error once more, for a second piece of work that it stopped.
    /// What lies below it becomes text.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            kind: self.kind,
            what: self.chain(),
            cure: self.cure.clone(),
            block: self.block,
            damage: self.damage,
            source: None,
        }
    }

    /// Adds the error below this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what the reader of the message can do about it.
    #[must_use]
    pub fn with_cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Names the block whose fault it is.
    #[must_use]
    pub fn with_block(mut self, block: Ulid) -> Self {
        self.block = Some(block);
        self
    }

    /// Says what is wrong with the block.
    #[must_use]
    pub fn with_damage(mut self, damage: Damage) -> Self {
        self.damage = Some(damage);
        self
    }

    /// Wraps this error with the larger task that failed; kind, cure, block and
    /// damage stay.
    #[must_use]
    pub fn context(self, what: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            what: what.into(),
            cure: self.cure.clone(),
            block: self.block,
            damage: self.damage,
            source: Some(Box::new(self)),
        }
    }

    /// What has to be done about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence that tells how to get rid of the error.
    pub fn cure(&self) -> Option<&str> {
        self.cure.as_deref()
    }

    /// The block whose fault it is, if it is known.
    pub fn block(&self) -> Option<Ulid> {
        self.block
    }

    /// What is wrong with the block, if one is damaged.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// The whole chain in one line, outermost first, for logs.
    pub fn chain(&self) -> String {
        let mut line = self.what.clone();
        let mut below: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(error) = below {
            let text = error.to_string();
            // Wrappers such as `#[error(transparent)]` repeat their inner text.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            below = error.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_every_level_once() {
        let inner = Error::new(Kind::Corrupt, "bad magic")
            .with_cure("mark it")
            .with_damage(Damage::ChunkChecksum);
        let outer = inner.context("block A").context("group B");
        assert_eq!(outer.chain(), "group B: block A: bad magic");
        assert_eq!(outer.kind(), Kind::Corrupt);
        assert_eq!(outer.cure(), Some("mark it"));
        assert_eq!(outer.damage(), Some(Damage::ChunkChecksum));
        let again = outer.again();
        assert_eq!(again.chain(), outer.chain());
        assert_eq!((again.kind(), again.cure()), (outer.kind(), outer.cure()));
    }
}
