//! Edits against the same changes made to a parsed value. Too long to stand beside them.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

enum Change {
    Set(&'static str, &'static str),
    Remove(&'static str),
}
use Change::{Remove, Set};

fn edited(text: &str, changes: &[Change]) -> Result<String, EditError> {
    let document = Document::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut editor = Editor::new(&document, 1 << 20)?;
    for change in changes {
        match change {
            Set(pointer, value) => editor.set(pointer, value)?,
            Remove(pointer) => editor.remove(pointer)?,
        }
        assert_eq!(scan::scan(&editor.text).as_ref(), Ok(&editor.nodes), "{}", editor.text);
    }
    Ok(editor.finish())
}

#[test]
fn what_is_not_edited_stays_as_it_was_written() {
    let text = "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 2 , 3 ] , \"c\" : {} }";
    for (changes, expected) in [
        (&[Set("/a", " 2 ")][..], "{ \"a\" : 2 ,\n  \"b\" : [ 1 , 2 , 3 ] , \"c\" : {} }"),
        (
            &[Set("/c/x~1y", "[]")],
            "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 2 , 3 ] , \"c\" : {\"x/y\":[]} }",
        ),
        (
            &[Set("/d", "null")],
            "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 2 , 3 ] , \"c\" : {},\"d\":null }",
        ),
        (&[Set("/b/-", "4")], "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 2 , 3,4 ] , \"c\" : {} }"),
        (&[Remove("/a")], "{ \"b\" : [ 1 , 2 , 3 ] , \"c\" : {} }"),
        (&[Remove("/c")], "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 2 , 3 ] }"),
        (&[Remove("/b/1")], "{ \"a\" : 1.0 ,\n  \"b\" : [ 1 , 3 ] , \"c\" : {} }"),
        (
            &[Remove("/b/0"), Remove("/b/0"), Remove("/b/0")],
            "{ \"a\" : 1.0 ,\n  \"b\" : [  ] , \"c\" : {} }",
        ),
        (&[Remove("/nothing"), Remove("/a/b/c"), Remove("/b/9")], text),
        (&[Set("", "[1]"), Set("/-", "2")], "[1,2]"),
        (
            &[Set("/c", "{\"k\":[]}"), Set("/c/k/0", "7"), Remove("/a")],
            "{ \"b\" : [ 1 , 2 , 3 ] , \"c\" : {\"k\":[7]} }",
        ),
    ] {
        assert_eq!(edited(text, changes).as_deref(), Ok(expected));
    }
}

#[test]
fn what_does_not_apply_says_why() {
    let text = r#"{"a":[1],"s":"x"}"#;
    for (change, expected) in [
        (Set("a", "1"), EditError::Pointer("a".into())),
        (Set("/x/y", "1"), EditError::NoParent("/x/y".into())),
        (Set("/s/y", "1"), EditError::NotAContainer("/s/y".into())),
        (Set("/a/3", "1"), EditError::NoElement("/a/3".into())),
        (Set("/a/x", "1"), EditError::NoElement("/a/x".into())),
        (Remove(""), EditError::RemoveAll),
    ] {
        assert_eq!(edited(text, &[change]), Err(expected));
    }
    assert!(matches!(edited(text, &[Set("/a", "{")]), Err(EditError::Value(..))));
    assert!(matches!(edited("{", &[Set("/a", "1")]), Err(EditError::Payload(_))));
}

#[test]
fn a_redaction_leaves_no_shadowed_duplicate_behind() {
    let text = r#"{"card":"4111","x":{"n":1},"c\u0061rd":"4222","x":{"n":2,"n":3},"card":"4333"}"#;
    assert_eq!(
        edited(text, &[Set("/card", "\"***\"")]).as_deref(),
        Ok(r#"{"x":{"n":1},"x":{"n":2,"n":3},"card":"***"}"#)
    );
    assert_eq!(edited(text, &[Remove("/card"), Remove("/x/n")]).as_deref(), Ok(r#"{"x":{}}"#));
}

#[test]
fn growth_number_and_depth_are_bounded() {
    let document = Document::new(Bytes::from_static(b"{\"a\":[]}"));
    let mut editor = Editor::new(&document, 64).unwrap();
    assert_eq!(editor.set("/b", &"1".repeat(80)), Err(EditError::TooLarge(64)));
    for _ in 0..999 {
        editor.set("/a", "[]").unwrap();
    }
    assert_eq!(editor.set("/a", "[]"), Err(EditError::TooMany));

    let mut editor = Editor::new(&document, 1 << 20).unwrap();
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    editor.set("/a", &deep).unwrap();
    let pointer = format!("/a{}/-", "/0".repeat(99));
    assert!(matches!(editor.set(&pointer, &deep), Err(EditError::Value(..))));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z~/\"\\\\é\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-c~/\"é]{0,3}", inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Every pointer into a value, and one that points beside each container's members.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut visit = |token: &str, child: &Value| {
        let token = token.replace('~', "~0").replace('/', "~1");
        found.extend(pointers(child).into_iter().map(|rest| format!("/{token}{rest}")));
    };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, child)| visit(key, child));
            found.push("/new".into());
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, child)| visit(&i.to_string(), child));
            found.push("/-".into());
        }
        _ => {}
    }
    found
}

fn set_in_tree(tree: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = tree.pointer_mut(pointer) {
        *place = value;
        return;
    }
    let (parent, token) = pointer.rsplit_once('/').unwrap();
    match tree.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.insert(token.into(), value)),
        Value::Array(items) => items.push(value),
        _ => panic!("a test of what applies"),
    }
}

fn remove_from_tree(tree: &mut Value, pointer: &str) {
    let (parent, token) = pointer.rsplit_once('/').unwrap();
    match tree.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.shift_remove(&token.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            if let Some(index) = token.parse().ok().filter(|&i: &usize| i < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_agree_with_serde_json(tree in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) };
        let document = Document::new(Bytes::from(text.unwrap()));
        for pointer in pointers(&tree) {
            let found = document.get(&pointer).map(|t| serde_json::from_str::<Value>(t).unwrap());
            prop_assert_eq!(found.as_ref(), tree.pointer(&pointer), "{}", pointer);
        }
    }

    #[test]
    fn edits_agree_with_a_tree(
        tree in any_json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(any_json())), 1..6),
    ) {
        let mut tree = tree;
        let document = Document::new(Bytes::from(serde_json::to_string_pretty(&tree).unwrap()));
        let mut editor = Editor::new(&document, 1 << 20).unwrap();
        for (which, value) in changes {
            let all = pointers(&tree);
            let pointer = which.get(&all).as_str();
            match value {
                Some(value) => {
                    editor.set(pointer, &value.to_string()).unwrap();
                    set_in_tree(&mut tree, pointer, value);
                }
                None if pointer.is_empty() => {}
                None => {
                    editor.remove(pointer).unwrap();
                    remove_from_tree(&mut tree, pointer);
                }
            }
            prop_assert_eq!(&scan::scan(&editor.text).unwrap(), &editor.nodes);
            prop_assert_eq!(&serde_json::from_str::<Value>(&editor.text).unwrap(), &tree);
        }
    }
}
