//! The SDK's failures in the words of the data path.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

const STORE: &str = "S3";

/// What the store answered, or why it did not.
#[derive(Debug)]
struct Failure {
    text: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|err| err as _)
    }
}

/// Brings code, message and status into the form in which the data path's
/// errors carry them, so that `Scene::blame` reads both alike.
pub(super) fn translate<E>(err: SdkError<E, HttpResponse>) -> object_store::Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let failure = match err {
        SdkError::ServiceError(answer) => Failure {
            text: answered(
                answer.err().code(),
                answer.err().message(),
                answer.raw().status().as_u16(),
            ),
            source: None,
        },
        // An answer that is no XML of S3: a proxy's page, another service.
        SdkError::ResponseError(answer) => Failure {
            text: answered(None, None, answer.raw().status().as_u16()),
            source: None,
        },
        SdkError::TimeoutError(_) => Failure {
            text: answered(Some("RequestTimeout"), None, 408),
            source: None,
        },
        other => Failure {
            text: "the request was not answered".to_owned(),
            source: Some(other.into()),
        },
    };
    object_store::Error::Generic {
        store: STORE,
        source: Box::new(failure),
    }
}

fn answered(code: Option<&str>, message: Option<&str>, status: u16) -> String {
    let mut text = String::new();
    if let Some(code) = code {
        text.push_str(&format!("<Code>{code}</Code>"));
    }
    if let Some(message) = message {
        text.push_str(&format!("<Message>{message}</Message>"));
    }
    text.push_str(&format!(" status code: {status}"));
    text
}
