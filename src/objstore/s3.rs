//! From a checked S3 configuration to a client of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, resolve_bucket_region};
#[cfg(feature = "aws-sdk")]
use object_store::client::ReqwestConnector;
use object_store::client::{HttpClient, HttpConnector};

use super::config::{Keys, Lookup, LookupStyle, S3Config, Secret, Sse};
use super::credentials;
use super::error::{Kind, Result, Scene};
use super::http;
use super::pace::Pacer;
#[cfg(feature = "aws-sdk")]
use super::sdk;
use super::sdk::Calls;
use super::wire::Wire;

/// The probe at the start shall fail soon. The library repeats it, everything
/// else is repeated by [`super::retry`].
const PROBE_RETRIES: usize = 2;
const PROBE_WINDOW: Duration = Duration::from_secs(15);

/// Clients of one bucket.
pub(super) struct Clients {
    /// For all work; it deletes one object per request.
    pub store: AmazonS3,
    /// The same, but it deletes many at once.
    pub bulk: AmazonS3,
    /// The same, but it gives up soon.
    pub probe: AmazonS3,
    /// What only the AWS SDK can ask, in a build that has it.
    pub calls: Option<Box<dyn Calls>>,
    /// `scheme://host` for messages.
    pub endpoint: String,
    /// What must never be printed.
    pub secrets: Vec<Secret>,
}

/// Builds the clients; `pacer` is asked before each request. Only a bucket on
/// AWS without `region` costs a request.
pub(super) async fn connect(
    config: &S3Config,
    env: Lookup<'_>,
    pacer: &Arc<Pacer>,
) -> Result<Clients> {
    let mut scene = Scene {
        bucket: config.bucket.clone(),
        ..Scene::default()
    };
    let options = http::options(&config.http, config.insecure, &scene)?;
    let wire = Wire::new(&config.http, pacer, &scene)?;
    let target = Target::of(config, find_region(config, &options).await);
    let source = source(config, env, &target.region, &scene).await?;
    if let credentials::Source::Keys(keys) = &source {
        let Keys {
            access_key,
            secret_key,
            session_token,
        } = keys.clone();
        scene.secrets = vec![access_key, secret_key, session_token];
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_endpoint(&target.url)
        .with_region(&target.region)
        .with_virtual_hosted_style_request(target.in_host)
        // One plain DELETE for one object: every store knows it.
        .with_disable_bulk_delete(true)
        .with_http_connector(wire.clone())
        .with_client_options(options.clone());
    if let Some(Sse::Customer(file)) = &config.sse {
        scene.secrets.push(Secret::new(customer_key(file, &scene)?));
    }
    builder = encrypt(builder, config, &scene)?;
    builder = authenticate(builder, source, config.sts_endpoint.as_deref());
    let build = |builder: AmazonS3Builder, retries: usize, window: Duration| {
        builder
            .with_retry(http::retry(retries, window))
            .build()
            .map_err(|err| scene.blame("", &err))
    };
    let store = build(builder.clone(), 0, Duration::ZERO)?;
    let client = wire.connect(&options);
    let client = client.map_err(|err| scene.blame("", &err))?;
    Ok(Clients {
        calls: calls(config, &target, &store, client),
        store,
        bulk: build(
            builder.clone().with_disable_bulk_delete(false),
            0,
            Duration::ZERO,
        )?,
        probe: build(builder, config.retries.min(PROBE_RETRIES), PROBE_WINDOW)?,
        endpoint: format!("{}://{}", scheme(config), target.host),
        secrets: scene.secrets,
    })
}

/// Where the credentials come from.
async fn source(
    config: &S3Config,
    env: Lookup<'_>,
    region: &str,
    scene: &Scene,
) -> Result<credentials::Source> {
    if let Some(keys) = &config.keys {
        return Ok(credentials::Source::Keys(keys.clone()));
    }
    #[cfg(feature = "aws-sdk")]
    if config.sdk_auth {
        let options = http::login_options(&config.http, scene)?;
        let client = ReqwestConnector::default().connect(&options);
        let client = client.map_err(|err| scene.blame("", &err))?;
        let chain = sdk::chain(region, client).await;
        return Ok(credentials::Source::Chain(chain));
    }
    #[cfg(not(feature = "aws-sdk"))]
    let _ = region;
    credentials::find(env).map_err(|what| scene.error(Kind::NoCredentials, "", what))
}

/// The SDK beside the store, with its connections and credentials.
#[cfg(feature = "aws-sdk")]
fn calls(
    config: &S3Config,
    target: &Target,
    store: &AmazonS3,
    http: HttpClient,
) -> Option<Box<dyn Calls>> {
    let client = sdk::SdkClient::new(sdk::Setup {
        bucket: &config.bucket,
        endpoint: &format!("{}://{}", scheme(config), target.host),
        region: &target.region,
        in_host: target.in_host,
        retries: config.retries,
        credentials: Arc::clone(store.credentials()),
        http,
    });
    Some(Box::new(client))
}

#[cfg(not(feature = "aws-sdk"))]
fn calls(_: &S3Config, _: &Target, _: &AmazonS3, _: HttpClient) -> Option<Box<dyn Calls>> {
    None
}

fn scheme(config: &S3Config) -> &'static str {
    if config.insecure { "http" } else { "https" }
}

