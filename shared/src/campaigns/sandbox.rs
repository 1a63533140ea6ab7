//! What a template may use. Fuel bounds its steps and the writer its output, but not the values in between: nothing that can make a long
//! value out of a short one is to be had, so that no template can eat the memory of a process that serves others.

use minijinja::{Environment, filters, functions, tests};

/// Blocks that keep, double or hide values.
const BLOCKS: [&str; 10] = ["set", "with", "filter", "macro", "call", "include", "import", "from", "extends", "block"];

/// An environment with the filters, tests and functions that only ever shorten, spell or choose.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.add_filter("default", filters::default);
    environment.add_filter("d", filters::default);
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("e", filters::escape);
    environment.add_filter("safe", filters::safe);
    environment.add_filter("length", filters::length);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("round", filters::round);
    environment.add_filter("urlencode", filters::urlencode);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_function("range", functions::range);
    environment
}

/// The first block or operator that a template may not use, with its line, counted from 1.
pub fn refused(source: &str) -> Option<(usize, String)> {
    let mut rest = source;
    let line = |rest: &str| source[..source.len() - rest.len()].matches('\n').count() + 1;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        let close = match rest.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => {
                rest = rest.find("#}").map_or("", |end| &rest[end..]);
                continue;
            }
            _ => {
                rest = &rest[1..];
                continue;
            }
        };
        let at = line(rest);
        let tag = without_strings(&rest[2..], close);
        if let Some(operator) = doubling(&tag.text) {
            return Some((at, format!("the operator {operator} is not to be had")));
        }
        let word = tag.text.trim_start_matches(['-', '+']).split_whitespace().next().unwrap_or_default();
        if close == "%}" && BLOCKS.contains(&word) {
            return Some((at, format!("the block {word} is not to be had")));
        }
        rest = &rest[2 + tag.length..];
    }
    None
}

/// An operator that joins values. A plus before a number counts; before anything else it may join lists or texts.
fn doubling(tag: &str) -> Option<char> {
    tag.char_indices().find_map(|(index, c)| {
        let counts = || tag[index + 1..].trim_start().starts_with(|c: char| c.is_ascii_digit());
        (matches!(c, '~' | '*') || (c == '+' && !counts())).then_some(c)
    })
}

struct Tag {
    text: String,
    length: usize,
}

/// The inside of a tag up to its end, without what stands in quotes.
fn without_strings(inside: &str, close: &str) -> Tag {
    let mut text = String::new();
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if inside[index..].starts_with(close) => return Tag { text, length: index },
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => text.push(c),
        }
    }
    Tag { text, length: inside.len() }
}

#[cfg(test)]
mod tests_of_the_sandbox {
    use super::refused;

    #[test]
    fn what_can_make_a_long_value_of_a_short_one_is_refused() {
        for (source, reason) in [
            ("{% set a = 'x' %}", "the block set is not to be had"),
            ("{%- with a = 1 -%}{% endwith %}", "the block with is not to be had"),
            ("{{ contact.name ~ contact.name }}", "the operator ~ is not to be had"),
            ("{{ 'x' * 1000000 }}", "the operator * is not to be had"),
            ("{% for a in [1] %}{% for b in a + a %}{% endfor %}{% endfor %}", "the operator + is not to be had"),
            ("{# fine ~ #}\n{{ '~' ~ '}}' }}", "the operator ~ is not to be had"),
        ] {
            assert_eq!(refused(source).map(|(_, reason)| reason).as_deref(), Some(reason), "{source}");
        }
    }

    #[test]
    fn text_strings_conditions_and_loops_are_not() {
        for source in [
            "a ~ b * c + d { } {",
            "{{ contact.name | default('a ~ b') }}",
            "{% if contact.name %}Hello {{ contact.name }}{% else %}Hello{% endif %}",
            "{% for n in range(3) %}{{ n }}{% endfor %}",
            "{# ~ #}",
            "{{ contact.attributes.age + 1 }}",
            "{{ \"it's\" }}",
        ] {
            assert_eq!(refused(source), None, "{source}");
        }
    }
}
