//! What form a payload has on its way to the endpoint.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// What the body and headers of a request make of the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum PayloadForm {
    /// The payload alone.
    #[default]
    Raw,
    /// A CloudEvents 1.0 envelope in JSON with the payload in it.
    CloudeventsStructured(CloudEvents),
    /// The payload, with CloudEvents 1.0 attributes as `ce-` headers.
    CloudeventsBinary(CloudEvents),
}

/// What a CloudEvent says beside what its event says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloudEvents {
    /// Its `source`, a URI reference; `/applications/NAME` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://shop.example/orders")]
    pub source: Option<String>,
}

impl PayloadForm {
    const MAX_SOURCE: usize = 512;

    /// Why it cannot be used, naming the offending part.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let (Self::CloudeventsStructured(event) | Self::CloudeventsBinary(event)) = self else {
            return Ok(());
        };
        let Some(source) = &event.source else { return Ok(()) };
        let visible = source.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        // A reference is a URL when it is read from some base.
        let reference = Url::parse("http://base.example/").and_then(|base| base.join(source));
        if source.is_empty() || source.len() > Self::MAX_SOURCE || !visible || reference.is_err() {
            let why = format!("is not a URI reference of 1 to {} bytes", Self::MAX_SOURCE);
            return Err(("source", why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_source_is_a_uri_reference() {
        let check = |source: &str| {
            let form = json!({"form": "cloudevents_binary", "source": source});
            serde_json::from_value::<PayloadForm>(form).unwrap().check().is_ok()
        };
        for good in ["/shop", "https://shop.example/orders", "urn:uuid:1", "orders"] {
            assert!(check(good), "{good}");
        }
        for bad in ["", "a b", "é", "https://[", &"a".repeat(513)] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn the_raw_form_has_no_source() {
        let raw: PayloadForm = serde_json::from_value(json!({"form": "raw"})).unwrap();
        assert_eq!(raw, PayloadForm::default());
        let odd = json!({"form": "cloudevents_structured", "sauce": "/x"});
        assert!(serde_json::from_value::<PayloadForm>(odd).is_err());
    }
}