async fn find_region(config: &S3Config, options: &ClientOptions) -> Option<String> {
    if config.region.is_some() {
        return config.region.clone();
    }
    match AwsHost::parse(&config.endpoint)?.region {
        Some(region) => Some(region),
        // Without an answer the request that follows says what is wrong.
        None => resolve_bucket_region(&config.bucket, options).await.ok(),
    }
}

/// Where requests go.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    url: String,
    region: String,
    /// The bucket's name is part of the host name.
    in_host: bool,
}

impl Target {
    fn of(config: &S3Config, region: Option<String>) -> Self {
        let region = region.unwrap_or_else(|| "us-east-1".to_owned());
        let aws = AwsHost::parse(&config.endpoint);
        let host = match &aws {
            Some(aws) => aws.host(&region, !config.disable_dualstack),
            None => config.endpoint.clone(),
        };
        let in_host = match config.lookup {
            LookupStyle::VirtualHosted => true,
            LookupStyle::Path => false,
            // A dot in the name would not match AWS' wildcard certificate.
            LookupStyle::Auto => aws.is_some() && !config.bucket.contains('.'),
        };
        let scheme = scheme(config);
        let url = if in_host {
            format!("{scheme}://{}.{host}", config.bucket)
        } else {
            format!("{scheme}://{host}")
        };
        Self {
            host,
            url,
            region,
            in_host,
        }
    }
}

/// A plain S3 host name of AWS: `s3[.dualstack][.region].amazonaws.com[.cn]`.
/// Others (FIPS, acceleration, private links) are used as they are.
struct AwsHost {
    region: Option<String>,
    suffix: &'static str,
}

impl AwsHost {
    fn parse(endpoint: &str) -> Option<Self> {
        let suffixes = ["amazonaws.com.cn", "amazonaws.com"];
        let (head, suffix) = suffixes
            .into_iter()
            .find_map(|suffix| Some((endpoint.strip_suffix(suffix)?, suffix)))?;
        let head = head.strip_suffix('.')?;
        let rest = head.strip_prefix("s3")?;
        let rest = rest.strip_prefix(".dualstack").unwrap_or(rest);
        if rest.is_empty() {
            return Some(Self {
                region: None,
                suffix,
            });
        }
        let region = rest.strip_prefix(['.', '-'])?;
        // A region looks like eu-west-1 or us-gov-east-1.
        let is_region = region.matches('-').count() >= 2
            && region.ends_with(|c: char| c.is_ascii_digit())
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        is_region.then(|| Self {
            region: Some(region.to_owned()),
            suffix,
        })
    }

    fn host(&self, region: &str, dualstack: bool) -> String {
        let stack = if dualstack { ".dualstack" } else { "" };
        format!("s3{stack}.{region}.{}", self.suffix)
    }
}

fn encrypt(builder: AmazonS3Builder, config: &S3Config, scene: &Scene) -> Result<AmazonS3Builder> {
    Ok(match &config.sse {
        None => builder,
        Some(Sse::S3) => {
            let key = "aws_server_side_encryption".parse::<AmazonS3ConfigKey>();
            let key = key.map_err(|err| scene.blame("", &err))?;
            builder.with_config(key, "AES256")
        }
        Some(Sse::Kms(id)) => builder.with_sse_kms_encryption(id),
        Some(Sse::Customer(file)) => builder.with_ssec_encryption(customer_key(file, scene)?),
    })
}

fn customer_key(file: &PathBuf, scene: &Scene) -> Result<String> {
    let fail = |what: String| {
        let detail = format!("sse_config.encryption_key {}: {what}", file.display());
        scene.error(Kind::Local, "", detail)
    };
    let key = std::fs::read(file).map_err(|err| fail(err.to_string()))?;
    if key.len() != 32 {
        return Err(fail(format!("holds {} bytes, a key has 32", key.len())));
    }
    Ok(base64(&key))
}

fn authenticate(
    mut builder: AmazonS3Builder,
    source: credentials::Source,
    sts_endpoint: Option<&str>,
) -> AmazonS3Builder {
    match source {
        credentials::Source::Keys(keys) => {
            builder = builder
                .with_access_key_id(keys.access_key.expose())
                .with_secret_access_key(keys.secret_key.expose());
            if !keys.session_token.is_empty() {
                builder = builder.with_token(keys.session_token.expose());
            }
        }
        #[cfg(feature = "aws-sdk")]
        credentials::Source::Chain(provider) => builder = builder.with_credentials(provider),
        credentials::Source::Role(settings) => {
            for (key, value) in settings {
                builder = builder.with_config(key, value);
            }
            // One key for two services: the token exchange and the instance.
            if let Some(url) = sts_endpoint {
                builder = builder
                    .with_config(AmazonS3ConfigKey::StsEndpoint, url)
                    .with_metadata_endpoint(url);
            }
        }
    }
    builder
}

/// Standard base64 with padding, for the one key that needs it.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    text
}

/// The erased form that a bucket keeps.
pub(super) fn limited(
    store: impl object_store::ObjectStore,
    limit: Option<usize>,
) -> Arc<dyn object_store::ObjectStore> {
    match limit {
        Some(limit) => Arc::new(object_store::limit::LimitStore::new(store, limit)),
        None => Arc::new(store),
    }
}

#[cfg(test)]
#[path = "s3_tests.rs"]
mod tests;
