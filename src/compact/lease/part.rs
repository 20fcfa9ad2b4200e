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
    /// What selectors or a time range leave, of a shard or of all. Whoever divides
    /// a bucket in that way answers for it that no block is in two.
    Selection {
        /// Number of the shard, and how many there are.
        shard: Option<(u32, u32)>,
        /// A fingerprint of selectors and times.
        print: String,
    },
}

impl Part {
    /// Whether two runs over these parts may meet the same block.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let shards = self.shard().zip(other.shard());
        let apart = shards.is_some_and(|((a, n), (b, m))| n == m && a != b);
        let prints = self.print().zip(other.print());
        !apart && prints.is_none_or(|(a, b)| a == b)
    }

    fn shard(&self) -> Option<(u32, u32)> {
        match *self {
            Self::Shard { index, of } => Some((index, of)),
            Self::Selection { shard, .. } => shard,
            Self::Whole => None,
        }
    }

    fn print(&self) -> Option<&str> {
        match self {
            Self::Selection { print, .. } => Some(print),
            Self::Whole | Self::Shard { .. } => None,
        }
    }
}

/// What a name of a shard and that of a selection are joined by, or begin with.
const PRINT: &str = "part-";

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shard(), self.print()) {
            (None, None) => f.write_str("whole"),
            (Some((index, of)), None) => write!(f, "shard-{index}-of-{of}"),
            (None, Some(print)) => write!(f, "{PRINT}{print}"),
            (Some((index, of)), Some(print)) => {
                write!(f, "shard-{index}-of-{of}-{PRINT}{print}")
            }
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "whole" {
            return Ok(Self::Whole);
        }
        let (numbers, print) = match text.find(PRINT) {
            Some(0) => ("", Some(&text[PRINT.len()..])),
            Some(at) => {
                let numbers = text[..at].strip_suffix('-').filter(|n| !n.is_empty());
                let numbers = numbers.ok_or(())?;
                (numbers, Some(&text[at + PRINT.len()..]))
            }
            None => (text, None),
        };
        let is_print = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_hexdigit());
        if !print.is_none_or(is_print) {
            return Err(());
        }
        let shard = match numbers {
            "" => None,
            numbers => Some(shard(numbers)?),
        };
        match (shard, print) {
            (shard, Some(print)) => Ok(Self::Selection {
                shard,
                print: print.to_owned(),
            }),
            (Some((index, of)), None) => Ok(Self::Shard { index, of }),
            (None, None) => Err(()),
        }
    }
}

/// The numbers of `shard-3-of-16`.
fn shard(text: &str) -> Result<(u32, u32), ()> {
    let numbers = text.strip_prefix("shard-").ok_or(())?;
    let (index, of) = numbers.split_once("-of-").ok_or(())?;
    let (index, of) = (index.parse().map_err(drop)?, of.parse().map_err(drop)?);
    if index < of { Ok((index, of)) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u32, of: u32) -> Part {
        Part::Shard { index, of }
    }

    fn selection(shard: Option<(u32, u32)>, print: &str) -> Part {
        let print = print.to_owned();
        Part::Selection { shard, print }
    }

    #[test]
    fn only_shards_of_one_division_are_apart() {
        let (whole, a) = (Part::Whole, shard(0, 2));
        assert!(whole.overlaps(&whole) && whole.overlaps(&a) && a.overlaps(&whole));
        assert!(a.overlaps(&a) && !a.overlaps(&shard(1, 2)));
        assert!(a.overlaps(&shard(1, 3)) && a.overlaps(&shard(0, 4)));
    }

    #[test]
    fn different_selections_are_apart() {
        let (a, b) = (selection(None, "a1"), selection(None, "b2"));
        assert!(!a.overlaps(&b) && a.overlaps(&a) && a.overlaps(&Part::Whole));
        assert!(shard(0, 2).overlaps(&a));
        let of_first = selection(Some((0, 2)), "a1");
        assert!(of_first.overlaps(&shard(0, 2)) && !of_first.overlaps(&shard(1, 2)));
        assert!(of_first.overlaps(&a) && !of_first.overlaps(&b));
        assert!(!of_first.overlaps(&selection(Some((1, 2)), "a1")));
    }

    #[test]
    fn names_can_be_read_back() {
        for (part, name) in [
            (Part::Whole, "whole"),
            (shard(3, 16), "shard-3-of-16"),
            (selection(None, "00ff"), "part-00ff"),
            (selection(Some((3, 16)), "00ff"), "shard-3-of-16-part-00ff"),
        ] {
            assert_eq!(part.to_string(), name);
            assert_eq!(name.parse(), Ok(part));
        }
        for bad in [
            "",
            "Whole",
            "shard-2-of-2",
            "shard--1-of-2",
            "shard-1",
            "part-",
            "part-../x",
            "-part-00ff",
            "shard-1-of-2-",
            "shard-1-of-2part-00ff",
        ] {
            assert_eq!(bad.parse::<Part>(), Err(()), "{bad}");
        }
    }
}
