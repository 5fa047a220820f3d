//! What was measured, as a table for people.

use std::fmt::Write;

/// Which way a goal lies.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At least this much.
    AtLeast(f64),
    /// At most this much.
    AtMost(f64),
    /// Shown for its own sake.
    None,
}

struct Line {
    figure: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
    how: String,
}

/// Lines in the order they were measured.
pub struct Report(Vec<Line>);

impl Report {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a line, and shows it at once: a long run is watched.
    pub fn add(&mut self, figure: &str, value: f64, unit: &'static str, goal: Goal, how: String) {
        eprintln!("{figure}: {value:.2}{unit}  {how}");
        self.0.push(Line { figure: figure.to_owned(), value, unit, goal, how });
    }

    /// Prints all of it as a Markdown table.
    pub fn print(&self) {
        let mut text = String::from("| figure | value | goal | measured |\n|---|---|---|---|\n");
        for line in &self.0 {
            let goal = match line.goal {
                Goal::AtLeast(goal) => format!("{} ≥ {goal}", verdict(line.value >= goal)),
                Goal::AtMost(goal) => format!("{} ≤ {goal}", verdict(line.value <= goal)),
                Goal::None => String::new(),
            };
            // Writing to a string cannot fail.
            let _written = writeln!(
                text,
                "| {} | {:.2}{} | {goal} | {} |",
                line.figure, line.value, line.unit, line.how
            );
        }
        println!("{text}");
    }
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
