//! The SDK's requests on the HTTP client of the data path.

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient as StoreClient, HttpError, HttpErrorKind, HttpRequest as StoreRequest,
    HttpRequestBody,
};

/// An answer is a page of names or a document of rules; bytes.
const LARGEST_ANSWER: usize = 16 << 20;

/// The client that object_store built from our configuration.
#[derive(Debug, Clone)]
pub(super) struct Transport(pub StoreClient);

impl HttpClient for Transport {
    // The time limits are those of the client itself.
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        None
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move { call(&client, request).await })
    }
}

async fn call(client: &StoreClient, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let bad = |err: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(err);
    let request = request.try_into_http1x().map_err(|err| bad(err.into()))?;
    let (parts, body) = request.into_parts();
    // Everything we ask for has a short body or none.
    let body = match body.bytes() {
        Some(bytes) => HttpRequestBody::from(bytes.to_vec()),
        None => return Err(bad("a request with a streaming body".into())),
    };
    let answer = client
        .execute(StoreRequest::from_parts(parts, body))
        .await
        .map_err(failed)?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await;
    let body = body.map_err(|err| match err.downcast::<HttpError>() {
        Ok(http) => failed(*http),
        Err(err) => ConnectorError::other(err, None),
    })?;
    let mut response = HttpResponse::new(parts.status.into(), SdkBody::from(body.to_bytes()));
    for (name, value) in &parts.headers {
        // Headers that are no text are none that we read.
        if let Ok(value) = value.to_str() {
            response
                .headers_mut()
                .append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

/// The class decides whether the SDK tries again.
fn failed(err: HttpError) -> ConnectorError {
    match err.kind() {
        HttpErrorKind::Timeout => ConnectorError::timeout(Box::new(err)),
        HttpErrorKind::Connect | HttpErrorKind::Interrupted | HttpErrorKind::Request => {
            ConnectorError::io(Box::new(err))
        }
        _ => ConnectorError::other(Box::new(err), None),
    }
}
