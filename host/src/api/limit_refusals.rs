//! Where limits refuse, keys of requests, and a server that can take no more: said of each operation
//! of the OpenAPI document here once.

use utoipa::openapi::{RefOr, path::Operation};

use super::{docs::described, once, problem::Code};

/// Adds how limits refuse an operation to what it says of itself.
pub(super) fn add(method: &str, path: &str, operation: &mut Operation) {
    for (code, description) in refusals(method, path, operation) {
        add_one(operation, code, description);
    }
}

/// What is stored under a quota, besides what is created, or may be asked under a key: of keys there
/// are so many, too.
const UNDER_QUOTA: [&str; 2] = ["publish_event", "receive"];

/// How limits refuse an operation, and a server that can take no more. Every request of an
/// application's key is counted, whatever it asks for.
fn refusals(method: &str, path: &str, operation: &Operation) -> Vec<(Code, &'static str)> {
    let mut refusals = Vec::new();
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if !path.starts_with("/v1/") && !path.starts_with("/in/") {
        return refusals;
    }
    refusals.push((
        Code::RateLimited,
        "More is asked than a rate limit allows (`rate-limited`); `limit` says which.",
    ));
    let keyed = path.starts_with("/v1/") && once::takes(method, id);
    if keyed {
        refusals.push((
            Code::IdempotencyConflict,
            "The Idempotency-Key stands for another request (`idempotency-conflict`), or for one of which nobody knows what came (`outcome-unknown`).",
        ));
    }
    if keyed || UNDER_QUOTA.contains(&id) {
        refusals.push((
            Code::QuotaExceeded,
            "The application has or stores as much as it may (`quota-exceeded`); `quota`, `limit` and `used` say of what.",
        ));
    }
    if method != "get" {
        refusals.push((
            Code::Overloaded,
            "More comes than the server can take (`overloaded`), or its database takes no change (`storage-unavailable`).",
        ));
    }
    refusals
}

/// Adds a refusal to those of the same status.
fn add_one(operation: &mut Operation, code: Code, description: &str) {
    let status = code.status().as_u16().to_string();
    match operation.responses.responses.get_mut(&status) {
        Some(RefOr::T(there)) if there.description.is_empty() => {
            description.clone_into(&mut there.description);
        }
        Some(RefOr::T(there)) => {
            there.description.push(' ');
            there.description.push_str(description);
        }
        _ => {
            operation.responses.responses.insert(status, described(code, description).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::docs::{openapi, operations};

    #[test]
    fn how_limits_refuse_is_said_wherever_they_do() {
        let mut document = openapi();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let name = operation.operation_id.clone().unwrap_or_default();
                let says =
                    |status: &str, code: Code| match operation.responses.responses.get(status) {
                        Some(RefOr::T(response)) => response.description.contains(code.slug()),
                        _ => false,
                    };
                let is_counted = path.starts_with("/v1/") || path.starts_with("/in/");
                assert_eq!(says("429", Code::RateLimited), is_counted, "{name}");
                let takes = is_counted && method != "get";
                assert_eq!(says("503", Code::Overloaded), takes, "{name}");
                assert_eq!(says("503", Code::StorageUnavailable), takes, "{name}");
                let keyed = path.starts_with("/v1/") && once::takes(method, &name);
                assert_eq!(says("409", Code::OutcomeUnknown), keyed, "{name}");
                let under_quota = keyed || UNDER_QUOTA.contains(&name.as_str());
                assert_eq!(says("403", Code::QuotaExceeded), under_quota, "{name}");
            }
        }
    }
}
