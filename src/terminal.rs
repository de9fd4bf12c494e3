//! What a person (or a machine) sees: progress bars on a terminal, plain lines elsewhere, JSON lines on request.

use std::{
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::Output;

/// Where lines go.
pub struct Terminal {
    output: Output,
    bar: Option<ProgressBar>,
}

impl Terminal {
    pub fn new(output: Output) -> Self {
        let bar = (output == Output::Text && stdout().is_terminal()).then(|| {
            let bar = ProgressBar::no_length();
            // The template is a constant; a broken one would only lose the spinner.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar
        });
        Self { output, bar }
    }

    /// A heading between parts of the run.
    pub fn heading(&self, text: &str) {
        if self.output == Output::Text {
            self.print(&format!("\n{text}"));
        }
    }

    /// One thing that happened: `text` for people, `event` with `fields` for machines.
    pub fn event(&self, event: &str, text: &str, fields: Value) {
        match self.output {
            Output::Text => self.print(text),
            Output::Json => {
                let mut object = json!({ "event": event, "time": jiff::Timestamp::now().to_string() });
                if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
                    object.extend(fields);
                }
                self.print(&object.to_string());
            }
        }
    }

    /// What is going on right now; shown on a terminal only.
    pub fn busy(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message(text.to_owned());
        }
    }

    /// Takes the spinner away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(line)),
            None => write_line(line),
        }
    }
}

/// A closed pipe (`sentei … | head`) is not an error of ours.
fn write_line(line: &str) {
    let _ = writeln!(stdout().lock(), "{line}");
}
