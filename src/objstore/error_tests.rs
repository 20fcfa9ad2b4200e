use super::{Error, Kind, Scene};
use crate::objstore::config::Secret;

fn scene() -> Scene {
    Scene {
        bucket: "blocks".to_owned(),
        endpoint: "https://s3:9000".to_owned(),
        secrets: vec![Secret::new("hush-hush"), Secret::new("ab"), Secret::new("")],
    }
}

fn generic(text: &str) -> object_store::Error {
    object_store::Error::Generic {
        store: "S3",
        source: text.to_owned().into(),
    }
}

#[test]
fn texts_name_place_reason_and_cure() {
    let err = scene()
        .error(Kind::Changed, "01A/index", "5 bytes now")
        .at(77);
    let wanted = "bucket blocks: 01A/index at byte 77: the object changed while it was read \
                  (5 bytes now); make sure that nothing else writes to this block, then run again";
    assert_eq!(err.to_string(), wanted);
    let err = scene().error(Kind::NotFound, "01A/index", "");
    assert_eq!(
        err.to_string(),
        "bucket blocks: 01A/index: the object does not exist"
    );
    let err = scene().error(Kind::MissingBucket, "", "");
    assert!(
        err.to_string()
            .starts_with("bucket blocks: the bucket does not exist; create it")
    );
}

#[test]
fn nothing_secret_gets_through() {
    for text in [
        "said hush-hush",
        "at https://user:hush-hush@host/b/o?X-Amz-Signature=f00&X-Amz-Credential=f00",
        "at 'http://host/b?Signature=f00'",
        "POST https://sts/?WebIdentityToken=f00",
    ] {
        let err = scene().blame("o", &generic(text));
        let shown = format!("{err} {err:?}");
        assert!(
            !shown.contains("hush-hush") && !shown.contains("f00"),
            "{shown}"
        );
    }
    // A secret of two letters is not worth blanking out half of all words.
    let err = scene().blame("o", &generic("about absence"));
    assert_eq!(err.detail, "about absence");
    let kept = scene().blame("o", &generic("at http://host/b/o now"));
    assert_eq!(kept.detail, "at http://host/b/o now");
}

#[test]
fn long_answers_are_cut() {
    let err = scene().blame("o", &generic(&"é\n".repeat(5000)));
    assert!(err.detail.chars().count() <= 400 && !err.detail.contains('\n'));
}

#[test]
fn credentials_that_cannot_be_fetched_are_no_network_problem() {
    let text = "Error performing PUT http://169.254.169.254/latest/api/token in 1s - timeout";
    assert_eq!(scene().blame("", &generic(text)).kind, Kind::NoCredentials);
    let text = "Error performing POST REDACTED in 1s - Server returned non-2xx status code: 403";
    assert_eq!(
        scene().blame("", &generic(text)).kind,
        Kind::WrongCredentials
    );
}

#[test]
fn retries_are_for_passing_faults() {
    let transient = |kind: Kind| kind.is_transient();
    assert!(
        transient(Kind::Throttled) && transient(Kind::Unreachable) && transient(Kind::Truncated)
    );
    assert!(
        !transient(Kind::Denied) && !transient(Kind::MissingBucket) && !transient(Kind::Changed)
    );
}

#[test]
fn errors_stay_small() {
    // A result of a hot read path carries one.
    assert!(std::mem::size_of::<Error>() <= 128);
}
