//! Which part of a bucket a lease guards.

use std::fmt;
use std::str::FromStr;

/// A part of a bucket that one run works on at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// All of it.
    Whole,
    /// The streams whose group key falls to number `index` of `of`, from 0.
    Shard {
        /// Number of the shard.
        index: u32,
        /// How many there are.
        of: u32,
    },
    /// What selectors or a time range leave, by a fingerprint of them. Whoever
    /// divides a bucket in that way answers for it that no block is in two.
    Selection(String),
}

impl Part {
    /// Whether two runs over these parts may meet the same block.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Shard { of: a, .. }, Self::Shard { of: b, .. }) if a == b => self == other,
            (Self::Selection(a), Self::Selection(b)) => a == b,
            _ => true,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Shard { index, of } => write!(f, "shard-{index}-of-{of}"),
            Self::Selection(print) => write!(f, "selection-{print}"),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "whole" {
            return Ok(Self::Whole);
        }
        if let Some(print) = text.strip_prefix("selection-") {
            let good = !print.is_empty() && print.bytes().all(|b| b.is_ascii_hexdigit());
            return if good {
                Ok(Self::Selection(print.to_owned()))
            } else {
                Err(())
            };
        }
        let numbers = text.strip_prefix("shard-").ok_or(())?;
        let (index, of) = numbers.split_once("-of-").ok_or(())?;
        let (index, of) = (index.parse().map_err(drop)?, of.parse().map_err(drop)?);
        if index < of {
            Ok(Self::Shard { index, of })
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u32, of: u32) -> Part {
        Part::Shard { index, of }
    }

    #[test]
    fn only_shards_of_one_division_are_apart() {
        let (whole, a) = (Part::Whole, shard(0, 2));
        let selection = |print: &str| Part::Selection(print.to_owned());
        assert!(whole.overlaps(&whole) && whole.overlaps(&a) && a.overlaps(&whole));
        assert!(a.overlaps(&a) && !a.overlaps(&shard(1, 2)));
        assert!(a.overlaps(&shard(1, 3)) && a.overlaps(&shard(0, 4)));
        assert!(!selection("a1").overlaps(&selection("b2")));
        assert!(selection("a1").overlaps(&selection("a1")));
        assert!(selection("a1").overlaps(&whole) && a.overlaps(&selection("a1")));
    }

    #[test]
    fn names_can_be_read_back() {
        for part in [Part::Whole, shard(3, 16), Part::Selection("00ff".into())] {
            assert_eq!(part.to_string().parse(), Ok(part));
        }
        for bad in [
            "",
            "Whole",
            "shard-2-of-2",
            "shard--1-of-2",
            "shard-1",
            "selection-",
            "selection-../x",
        ] {
            assert_eq!(bad.parse::<Part>(), Err(()), "{bad}");
        }
    }
}
