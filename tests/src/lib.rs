//! What end-to-end tests stand on: a real server process, a client for its API, a receiver
//! that checks every signature, and plugins, good and hostile.
//!
//! Nothing here leaves loopback, and nothing sleeps: tests wait for what they expect.

mod client;
mod corpus;
mod faulty;
pub mod guide;
pub mod hardship;
mod hostile;
mod leaks;
mod names;
mod pathology;
mod receiver;
mod server;
mod tls;
mod tools;
mod versions;

pub use client::{Answer, Client};
pub use corpus::{GithubEvent, github_events, record_github_events};
pub use faulty::{Fault, Faulty};
pub use hostile::Hostile;
pub use leaks::leaks;
pub use names::NameServer;
pub use pathology::{pathologies, slow_to_compile, smithed};
pub use receiver::{Gate, Received, Receiver, Reply};
pub use server::{ADMIN_KEY, Server, binary};
pub use tls::{Authority, TlsEndpoint};
pub use tools::{github_payloads, npm_folder, plugin, python, python_with, repository};
pub use versions::{Act, Version};

use std::time::Duration;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
