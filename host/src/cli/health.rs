//! `hookmill subscriptions --failing`: what to look at first at 3 a.m.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Global,
    output::{self, Failure, field},
};
use crate::clock::Clock;

/// Lists subscriptions whose endpoints fail, a line each.
pub(super) async fn list(global: &Global, limit: usize) -> Result<(), Failure> {
    let only = [("failing", Some("true".to_owned()))];
    let items = global.client()?.list(&["subscriptions"], &only, limit).await?;
    if global.json {
        output::json(&items.into());
        return Ok(());
    }
    if items.is_empty() {
        output::say("no endpoint fails");
    }
    let now = Clock::system().now();
    for item in &items {
        output::data(line(item, now));
    }
    Ok(())
}

/// `sub_…  https://…   breaker open 4 m   503 ×37   next probe in 20 s   212 waiting`.
fn line(subscription: &Value, now: Timestamp) -> String {
    let health = &subscription["health"];
    let time = |name: &str| health[name].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let ago = |at: Timestamp| output::span(now.duration_since(at));
    let mut parts =
        vec![format!("{}  {}", field(subscription, "id"), field(subscription, "endpoint"))];
    match (field(subscription, "state").as_str(), field(health, "breaker").as_str()) {
        ("active", "closed") => {}
        ("active", breaker) => {
            let since = time("breaker_since").map(|at| format!(" {}", ago(at)));
            parts.push(format!(
                "breaker {}{}",
                breaker.replace('_', "-"),
                since.unwrap_or_default()
            ));
        }
        (state, _) => parts.push(state.to_owned()),
    }
    if let Some(since) = time("failing_since") {
        parts.push(format!("failing for {}", ago(since)));
    }
    let last = health["last_status"].as_u64().map(|status| status.to_string());
    let last = last.or_else(|| health["last_outcome"].as_str().map(str::to_owned));
    if let Some(last) = last {
        parts.push(format!("{last} ×{}", field(health, "in_a_row")));
    }
    if let Some(probe) = time("next_probe_at") {
        parts.push(format!("next probe in {}", output::span(probe.duration_since(now))));
    }
    parts.push(format!("{} waiting", output::count(health["waiting"].as_u64().unwrap_or(0))));
    parts.join("   ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_is_wrong_and_what_comes_next() {
        let now: Timestamp = "2026-11-02T03:04:00Z".parse().unwrap();
        let mut item = json!({"id": "sub_1", "endpoint": "https://shop.example/hooks", "state": "active",
            "health": {"breaker": "open", "breaker_since": "2026-11-02T03:00:00Z",
                "next_probe_at": "2026-11-02T03:04:20Z", "failing_since": "2026-11-02T02:59:00Z",
                "failures": 40, "last_outcome": "http_status", "last_status": 503, "in_a_row": 37,
                "waiting": 1212}});
        assert_eq!(
            line(&item, now),
            "sub_1  https://shop.example/hooks   breaker open 4 m   failing for 5 m   503 ×37   \
             next probe in 20 s   1,212 waiting"
        );
        item["state"] = "disabled".into();
        item["health"] = json!({"breaker": "closed", "last_outcome": "refused", "in_a_row": 2,
            "waiting": 0});
        assert_eq!(
            line(&item, now),
            "sub_1  https://shop.example/hooks   disabled   refused ×2   0 waiting"
        );
    }
}
