//! Makes guests: core modules in text, with the description of their world, as wit-bindgen
//! would leave them.

use wit_parser::Resolve;

/// Where a guest's answers may be put together. 64 bytes of zeros: `ok(pass)` for a filter.
pub(super) const ANSWER: u32 = 2048;

/// A guest of a world, called `name`, whose function has this body. In scope: the locals
/// `$event`, `$config`, `$len`, and the functions `$drop`, `$get`, `$many`, `$raw`, `$id`,
/// `$occurred`, `$subject`, `$log`.
pub(super) fn guest(world: &str, name: &str, items: &str, body: &str) -> Vec<u8> {
    let schema = r#"{"type":"object"}"#;
    let strings = [name, "0.1.0", "made for a test", schema];
    let (mut record, mut text) = (Vec::new(), Vec::new());
    for string in strings {
        record.extend_from_slice(&(1100 + text.len() as u32).to_le_bytes());
        record.extend_from_slice(&(string.len() as u32).to_le_bytes());
        text.extend_from_slice(string.as_bytes());
    }
    record.extend_from_slice(&[0; 8]);
    let wat = format!(
        r#"(module
            (import "hookmill:plugin/types@0.1.0" "[resource-drop]event"
                (func $drop (param i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.get"
                (func $get (param i32 i32 i32 i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.raw"
                (func $raw (param i32 i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.get-many"
                (func $many (param i32 i32 i32 i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.id"
                (func $id (param i32 i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.occurred-at"
                (func $occurred (param i32 i32)))
            (import "hookmill:plugin/types@0.1.0" "[method]event.subject"
                (func $subject (param i32 i32)))
            (import "hookmill:plugin/log@0.1.0" "write"
                (func $log (param i32 i32 i32)))
            (memory (export "memory") 2)
            (global $heap (mut i32) (i32.const 65536))
            (func $alloc (export "cabi_realloc")
                (param i32 i32 i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (global.get $heap))
                (global.set $heap (i32.and (i32.const -8)
                    (i32.add (i32.const 7) (i32.add (local.get $at) (local.get $size)))))
                (block $fits
                    (br_if $fits (i32.le_u (global.get $heap)
                        (i32.shl (memory.size) (i32.const 16))))
                    (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1)
                        (i32.shr_u (local.get $size) (i32.const 16))))))
                    unreachable)
                (local.get $at))
            (func (export "describe") (result i32) (i32.const 1024))
            (data (i32.const 1024) "{}")
            (data (i32.const 1100) "{}")
            {items}
            (func $main (export "{world}")
                (param $event i32) (param $config i32) (param $len i32) (result i32)
                {body}))"#,
        escaped(&record),
        escaped(&text),
    );
    let mut module = wat::parse_str(wat).unwrap();
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
    let (package, _) = resolve.push_path(wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false).unwrap();
    module
}

/// A filter that passes everything after running `body`.
pub(in crate::plugin) fn filter(name: &str, items: &str, body: &str) -> Vec<u8> {
    let body = format!("{body} (call $drop (local.get $event)) (i32.const {ANSWER})");
    guest("filter", name, items, &body)
}

/// A transform that answers with the bytes of `answer` at [`ANSWER`].
pub(super) fn transform(name: &str, answer: &[u8]) -> Vec<u8> {
    let items = answer_data(answer);
    let body = format!("(call $drop (local.get $event)) (i32.const {ANSWER})");
    guest("transform", name, &items, &body)
}

/// The item that puts `answer` at [`ANSWER`].
pub(super) fn answer_data(answer: &[u8]) -> String {
    format!("(data (i32.const {ANSWER}) \"{}\")", escaped(answer))
}

/// Lays out an answer: words, and texts whose address and length stand in their place.
pub(super) enum Part<'a> {
    Word(u32),
    Text(&'a str),
    /// The address and length of what begins here, as a list of so many elements.
    List(u32, Vec<Part<'a>>),
}

/// The bytes of an answer at [`ANSWER`].
pub(super) fn lay_out(parts: &[Part<'_>]) -> Vec<u8> {
    fn place(parts: &[Part<'_>], at: u32) -> Vec<u8> {
        let words: u32 =
            parts.iter().map(|part| if matches!(part, Part::Word(_)) { 4 } else { 8 }).sum();
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        for part in parts {
            while tail.len() % 4 != 0 {
                tail.push(0);
            }
            let there = at + words + tail.len() as u32;
            match part {
                Part::Word(word) => head.extend_from_slice(&word.to_le_bytes()),
                Part::Text(text) => {
                    head.extend_from_slice(&there.to_le_bytes());
                    head.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    tail.extend_from_slice(text.as_bytes());
                }
                Part::List(count, parts) => {
                    head.extend_from_slice(&there.to_le_bytes());
                    head.extend_from_slice(&count.to_le_bytes());
                    tail.extend(place(parts, there));
                }
            }
        }
        head.extend(tail);
        head
    }
    place(parts, ANSWER)
}

/// `ok(deliver(message))`.
pub(super) fn deliver(content_type: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let pairs = headers.iter().flat_map(|(k, v)| [Part::Text(k), Part::Text(v)]).collect();
    lay_out(&[
        Part::Word(0),
        Part::Word(0),
        Part::Text(content_type),
        Part::List(headers.len() as u32, pairs),
        Part::Text(body),
    ])
}

/// One edit.
pub(super) enum Edit<'a> {
    Set(&'a str, &'a str),
    Remove(&'a str),
    Header(&'a str, &'a str),
}

/// `ok(edit(edits))`.
pub(super) fn edit(edits: &[Edit<'_>]) -> Vec<u8> {
    let parts = edits.iter().flat_map(|edit| match *edit {
        Edit::Set(pointer, value) => [Part::Word(0), Part::Text(pointer), Part::Text(value)],
        Edit::Remove(pointer) => [Part::Word(1), Part::Text(pointer), Part::Text("")],
        Edit::Header(name, value) => [Part::Word(2), Part::Text(name), Part::Text(value)],
    });
    lay_out(&[Part::Word(0), Part::Word(1), Part::List(edits.len() as u32, parts.collect())])
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
