//! Puts the sources together: one value for each setting, and every problem at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Config, SETTINGS, Setting, environment, file,
    given::{Given, Origin, Problem},
};
use crate::telemetry;

/// Why there is no configuration: everything that is wrong, not the first thing only.
#[derive(Debug, Clone)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// What is wrong, each in a line; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A setting from the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    name: &'static str,
    flag: &'static str,
    value: Value,
}

impl Flag {
    /// `--flag` for a setting, if it was given.
    pub fn given(
        name: &'static str,
        flag: &'static str,
        value: Option<impl Serialize>,
    ) -> Option<Self> {
        // What a flag was parsed to is a text, a number or a list of them.
        let value = serde_json::to_value(value?).unwrap_or_default();
        Some(Self { name, flag, value })
    }

    /// `--flag` turns what the other sources say of a setting back to the default.
    pub fn unset(name: &'static str, flag: &'static str) -> Self {
        Self { name, flag, value: Value::Null }
    }
}

/// Where a server's configuration comes from, to read it again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// What the command line said.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// Reads them.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.file.as_deref(), &self.flags)
    }
}

/// A configuration, and where each value that is no default came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    origins: BTreeMap<&'static str, Origin>,
}

impl Loaded {
    /// Where a setting's value came from.
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }
}

impl Config {
    /// From a TOML file, if one is named, the environment, and flags.
    pub fn load(file: Option<&Path>, flags: &[Flag]) -> Result<Self, ConfigError> {
        Self::load_with_origins(file, flags).map(|loaded| loaded.config)
    }

    /// The same, with where each value came from.
    pub fn load_with_origins(file: Option<&Path>, flags: &[Flag]) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let mut given = file.map(|path| file::read(path, &mut problems)).unwrap_or_default();
        given.extend(environment::read(&mut problems));
        given.extend(flags.iter().filter_map(|flag| {
            let setting = SETTINGS.iter().find(|setting| setting.name == flag.name)?;
            Some(Given { setting, value: flag.value.clone(), origin: Origin::Flag(flag.flag) })
        }));
        Self::merge(given, problems)
    }

    /// Later ones win. Each is checked, also one that another wins over: it is wrong all the
    /// same, and would be found when it is least expected.
    fn merge(given: Vec<Given>, mut problems: Vec<Problem>) -> Result<Loaded, ConfigError> {
        let (mut values, mut origins) = (Map::new(), BTreeMap::new());
        for Given { setting, value, origin } in given {
            let name = setting.name;
            if value.is_null() {
                values.shift_remove(name);
                origins.remove(name);
                continue;
            }
            match typed(setting, value, matches!(origin, Origin::Variable(_))) {
                Ok(value) => {
                    values.insert(name.to_owned(), value);
                    origins.insert(name, origin);
                }
                Err(why) => problems.push(Problem::at(name, why, origin)),
            }
        }
        // Each was read as what it is before.
        let config: Self = match serde_json::from_value(Value::Object(values)) {
            Ok(config) => config,
            Err(error) => {
                problems.push(Problem::whole(error.to_string()));
                return Err(ConfigError { problems });
            }
        };
        let origin = |name| origins.get(name).cloned().unwrap_or(Origin::Default);
        let wrong = config.check().into_iter();
        problems.extend(wrong.map(|(name, what)| Problem::at(name, what, origin(name))));
        if problems.is_empty() {
            Ok(Loaded { config, origins })
        } else {
            Err(ConfigError { problems })
        }
    }

    /// What is out of bounds, or does not go together, by setting.
    fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let values = serde_json::to_value(self).unwrap_or_default();
        for Setting { name, facts, .. } in SETTINGS {
            let (Some(bounds), Some(given)) = (facts.bounds, values[*name].as_f64()) else {
                continue;
            };
            if !(bounds.least..=bounds.most).contains(&given) {
                wrong.push((*name, format!("is {given}; {}", bounds.expected())));
            }
        }
        if let Some(text) = self.otlp_headers.iter().find(|text| !text.contains(':')) {
            // What stands there may be a key.
            let bytes = text.len();
            let what = format!("is {bytes} bytes without a colon; `name: value` is expected");
            wrong.push(("otlp_headers", what));
        }
        if self.admin_key.as_ref().is_some_and(|key| key.len() < 24) {
            let what = "is too short; at least 24 characters are needed: it is all that stands \
                        before your server";
            wrong.push(("admin_key", what.to_owned()));
        }
        if let Some(why) = self.admin_key.as_deref().and_then(unusable_key) {
            wrong.push(("admin_key", why.to_owned()));
        }
        if self.master_key.is_some() && self.master_key_file.is_some() {
            let what = "is given beside master_key_file; one of the two is allowed, so that it is \
                        clear which key is meant";
            wrong.push(("master_key", what.to_owned()));
        }
        let needed = [("jwt_issuer", &self.jwt_issuer), ("jwt_audience", &self.jwt_audience)];
        for (name, value) in needed {
            if self.jwt_jwks.is_some() && value.as_ref().is_none_or(String::is_empty) {
                let what = "is not given, and needed with jwt_jwks: a provider's tokens are for \
                            many servers";
                wrong.push((name, what.to_owned()));
            }
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            let (name, other) = match self.tls_key {
                None => ("tls_certificate", "tls_key"),
                Some(_) => ("tls_key", "tls_certificate"),
            };
            wrong.push((name, format!("is given without {other}; HTTPS needs both")));
        }
        if self.tls_client_ca.is_some() && self.tls_certificate.is_none() {
            let what = "is given without tls_certificate; clients show theirs over HTTPS only";
            wrong.push(("tls_client_ca", what.to_owned()));
        }
        if let Some(why) = self.log_filter.as_deref().and_then(telemetry::filter_error) {
            let what = format!("is no filter such as info,hookmill=debug: {why}");
            wrong.push(("log_filter", what));
        }
        wrong
    }
}

