//! Endpoints that misbehave, below and above HTTP.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::interval,
};

/// What an endpoint does with a request it has read.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Resets the connection instead of answering.
    Reset,
    /// Answers 200 and part of a body, and resets the connection.
    ResetInBody,
    /// Closes the connection in the middle of a body.
    CloseInBody,
    /// Says nothing.
    Silent,
    /// Sends half a head, and nothing more.
    SilentInHead,
    /// Answers 200 with a body to come, and nothing more.
    SilentAfterHead,
    /// Sends its head one byte a second.
    DripHead,
    /// Sends its body one byte a second.
    DripBody,
    /// Answers 200 with a body of ten gigabytes.
    Huge,
    /// Sends header lines without end.
    EndlessHead,
    /// Answers with what is not HTTP.
    Garbage,
    /// Answers this, word for word, and closes the connection.
    Say(&'static str),
}

/// A faulty endpoint on loopback, for as long as it lives.
#[derive(Debug)]
pub struct Faulty {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    taken: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    /// One that shows these faults, a connection each; the last one stays.
    pub async fn start(faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let faults: Vec<Fault> = faults.into_iter().collect();
        let (sent, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, accepted) = (Arc::clone(&sent), Arc::clone(&taken));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let at = accepted.fetch_add(1, Ordering::SeqCst).min(faults.len() - 1);
                tokio::spawn(misbehave(stream, faults[at].clone(), Arc::clone(&counted)));
            }
        });
        Self { address, sent, taken, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many bytes of body it could send.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many connections it took.
    pub fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";

/// Ends when its fault is shown, or the other side has had enough.
async fn misbehave(mut stream: TcpStream, fault: Fault, sent: Arc<AtomicU64>) {
    if read_request(&mut stream).await.is_none() {
        return;
    }
    // Whatever cannot be written any more: the other side has closed, as it should.
    let _ = match fault {
        Fault::Reset => stream.set_zero_linger(),
        Fault::ResetInBody => {
            let written =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
            // The head has to arrive before the reset sweeps everything away.
            gap(&mut stream).await;
            written.and(stream.set_zero_linger())
        }
        Fault::CloseInBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await
        }
        Fault::Silent => closed(&mut stream).await,
        Fault::SilentInHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await;
            closed(&mut stream).await
        }
        Fault::SilentAfterHead => {
            let _ = stream.write_all(HEAD.as_bytes()).await;
            closed(&mut stream).await
        }
        Fault::DripHead => drip(&mut stream, HEAD.as_bytes()).await,
        Fault::DripBody => {
            let _ = stream.write_all(HEAD.as_bytes()).await;
            drip(&mut stream, &[b'x'; 3600]).await
        }
        Fault::Huge => {
            let _ = stream.write_all(HEAD.as_bytes()).await;
            pour(&mut stream, &[b'x'; 64 << 10], &sent).await
        }
        Fault::EndlessHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            pour(&mut stream, b"x-more: of the same, and then some more of it\r\n", &sent).await
        }
        Fault::Garbage => stream.write_all(b"220 mail.example ESMTP\r\n\r\n").await,
        Fault::Say(words) => stream.write_all(words.as_bytes()).await,
    };
}

/// Waits a moment, or until the other side closes.
async fn gap(stream: &mut TcpStream) {
    let _ = tokio::time::timeout(Duration::from_millis(200), closed(stream)).await;
}

/// Waits until the other side closes.
async fn closed(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read(&mut [0; 1]).await.map(drop)
}

async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut seconds = interval(Duration::from_secs(1));
    for byte in bytes {
        seconds.tick().await;
        stream.write_all(&[*byte]).await?;
    }
    Ok(())
}

/// Sends the same again and again, counting, until nobody takes it.
async fn pour(stream: &mut TcpStream, bytes: &[u8], sent: &AtomicU64) -> std::io::Result<()> {
    loop {
        let written = stream.write(bytes).await?;
        sent.fetch_add(written as u64, Ordering::SeqCst);
    }
}

/// Reads one request with its body.
pub(crate) async fn read_request(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1)?;
            let length: usize = length.lines().next()?.trim().parse().ok()?;
            if bytes.len() >= end + 4 + length {
                return Some(bytes);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
