//! How a setting is declared: what is known of it besides its type, and the macro that makes
//! the [`Config`](super::Config), its defaults and the table of all settings of one list.
//!
//! Never holds a setting itself: those are in `settings.rs`.

/// What is known of a setting besides its type and default.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// As in a file; in the environment with `HOOKMILL_` and in capitals.
    pub name: &'static str,
    /// Its documentation, one line each.
    pub doc: &'static [&'static str],
    /// The rest.
    pub facts: Facts,
}

impl Setting {
    /// Its documentation as one line of text.
    pub fn words(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }

    /// Its variable in the environment.
    pub fn variable(&self) -> String {
        format!("{}{}", super::environment::PREFIX, self.name.to_uppercase())
    }
}

/// Bounds, and how a setting is treated.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What a number may be; none if it is no number, or may be any.
    pub bounds: Option<Bounds>,
    /// It is never shown.
    pub is_secret: bool,
    /// A server that runs takes a new value over when it reads its configuration again.
    pub is_live: bool,
    /// A value as it would be written in a file, of a setting without a default.
    pub example: Option<&'static str>,
}

/// What a number may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Not less.
    pub least: f64,
    /// Not more.
    pub most: f64,
    /// The same in words, if figures alone would not be understood.
    pub said: Option<&'static str>,
}

impl Bounds {
    /// What is said of a value outside.
    pub fn expected(&self) -> String {
        match self.said {
            Some(said) => format!("{said} are allowed"),
            None => format!("{} to {} are allowed", self.least, self.most),
        }
    }
}

/// A setting that may be anything its type allows.
pub(super) const fn any() -> Facts {
    Facts { bounds: None, is_secret: false, is_live: false, example: None }
}

/// A number within bounds.
pub(super) const fn between(least: f64, most: f64) -> Facts {
    Facts { bounds: Some(Bounds { least, most, said: None }), ..any() }
}

impl Facts {
    /// Says the bounds in words.
    pub(super) const fn said(mut self, words: &'static str) -> Self {
        if let Some(mut bounds) = self.bounds {
            bounds.said = Some(words);
            self.bounds = Some(bounds);
        }
        self
    }

    /// It is never shown.
    pub(super) const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// It can change while the server runs.
    pub(super) const fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// How it may be written in a file.
    pub(super) const fn example(mut self, value: &'static str) -> Self {
        self.example = Some(value);
        self
    }
}

/// Makes the configuration of a list of settings, each
/// `/// doc` `name: type = default, facts;`.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $(#[serde($($serde:tt)+)])?
        $name:ident: $type:ty = $default:expr, $facts:expr;
    )+) => {
        /// The settings of `hookmill serve`. In the environment each is `HOOKMILL_` and its
        /// name in capitals, for example `HOOKMILL_MAX_BODY_BYTES`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[doc = $doc])+ $(#[serde($($serde)+)])? pub $name: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// Every setting, in the order they are documented in.
        pub const SETTINGS: &[Setting] = &[
            $(Setting { name: stringify!($name), doc: &[$($doc),+], facts: $facts },)+
        ];
    };
}

pub(super) use settings;
