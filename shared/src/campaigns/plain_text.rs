//! The text that is derived from HTML where a campaign has none of its own: paragraphs, lists and links survive, styles do not.

use std::borrow::Cow;

/// Text of an HTML document. Links stand as `text (address)`, paragraphs are a blank line apart. One pass, no failure: what is not
/// HTML is text.
#[must_use]
pub fn from_html(html: &str) -> String {
    let mut reader = Reader { out: String::with_capacity(html.len() / 2), space: false, lines: 0, link: None };
    let mut rest = html;
    while let Some(position) = rest.find('<') {
        reader.text(&rest[..position]);
        rest = &rest[position..];
        rest = if let Some(comment) = rest.strip_prefix("<!--") {
            comment.find("-->").map_or("", |end| &comment[end + 3..])
        } else if rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            let end = end_of_tag(rest);
            let tag = &rest[1..end];
            reader.after_tag(tag, rest.get(end + 1..).unwrap_or_default())
        } else {
            reader.text("<");
            &rest[1..]
        };
    }
    reader.text(rest);
    reader.out.truncate(reader.out.trim_end().len());
    reader.out
}

/// Where the tag that starts here ends: at a `>` outside quotes; else the end of the input.
fn end_of_tag(tag: &str) -> usize {
    let tag = tag.as_bytes();
    let mut from = 0;
    while let Some(found) = memchr::memchr3(b'>', b'"', b'\'', &tag[from..]) {
        let at = from + found;
        if tag[at] == b'>' {
            return at;
        }
        let Some(closed) = memchr::memchr(tag[at], &tag[at + 1..]) else { break };
        from = at + 1 + closed + 1;
    }
    tag.len()
}

struct Reader {
    out: String,
    /// A space is due before the next word.
    space: bool,
    /// Line ends that are due before the next word.
    lines: usize,
    /// Address of the open link, and where its text starts.
    link: Option<(String, usize)>,
}

impl Reader {
    /// Takes a tag and answers what follows it, without the inside of what is not shown.
    fn after_tag<'a>(&mut self, tag: &str, rest: &'a str) -> &'a str {
        let closing = tag.starts_with('/');
        let name = tag.strip_prefix('/').unwrap_or(tag);
        let name = &name[..name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len())];
        let name: Cow<'_, str> =
            if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() };
        match name.as_ref() {
            "script" | "style" | "title" | "template" if !closing => return after_closing(&name, rest),
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "table" | "blockquote" | "pre" => self.line(2),
            "div" | "tr" | "dt" | "dd" | "section" | "article" | "header" | "footer" | "center" | "body" => self.line(1),
            "br" => self.lines += usize::from(!self.out.is_empty()),
            "hr" => {
                self.line(1);
                self.text("----");
                self.line(1);
            }
            "li" => {
                self.line(1);
                if !closing {
                    self.text("- ");
                }
            }
            "td" | "th" => self.space = true,
            "img" => {
                if let Some(text) = attribute(tag, "alt") {
                    self.text(text);
                }
            }
            "a" if closing => self.end_link(),
            "a" => {
                self.end_link();
                let address = attribute(tag, "href").map(decode).unwrap_or_default();
                let address = address.trim();
                self.link = (!address.is_empty() && !address.starts_with('#')).then(|| (address.to_owned(), self.out.len()));
            }
            _ => {}
        }
        rest
    }

    fn end_link(&mut self) {
        let Some((address, start)) = self.link.take() else { return };
        let text = self.out.get(start..).unwrap_or_default().trim();
        let shown = address.strip_prefix("mailto:").unwrap_or(&address);
        if text.is_empty() {
            self.word(&address);
        } else if text != shown {
            self.space = true;
            self.word(&format!("({shown})"));
        }
    }

    fn line(&mut self, lines: usize) {
        if !self.out.is_empty() {
            self.lines = self.lines.max(lines);
        }
    }

    /// Takes text with entities; any run of white space is one space.
    fn text(&mut self, text: &str) {
        let mut rest = text;
        loop {
            let trimmed = rest.trim_ascii_start();
            self.space |= trimmed.len() < rest.len();
            if trimmed.is_empty() {
                return;
            }
            let end = trimmed.bytes().position(|b| b.is_ascii_whitespace()).unwrap_or(trimmed.len());
            let (word, after) = trimmed.split_at(end);
            if word.contains('&') {
                self.word(&decode(word))
            } else {
                self.word(word)
            }
            rest = after;
        }
    }

    fn word(&mut self, word: &str) {
        if self.lines > 0 {
            self.out.extend(std::iter::repeat_n('\n', self.lines.min(2)));
        } else if self.space && !self.out.is_empty() {
            self.out.push(' ');
        }
        (self.lines, self.space) = (0, false);
        self.out.push_str(word);
    }
}

