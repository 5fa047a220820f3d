//! Values that are no plain number or text: lists that a variable can hold, too, and words.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        text.parse()
            .map_err(|_| de::Error::custom(format!("{text} is no network such as 10.0.0.0/8")))
    };
    texts(deserializer)?.into_iter().map(network).collect()
}

pub(super) fn name_servers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SocketAddr>, D::Error> {
    let server = |text: String| {
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| (ip, 53).into()));
        address.map_err(|_| {
            de::Error::custom(format!("{text} is no name server's address such as 10.0.0.2"))
        })
    };
    texts(deserializer)?.into_iter().map(server).collect()
}

/// A list, or a text with commas, which is what fits into a variable.
pub(super) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of texts, or one text with commas")]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    let mut texts = match Given::deserialize(deserializer)? {
        Given::List(texts) => texts,
        Given::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    texts.retain(|text| !text.is_empty());
    Ok(texts)
}
