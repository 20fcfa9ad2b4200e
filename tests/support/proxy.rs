//! A connection between a client and an S3 server that is as bad as a test wants
//! it to be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server answers.
    Pass,
    /// 503, with the seconds of a `Retry-After`.
    Refuse(Option<u32>),
    /// 500, and the server never saw it.
    Fail,
    /// The connection breaks before the server sees it.
    BreakBefore,
    /// The server has answered, and the connection breaks.
    BreakAfter,
    /// The connection breaks in the middle of the body of the answer.
    Cut,
    /// Nothing comes any more in the middle of the body of the answer.
    Stall,
}

/// A request as the proxy sees it.
#[derive(Debug)]
pub struct Request {
    /// From 0.
    pub number: u64,
    pub method: String,
    /// Path and query.
    pub target: String,
}

type Rule = dyn Fn(&Request) -> Fate + Send + Sync;

/// Listens on a loopback port until dropped.
pub struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `upstream` (`host:port`).
    pub async fn start(
        upstream: String,
        rule: impl Fn(&Request) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("address");
        let rule: Arc<Rule> = Arc::new(rule);
        let numbers = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (rule, numbers) = (Arc::clone(&rule), Arc::clone(&numbers));
                let upstream = upstream.clone();
                tokio::spawn(async move {
                    // Whoever hangs up has what it wanted.
                    let _ = serve(socket, &upstream, &*rule, &numbers).await;
                });
            }
        });
        Self { address, task }
    }

    /// `host:port`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where the head of a message ends, its empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    Some(at + 4)
}

/// Reads one request; `None` at the end of the connection.
async fn read_request(socket: &mut TcpStream) -> std::io::Result<Option<(Vec<u8>, usize)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = head_end(&bytes) {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0_usize);
            if bytes.len() >= end + length {
                return Ok(Some((bytes, end)));
            }
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

async fn serve(
    mut socket: TcpStream,
    upstream: &str,
    rule: &Rule,
    numbers: &AtomicU64,
) -> std::io::Result<()> {
    while let Some((bytes, end)) = read_request(&mut socket).await? {
        let first = String::from_utf8_lossy(&bytes[..end]);
        let mut words = first.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let request = Request {
            number: numbers.fetch_add(1, Ordering::SeqCst),
            method: word(),
            target: word(),
        };
        let fate = rule(&request);
        match fate {
            Fate::Refuse(rest) => {
                let rest = rest.map_or(String::new(), |s| format!("Retry-After: {s}\r\n"));
                let body = "<Error><Code>SlowDown</Code><Message>slowly</Message></Error>";
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 503 Slow Down\r\n{rest}Content-Length: {length}\r\n\r\n{body}"
                );
                socket.write_all(answer.as_bytes()).await?;
            }
            Fate::Fail => {
                let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
                socket.write_all(answer).await?;
            }
            Fate::BreakBefore => return Ok(()),
            _ => {
                let answer = forward(upstream, &bytes, end).await?;
                return deliver(socket, &answer, fate).await;
            }
        }
    }
    Ok(())
}

/// The server's whole answer; its connection ends with it.
async fn forward(upstream: &str, request: &[u8], end: usize) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    // Before the empty line; what is signed is not touched.
    server.write_all(&request[..end - 2]).await?;
    server.write_all(b"Connection: close\r\n\r\n").await?;
    server.write_all(&request[end..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn deliver(mut socket: TcpStream, answer: &[u8], fate: Fate) -> std::io::Result<()> {
    let end = head_end(answer).unwrap_or(answer.len());
    let half = end + (answer.len() - end) / 2;
    match fate {
        Fate::BreakAfter => {}
        Fate::Cut => socket.write_all(&answer[..half]).await?,
        Fate::Stall => {
            socket.write_all(&answer[..half]).await?;
            // Until the client has had enough.
            let _ = socket.read(&mut [0]).await;
        }
        _ => socket.write_all(answer).await?,
    }
    Ok(())
}
