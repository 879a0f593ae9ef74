//! What a receiver was shown, over all its processes: none twice without saying so.

use crate::process::Done;
use serde_json::Value;

/// What a receiver was shown, over all its processes.
#[derive(Default)]
pub(crate) struct Shown {
    /// Texts in the order of their first line.
    pub(crate) first: Vec<String>,
    /// Texts that had a line without `again`.
    pub(crate) plain: Vec<String>,
}

impl Shown {
    /// Takes one line of a message.
    pub(crate) fn add(&mut self, line: &Value) {
        let text = line["text"].as_str().expect("a text").to_owned();
        if !self.first.contains(&text) {
            self.first.push(text.clone());
        }
        if line.get("again").is_none() {
            assert!(
                !self.plain.contains(&text),
                "shown twice without `again`: {line}"
            );
            self.plain.push(text);
        }
    }

    /// Takes all that a process printed.
    pub(crate) fn add_all(&mut self, done: &Done) {
        for line in done.all("message") {
            self.add(line);
        }
    }

    /// Fails unless exactly these were shown, in this order, each once without `again`.
    pub(crate) fn expect_each_once(&self, sent: &[String]) {
        assert_eq!(self.first, sent, "none missing, in order");
        assert_eq!(self.plain, sent, "each once");
    }
}
