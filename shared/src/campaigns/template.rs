//! Templates: minijinja, with exactly the variables `contact.email`, `contact.name`, `contact.attributes.*`, `campaign.name` and
//! `unsubscribe_url`.
//!
//! An unknown variable is refused when the template is saved. An attribute that a contact lacks renders as nothing when it is sent
//! (`{{ contact.attributes.city | default("your city") }}` gives it another value): contacts of one list seldom have the same
//! attributes, and one gap must not cost a recipient the mail.

use std::{collections::BTreeMap, io, sync::Arc};

use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value as TemplateValue,
    value::{Enumerator, Object},
};
use serde_json::Value;

use super::{plain_text, sandbox};
use crate::error::FieldError;

/// Instructions that one field may take for one recipient: some milliseconds.
pub(crate) const FUEL: u64 = 100_000;
/// Largest rendered field in bytes.
pub const LARGEST_OUTPUT: usize = 1 << 20;

const VARIABLES: [&str; 4] = ["contact.email", "contact.name", "campaign.name", "unsubscribe_url"];
const ATTRIBUTES: &str = "contact.attributes";
const FUNCTIONS: [&str; 1] = ["range"];

/// What a campaign says, as it was written.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields of a campaign")]
pub struct CampaignContent {
    pub name: String,
    pub subject: String,
    pub from_name: String,
    pub from_email: String,
    pub html: String,
    /// Absent: derived from the HTML of each recipient.
    pub text: Option<String>,
}

/// To whom it is said.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields of a contact")]
pub struct Recipient<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub attributes: &'a Value,
}

/// What one recipient reads.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[expect(missing_docs, reason = "the parts of a mail")]
#[schema(as = Preview)]
pub struct Rendered {
    #[schema(example = "Ann, spring is here")]
    pub subject: String,
    #[schema(example = "<p>Hi Ann</p>")]
    pub html: String,
    #[schema(example = "Hi Ann")]
    pub text: String,
}

/// The templates of a campaign, parsed once for as many recipients as there are.
pub struct Prepared {
    campaign: TemplateValue,
    uses_attributes: bool,
    subject: Field,
    html: Field,
    text: Option<Field>,
}

