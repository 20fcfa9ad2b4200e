//! From a checked AZURE configuration to a client of the store.

use std::sync::Arc;
use std::time::Duration;

use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};

use super::config::{AzureConfig, AzureLogin, Lookup};
use super::error::{Kind, Result, Scene};
use super::http::{options, retry};
use super::pace::Pacer;
use super::wire::Wire;

/// Builds the client; asks nothing of the store. `scene` gets the secrets.
///
/// # Errors
/// Certificates that cannot be read, a key that is none.
pub(super) fn connect(
    config: &AzureConfig,
    env: Lookup<'_>,
    scene: &mut Scene,
    pacer: &Arc<Pacer>,
) -> Result<MicrosoftAzure> {
    let insecure = config.url.starts_with("http://");
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_endpoint(config.url.clone())
        .with_client_options(options(&config.http, insecure, scene)?)
        .with_http_connector(Wire::new(&config.http, pacer, scene)?)
        .with_retry(retry(0, Duration::ZERO));
    match &config.login {
        AzureLogin::Key(key) => {
            scene.secrets.push(key.clone());
            builder = builder.with_access_key(key.expose());
        }
        AzureLogin::Signature(signature) => {
            scene.secrets.push(signature.clone());
            builder = builder.with_config(AzureConfigKey::SasKey, signature.expose());
        }
        AzureLogin::Application { tenant, id, secret } => {
            scene.secrets.push(secret.clone());
            builder = builder.with_client_secret_authorization(id, secret.expose(), tenant);
        }
        AzureLogin::Identity(id) => builder = builder.with_client_id(id),
        AzureLogin::Default => {
            for (key, name) in [
                (AzureConfigKey::ClientId, "AZURE_CLIENT_ID"),
                (AzureConfigKey::AuthorityId, "AZURE_TENANT_ID"),
                (AzureConfigKey::ClientSecret, "AZURE_CLIENT_SECRET"),
                (AzureConfigKey::AuthorityHost, "AZURE_AUTHORITY_HOST"),
                (
                    AzureConfigKey::FederatedTokenFile,
                    "AZURE_FEDERATED_TOKEN_FILE",
                ),
            ] {
                if let Some(value) = env(name).filter(|value| !value.is_empty()) {
                    builder = builder.with_config(key, value);
                }
            }
        }
    }
    builder.build().map_err(|_| {
        // The library's words would quote the key.
        let what = "storage_account_key, storage_connection_string or its endpoint cannot be used";
        scene.error(Kind::WrongCredentials, "", what)
    })
}
