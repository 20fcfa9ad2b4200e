//! From a checked GCS configuration to a client of the store.

use std::sync::Arc;
use std::time::Duration;

use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};

use super::config::{GcsConfig, Lookup};
use super::error::{Kind, Result, Scene};
use super::http::{options, retry};
use super::pace::Pacer;
use super::wire::Wire;

/// The variable that names a file of credentials.
const CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";

/// Builds the client; asks nothing of the store. `scene` gets the secrets.
///
/// # Errors
/// Certificates or credentials that cannot be read.
pub(super) fn connect(
    config: &GcsConfig,
    env: Lookup<'_>,
    scene: &mut Scene,
    pacer: &Arc<Pacer>,
) -> Result<GoogleCloudStorage> {
    scene.secrets = vec![config.service_account.clone(), config.private_key.clone()];
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&config.bucket)
        .with_client_options(options(&config.http, emulated(config), scene)?)
        .with_http_connector(Wire::new(&config.http, pacer, scene)?)
        .with_retry(retry(0, Duration::ZERO));
    if !config.service_account.is_empty() {
        builder = builder.with_service_account_key(config.service_account.expose());
    } else if let Some(file) = env(CREDENTIALS).filter(|file| !file.is_empty()) {
        builder = builder.with_application_credentials(file);
    }
    builder.build().map_err(|err| {
        // The library's words may quote a broken file.
        let error = scene.blame("", &err);
        let what = format!("service_account or {CREDENTIALS}: {}", error.kind);
        scene.error(Kind::NoCredentials, "", what)
    })
}

/// Emulators have no TLS; their address stands in the service account.
fn emulated(config: &GcsConfig) -> bool {
    config.service_account.expose().contains("\"http://")
}
