//! Names of a guest's functions, as its author wrote them.
//!
//! Owns demangling, and which frames of a backtrace are worth showing. Never looks at code.

use wasmtime::WasmBacktrace;

/// Longest name that is kept, in characters.
const MAX_NAME: usize = 160;

/// What stands on the stack between a panic and the trap that ends it, innermost first: no
/// author asked for these.
const PANIC_MACHINERY: [&str; 12] = [
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::",
    "core::str::slice_error_fail",
    "std::panicking::",
    "std::process::abort",
    "std::sys::",
    "panic_abort::",
    "__rust",
    "rust_",
];

/// The guest's functions, innermost first; of a panic, from where it was raised.
pub(super) fn of(backtrace: &WasmBacktrace, panicked: bool) -> Vec<String> {
    let frames = backtrace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => readable(name),
        None => format!("function {}", frame.func_index()),
    });
    if panicked { without_machinery(frames.collect()) } else { frames.collect() }
}

fn without_machinery(frames: Vec<String>) -> Vec<String> {
    let is_machinery = |name: &String| {
        // Names such as `<T as core::…>::f` are somebody's implementation.
        PANIC_MACHINERY.iter().any(|start| name.starts_with(start))
    };
    // If there is nothing else, it is better than nothing.
    match frames.iter().position(|name| !is_machinery(name)) {
        Some(first) => frames.into_iter().skip(first).collect(),
        None => frames,
    }
}

/// A symbol as it was written in Rust or C++; others as they are.
fn readable(symbol: &str) -> String {
    let name = match rustc_demangle::try_demangle(symbol) {
        // Without the hash, which means nothing to anybody.
        Ok(name) => format!("{name:#}"),
        Err(_) if symbol.starts_with("_Z") => cpp(symbol).unwrap_or_else(|| symbol.into()),
        Err(_) => symbol.into(),
    };
    // A name is the guest's own text.
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

fn cpp(symbol: &str) -> Option<String> {
    let options = cpp_demangle::DemangleOptions::default().no_params().no_return_type();
    cpp_demangle::Symbol::new(symbol).ok()?.demangle_with_options(&options).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_they_were_written() {
        for (symbol, name) in [
            ("_ZN10big_orders10big_orders17h0123456789abcdefE", "big_orders::big_orders"),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar"),
            ("_ZN2js7ExecuteEP9JSContext", "js::Execute"),
            ("PyEval_EvalFrame", "PyEval_EvalFrame"),
            ("a\nb", "ab"),
        ] {
            assert_eq!(readable(symbol), name);
        }
        assert_eq!(readable(&"x".repeat(10_000)).len(), MAX_NAME);
    }

    #[test]
    fn a_panic_begins_where_it_was_raised() {
        let frames = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let panic = [
            "__rustc::rust_panic",
            "std::panicking::panic_with_hook",
            "rust_begin_unwind",
            "core::panicking::panic_fmt",
            "core::option::unwrap_failed",
            "shop::total",
            "core::panicking::not_really",
            "filter",
        ];
        assert_eq!(
            without_machinery(frames(&panic)),
            ["shop::total", "core::panicking::not_really", "filter"]
        );
        assert_eq!(without_machinery(frames(&panic[..2])).len(), 2);
    }
}
