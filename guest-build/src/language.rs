//! Which language a plugin's folder is written in, by the files that its tools need anyway.
//!
//! Never looks inside them.

use std::path::Path;

/// What a plugin can be written in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Language {
    /// A `Cargo.toml`.
    Rust,
    /// A `package.json`; TypeScript as well.
    JavaScript,
    /// A `plugin.py`.
    Python,
}

/// The files that tell the languages apart.
const MARKS: [(&str, Language); 3] = [
    ("Cargo.toml", Language::Rust),
    ("package.json", Language::JavaScript),
    ("plugin.py", Language::Python),
];

impl Language {
    /// The language of the plugin in `folder`, if there is one.
    pub fn of(folder: &Path) -> Option<Self> {
        let found = MARKS.iter().find(|(file, _)| folder.join(file).is_file());
        found.map(|&(_, language)| language)
    }
}

#[cfg(test)]
mod tests {
    use super::Language;
    use std::fs;

    #[test]
    fn files_tell_the_language() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("hookmill-language-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        assert_eq!(Language::of(&folder), None);
        for (file, language) in super::MARKS {
            fs::write(folder.join(file), "")?;
            assert_eq!(Language::of(&folder), Some(language));
            fs::remove_file(folder.join(file))?;
        }
        fs::remove_dir(folder)
    }
}