/// Why nobody could ever be let in with such a key, if that is so.
fn unusable_key(key: &str) -> Option<&'static str> {
    if key.starts_with("hmk_portal_") {
        return Some("begins as portal tokens do, so it would be taken for one");
    }
    if key.trim() != key {
        return Some("begins or ends with white space, which no header can carry");
    }
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (!key.bytes().all(is_visible)).then_some("has a character that is no visible ASCII one")
}

/// The value as its setting wants it, or what is wrong with it. A variable is a text, which may
/// be a number or a yes or no written down.
fn typed(setting: &Setting, value: Value, is_text: bool) -> Result<Value, String> {
    let alone = |value: &Value| {
        let mut map = Map::new();
        map.insert(setting.name.to_owned(), value.clone());
        serde_json::from_value::<Config>(Value::Object(map))
    };
    let error = match alone(&value) {
        Ok(_) => return Ok(value),
        Err(error) => error,
    };
    if let (true, Some(text)) = (is_text, value.as_str()) {
        let meant = serde_json::from_str(text.trim()).ok();
        let meant = meant.filter(|meant: &Value| meant.is_number() || meant.is_boolean());
        if let Some(meant) = meant.filter(|meant| alone(meant).is_ok()) {
            return Ok(meant);
        }
    }
    if setting.facts.is_secret {
        return Err("cannot be used: it is not of the expected type".to_owned());
    }
    Err(format!("cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path()), &[])
    }

    fn said(toml: &str) -> String {
        let mut folder = tempfile::NamedTempFile::new().unwrap();
        folder.write_all(toml.as_bytes()).unwrap();
        let error = Config::load(Some(folder.path()), &[]).unwrap_err().to_string();
        error.replace(folder.path().to_str().unwrap(), "FILE")
    }

    #[test]
    fn a_file_changes_defaults_and_flags_change_the_file() {
        let config = load("max_batch_events = 7\nallow_networks = [\"127.0.0.0/8\"]").unwrap();
        assert_eq!(config.max_batch_events, 7);
        assert_eq!(config.max_in_flight, Config::default().max_in_flight);
        let text = load("allow_networks = \"127.0.0.0/8, 10.0.0.0/8\"").unwrap();
        assert_eq!(text.allow_networks.len(), 2);
        let servers = load("dns_servers = \"10.0.0.2, 10.0.0.3:5353\"").unwrap().dns_servers;
        assert_eq!(servers, ["10.0.0.2:53", "10.0.0.3:5353"].map(|s| s.parse().unwrap()));
        assert!(load("dns_servers = [\"ns.example\"]").is_err());
        let flag = Flag::given("max_in_flight", "--max", Some(3)).unwrap();
        assert_eq!(Config::load(None, &[flag]).unwrap().max_in_flight, 3);
    }

    #[test]
    fn every_setting_is_in_the_documentation() {
        let documented = include_str!("../../../docs/operations.md");
        for setting in SETTINGS {
            let (name, variable) = (setting.name, format!("`{}`", setting.variable()));
            assert!(documented.contains(&format!("| `{name}` |")), "{name}");
            assert!(documented.contains(&variable), "{variable}");
        }
        // And those that a server takes over only when it starts are all of those named there.
        let (_, list) = documented.split_once("change nothing until then:").unwrap();
        let (list, _) = list.split_once('.').unwrap();
        let named: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        let fixed = SETTINGS.iter().filter(|setting| !setting.facts.is_live);
        assert_eq!(named, fixed.map(|setting| setting.name).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_setting_or_out_of_bounds_is_refused_by_name_and_line() {
        assert_eq!(
            said("listen = \"127.0.0.1:0\"\nmax_body_byte = 1"),
            "max_body_byte is no setting; did you mean max_body_bytes? (FILE:2)"
        );
        assert_eq!(
            said("max_in_flight = 0"),
            "max_in_flight is 0; 1 to 65536 are allowed (FILE:1)"
        );
        assert!(said("admin_key = \"short\"").contains("at least 24"));
        for never in [
            "hmk_portal_0123456789abcdef",
            " 0123456789abcdef01234567",
            "ä0123456789abcdef01234567",
        ] {
            assert!(said(&format!("admin_key = \"{never}\"")).starts_with("admin_key "), "{never}");
        }
        assert_eq!(unusable_key("a key of twenty-four characters"), None);
        assert!(said("listen = \"nowhere\"").starts_with("listen cannot be used: "));
        assert_eq!(said("[server]\nlisten = 1"), "server is no setting (FILE:1)");
    }

    #[test]
    fn every_problem_is_told_at_once_and_no_secret_with_it() {
        let error = said(
            "max_in_flight = 0\nadmin_key = 55555555\nlisten = 7\notlp_headers = \"hidden\"\n\
             master_key = \"a\"\nmaster_key_file = \"b\"",
        );
        assert_eq!(error.lines().count(), 5, "{error}");
        assert!(!error.contains("55555555") && !error.contains("hidden"), "{error}");
        let error = said("a = 1\nadmin_key = \"hmk_secret");
        assert!(error.starts_with("FILE:2 is no TOML: "), "{error}");
        assert!(!error.contains("hmk_secret"), "{error}");
    }

    #[test]
    fn a_variable_s_text_is_the_number_or_the_text_that_its_setting_wants() {
        let setting = |name| SETTINGS.iter().find(|setting| setting.name == name).unwrap();
        let typed = |name, text: &str| typed(setting(name), Value::String(text.into()), true);
        assert_eq!(typed("max_in_flight", "7").unwrap(), 7);
        // A key of figures is a text all the same.
        assert_eq!(typed("admin_key", "123").unwrap(), "123");
        assert!(typed("max_in_flight", "seven").unwrap_err().contains("seven"));
        assert!(typed("max_in_flight", "-1").is_err());
    }

    #[test]
    fn a_flag_can_undo_what_another_source_gave() {
        let given = |name: &'static str, value: Value, origin| {
            let setting = SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            Given { setting, value, origin }
        };
        let key = given("master_key", "k".into(), Origin::Variable("V".into()));
        let unset = given("master_key", Value::Null, Origin::Flag("--f"));
        let file = given("master_key_file", "f".into(), Origin::Flag("--f"));
        let loaded = Config::merge(vec![key, unset, file], Vec::new()).unwrap();
        assert_eq!(loaded.config.master_key, None);
        assert_eq!(loaded.origin("master_key"), &Origin::Default);
        assert_eq!(loaded.origin("master_key_file"), &Origin::Flag("--f"));
    }
}
