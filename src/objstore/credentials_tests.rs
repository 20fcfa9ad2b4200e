use super::*;

fn env<'a>(vars: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| {
        vars.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    }
}

fn keys(source: Source) -> (String, String, String) {
    match source {
        Source::Keys(keys) => (
            keys.access_key.expose().to_owned(),
            keys.secret_key.expose().to_owned(),
            keys.session_token.expose().to_owned(),
        ),
        other => panic!("no keys: {other:?}"),
    }
}

fn triple(a: &str, s: &str, t: &str) -> (String, String, String) {
    (a.to_owned(), s.to_owned(), t.to_owned())
}

const FILE: &str = "\
# comment
[default]
aws_access_key_id = A1
aws_secret_access_key=S1=with=equals

[ profile two ]
aws_access_key_id = A2
aws_secret_access_key = S2
aws_session_token = T2
; aws_session_token = no
[half]
aws_access_key_id = A3
[process]
credential_process = /bin/x
";

#[test]
fn environment_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();
    let vars = [
        ("AWS_SHARED_CREDENTIALS_FILE", file),
        ("AWS_ACCESS_KEY", "A0"),
        ("AWS_SECRET_ACCESS_KEY", "S0"),
    ];
    assert_eq!(keys(find(&env(&vars)).unwrap()), triple("A0", "S0", ""));
    // Half a pair is none.
    assert_eq!(
        keys(find(&env(&vars[..2])).unwrap()),
        triple("A1", "S1=with=equals", "")
    );
    let named = [vars[0], ("AWS_PROFILE", "profile two")];
    assert_eq!(keys(find(&env(&named)).unwrap()), triple("A2", "S2", "T2"));
    let err = find(&env(&[vars[0], ("AWS_PROFILE", "process")])).unwrap_err();
    assert!(
        err.contains("credential_process") && err.contains("profile process"),
        "{err}"
    );
}

#[test]
fn shared_file_lies_in_the_home_directory() {
    let home = tempfile::tempdir().unwrap();
    let vars = [("HOME", home.path().to_str().unwrap())];
    assert!(matches!(find(&env(&vars)).unwrap(), Source::Role(_)));
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    std::fs::write(home.path().join(".aws/credentials"), FILE).unwrap();
    assert_eq!(
        keys(find(&env(&vars)).unwrap()),
        triple("A1", "S1=with=equals", "")
    );
    let half = [vars[0], ("AWS_PROFILE", "half")];
    assert!(matches!(find(&env(&half)).unwrap(), Source::Role(_)));
}

#[test]
fn roles_take_their_settings_from_the_environment() {
    let vars = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn:x"),
        ("AWS_ENDPOINT", "http://elsewhere"),
        ("AWS_ROLE_SESSION_NAME", ""),
    ];
    let Source::Role(settings) = find(&env(&vars)).unwrap() else {
        panic!("a role expected");
    };
    let wanted = [
        (AmazonS3ConfigKey::WebIdentityTokenFile, "/token".to_owned()),
        (AmazonS3ConfigKey::RoleArn, "arn:x".to_owned()),
    ];
    assert_eq!(settings, wanted, "nothing else of AWS_* redirects us");
}
