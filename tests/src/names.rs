//! A name server that says what it is told, and changes its mind when it is told to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::UdpSocket, task::JoinHandle};

const A: u16 = 1;

/// Answers on loopback for as long as it lives.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    /// Answers the first question for a host's IPv4 addresses with the first of `answers`,
    /// whatever the host, and so on; the last one stays. No answer: the host does not exist.
    pub async fn start<const N: usize>(answers: [&[[u8; 4]]; N]) -> Self {
        let answers: Vec<Vec<[u8; 4]>> = answers.iter().map(|answer| answer.to_vec()).collect();
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = socket.local_addr().expect("it is bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut bytes = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let Some((question, kind)) = question(&bytes[..length]) else { continue };
                let addresses = if kind == A {
                    let at = counted.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
                    answers[at].as_slice()
                } else {
                    &[]
                };
                let exists = answers.iter().any(|answer| !answer.is_empty());
                let answer = answer([bytes[0], bytes[1]], question, addresses, exists);
                if socket.send_to(&answer, from).await.is_err() {
                    return;
                }
            }
        });
        Self { address, asked, task }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How often it was asked for IPv4 addresses.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The question of a query, as its bytes and the type asked for.
fn question(query: &[u8]) -> Option<(&[u8], u16)> {
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(query[at]);
    }
    let question = query.get(12..at + 5)?;
    Some((question, u16::from_be_bytes([query[at + 1], query[at + 2]])))
}

fn answer(id: [u8; 2], question: &[u8], addresses: &[[u8; 4]], exists: bool) -> Vec<u8> {
    let mut bytes = id.to_vec();
    // An answer, recursion available; 3 is NXDOMAIN.
    bytes.extend([0x81, if exists { 0x80 } else { 0x83 }]);
    bytes.extend([0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    bytes.extend(question);
    for address in addresses {
        // The name in the question; A; IN; no time to live; four bytes.
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        bytes.extend(Ipv4Addr::from(*address).octets());
    }
    bytes
}
