//! From the precise errors below to the one that tells what to do.

use ulid::Ulid;

use crate::error::{Error, Kind};
use crate::merge::MergeError;
use crate::objstore;
use crate::tsdb::{self, Damage};

impl From<objstore::Error> for Error {
    fn from(e: objstore::Error) -> Self {
        let error = Self::new(kind_of(&e), e.summary());
        match e.kind.cure() {
            Some(cure) => error.with_cure(cure),
            None => error,
        }
    }
}

fn kind_of(e: &objstore::Error) -> Kind {
    match e.kind {
        objstore::Kind::Changed | objstore::Kind::Local | objstore::Kind::Full => Kind::Retry,
        objstore::Kind::Stopped => Kind::Cancelled,
        kind if kind.is_transient() => Kind::Retry,
        _ => Kind::Config,
    }
}

impl From<objstore::ConfigError> for Error {
    fn from(e: objstore::ConfigError) -> Self {
        Self::new(Kind::Config, e.to_string())
            .with_cure("compare it with the objstore.yml of thanos; docs/operations.md has one")
    }
}

/// Says which of the merged blocks is to blame, and for what.
pub fn of_merge(error: MergeError, inputs: &[Ulid]) -> Error {
    let blamed = error.input.and_then(|i| inputs.get(i)).copied();
    let damage = match &error.error {
        tsdb::Error::Corrupt(corrupt) => Some(corrupt.damage),
        _ => None,
    };
    let kind = match &error.error {
        tsdb::Error::Corrupt(_) => Kind::Corrupt,
        tsdb::Error::Read { source, .. } | tsdb::Error::Write { source, .. } => source
            .downcast_ref::<objstore::Error>()
            .map_or(Kind::Retry, kind_of),
        tsdb::Error::Limit(_) => Kind::Config,
        tsdb::Error::Misuse(_) => Kind::Internal,
    };
    let cure = cure_of_io(&error.error);
    let what = match blamed {
        Some(block) => format!("block {block}"),
        None => "merge".to_owned(),
    };
    let mut failed = Error::new(kind, what).with_source(error);
    if let Some(block) = blamed {
        failed = failed.with_block(block);
    }
    if let Some(damage) = damage {
        failed = failed.with_damage(damage);
    }
    match (kind, blamed) {
        (Kind::Corrupt, Some(block)) => {
            failed.with_cure(damage.unwrap_or(Damage::Malformed).cure(block))
        }
        // A table that came back from scratch otherwise than it was written.
        (Kind::Corrupt, None) => failed.with_cure(
            "nothing was marked; check the disk under --data-dir and the memory of the machine",
        ),
        (Kind::Internal, _) => {
            failed.with_cure("this is a bug in lithify; nothing was marked, please report it")
        }
        _ => match cure {
            Some(cure) => failed.with_cure(cure),
            None => failed,
        },
    }
}

/// The error for a damaged place in a file of a block.
pub(super) fn of_file(corrupt: tsdb::Corrupt, block: Ulid) -> Error {
    let error = MergeError {
        input: Some(0),
        series: None,
        error: corrupt.into(),
    };
    of_merge(error, &[block])
}

/// How to mend what the bucket or the scratch disk failed with.
fn cure_of_io(error: &tsdb::Error) -> Option<&'static str> {
    let (tsdb::Error::Read { source, .. } | tsdb::Error::Write { source, .. }) = error else {
        return None;
    };
    if let Some(error) = source.downcast_ref::<objstore::Error>() {
        return error.kind.cure();
    }
    let error = source.downcast_ref::<std::io::Error>()?;
    Some(if objstore::is_full(error.kind()) {
        "nothing was marked and scratch is free again; raise --max-scratch, or free space \
         under --data-dir or give a larger disk there"
    } else {
        "nothing was marked; check the disk under --data-dir"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_of_ours_is_no_damage_of_a_block() {
        let error = MergeError {
            input: None,
            series: Some("{job=\"z\"}".to_owned()),
            error: tsdb::Error::Misuse("chunks made of several are wrong".to_owned()),
        };
        let error = of_merge(error, &[Ulid::from_parts(1, 1)]);
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!((error.block(), error.damage()), (None, None));
        let text = error.chain();
        assert!(text.contains("job=\"z\""), "{text}");
        let cure = error.cure().unwrap();
        assert!(cure.contains("a bug in lithify"), "{cure}");
    }
}
