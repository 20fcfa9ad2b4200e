//! The connection below the client of a store: paces requests, hears what a
//! refusal says, and gives large uploads the time they need.
//!
//! The library takes a limit of one read from the connection also as the limit
//! of sending a request and waiting for the first byte of its answer. That suits
//! small requests. A large body on a slow line would be cut in the middle, so
//! those go through a client without that limit, and have a longer one here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ClientOptions, Result as StoreResult};

use super::config::HttpConfig;
use super::error::{Result, Scene};
use super::http::Connector;
use super::pace::Pacer;

/// Bodies from here on are large, bytes.
const LARGE: usize = 1 << 20;
/// Slowest line on which a large body arrives in time, bytes per second.
const SLOWEST: f64 = 65_536.0;

/// See [`crate::objstore::wire`].
#[derive(Debug, Clone)]
pub(super) struct Wire {
    connector: Connector,
    pacer: Arc<Pacer>,
    /// Limit of one read; `None` waits for ever.
    read_timeout: Option<Duration>,
}

impl Wire {
    /// # Errors
    /// A certificate or key file that cannot be used.
    pub fn new(http: &HttpConfig, pacer: &Arc<Pacer>, scene: &Scene) -> Result<Self> {
        Ok(Self {
            connector: Connector::new(http, scene)?,
            pacer: Arc::clone(pacer),
            read_timeout: http.read_timeout,
        })
    }
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> StoreResult<HttpClient> {
        Ok(HttpClient::new(Line {
            client: self.connector.connect(options, self.read_timeout)?,
            wire: self.clone(),
            options: options.clone(),
            large: OnceLock::new(),
        }))
    }
}

#[derive(Debug)]
struct Line {
    client: HttpClient,
    wire: Wire,
    options: ClientOptions,
    /// The client of large bodies, without a limit of one read; made for the first
    /// of them.
    large: OnceLock<HttpClient>,
}

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        self.wire.pacer.admit().await;
        let answer = match (self.wire.read_timeout, request.body().content_length()) {
            (Some(limit), LARGE..) => self.send_large(request, limit).await?,
            _ => self.client.execute(request).await?,
        };
        if matches!(answer.status().as_u16(), 429 | 503) {
            let rest = answer.headers().get("retry-after");
            let rest = rest.and_then(|value| value.to_str().ok()).and_then(seconds);
            self.wire.pacer.refused(rest);
        }
        Ok(answer)
    }
}

impl Line {
    async fn send_large(
        &self,
        request: HttpRequest,
        limit: Duration,
    ) -> std::result::Result<HttpResponse, HttpError> {
        let client = match self.large.get() {
            Some(client) => client,
            None => {
                let made = self.wire.connector.connect(&self.options, None);
                let made = made.map_err(|err| HttpError::new(HttpErrorKind::Unknown, err))?;
                self.large.get_or_init(|| made)
            }
        };
        let bytes = request.body().content_length();
        let limit = limit + Duration::from_secs_f64(bytes as f64 / SLOWEST);
        match tokio::time::timeout(limit, client.execute(request)).await {
            Ok(answer) => answer,
            Err(over) => Err(HttpError::new(HttpErrorKind::Timeout, over)),
        }
    }
}

/// Reads a `Retry-After` in seconds; the other form, a date, needs a clock that
/// agrees with the store's, and no store that we know sends it.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_a_number_of_seconds() {
        assert_eq!(seconds(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(seconds("0"), Some(Duration::ZERO));
        for other in [
            "",
            "-1",
            "1.5",
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(other), None, "{other}");
        }
    }
}
