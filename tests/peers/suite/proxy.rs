//! A proxy between Lithify and a store that counts what changes the store, and
//! calls somebody after each such answer has come, before it is passed on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Called with the number of the change, from 1.
type Hook = Box<dyn FnMut(u64) + Send>;

/// Serves until the process ends.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    changes: Arc<AtomicU64>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Proxy {
    /// Passes everything on to a port of this machine.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            changes: Arc::default(),
            hook: Arc::default(),
        };
        let serving = proxy.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let proxy = serving.clone();
                // A client that hangs up, or was killed, ends its thread only.
                std::thread::spawn(move || proxy.serve(client, to));
            }
        });
        proxy
    }

    /// Counts from 0 again, and calls `hook` from now on.
    pub fn watch(&self, hook: impl FnMut(u64) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
        self.changes.store(0, Ordering::SeqCst);
    }

    /// Changes since [`Self::watch`].
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn serve(&self, client: TcpStream, to: u16) -> Option<()> {
        let server = TcpStream::connect(("127.0.0.1", to)).ok()?;
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, mut to_client) = (BufReader::new(client.try_clone().ok()?), client);
        let (mut from_server, mut to_server) = (BufReader::new(server.try_clone().ok()?), server);
        loop {
            let request = head(&mut from_client)?;
            to_server.write_all(&request.bytes).ok()?;
            request.body(false, &mut from_client, &mut to_server)?;
            let answer = head(&mut from_server)?;
            let mut kept = answer.bytes.clone();
            let bodyless = request.is("HEAD") || answer.has_no_body();
            if !bodyless {
                answer.body(true, &mut from_server, &mut kept)?;
            }
            if ["PUT", "POST", "DELETE"].iter().any(|m| request.is(m)) {
                let number = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
                if let Some(hook) = self.hook.lock().unwrap().as_mut() {
                    hook(number);
                }
            }
            to_client.write_all(&kept).ok()?;
        }
    }
}

/// First line and fields of a request or an answer.
struct Head {
    bytes: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
}

fn head(from: &mut impl BufRead) -> Option<Head> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let read = from.read_until(b'\n', &mut bytes).ok()?;
        if read == 0 {
            return None;
        }
        if bytes[before..] == *b"\r\n" {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    Some(Head {
        length: field("content-length:").and_then(|n| n.parse().ok()),
        chunked: field("transfer-encoding:").is_some_and(|t| t == "chunked"),
        bytes,
    })
}

impl Head {
    fn is(&self, method: &str) -> bool {
        self.bytes.starts_with(format!("{method} ").as_bytes())
    }

    fn has_no_body(&self) -> bool {
        [&b"HTTP/1.1 204"[..], b"HTTP/1.1 304", b"HTTP/1.1 1"]
            .iter()
            .any(|start| self.bytes.starts_with(start))
    }

    /// Copies the body; one without length ends with the connection, in an answer.
    fn body(&self, answer: bool, from: &mut impl BufRead, to: &mut impl Write) -> Option<()> {
        if self.chunked {
            loop {
                let mut line = Vec::new();
                from.read_until(b'\n', &mut line).ok()?;
                to.write_all(&line).ok()?;
                let text = String::from_utf8_lossy(&line);
                let size = text.trim().split(';').next().unwrap_or_default();
                let size = u64::from_str_radix(size, 16).ok()?;
                // With the line end behind it.
                std::io::copy(&mut from.take(size + 2), to).ok()?;
                if size == 0 {
                    return Some(());
                }
            }
        }
        match self.length {
            Some(length) => std::io::copy(&mut from.take(length), to).ok().map(drop),
            None if answer => std::io::copy(from, to).ok().map(drop),
            None => Some(()),
        }
    }
}
