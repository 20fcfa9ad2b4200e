use super::*;

#[test]
fn an_object_is_compared_by_size_and_number_of_parts() {
    let meta = |size, etag: Option<&str>| ObjectMeta {
        location: Path::from("a"),
        last_modified: Default::default(),
        size,
        e_tag: etag.map(str::to_owned),
        version: None,
    };
    assert!(is_whole(&meta(10, None), 10, 3));
    assert!(is_whole(&meta(10, Some("\"0a1b-3\"")), 10, 3));
    assert!(is_whole(&meta(10, Some("plain")), 10, 3));
    assert!(!is_whole(&meta(11, Some("\"0a1b-3\"")), 10, 3));
    assert!(!is_whole(&meta(10, Some("\"0a1b-2\"")), 10, 3));
}
