//! Puts data into a template, within the bounds of campaigns. A variable is a key of the data; one that is not there is an error and not a
//! gap: whoever sends a receipt learns at once that it would lack its number.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::{
    campaigns::{
        plain_text, sandbox,
        template::{FUEL, LARGEST_OUTPUT, Limited, depends_on_data, describe, from_json, one_line},
    },
    error::FieldError,
};

/// What is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the parts of a mail")]
pub struct Source {
    pub subject: String,
    pub html: Option<String>,
    pub text: Option<String>,
}

/// What the recipient reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// One line.
    pub subject: String,
    /// Absent: the mail is text alone.
    pub html: Option<String>,
    /// Given, or derived from the HTML.
    pub text: String,
}

impl Source {
    fn fields(&self) -> impl Iterator<Item = (&'static str, &str, AutoEscape)> {
        let html = self.html.as_deref().map(|html| ("html", html, AutoEscape::Html));
        let text = self.text.as_deref().map(|text| ("text", text, AutoEscape::None));
        [Some(("subject", self.subject.as_str(), AutoEscape::None)), html, text].into_iter().flatten()
    }

    /// Sizes, and that there is something to read.
    ///
    /// # Errors
    /// Each names the field.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let length = self.subject.chars().count();
        if length > 500 || self.subject.trim().is_empty() {
            errors.push(FieldError::new("subject", format!("must be 1 to 500 characters, not {length}")));
        }
        if self.subject.chars().any(char::is_control) {
            errors.push(FieldError::new("subject", format!("holds a control character: {}", self.subject.escape_debug())));
        }
        let blank = |body: Option<&String>| body.is_none_or(|body| body.trim().is_empty());
        if blank(self.html.as_ref()) && blank(self.text.as_ref()) {
            errors.push(FieldError::new("html", "is empty, and so is the text"));
        }
        for (name, source, _) in self.fields().filter(|(_, source, _)| source.len() > LARGEST_OUTPUT) {
            errors.push(FieldError::new(name, format!("must be at most {LARGEST_OUTPUT} bytes, not {}", source.len())));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether it is a template that can be rendered with the right data.
    ///
    /// # Errors
    /// Each names the field, the line and the reason.
    pub fn try_out(&self) -> Result<(), Vec<FieldError>> {
        self.check()?;
        let nothing = Map::new();
        let errors: Vec<FieldError> = self
            .fields()
            .filter_map(|(name, source, escape)| match field(source, escape, &nothing) {
                Err(Fault { depends_on_data: false, reason }) => Some(FieldError::new(name, reason)),
                _ => None,
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// With this data.
    ///
    /// # Errors
    /// Each names the field, the line and the reason.
    pub fn render(&self, data: &Map<String, Value>) -> Result<Content, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut rendered = [None, None, None];
        for (name, source, escape) in self.fields() {
            let place = ["subject", "html", "text"].iter().position(|other| *other == name).unwrap_or(0);
            match field(source, escape, data) {
                Ok(text) => rendered[place] = Some(text),
                Err(fault) => errors.push(FieldError::new(name, fault.reason)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let [subject, html, text] = rendered;
        Ok(Self { subject: subject.unwrap_or_default(), html, text }.literal())
    }

    /// As it stands: nothing is looked for in it.
    #[must_use]
    pub fn literal(self) -> Content {
        let filled = |body: Option<String>| body.filter(|body| !body.trim().is_empty());
        let (html, text) = (filled(self.html), filled(self.text));
        let text = text.unwrap_or_else(|| html.as_deref().map(plain_text::from_html).unwrap_or_default());
        Content { subject: one_line(&self.subject), html, text }
    }
}

struct Fault {
    depends_on_data: bool,
    reason: String,
}

fn field(source: &str, escape: AutoEscape, data: &Map<String, Value>) -> Result<String, Fault> {
    if let Some((line, reason)) = sandbox::refused(source) {
        return Err(Fault { depends_on_data: false, reason: format!("line {line}: {reason}") });
    }
    let mut environment: Environment<'static> = sandbox::environment();
    environment.set_auto_escape_callback(move |_| escape.clone());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_path_join_callback(|_, _| "nothing can be included".into());
    let fault = |error: &minijinja::Error| Fault { depends_on_data: depends_on_data(error), reason: describe(error) };
    environment
        .add_template_owned("field", source.to_owned())
        .map_err(|error| Fault { depends_on_data: false, ..fault(&error) })?;
    let template = environment.get_template("field").map_err(|error| fault(&error))?;
    let mut output = Limited(Vec::new());
    let context: BTreeMap<&str, minijinja::Value> = data.iter().map(|(name, value)| (name.as_str(), from_json(value))).collect();
    if let Err(error) = template.render_captured_to(minijinja::Value::from(context), &mut output) {
        let mut fault = fault(&error);
        if error.kind() == ErrorKind::UndefinedError {
            let mut missing: Vec<String> =
                template.undeclared_variables(true).into_iter().filter(|name| name != "range" && is_missing(name, data)).collect();
            missing.sort();
            fault.reason = format!("{}; the data lacks {}", fault.reason, missing.join(", "));
        }
        return Err(fault);
    }
    // What a template writes is text; the conversion only checks it.
    Ok(String::from_utf8(output.0).unwrap_or_default())
}

fn is_missing(name: &str, data: &Map<String, Value>) -> bool {
    let mut steps = name.split('.');
    let first = steps.next().and_then(|first| data.get(first));
    let found = steps.try_fold(first, |value, step| value.map(|value| value.get(step))).flatten();
    found.is_none_or(Value::is_null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(subject: &str, html: &str) -> Source {
        Source { subject: subject.to_owned(), html: Some(html.to_owned()), text: None }
    }

    fn data(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn data_is_put_in_escaped_in_html_alone_and_the_text_is_derived() {
        let template = source("Order {{ order.number }} of {{ name }}", "<p>Hello {{ name }}, {{ note | default('no note') }}</p>");
        let content = template.render(&data(&json!({"name": "<Ada>", "order": {"number": 66}}))).expect("rendered");
        assert_eq!(content.subject, "Order 66 of <Ada>");
        assert_eq!(content.html.as_deref(), Some("<p>Hello &lt;Ada&gt;, no note</p>"));
        assert_eq!(content.text.trim(), "Hello <Ada>, no note");
    }

    #[test]
    fn what_the_data_lacks_is_named() {
        let errors =
            source("Order {{ order.number }}", "<p>{{ name }}</p>").render(&data(&json!({"order": {}}))).expect_err("a gap");
        let told: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        assert_eq!(
            told,
            ["subject: line 1: undefined value; the data lacks order.number", "html: line 1: undefined value; the data lacks name"]
        );
    }

    #[test]
    fn a_template_is_tried_out_when_it_is_saved() {
        assert!(source("{{ anything.at.all }}", "<p>{{ name }}</p>").try_out().is_ok());
        for (subject, html) in
            [("{{ name", "x"), ("s", "{{ name | shout }}"), ("s", "{{ 'x' * 1000000 }}"), ("s", " "), ("", "x"), ("a\nb", "x")]
        {
            assert!(source(subject, html).try_out().is_err(), "{subject} {html}");
        }
    }

    #[test]
    fn without_data_braces_are_just_braces() {
        let content = source("{{ x", "<p>{{ y }}</p>").literal();
        assert_eq!((content.subject.as_str(), content.html.as_deref()), ("{{ x", Some("<p>{{ y }}</p>")));
    }
}
