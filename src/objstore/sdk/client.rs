//! The SDK's client, made of the parts of the data path.

use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use object_store::aws::AwsCredentialProvider;
use object_store::client::HttpClient;

use super::failure::translate;
use super::transport::Transport;
use super::{Calls, ListedUpload, PartPage, StoreResult, UploadMarker, UploadPage};

/// Attempts of a call, the first included: none of them is worth long waits.
const MOST_ATTEMPTS: u32 = 3;
/// Limit of a call with its repeats.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What a client is made of.
pub(in crate::objstore) struct Setup<'a> {
    pub bucket: &'a str,
    /// `scheme://host`, without the bucket's name.
    pub endpoint: &'a str,
    pub region: &'a str,
    /// The bucket's name goes into the host name.
    pub in_host: bool,
    /// Repeats of a failed request of the data path.
    pub retries: usize,
    pub credentials: AwsCredentialProvider,
    pub http: HttpClient,
}

/// The SDK's client of one bucket.
pub(in crate::objstore) struct SdkClient {
    client: Client,
    bucket: String,
}

impl SdkClient {
    pub fn new(setup: Setup<'_>) -> Self {
        let attempts = u32::try_from(setup.retries).unwrap_or(u32::MAX);
        let attempts = attempts.saturating_add(1).min(MOST_ATTEMPTS);
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(setup.endpoint)
            .region(Region::new(setup.region.to_owned()))
            .force_path_style(!setup.in_host)
            .credentials_provider(Provider(setup.credentials))
            // The provider below keeps and renews them already.
            .identity_cache(IdentityCache::no_cache())
            .http_client(Transport(setup.http))
            .retry_config(RetryConfig::standard().with_max_attempts(attempts))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(CALL_TIMEOUT)
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Stores that imitate S3 do not all know the newer checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self {
            client: Client::from_conf(config),
            bucket: setup.bucket.to_owned(),
        }
    }
}

#[async_trait]
impl Calls for SdkClient {
    async fn uploads(&self, prefix: &str, after: Option<UploadMarker>) -> StoreResult<UploadPage> {
        let request = self.client.list_multipart_uploads().bucket(&self.bucket);
        let request = request.set_prefix(Some(prefix.to_owned()).filter(|p| !p.is_empty()));
        let request = match after {
            Some(after) => request
                .key_marker(after.key)
                .upload_id_marker(after.upload_id),
            None => request,
        };
        let answer = request.send().await.map_err(translate)?;
        let next = (answer.is_truncated() == Some(true)).then(|| UploadMarker {
            key: answer.next_key_marker().unwrap_or_default().to_owned(),
            upload_id: answer
                .next_upload_id_marker()
                .unwrap_or_default()
                .to_owned(),
        });
        let listed = |upload: &aws_sdk_s3::types::MultipartUpload| {
            Some(ListedUpload {
                key: upload.key()?.to_owned(),
                upload_id: upload.upload_id()?.to_owned(),
                begun_ms: upload.initiated().and_then(|at| at.to_millis().ok()),
            })
        };
        Ok(UploadPage {
            uploads: answer.uploads().iter().filter_map(listed).collect(),
            next,
        })
    }

    async fn parts(
        &self,
        key: &str,
        upload_id: &str,
        after: Option<String>,
    ) -> StoreResult<PartPage> {
        let request = self.client.list_parts().bucket(&self.bucket);
        let request = request.key(key).upload_id(upload_id);
        let request = request.set_part_number_marker(after);
        let answer = request.send().await.map_err(translate)?;
        let next = answer.next_part_number_marker().map(str::to_owned);
        let sizes = answer.parts().iter();
        let sizes = sizes.filter_map(|part| u64::try_from(part.size()?).ok());
        Ok(PartPage {
            bytes: sizes.fold(0, u64::saturating_add),
            next: next.filter(|_| answer.is_truncated() == Some(true)),
        })
    }

    async fn abort(&self, key: &str, upload_id: &str) -> StoreResult<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket);
        let request = request.key(key).upload_id(upload_id);
        request.send().await.map(drop).map_err(translate)
    }
}

/// The data path's provider, as the SDK wants it.
#[derive(Debug)]
struct Provider(AwsCredentialProvider);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let found = self.0.get_credential().await;
            let found = found.map_err(CredentialsError::provider_error)?;
            Ok(Credentials::new(
                &found.key_id,
                &found.secret_key,
                found.token.clone(),
                None,
                "lithify",
            ))
        })
    }
}