impl Prepared {
    /// Parses the three templates and looks at every variable that they name.
    ///
    /// # Errors
    /// Each names the field, the line and the reason.
    pub fn new(content: &CampaignContent) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let subject = Field::new("subject", &content.subject, AutoEscape::None, &mut errors);
        let html = Field::new("html", &content.html, AutoEscape::Html, &mut errors);
        let text = content.text.as_ref().map(|text| Field::new("text", text, AutoEscape::None, &mut errors));
        if !errors.is_empty() {
            return Err(errors);
        }
        let uses_attributes = [Some(&subject), Some(&html), text.as_ref()].into_iter().flatten().any(|f| f.uses_attributes);
        let campaign = Fields(vec![("name", content.name.as_str().into())]).value();
        Ok(Self { campaign, uses_attributes, subject, html, text })
    }

    /// Finds what only a run can find: filters and functions that do not exist, templates without an end. What depends on a
    /// contact's data is not held against the template.
    ///
    /// # Errors
    /// Each names the field, the line and the reason.
    pub fn try_out(&self) -> Result<(), Vec<FieldError>> {
        let attributes = Value::Object(serde_json::Map::new());
        let sample = Recipient { email: "ada@example.com", name: "Ada Lovelace", attributes: &attributes };
        let context = self.context(&sample, "https://example.com/u/sample");
        let errors: Vec<FieldError> = [Some(&self.subject), Some(&self.html), self.text.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|field| {
                let error = field.render(context.clone()).err()?;
                (!depends_on_data(&error)).then(|| FieldError::new(field.name, describe(&error)))
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The mail of one recipient.
    ///
    /// # Errors
    /// Names the field, the line and the reason.
    pub fn render(&self, recipient: &Recipient<'_>, unsubscribe_url: &str) -> Result<Rendered, String> {
        let context = self.context(recipient, unsubscribe_url);
        let render = |field: &Field| field.render(context.clone()).map_err(|error| format!("{}: {}", field.name, describe(&error)));
        let subject = one_line(&render(&self.subject)?);
        let html = render(&self.html)?;
        let text = match &self.text {
            Some(field) => render(field)?,
            None => plain_text::from_html(&html),
        };
        Ok(Rendered { subject, html, text })
    }

    fn context(&self, recipient: &Recipient<'_>, unsubscribe_url: &str) -> TemplateValue {
        let attributes = if self.uses_attributes { from_json(recipient.attributes) } else { TemplateValue::UNDEFINED };
        let contact =
            Fields(vec![("email", recipient.email.into()), ("name", recipient.name.into()), ("attributes", attributes)]).value();
        // A URL of the house needs no escaping, and a reader of the source can then find it.
        let harmless = !unsubscribe_url.contains(['<', '>', '"', '\'', '&']);
        let url = if harmless { TemplateValue::from_safe_string(unsubscribe_url.to_owned()) } else { unsubscribe_url.into() };
        Fields(vec![("contact", contact), ("campaign", self.campaign.clone()), ("unsubscribe_url", url)]).value()
    }
}

/// One template in a room of its own: there is nothing that it could include.
struct Field {
    name: &'static str,
    environment: Environment<'static>,
    uses_attributes: bool,
}

impl Field {
    fn new(name: &'static str, source: &str, escape: AutoEscape, errors: &mut Vec<FieldError>) -> Self {
        if let Some((line, reason)) = sandbox::refused(source) {
            errors.push(FieldError::new(name, format!("line {line}: {reason}")));
        }
        let mut environment = sandbox::environment();
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        environment.set_path_join_callback(|_, _| "nothing can be included".into());
        let mut uses_attributes = false;
        if let Err(error) = environment.add_template_owned(name, source.to_owned()) {
            errors.push(FieldError::new(name, describe(&error)));
        } else if let Ok(template) = environment.get_template(name) {
            let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
            names.sort();
            uses_attributes = names.iter().any(|name| name.starts_with(ATTRIBUTES));
            let unknown = names.iter().filter(|name| !is_known(name));
            errors.extend(unknown.map(|unknown| {
                let message = format!(
                    "line {}: there is no variable {unknown}; there are contact.email, contact.name, contact.attributes.*, \
                     campaign.name and unsubscribe_url",
                    line_of(source, unknown)
                );
                FieldError::new(name, message)
            }));
        }
        Self { name, environment, uses_attributes }
    }

    fn render(&self, context: TemplateValue) -> Result<String, minijinja::Error> {
        let mut output = Limited(Vec::new());
        self.environment.get_template(self.name)?.render_captured_to(context, &mut output)?;
        // What a template writes is text; the conversion only checks it.
        Ok(String::from_utf8(output.0).unwrap_or_default())
    }
}

fn is_known(name: &str) -> bool {
    VARIABLES.contains(&name)
        || FUNCTIONS.contains(&name)
        || name.strip_prefix(ATTRIBUTES).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The line, counted from 1, on which `name` first stands inside a tag.
fn line_of(source: &str, name: &str) -> usize {
    let mut from = 0;
    let position = std::iter::from_fn(|| {
        let found = source[from..].find(name)? + from;
        from = found + name.len();
        Some(found)
    })
    .find(|&found| {
        let before = &source[..found];
        let opened = before.rfind("{{").max(before.rfind("{%"));
        opened.is_some() && opened > before.rfind("}}").max(before.rfind("%}"))
    });
    position.map_or(1, |position| source[..position].matches('\n').count() + 1)
}

pub(crate) fn describe(error: &minijinja::Error) -> String {
    let reason = match error.kind() {
        ErrorKind::OutOfFuel => format!("takes more than {FUEL} steps"),
        ErrorKind::WriteFailure => format!("renders to more than {LARGEST_OUTPUT} bytes"),
        ErrorKind::TemplateNotFound => "nothing can be included".to_owned(),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    match error.line() {
        Some(line) => format!("line {line}: {reason}"),
        None => reason,
    }
}

pub(crate) fn depends_on_data(error: &minijinja::Error) -> bool {
    use ErrorKind as Kind;
    !matches!(
        error.kind(),
        Kind::UnknownFilter
            | Kind::UnknownTest
            | Kind::UnknownFunction
            | Kind::UnknownMethod
            | Kind::TemplateNotFound
            | Kind::TooManyArguments
            | Kind::MissingArgument
            | Kind::OutOfFuel
            | Kind::WriteFailure
    )
}

/// A subject is one line: what a value brings along of line ends and control characters becomes a space.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.trim().to_owned()
}

/// Writes until it is too much.
pub(crate) struct Limited(pub(crate) Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LARGEST_OUTPUT {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A handful of named values: cheaper than a map for each recipient.
#[derive(Debug)]
struct Fields(Vec<(&'static str, TemplateValue)>);

impl Fields {
    fn value(self) -> TemplateValue {
        TemplateValue::from_object(self)
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &TemplateValue) -> Option<TemplateValue> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<TemplateValue> {
        self.0.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| TemplateValue::from(*name)).collect())
    }
}

pub(crate) fn from_json(json: &Value) -> TemplateValue {
    match json {
        Value::Null => TemplateValue::UNDEFINED,
        Value::Bool(value) => TemplateValue::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => TemplateValue::from(value),
            (None, Some(value)) => TemplateValue::from(value),
            (None, None) => TemplateValue::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => TemplateValue::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(entries) => {
            let entries: BTreeMap<String, TemplateValue> = entries.iter().map(|(k, v)| (k.clone(), from_json(v))).collect();
            TemplateValue::from(entries)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(subject: &str, html: &str, text: Option<&str>) -> CampaignContent {
        CampaignContent {
            name: "Spring & Summer".to_owned(),
            subject: subject.to_owned(),
            html: html.to_owned(),
            text: text.map(str::to_owned),
            ..CampaignContent::default()
        }
    }

    fn render(content: &CampaignContent, name: &str, attributes: &Value) -> Result<Rendered, String> {
        let recipient = Recipient { email: "ada@example.com", name, attributes };
        Prepared::new(content).expect("a valid template").render(&recipient, "https://mail.test/u/abc")
    }

    fn problems(subject: &str, html: &str) -> String {
        let errors = match Prepared::new(&content(subject, html, None)) {
            Ok(prepared) => prepared.try_out().expect_err("a broken template"),
            Err(errors) => errors,
        };
        errors.iter().map(|e| format!("{}: {}\n", e.field, e.message)).collect()
    }

    #[test]
    fn a_recipient_gets_the_own_values_escaped_in_html_only() {
        let campaign = content(
            "Hi {{ contact.name }} from {{ campaign.name }}",
            "<p>{{ contact.name }} {{ contact.attributes.town.name }} {{ contact.attributes.n + 1 }}</p>\n<a href=\"{{ unsubscribe_url }}\">stop</a>",
            None,
        );
        let rendered = render(&campaign, "<Ada> & Co", &json!({"town": {"name": "Genève"}, "n": 41})).expect("rendered");
        insta::assert_debug_snapshot!(rendered, @r#"
        Rendered {
            subject: "Hi <Ada> & Co from Spring & Summer",
            html: "<p>&lt;Ada&gt; &amp; Co Genève 42</p>\n<a href=\"https://mail.test/u/abc\">stop</a>",
            text: "<Ada> & Co Genève 42\n\nstop (https://mail.test/u/abc)",
        }
        "#);
    }

    #[test]
    fn an_attribute_that_a_contact_lacks_renders_as_nothing_or_the_default() {
        let campaign =
            content("[{{ contact.attributes.a.b.c }}]", "{{ contact.attributes.city | default('your city') }}", Some("t"));
        let rendered = render(&campaign, "", &json!({"city": null})).expect("rendered");
        assert_eq!((rendered.subject.as_str(), rendered.html.as_str(), rendered.text.as_str()), ("[]", "your city", "t"));
    }

    #[test]
    fn a_broken_template_names_the_field_and_the_line() {
        let broken = [
            ("Hi {{ contact.nmae }}", "<p>\n{% if contact.name %}\n<b>\n</p>"),
            ("{{ contact }}", "contact.name\n{{ debug() }}"),
            ("{{ contact.name", "contact.name\n{{ contact.name | shout }}"),
            ("ok", "contact.name\n{{ contact.name | shout }}"),
            ("ok", "{% include 'html' %}"),
            ("ok", "\n{% for i in range(100000) %}{{ i }}{% endfor %}"),
            ("ok", "{{ 'x' * 2000000 }}"),
        ];
        let problems: String = broken.iter().map(|(subject, html)| problems(subject, html)).collect();
        insta::assert_snapshot!(problems, @r"
        subject: line 1: there is no variable contact.nmae; there are contact.email, contact.name, contact.attributes.*, campaign.name and unsubscribe_url
        html: line 2: syntax error: unexpected end of input, expected end of block
        subject: line 1: there is no variable contact; there are contact.email, contact.name, contact.attributes.*, campaign.name and unsubscribe_url
        html: line 2: there is no variable debug; there are contact.email, contact.name, contact.attributes.*, campaign.name and unsubscribe_url
        subject: line 1: syntax error: unexpected end of input, expected end of variable block
        html: line 2: unknown filter: filter shout is unknown
        html: line 1: the block include is not to be had
        html: line 2: takes more than 100000 steps
        html: line 1: the operator * is not to be had
        ");
    }

    #[test]
    fn a_subject_is_one_line_whatever_a_value_holds() {
        let campaign = content("Hi {{ contact.name }}", "", None);
        let rendered = render(&campaign, "Eve\r\nBcc: all@example.com\0", &json!({})).expect("rendered");
        assert_eq!(rendered.subject, "Hi Eve  Bcc: all@example.com");
    }

    #[test]
    fn a_template_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Prepared>();
    }
}
