//! Which series a PromQL expression asks for, and which labels it groups by. No more of the language is understood than that.

/// One selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// An expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// In the order in which they stand.
    pub selectors: Vec<Selector>,
    /// Labels of `by (…)`, `on (…)` and the like.
    pub labels: Vec<String>,
}

const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Between these and their parenthesis a list may stand.
const AGGREGATIONS: [&str; 8] = ["sum", "min", "max", "avg", "count", "topk", "bottomk", "group"];
const WORDS: [&str; 7] = ["and", "or", "unless", "offset", "bool", "inf", "nan"];

/// Reads an expression.
///
/// # Panics
/// A selector or a list is not closed.
#[must_use]
pub fn read(expression: &str) -> Query {
    let mut query = Query::default();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = &rest[1 + rest[1..].find('"').expect("a closed string") + 1..];
        } else if first.is_ascii_digit() {
            // 0.99, 5m, 1h
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let next = after.trim_start();
            rest = after;
            if LISTS.contains(&word) {
                if let Some(list) = next.strip_prefix('(') {
                    let (list, after) = list.split_once(')').expect("a closed list");
                    query.labels.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
                    rest = after;
                }
            } else if !next.starts_with('(') && !WORDS.contains(&word) && !AGGREGATIONS.contains(&word) {
                let mut selector = Selector { metric: word.to_owned(), matchers: Vec::new() };
                if let Some(inside) = next.strip_prefix('{') {
                    rest = matchers(inside, &mut selector.matchers);
                }
                query.selectors.push(selector);
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    query
}

/// Reads up to the closing brace; answers what comes after it.
fn matchers<'a>(mut rest: &'a str, found: &mut Vec<(String, String, String)>) -> &'a str {
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return after;
        }
        let operator = rest.find(['=', '!']).expect("a label and an operator");
        let value = operator + rest[operator..].find('"').expect("a value in quotes");
        let end = value + 1 + rest[value + 1..].find('"').expect("a closed value");
        found.push((rest[..operator].trim().to_owned(), rest[operator..value].trim().to_owned(), rest[value + 1..end].to_owned()));
        rest = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_matchers_and_labels_are_found_and_functions_are_not() {
        let query = read(
            r#"histogram_quantile(0.99, sum by (le, kind) (rate(a_bucket{x="1", y!~"b{2}|c"}[5m]))) > 1 unless on (z) b offset 1h"#,
        );
        let a = Selector {
            metric: "a_bucket".to_owned(),
            matchers: vec![
                ("x".to_owned(), "=".to_owned(), "1".to_owned()),
                ("y".to_owned(), "!~".to_owned(), "b{2}|c".to_owned()),
            ],
        };
        let b = Selector { metric: "b".to_owned(), matchers: Vec::new() };
        assert_eq!(query, Query { selectors: vec![a, b], labels: ["le", "kind", "z"].map(str::to_owned).to_vec() });
    }
}