/// What follows `</name …>`; nothing where it is never closed.
fn after_closing<'a>(name: &str, rest: &'a str) -> &'a str {
    let mut from = 0;
    while let Some(found) = rest[from..].find("</") {
        let tag = &rest[from + found + 2..];
        if tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            return tag.find('>').map_or("", |end| &tag[end + 1..]);
        }
        from += found + 2;
    }
    ""
}

/// The raw value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = tag.trim_start_matches(|c: char| !c.is_ascii_whitespace());
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=' || c == '/').unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(value) = after.trim_start().strip_prefix('=') else {
            // A lone `=` cannot be reached here, so this always moves on.
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// Latin-1 by name, from U+00A0 on, HTML 4 section 24.2.
const LATIN: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo", "not", "shy", "reg",
    "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot", "cedil", "sup1", "ordm", "raquo", "frac14",
    "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute",
    "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times",
    "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml",
    "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde",
    "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc", "uuml", "yacute", "thorn",
    "yuml",
];
const OTHERS: [(&str, char); 20] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("ndash", '–'),
    ("mdash", '—'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("bull", '•'),
    ("hellip", '…'),
    ("euro", '€'),
    ("trade", '™'),
    ("rarr", '→'),
    ("larr", '←'),
    ("zwnj", '\u{200c}'),
];

/// Puts characters in the place of entities; an unknown one stays as it is.
fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('&') {
        out.push_str(&rest[..position]);
        rest = &rest[position..];
        let end = rest.as_bytes().iter().take(12).position(|&b| b == b';');
        match end.and_then(|end| Some((entity(&rest[1..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code = hexadecimal.map_or_else(|| number.parse(), |digits| u32::from_str_radix(digits, 16)).ok()?;
        return char::from_u32(code).filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    }
    if let Some((_, character)) = OTHERS.iter().find(|(known, _)| *known == name) {
        return Some(*character);
    }
    let index = LATIN.iter().position(|known| *known == name)?;
    let code = 0xA0 + u32::try_from(index).ok()?;
    // A hard space is a space in text, and a soft hyphen nothing that a reader would miss.
    Some(if code == 0xA0 { ' ' } else { char::from_u32(code)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paragraphs_lists_and_links_survive() {
        let html = r##"<!DOCTYPE html><html><head><title>No</title><style>p { color: red }</style></head><body>
            <!-- <p>hidden</p> --><h1>Spring  sale</h1>
            <p>Dear <b>Ada</b>,<br>caf&eacute; &amp; th&#233; &lt;now&gt; &#x1F600; &unknown; 5 < 6</p>
            <ul><li>one</li><li><a href="https://example.com/?a=1&amp;b=2">two</a></li></ul>
            <table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>
            <SCRIPT>if (1 < 2) alert("</p>")</SCRIPT ><img src=x alt='Logo'>
            <a href="https://example.com">https://example.com</a> <a href=mailto:a@b.test>a@b.test</a> <a href="#top">top</a>
            <p>end</p></body></html>"##;
        insta::assert_snapshot!(from_html(html), @r"
        Spring sale

        Dear Ada,
        café & thé <now> 😀 &unknown; 5 < 6

        - one
        - two (https://example.com/?a=1&b=2)

        a b
        c

        Logo https://example.com a@b.test top

        end
        ");
    }

    #[test]
    fn what_is_not_html_is_text() {
        for (html, text) in [("", ""), ("a < b", "a < b"), ("<", "<"), ("<a", ""), ("a<!--", "a"), ("<style>x", ""), ("&", "&")] {
            assert_eq!(from_html(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(html in "(<|>|a|p|td|br| |=|\"|'|/|&|#|;|x|!--|script|href|\\PC){0,60}") {
            let _ = from_html(&html);
        }
    }
}
