//! The SDK's own chain of credentials for the data path (`aws_sdk_auth`):
//! environment, profiles with roles, SSO and processes, web identity, container
//! and instance.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::client::HttpClient;
use tokio::sync::Mutex;

use super::StoreResult;
use super::transport::Transport;
use crate::runtime::clock::{Clock, SystemClock};

/// Credentials are renewed so long before they expire, milliseconds.
const EARLY_MS: i64 = 5 * 60 * 1000;
/// Those that do not expire are asked for again after this, milliseconds: their
/// file may have changed.
const KEEP_MS: i64 = 15 * 60 * 1000;

/// Reads profiles and environment; asks for credentials only when they are needed.
pub(in crate::objstore) async fn chain(region: &str, http: HttpClient) -> AwsCredentialProvider {
    let loaded = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .http_client(Transport(http))
        .load()
        .await;
    Arc::new(Chain {
        provider: loaded.credentials_provider(),
        kept: Mutex::new(None),
    })
}

/// Keeps what the chain answered until it expires.
#[derive(Debug)]
struct Chain {
    provider: Option<SharedCredentialsProvider>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    credential: Arc<AwsCredential>,
    until_ms: i64,
}

#[async_trait]
impl CredentialProvider for Chain {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> StoreResult<Arc<AwsCredential>> {
        let mut kept = self.kept.lock().await;
        let now_ms = SystemClock.now_ms();
        if let Some(kept) = kept.as_ref().filter(|kept| now_ms < kept.until_ms) {
            return Ok(Arc::clone(&kept.credential));
        }
        let found = match &self.provider {
            Some(provider) => provider.provide_credentials().await.map_err(refused)?,
            None => return Err(refused(CredentialsError::not_loaded_no_source())),
        };
        let expires = found
            .expiry()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let expires_ms = expires.and_then(|since| i64::try_from(since.as_millis()).ok());
        let credential = Arc::new(AwsCredential {
            key_id: found.access_key_id().to_owned(),
            secret_key: found.secret_access_key().to_owned(),
            token: found.session_token().map(str::to_owned),
        });
        *kept = Some(Kept {
            credential: Arc::clone(&credential),
            until_ms: expires_ms.map_or(now_ms + KEEP_MS, |at| at - EARLY_MS),
        });
        Ok(credential)
    }
}

/// Nobody had credentials, or somebody should have and failed.
fn refused(err: CredentialsError) -> object_store::Error {
    if matches!(err, CredentialsError::CredentialsNotLoaded(_)) {
        return object_store::Error::Generic {
            store: "S3",
            // By these words the cause is told from a failure of the store.
            source: "no source of security-credentials answered".into(),
        };
    }
    object_store::Error::Unauthenticated {
        path: String::new(),
        source: Box::new(err),
    }
}
