//! The few pages that people see behind links in mails: small, without scripts, with nothing from elsewhere.

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--paper:#f4f2ee;--card:#fff;--mark:#1f5f99}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--paper:#14181d;--card:#1e242b;--mark:#8cc3f0}}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);\
font:1.125rem/1.5 system-ui,sans-serif}\
main{background:var(--card);padding:2rem;margin:1rem;max-width:28rem;border-radius:.75rem}\
h1{font-size:1.5rem;margin:0 0 .5rem}p{margin:0 0 1rem}p:last-child{margin:0}\
label{display:block;margin:0 0 .25rem;font-weight:600}input{font:inherit;box-sizing:border-box;width:100%;padding:.5rem;margin:0 0 1rem;\
border:2px solid currentColor;border-radius:.5rem;background:transparent;color:inherit}\
input:focus-visible{outline:3px solid var(--mark);outline-offset:2px}.wrong{border-left:4px solid #b3261e;padding-left:.75rem}\
button{font:inherit;padding:.6rem 1.2rem;border:2px solid var(--mark);border-radius:.5rem;background:var(--mark);\
color:var(--card);cursor:pointer}button:focus-visible{outline:3px solid var(--mark);outline-offset:3px}";

/// A whole page. `title` and `inside` are ours: what came from elsewhere must have been through [`escaped`].
pub fn page(status: StatusCode, title: &str, inside: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{inside}</main></body></html>\n"
    );
    (status, HEADERS, html).into_response()
}

/// Text as HTML shows it, inside of elements and of quoted attributes.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_escaped_ends_an_element_or_an_attribute() {
        assert_eq!(escaped("<b title=\"x\" id='y'>&"), "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;");
    }
}
