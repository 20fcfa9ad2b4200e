//! Which blocks a merge makes.

use crate::downsample::{FIVE_MINUTES_MS, ONE_HOUR_MS};

/// Resolutions that are written. Lower ones are made from the merged chunks in
/// the same pass, whether those are written themselves or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Products {
    /// Window of the sources' samples in ms, 0 for raw.
    pub from: i64,
    /// The merged chunks themselves.
    pub merged: bool,
    /// Windows of 5 minutes, of raw sources.
    pub five_minutes: bool,
    /// Windows of 1 hour, of raw sources or of such with windows of 5 minutes.
    pub one_hour: bool,
}

/// Number of different products.
pub(super) const LEVELS: usize = 3;

impl Products {
    /// Only the merged chunks of sources with windows of `from` ms.
    pub fn merged(from: i64) -> Self {
        Self {
            from,
            merged: true,
            five_minutes: false,
            one_hour: false,
        }
    }

    /// Whether anything is downsampled.
    pub fn downsamples(&self) -> bool {
        self.five_minutes || self.one_hour
    }

    /// Windows of the blocks that are made, ms, ascending; 0 for raw.
    pub fn resolutions(&self) -> impl Iterator<Item = i64> + use<> {
        self.levels().map(|(_, resolution)| resolution)
    }

    /// Blocks that are made, at most [`LEVELS`].
    pub fn count(&self) -> usize {
        self.levels().count()
    }

    /// Number (0 for the merged chunks) and window of what is made.
    pub(super) fn levels(&self) -> impl Iterator<Item = (usize, i64)> + use<> {
        let all = [
            (self.merged, self.from),
            (self.five_minutes, FIVE_MINUTES_MS),
            (self.one_hour, ONE_HOUR_MS),
        ];
        let wanted = all.into_iter().enumerate();
        wanted.filter_map(|(level, (wanted, resolution))| wanted.then_some((level, resolution)))
    }

    /// What is wrong with the choice; `None` if it can be made.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        if self.count() == 0 {
            Some("a merge that makes nothing")
        } else if self.five_minutes && self.from != 0 {
            Some("windows of 5 minutes are made of raw samples only")
        } else if self.one_hour && !matches!(self.from, 0 | FIVE_MINUTES_MS) {
            Some("windows of 1 hour are made of raw samples or windows of 5 minutes only")
        } else {
            None
        }
    }
}
