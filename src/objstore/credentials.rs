//! Credentials that do not stand in the bucket configuration.
//!
//! Asked in Thanos' order: environment, shared credentials file, role. The
//! first that answers wins. Roles (web identity, container, instance) are
//! renewed by the library; the others are fixed for the life of the process.

use std::path::PathBuf;

use object_store::aws::AmazonS3ConfigKey;

use super::config::{Keys, Lookup, Secret};

/// Where the credentials come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Fixed keys.
    Keys(Keys),
    /// The chain of the AWS SDK.
    #[cfg(feature = "aws-sdk")]
    Chain(object_store::aws::AwsCredentialProvider),
    /// Settings of a role; none of them means the role of the instance.
    Role(Vec<(AmazonS3ConfigKey, String)>),
}

/// Looks for credentials.
pub(super) fn find(env: Lookup<'_>) -> Result<Source, String> {
    if let Some(keys) = from_env(env) {
        return Ok(Source::Keys(keys));
    }
    if let Some(keys) = from_shared_file(env)? {
        return Ok(Source::Keys(keys));
    }
    Ok(Source::Role(role_settings(env)))
}

fn from_env(env: Lookup<'_>) -> Option<Keys> {
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| set(env, name));
    Some(Keys {
        access_key: Secret::new(first(["AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY"])?),
        secret_key: Secret::new(first(["AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY"])?),
        session_token: Secret::new(set(env, "AWS_SESSION_TOKEN").unwrap_or_default()),
    })
}

fn set(env: Lookup<'_>, name: &str) -> Option<String> {
    env(name).filter(|value| !value.is_empty())
}

fn from_shared_file(env: Lookup<'_>) -> Result<Option<Keys>, String> {
    let file = match set(env, "AWS_SHARED_CREDENTIALS_FILE") {
        Some(file) => PathBuf::from(file),
        None => match set(env, "HOME") {
            Some(home) => PathBuf::from(home).join(".aws/credentials"),
            None => return Ok(None),
        },
    };
    // A file that is not there is the usual case in a pod.
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Ok(None);
    };
    let profile = set(env, "AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    read_profile(&text, &profile)
        .map_err(|what| format!("{}, profile {profile}: {what}", file.display()))
}

/// The keys of one `[profile]` of the INI text; `None` if it has none.
fn read_profile(text: &str, profile: &str) -> Result<Option<Keys>, &'static str> {
    let mut inside = false;
    let mut keys = Keys {
        access_key: Secret::default(),
        secret_key: Secret::default(),
        session_token: Secret::default(),
    };
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = name.trim() == profile;
            continue;
        }
        let Some((key, value)) = line
            .split_once('=')
            .filter(|_| inside && !line.starts_with(['#', ';']))
        else {
            continue;
        };
        let value = Secret::new(value.trim());
        match key.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => keys.access_key = value,
            "aws_secret_access_key" => keys.secret_key = value,
            "aws_session_token" => keys.session_token = value,
            "credential_process" => return Err("credential_process is not supported; give keys"),
            _ => {}
        }
    }
    let complete = !keys.access_key.is_empty() && !keys.secret_key.is_empty();
    Ok(complete.then_some(keys))
}

fn role_settings(env: Lookup<'_>) -> Vec<(AmazonS3ConfigKey, String)> {
    let names = [
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            AmazonS3ConfigKey::WebIdentityTokenFile,
        ),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
        ),
    ];
    names
        .into_iter()
        .filter_map(|(name, key)| Some((key, set(env, name)?)))
        .collect()
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
