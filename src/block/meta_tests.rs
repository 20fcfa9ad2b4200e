use super::*;

const ID: &str = "01K5M0000000000000000000A1";

fn text() -> String {
    format!(
        "{{\n\t\"ulid\": \"{ID}\",\n\t\"minTime\": -7,\n\t\"maxTime\": 7200000,\n\t\"stats\": {{\n\t\t\"numSamples\": 5,\n\t\t\"numSeries\": 1,\n\t\t\"fromTheFuture\": [\n\t\t\t1\n\t\t]\n\t}},\n\t\"compaction\": {{\n\t\t\"level\": 1,\n\t\t\"sources\": [\n\t\t\t\"{ID}\"\n\t\t]\n\t}},\n\t\"version\": 1,\n\t\"thanos\": {{\n\t\t\"labels\": {{\n\t\t\t\"cluster\": \"a\\u0026b\"\n\t\t}},\n\t\t\"downsample\": {{\n\t\t\t\"resolution\": 0\n\t\t}},\n\t\t\"source\": \"sidecar\",\n\t\t\"segment_files\": [\n\t\t\t\"000001\"\n\t\t],\n\t\t\"files\": [\n\t\t\t{{\n\t\t\t\t\"rel_path\": \"index\",\n\t\t\t\t\"size_bytes\": 12\n\t\t\t}},\n\t\t\t{{\n\t\t\t\t\"rel_path\": \"meta.json\"\n\t\t\t}}\n\t\t],\n\t\t\"index_stats\": {{}},\n\t\t\"upload_time\": \"0001-01-01T00:00:00Z\",\n\t\t\"alsoNew\": true\n\t}},\n\t\"new\": {{\n\t\t\"k\": \"<\"\n\t}}\n}}\n"
    )
    .replace("\"<\"", "\"\\u003c\"")
}

fn id() -> Ulid {
    Ulid::from_string(ID).unwrap()
}

#[test]
fn text_survives_byte_for_byte_with_unknown_keys() {
    let text = text();
    let meta = Meta::parse(id(), text.as_bytes()).unwrap();
    assert_eq!(meta.thanos.labels["cluster"], "a&b");
    assert_eq!(String::from_utf8(meta.to_json().unwrap()).unwrap(), text);
}

#[test]
fn null_labels_and_a_missing_thanos_section_are_empty() {
    let bare = format!(
        r#"{{"ulid":"{ID}","minTime":0,"maxTime":1,"version":1,"thanos":{{"labels":null,"files":null}}}}"#
    );
    let meta = Meta::parse(id(), bare.as_bytes()).unwrap();
    assert!(meta.thanos.labels.is_empty());
    let bare = format!(r#"{{"ulid":"{ID}","minTime":0,"maxTime":1,"version":1}}"#);
    assert_eq!(
        Meta::parse(id(), bare.as_bytes())
            .unwrap()
            .tsdb
            .compaction
            .level,
        0
    );
}

#[test]
fn what_cannot_be_trusted_is_refused() {
    let parse = |json: String| Meta::parse(id(), json.as_bytes()).unwrap_err();
    assert!(matches!(parse(String::new()), MetaError::Parse(_)));
    assert!(matches!(
        parse(text().replace("\"version\": 1", "\"version\": 2")),
        MetaError::Version(2)
    ));
    assert!(matches!(
        parse(text().replace("\"minTime\": -7", "\"minTime\": 7200001")),
        MetaError::Range(..)
    ));
    let other = text().replacen("A1\"", "A2\"", 1);
    assert!(matches!(parse(other), MetaError::OtherBlock(_)));
}

#[test]
fn compaction_takes_hull_level_and_union() {
    let one = Meta::parse(id(), text().as_bytes()).unwrap();
    let mut two = one.clone();
    two.tsdb.ulid = Ulid::from_parts(5, 5);
    two.tsdb.min_time = 7_200_000;
    two.tsdb.max_time = 14_400_000;
    two.tsdb.compaction.level = 3;
    two.tsdb.compaction.sources = vec![Ulid::from_parts(1, 1), id()];
    let made = BlockMeta::compacted(Ulid::nil(), &[&one.tsdb, &two.tsdb]).unwrap();
    assert_eq!((made.min_time, made.max_time), (-7, 14_400_000));
    assert_eq!(made.compaction.level, 4);
    assert_eq!(made.compaction.sources, [Ulid::from_parts(1, 1), id()]);
    assert_eq!(made.compaction.parents.len(), 2);
    assert!(BlockMeta::compacted(Ulid::nil(), &[]).is_none());
}

#[test]
fn the_largest_numbers_can_be_added_up() {
    let mut meta = Meta::parse(id(), text().as_bytes()).unwrap();
    meta.thanos.files[0].size_bytes = u64::MAX;
    meta.thanos.files[1].size_bytes = 1;
    assert_eq!(meta.stated_bytes(), u64::MAX);
    meta.tsdb.compaction.level = u32::MAX;
    let made = BlockMeta::compacted(Ulid::nil(), &[&meta.tsdb]).unwrap();
    assert_eq!(made.compaction.level, u32::MAX);
}
