//! Flame graphs: where a plugin's fuel goes, by function, as a picture and as text.
//!
//! Owns how a profile looks. Never takes one.

use std::{fs, path::Path};

use inferno::flamegraph;

use crate::{
    cli::output::{self, Failure},
    plugin::Profile,
};

/// Functions listed beside the picture.
const LISTED: usize = 10;

/// Draws a profile.
pub(super) fn write_svg(file: &Path, title: &str, profile: &Profile) -> Result<(), Failure> {
    let lines = profile.folded(title);
    let mut options = flamegraph::Options::default();
    options.title = format!("Fuel of {title}");
    options.count_name = "fuel".into();
    // The same function has the same colour in every picture.
    options.hash = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|error| Failure::failed(format!("cannot draw the profile: {error}")))?;
    write(file, &svg)
}

/// Writes a profile as text, a line for each stack.
pub(super) fn write_folded(file: &Path, title: &str, profile: &Profile) -> Result<(), Failure> {
    let text: String = profile.folded(title).iter().map(|line| format!("{line}\n")).collect();
    write(file, text.as_bytes())
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(file, bytes)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))?;
    output::say(format_args!("wrote {}", file.display()));
    Ok(())
}

/// `  42 %  serde_json::from_str`, the functions that use most themselves.
pub(super) fn list(profile: &Profile) -> String {
    let share = |fuel: u64| fuel as f64 / profile.fuel.max(1) as f64 * 100.0;
    let functions = profile.by_function();
    let mut text = String::from("fuel by function, without what it calls\n");
    for (name, fuel) in functions.iter().take(LISTED) {
        text += &format!("  {:>5.1} %  {name}\n", share(*fuel));
    }
    if let Some(rest) = functions.get(LISTED..).filter(|rest| !rest.is_empty()) {
        let fuel = rest.iter().map(|(_, fuel)| fuel).sum();
        text += &format!("  {:>5.1} %  {} others\n", share(fuel), rest.len());
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile { fuel: 100, samples: 4, ..Profile::default() };
        let stacks = [(vec!["filter", "shop::total<a;b>"], 75), (vec!["filter"], 25)];
        for (stack, fuel) in stacks {
            profile.stacks.insert(stack.into_iter().map(Into::into).collect(), fuel);
        }
        profile
    }

    #[test]
    fn a_picture_names_its_functions() {
        let folder = tempfile::tempdir().unwrap();
        let (svg, folded) = (folder.path().join("a.svg"), folder.path().join("a.txt"));
        write_svg(&svg, "shop 0.1.0", &profile()).unwrap();
        let text = fs::read_to_string(svg).unwrap();
        assert!(text.contains("shop::total&lt;a:b&gt;") && text.contains("75 fuel"), "{text}");
        write_folded(&folded, "shop 0.1.0", &profile()).unwrap();
        let text = fs::read_to_string(folded).unwrap();
        assert_eq!(text, "shop 0.1.0;filter 25\nshop 0.1.0;filter;shop::total<a:b> 75\n");
    }

    #[test]
    fn the_list_begins_with_what_costs_most() {
        insta::assert_snapshot!(list(&profile()), @r"
        fuel by function, without what it calls
           75.0 %  shop::total<a;b>
           25.0 %  filter
        ");
    }
}
