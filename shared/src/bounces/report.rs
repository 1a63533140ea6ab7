//! Delivery reports by RFC 3464, as they come: fields in any order, groups run together or torn apart, addresses in any dress.

use super::{
    address,
    evidence::{Evidence, enhanced_code},
    lines::{field, next_line},
    sections::{Mail, Role},
};

/// One group of fields: one recipient.
#[derive(Default)]
struct Group {
    fields: Vec<(String, String)>,
}

impl Group {
    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }

    fn names_somebody(&self) -> bool {
        self.has("final-recipient") || self.has("original-recipient")
    }

    /// The address, as the last server knew it, or as we did.
    fn recipient(&self) -> Option<String> {
        let named = || {
            ["final-recipient", "x-actual-recipient", "original-recipient"]
                .iter()
                .filter_map(|name| self.get(name).and_then(address::of_field))
        };
        named().find(|one| address::has_dot(one)).or_else(|| named().next())
    }
}

/// The fields that belong to a recipient.
const OF_RECIPIENT: [&str; 12] = [
    "original-recipient",
    "final-recipient",
    "action",
    "status",
    "remote-mta",
    "diagnostic-code",
    "last-attempt-date",
    "final-log-id",
    "will-retry-until",
    "x-actual-recipient",
    "x-display-name",
    "x-supplementary-info",
];

/// The recipients of a report; none if it is no such report. An entry may lack its address.
pub(super) fn recipients(mail: &Mail) -> Vec<Evidence> {
    let mut groups: Vec<Group> = mail.texts(Role::Status).flat_map(groups).collect();
    if !groups.iter().any(Group::names_somebody) {
        // A report whose parts were lost still has its fields somewhere.
        let loose = mail.texts(Role::Human).filter(|text| looks_like_fields(text));
        groups.extend(loose.flat_map(self::groups).filter(Group::names_somebody));
    }
    groups.into_iter().map(|group| evidence(&group)).collect()
}

/// The lines of a text for people that are a report's fields, taken out: the words are what is left.
pub(super) fn looks_like_fields(text: &str) -> bool {
    let mut recipient = false;
    let mut verdict = false;
    for line in text.lines() {
        match field(line).map(|(name, _)| name.to_ascii_lowercase()).as_deref() {
            Some("final-recipient" | "original-recipient") => recipient = true,
            Some("action" | "status" | "diagnostic-code") => verdict = true,
            _ => {}
        }
    }
    recipient && verdict
}

fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group = Group::default();
    let mut rest = text;
    while let Some((line, after)) = next_line(rest) {
        rest = after;
        if line.trim().is_empty() {
            // Only a group with a recipient ends here: some servers tear their groups apart.
            if group.names_somebody() {
                groups.push(std::mem::take(&mut group));
            }
            continue;
        }
        let known = field(line).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        match known.filter(|_| !line.starts_with([' ', '\t'])) {
            Some((name, value)) if OF_RECIPIENT.contains(&name.as_str()) => {
                let next = name.ends_with("-recipient") && name != "x-actual-recipient" && group.has(&name);
                let next = next || name == "original-recipient" && group.has("final-recipient") && group.has("status");
                if next {
                    groups.push(std::mem::take(&mut group));
                }
                // The rest of a group that an empty line tore in two.
                let stray = !group.names_somebody() && !name.ends_with("-recipient") && name != "action";
                match groups.last_mut().filter(|last| stray && group.fields.is_empty() && !last.has(&name)) {
                    Some(last) => last.fields.push((name, value)),
                    None => group.fields.push((name, value)),
                }
            }
            // Of the message, or of nobody's standard.
            Some((name, value)) => group.fields.push((name, value)),
            None => {
                if let Some((_, value)) = group.fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            }
        }
    }
    if group.names_somebody() {
        groups.push(group);
    } else if let Some(last) = groups.last_mut() {
        for (name, value) in group.fields {
            if OF_RECIPIENT.contains(&name.as_str()) && !last.has(&name) {
                last.fields.push((name, value));
            }
        }
    } else if group.has("action") || group.has("diagnostic-code") {
        groups.push(group);
    }
    groups
}

fn evidence(group: &Group) -> Evidence {
    let action = group.get("action").map(|action| {
        let word: String = action.to_ascii_lowercase().chars().take_while(char::is_ascii_alphabetic).collect();
        match word.as_str() {
            "failure" | "fail" | "bounced" | "failed" => "failed".to_owned(),
            "delay" | "deferred" | "warning" => "delayed".to_owned(),
            "delivered" | "delayed" | "relayed" | "expanded" | "deliverable" | "" => word,
            // undeliverable, expired, …
            _ => "failed".to_owned(),
        }
    });
    let diagnostic = group.get("diagnostic-code").unwrap_or_default();
    let diagnostic = match diagnostic.split_once(';') {
        Some((kind, rest)) if kind.trim().len() < 20 && !kind.trim().contains(' ') => rest.trim(),
        _ => diagnostic.trim(),
    };
    let remark = group.get("status").and_then(|status| status.split_once('(')).map(|(_, remark)| remark.trim_end_matches(')'));
    let diagnostic = match (diagnostic, remark) {
        ("", Some(remark)) => remark.to_owned(),
        (diagnostic, _) => diagnostic.to_owned(),
    };
    Evidence {
        recipient: group.recipient().unwrap_or_default(),
        action: action.filter(|word| !word.is_empty()),
        status: group.get("status").and_then(enhanced_code),
        diagnostic,
        ..Evidence::default()
    }
}
