//! Settings from the environment: `HOOKMILL_` and a setting's name in capitals.
//!
//! The one place, with the command line, that reads the environment.

use serde_json::Value;

use super::{
    SETTINGS,
    given::{Given, Origin, Problem, closest},
};

/// What the settings' variables begin with.
pub(super) const PREFIX: &str = "HOOKMILL_";
/// Variables of the client commands, and the one that names the file.
const NOT_SETTINGS: [&str; 6] = ["URL", "KEY", "APPLICATION", "SECRET", "CONFIG", "CA_FILE"];

/// The settings in the environment. A variable that looks like one and is none is a problem: a
/// slip of the finger would otherwise be a default nobody wanted.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub(super) fn read(problems: &mut Vec<Problem>) -> Vec<Given> {
    let all = std::env::vars_os().filter_map(|(variable, value)| {
        let variable = variable.into_string().ok()?;
        variable.starts_with(PREFIX).then_some((variable, value))
    });
    let mut given = Vec::new();
    for (variable, value) in all {
        match value.into_string() {
            Ok(value) => given.extend(setting(&variable, value, problems)),
            Err(_) => problems.push(Problem::whole(format!("{variable} is not UTF-8 text"))),
        }
    }
    given
}

/// The socket that a supervisor such as systemd wants to be told at.
#[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
pub fn supervisor_socket() -> Option<std::ffi::OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

fn setting(variable: &str, value: String, problems: &mut Vec<Problem>) -> Option<Given> {
    let name = variable.strip_prefix(PREFIX)?;
    if NOT_SETTINGS.contains(&name) {
        return None;
    }
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name.to_uppercase() == name) else {
        let variables: Vec<String> =
            SETTINGS.iter().map(|setting| setting.name.to_uppercase()).collect();
        let known = variables.iter().map(String::as_str).chain(NOT_SETTINGS);
        let hint = closest(name, known).map(|near| format!("; did you mean {PREFIX}{near}?"));
        let text = format!("{variable} is no setting{}", hint.unwrap_or_default());
        problems.push(Problem::whole(text));
        return None;
    };
    Some(Given {
        setting,
        value: Value::String(value),
        origin: Origin::Variable(variable.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_a_setting_or_for_a_command_or_refused_naming_the_closest() {
        let mut problems = Vec::new();
        let given = setting("HOOKMILL_MAX_IN_FLIGHT", "7".into(), &mut problems).unwrap();
        assert_eq!(given.setting.name, "max_in_flight");
        assert!(setting("HOOKMILL_URL", "x".into(), &mut problems).is_none());
        assert!(problems.is_empty());
        assert!(setting("HOOKMILL_MAX_IN_FLIHGT", "7".into(), &mut problems).is_none());
        let text = problems[0].to_string();
        assert!(text.ends_with("is no setting; did you mean HOOKMILL_MAX_IN_FLIGHT?"), "{text}");
    }
}
