//! Made-up events that are often the same to a filter, and as often nearly the same.
//!
//! Owns the grammar: numbers and strings in several spellings, values around the length from
//! which they are compared by their hash, missing and null, keys twice and escaped.

use hookmill::model::OnError;
use serde_json::json;

use crate::{Step, field};

/// Random numbers that are the same every time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One of `0..count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half is the more random one.
        (self.0 >> 32) as usize % count
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Values that are equal, nearly equal, or equal in another spelling.
const SCALARS: [&str; 30] = [
    "1",
    "1.0",
    "1e0",
    "10e-1",
    "\"1\"",
    "0",
    "-0",
    "0.0",
    "-0.0",
    "null",
    "true",
    "false",
    "\"\"",
    "\"a\"",
    "\"\\u0061\"",
    "\"A\"",
    "\"\\n\"",
    "\"\\u000a\"",
    "\"\\u00e9\"",
    "\"é\"",
    "\"e\\u0301\"",
    "\"\\ud83d\\ude00\"",
    "9007199254740992",
    "9007199254740993",
    "123456789012345678901234567890",
    "123456789012345678901234567891",
    "1e300",
    "[]",
    "{}",
    "[null]",
];
const ACTIONS: [&str; 6] =
    ["\"opened\"", "\"\\u006fpened\"", "\"Opened\"", "\"closed\"", "\"created\"", "null"];
const SPACES: [&str; 5] = ["", "", "", " ", "\n\t "];

/// An event's payload.
pub fn payload(dice: &mut Dice) -> String {
    let mut text = String::from("{");
    let space = dice.one(&SPACES);
    for key in ["action", "ref", "n", "sender", "list", "action"] {
        // The last `action` is a second one, which then counts.
        let there = if key == "action" && text.len() > 1 { 8 } else { 2 };
        if there == 8 && dice.below(there) > 0 || there == 2 && dice.below(6) == 0 {
            continue;
        }
        if text.len() > 1 {
            text.push(',');
        }
        let spelt = match (key, dice.below(8)) {
            ("action", 0) => "\\u0061ction",
            ("n", 0) => "\\u006e",
            _ => key,
        };
        let value = match key {
            "action" => dice.one(&ACTIONS).to_owned(),
            "ref" => long(dice),
            "sender" => object(dice),
            "list" => format!("[{},{space}{}]", dice.one(&SCALARS), dice.one(&SCALARS)),
            _ => dice.one(&SCALARS).to_owned(),
        };
        text += &format!("{space}\"{spelt}\":{space}{value}{space}");
    }
    if dice.below(4) == 0 {
        // Room for more fuel, and nothing that anybody reads.
        let comma = if text.len() > 1 { "," } else { "" };
        text += &format!("{comma}\"pad\":\"{}\"", "p".repeat(dice.below(2_000)));
    }
    text.push('}');
    text
}

/// A string around the length from which values are compared by their hash, which differs from
/// others in its last letter, its first, or its spelling only.
fn long(dice: &mut Dice) -> String {
    let length = [24, 26, 27, 28, 29, 30, 31, 200][dice.below(8)];
    let (first, last) = (dice.one(&["r", "R", "\\u0072"]), dice.one(&["a", "b"]));
    format!("\"{first}{}{last}\"", "e".repeat(length))
}

fn object(dice: &mut Dice) -> String {
    let (name, id) = (dice.one(&SCALARS), dice.one(&SCALARS));
    match dice.below(5) {
        0 => format!("{{\"name\":{name}}}"),
        1 => format!("{{\"id\":{id},\"name\":{name}}}"),
        2 => format!("{{\"name\":{id},\"name\":{name}}}"),
        3 => format!("{{\"deep\":{{\"name\":{name}}},\"id\":{id}}}"),
        _ => name.to_owned(),
    }
}

/// Filters that read one or several of the fields.
pub fn pipelines() -> Vec<Vec<Step>> {
    let conditions = [
        json!({"at": "/action", "equals": "opened"}),
        json!({"at": "/action", "in": ["closed", null]}),
        json!({"at": "/n", "equals": 1}),
        json!({"at": "/n", "equals": "a"}),
        json!({"at": "/n", "greater": 0}),
        json!({"at": "/n", "less": "é"}),
        json!({"at": "/n", "equals": 9_007_199_254_740_993_u64}),
        json!({"at": "/n", "exists": true}),
        json!({"at": "/n", "in": [0, false, [], {}]}),
        json!({"at": "/ref", "matches": "r*a"}),
        json!({"at": "/ref", "contains": "eeeea"}),
        json!({"at": "/sender", "equals": {"name": 1}}),
        json!({"at": "/sender/name", "not_equals": null}),
        json!({"at": "/sender/deep/name", "exists": true}),
        json!({"at": "/list", "contains": 1}),
        json!({"at": "/list/1", "equals": 0}),
        json!({"at": "", "exists": true}),
        json!({"at": "/pad", "exists": false}),
        json!({"all": [{"at": "/action", "equals": "opened"}, {"at": "/n", "equals": 1}]}),
        json!({"any": [{"at": "/n", "equals": 1}, {"at": "/list/0", "equals": 1},
            {"at": "/sender/name", "equals": 1}]}),
        json!({"not": {"any": [{"at": "/n", "exists": false}, {"at": "/ref", "contains": "b"}]}}),
    ];
    let mut pipelines: Vec<Vec<Step>> = conditions.map(|condition| vec![field(&condition)]).into();
    for (number, on_error) in [OnError::Pass, OnError::Drop].into_iter().enumerate() {
        let (filter, config, _) = field(&json!({"at": "/n", "greater_or_equal": number}));
        let next = field(&json!({"at": "/sender/id", "exists": true}));
        pipelines.push(vec![(filter, config, on_error), next]);
    }
    let two = json!({"first": "/sender/name", "second": "/list"});
    pipelines.push(vec![("bench-get-filter", two, OnError::Dead)]);
    pipelines
}
