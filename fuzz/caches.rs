//! The reader of cached metas.

use bytes::Bytes;
use lithify::compact::cache::{Unusable, decode, encode, entry_bytes, is_small, set_unshared};

use super::repair;

/// A cache of metas, as it lies on disk and in the bucket.
pub fn meta_cache(data: &[u8]) {
    one(data);
    let repaired = repair::meta_cache(data);
    if repaired != data {
        one(&repaired);
    }
}

fn one(data: &[u8]) {
    let image = match decode(&Bytes::copy_from_slice(data)) {
        Ok(image) => image,
        Err(why) => {
            assert!(!why.to_string().is_empty());
            return assert_ne!(why, Unusable::Version(1));
        }
    };
    let mut sum = 0;
    for (name, entry) in &image.entries {
        assert!(is_small(name), "{name} is no small object");
        sum += entry_bytes(name, entry).expect("what was read has a place");
    }
    // Magic, numbers and checksum; no byte is left over.
    assert_eq!(sum + 24, data.len());
    let entries = image.entries.iter();
    let mut again = encode(entries.map(|(name, entry)| (name.as_str(), entry)));
    set_unshared(&mut again, image.unshared);
    assert_eq!(again.len(), data.len());
    assert_eq!(decode(&Bytes::from(again)).unwrap(), image);
}
