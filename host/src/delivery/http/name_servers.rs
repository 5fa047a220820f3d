//! Asks the name servers that an operator names, instead of the machine's resolver.
//!
//! Owns the questions over UDP, and over TCP for what does not fit. Never remembers an answer:
//! an address is asked for at the moment it is connected to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, rdata::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::resolve::Resolve;

/// How long a server is given before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer over UDP without extensions, with room for servers that overdo it.
const MAX_DATAGRAM: usize = 4096;

/// The servers, in the order they are asked.
#[derive(Debug)]
pub(super) struct NameServers(pub Vec<SocketAddr>);

#[async_trait]
impl Resolve for NameServers {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let name = Name::new(host.trim_end_matches('.'))
            .map_err(|_| "the host's name cannot be asked for".to_owned())?;
        let mut failure = "no name server is set".to_owned();
        for &server in &self.0 {
            let both = async {
                tokio::try_join!(ask(server, &name, TYPE::A), ask(server, &name, TYPE::AAAA))
            };
            match timeout(PATIENCE, both).await {
                Ok(Ok((mut addresses, v6))) => {
                    addresses.extend(v6);
                    return Ok(addresses);
                }
                Ok(Err(Refusal::NoSuchName)) => return Err("the host's name does not exist".into()),
                Ok(Err(Refusal::Failed(why))) => failure = format!("name server {server}: {why}"),
                Err(_) => failure = format!("name server {server} did not answer"),
            }
        }
        Err(failure)
    }
}

/// Why there is no answer.
enum Refusal {
    /// It is one: there is no such name.
    NoSuchName,
    /// Another server may know.
    Failed(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

async fn ask(server: SocketAddr, name: &Name<'_>, kind: TYPE) -> Result<Vec<IpAddr>, Refusal> {
    // A number and a port nobody can guess: whoever forges an answer has to.
    let id = getrandom::u32().map_err(|error| Refusal::Failed(error.to_string()))? as u16;
    let question = Question::new(name.clone(), QTYPE::TYPE(kind), CLASS::IN.into(), false);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(question);
    let query = packet.build_bytes_vec().map_err(|error| Refusal::Failed(error.to_string()))?;
    let bytes = over_udp(server, &query, id, name).await?;
    match read(&bytes, id, name) {
        Some(Ok(answer)) if answer.has_flags(PacketFlag::TRUNCATION) => {
            addresses(&over_tcp(server, &query).await?, id, name)
        }
        _ => addresses(&bytes, id, name),
    }
}

/// The answer to this query; others may arrive before it.
async fn over_udp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    name: &Name<'_>,
) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut bytes = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if read(&bytes[..length], id, name).is_some() {
            bytes.truncate(length);
            return Ok(bytes);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = u16::try_from(query.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A reply; none if it is not one to this question.
fn read<'a>(bytes: &'a [u8], id: u16, name: &Name<'_>) -> Option<Result<Packet<'a>, Refusal>> {
    let packet = Packet::parse(bytes).ok()?;
    let ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.questions.iter().all(|question| same(&question.qname, name));
    ours.then(|| match packet.rcode() {
        RCODE::NoError => Ok(packet),
        RCODE::NameError => Err(Refusal::NoSuchName),
        code => Err(Refusal::Failed(format!("answered {code:?}"))),
    })
}

fn same(one: &Name<'_>, other: &Name<'_>) -> bool {
    one.to_string().eq_ignore_ascii_case(&other.to_string())
}

/// The addresses in an answer. A server that was asked for recursion has followed aliases, so
/// whatever names they bear, they are the host's.
fn addresses(bytes: &[u8], id: u16, name: &Name<'_>) -> Result<Vec<IpAddr>, Refusal> {
    let packet = read(bytes, id, name)
        .unwrap_or_else(|| Err(Refusal::Failed("answered another question".into())))?;
    let found = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(v4) => Some(Ipv4Addr::from(v4.address).into()),
        RData::AAAA(v6) => Some(Ipv6Addr::from(v6.address).into()),
        _ => None,
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use simple_dns::{
        ResourceRecord,
        rdata::{A, AAAA},
    };
    use tokio::net::TcpListener;

    use super::*;

    /// Turns a query into its answer.
    fn answered(query: &[u8], truncated: bool) -> Vec<u8> {
        let asked = Packet::parse(query).unwrap();
        let name = asked.questions[0].qname.clone();
        let rdata = match asked.questions[0].qtype {
            QTYPE::TYPE(TYPE::A) => RData::A(A { address: u32::from(Ipv4Addr::LOCALHOST) }),
            _ => RData::AAAA(AAAA { address: u128::from(Ipv6Addr::LOCALHOST) }),
        };
        let mut reply = asked.clone().into_reply();
        if truncated {
            reply.set_flags(PacketFlag::TRUNCATION);
        } else {
            reply.answers.push(ResourceRecord::new(name, CLASS::IN, 0, rdata));
        }
        reply.build_bytes_vec().unwrap()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_asked_for_over_tcp_and_strangers_are_not_heard() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(server).await.unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            loop {
                let (length, from) = udp.recv_from(&mut bytes).await.unwrap();
                let mut forged = answered(&bytes[..length], false);
                forged[0] ^= 1;
                udp.send_to(&forged, from).await.unwrap();
                udp.send_to(b"nonsense", from).await.unwrap();
                udp.send_to(&answered(&bytes[..length], true), from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                let answer = answered(&query, false);
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        let found = NameServers(vec![server]).addresses("a.example").await.unwrap();
        assert_eq!(found, [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]);
    }

    #[tokio::test]
    async fn the_next_server_is_asked_when_one_is_not_there() {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let failed = NameServers(vec![gone]).addresses("a.example").await.unwrap_err();
        assert!(failed.starts_with("name server 127.0.0.1:"), "{failed}");
        assert!(NameServers(vec![]).addresses("a.example").await.is_err());
        assert!(NameServers(vec![gone]).addresses(&"a".repeat(300)).await.is_err());
    }
}
