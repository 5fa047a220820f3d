//! The own limits of applications and event types: a resource beside each of them, and a field
//! of each in the file.

use serde_json::{Map, Value, json};

use super::{
    compare::{Difference, compared},
    document::Item,
    plan::What,
};
use crate::cli::{client::Client, output::Failure};

/// Where an item's own limits are not as declared, and what mends that.
pub(super) async fn differing(
    client: &Client,
    item: &Item,
    is_there: bool,
) -> Result<(Vec<Difference>, Vec<What>), Failure> {
    let Some(declared) = item.fields.get("limits") else {
        return Ok((Vec::new(), Vec::new()));
    };
    let collection = item.kind.section().replace('_', "-");
    let shown = if is_there {
        client.get(&[&collection, item.name(), "limits"], &[]).await?["own"].take()
    } else {
        json!({})
    };
    let found = compared("limits", &json!({ "limits": shown }), declared);
    if found.is_empty() {
        return Ok((found, Vec::new()));
    }
    let path = vec![collection, item.name().to_owned(), "limits".to_owned()];
    Ok((found, vec![What::Put(path, declared.clone())]))
}

/// Adds own limits to what is exported, if there are any. Only an admin key may know; false if
/// this is none.
pub(super) async fn add(
    client: &Client,
    collection: &str,
    name: &str,
    fields: &mut Map<String, Value>,
) -> Result<bool, Failure> {
    match client.get(&[collection, name, "limits"], &[]).await {
        Ok(mut shown) => {
            let own = shown["own"].take();
            if own.as_object().is_some_and(|own| !own.is_empty()) {
                fields.insert("limits".into(), own);
            }
            Ok(true)
        }
        Err(failure) if failure.needs_admin() => Ok(false),
        Err(failure) => Err(failure),
    }
}
