//! Tells a supervisor that speaks systemd's protocol how far the server is: one datagram to the
//! socket it named. Without one, nothing happens.

use std::os::{
    linux::net::SocketAddrExt,
    unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
};

use crate::{clock::Clock, config};

/// Requests are taken.
pub(super) const READY: &str = "READY=1";
/// The server comes to its end.
pub(super) const STOPPING: &str = "STOPPING=1";

/// The configuration is being read again; `READY` says that it was.
pub(super) fn reloading() -> String {
    // By the time it tells whether this is the answer to what it asked for.
    format!("RELOADING=1\nMONOTONIC_USEC={}", Clock::monotonic_micros())
}

/// Says a state.
pub(super) fn tell(state: &str) {
    let Some(name) = config::supervisor_socket() else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the supervisor could not be told {state}");
    }
}
