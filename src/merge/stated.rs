//! Compares what a source says that it holds with what was read of it.
//!
//! Checksums cannot tell when files of different blocks were mixed; the numbers
//! of series, chunks and samples in `meta.json` can.

use super::MergeError;
use super::source::Stated;
use crate::tsdb::{Corrupt, Damage};

/// What the sources of a merge had.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Series, each once however many sources have it.
    pub seen: u64,
    /// Series and chunks of each source.
    pub read: Vec<(u64, u64)>,
}

/// Fails for the first source that states other numbers than it has; numbers
/// it does not state (0) are not compared. `samples` is by source, `None` where
/// not all chunks were looked at.
pub(super) fn check(
    stated: &[Option<Stated>],
    names: &[String],
    counted: &Counted,
    samples: Option<&[u64]>,
) -> Result<(), MergeError> {
    for (i, ((stated, name), &(series, chunks))) in
        stated.iter().zip(names).zip(&counted.read).enumerate()
    {
        let Some(stated) = stated else { continue };
        // Without any batch nothing was counted.
        let read = samples.map(|s| s.get(i).copied().unwrap_or(0));
        let columns = [
            ("series", stated.series, Some(series)),
            ("chunks", stated.chunks, Some(chunks)),
            ("samples", stated.samples, read),
        ];
        for (column, says, has) in columns {
            let Some(has) = has.filter(|&has| says != 0 && has != says) else {
                continue;
            };
            let what = format!("meta.json states {says} {column} where the block has {has}");
            let corrupt = Corrupt::at(0, what).because(Damage::MetaStatsMismatch);
            let error = corrupt.in_file(&format!("{name}/meta.json"), 0);
            return Err(MergeError::in_source(i, error.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stated: Stated, samples: Option<&[u64]>) -> Option<String> {
        let counted = Counted {
            seen: 3,
            read: vec![(1, 1), (3, 5)],
        };
        let names = ["a".to_owned(), "b".to_owned()];
        let result = check(&[None, Some(stated)], &names, &counted, samples);
        let error = result.err()?;
        assert_eq!(error.input, Some(1));
        Some(error.to_string())
    }

    #[test]
    fn each_number_is_compared_where_it_is_stated() {
        let right = Stated {
            series: 3,
            chunks: 5,
            samples: 70,
        };
        let samples: &[u64] = &[1, 70];
        assert_eq!(found(right, Some(samples)), None);
        assert_eq!(found(Stated::default(), Some(samples)), None);
        let wrong = Stated {
            samples: 71,
            ..right
        };
        let what = "b/meta.json: meta.json states 71 samples where the block has 70 at byte 0";
        assert_eq!(found(wrong, Some(samples)).as_deref(), Some(what));
        assert_eq!(found(wrong, None), None, "a sample of the series");
        for wrong in [Stated { series: 2, ..right }, Stated { chunks: 6, ..right }] {
            assert!(found(wrong, None).is_some());
        }
    }
}
