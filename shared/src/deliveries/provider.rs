//! The rule that puts recipient domains into a few classes, for figures: who runs the mailboxes, as far as the name tells.

/// One of a fixed set: `google`, `microsoft`, `yahoo`, `apple`, `gmx`, `proton`, `yandex`, `mailru` and `other`, which most company
/// domains are whoever runs them. `domain` in lower case.
#[must_use]
pub fn of(domain: &str) -> &'static str {
    // yahoo.co.uk and hotmail.fr as yahoo.com and hotmail.com; mail.yahoo-fan.example is neither.
    let first = domain.split_once('.').map_or(domain, |(first, _)| first);
    match domain {
        "gmail.com" | "googlemail.com" => "google",
        "msn.com" | "passport.com" => "microsoft",
        "ymail.com" | "rocketmail.com" | "aol.com" => "yahoo",
        "icloud.com" | "me.com" | "mac.com" => "apple",
        "web.de" | "mail.com" => "gmx",
        "protonmail.com" | "proton.me" | "pm.me" => "proton",
        "ya.ru" => "yandex",
        "mail.ru" | "inbox.ru" | "list.ru" | "bk.ru" => "mailru",
        _ => match first {
            "outlook" | "hotmail" | "live" => "microsoft",
            "yahoo" => "yahoo",
            "gmx" => "gmx",
            "yandex" => "yandex",
            _ => "other",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_provider_is_known_by_its_domains_in_every_country() {
        assert_eq!(["gmail.com", "hotmail.fr", "yahoo.co.uk", "gmx.at"].map(of), ["google", "microsoft", "yahoo", "gmx"]);
        assert_eq!(["mail.yahoo-fan.example", "example.com", "localhost"].map(of), ["other"; 3]);
    }
}
