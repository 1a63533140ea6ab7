//! One sample a format, in `samples/`, and what is read from it.

use proptest::prelude::*;

use super::*;

fn sample(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bounces/samples").join(format!("{name}.eml"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sample, and of each recipient address, action, status, class, and `hard` where it is.
const READ: &[(&str, &[&str])] = &[
    ("active_hunter", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("aol_names", &["adalovelace@example.com failed - policy", "bob_1@example.com failed - policy"]),
    ("barracuda", &["ada@example.com failed - spam_block"]),
    ("bigfoot", &["ada@example.com failed 5.7.1 invalid_recipient hard"]),
    ("biglobe", &["postmaster@mail.example.com failed - quota"]),
    ("carriage_returns", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("courier", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("crlf", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("delivered", &["ada@example.com deliverable 2.1.5 other"]),
    ("domino", &["ada@example.com failed - invalid_recipient hard"]),
    ("dragonfly", &["ada@example.com failed 5.7.26 authentication"]),
    ("exchange_2003", &["ada@example.com failed - invalid_recipient hard"]),
    ("exchange_2007", &["ada@example.com failed 5.2.3 content"]),
    ("exim", &["ada@example.com failed 5.1.1 invalid_recipient hard", "bob@example.com failed - quota"]),
    ("exim_alias", &["ada@example.com failed - quota"]),
    ("exim_delayed", &["ada@example.com delayed - expired"]),
    ("ezweb", &["ada@example.com failed - invalid_recipient hard"]),
    ("facebook", &["ada@example.com failed 5.1.1 policy"]),
    ("fml_member", &["readers@example.com failed - policy"]),
    ("fml", &["readers@example.com failed - policy"]),
    ("gmail", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("gmx", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("google_groups", &["readers@groups.example.com failed - policy"]),
    ("html_only", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("imail", &["ada@example.com failed - quota"]),
    ("interscan", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("james", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("kddi", &["ada@example.com failed - quota"]),
    ("m_filter", &["ada@example.com failed - invalid_recipient"]),
    ("mail_ru", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("mailmarshal", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("mcafee", &["ada@example.com failed - invalid_recipient hard"]),
    ("messaging_server", &["ada@example.com failed 5.2.2 quota"]),
    ("mimecast", &["ada@example.com failed 5.4.1 invalid_recipient hard"]),
    ("mx_logic", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("no_boundaries", &["ada@example.com failed 5.5.0 invalid_recipient hard"]),
    ("notes", &["ada@example.com failed - invalid_recipient hard"]),
    ("office_365", &["ada@example.com failed 5.1.351 invalid_recipient hard"]),
    ("opensmtpd", &["ada@example.com failed - bad_domain hard"]),
    ("postfix", &["ada@example.com failed 5.1.1 invalid_recipient hard", "bob@example.com failed 4.2.2 quota"]),
    ("postfix_base64", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("postfix_delayed", &["ada@example.com delayed 4.4.1 routing"]),
    (
        "qmail",
        &[
            "ada@example.com failed 5.1.1 invalid_recipient hard",
            "bob@example.org failed 5.1.2 bad_domain hard",
            "cy@example.net failed 4.4.3 transient",
        ],
    ),
    ("receiving_ses", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("refused_after_data", &["ada@phone.example.com failed 5.0.0 invalid_recipient"]),
    (
        "run_together",
        &[
            "ada@example.com failed 5.0.0 invalid_recipient hard",
            "bob@example.org delayed 4.0.0 transient",
            "cy@example.net failed 5.2.2 quota",
        ],
    ),
    ("scanned", &["ada@example.com failed - inactive"]),
    ("sendgrid", &["ada@example.com failed - expired"]),
    ("sendmail", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("sendmail_5", &["ada@gone.example.com failed - bad_domain hard"]),
    (
        "sendmail_5_several",
        &[
            "ada@example.com failed - policy",
            "bob@gone.example.org failed - bad_domain hard",
            "cy@example.net failed - invalid_recipient hard",
        ],
    ),
    ("ses_notification", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("surfcontrol", &["ada@example.com failed 5.0.0 invalid_recipient hard"]),
    ("symantec", &["ada@example.com delayed - expired"]),
    ("undeliverable_path", &["ada@mx.example.com failed 5.0.0 quota"]),
    ("unknown_1", &["ada@example.com failed - invalid_recipient hard"]),
    ("unknown_6", &["ada@example.com failed 5.4.6 routing"]),
    ("verizon", &["5550100@text.example.com failed - invalid_recipient hard"]),
    ("workmail", &["ada@example.com failed 4.4.7 expired"]),
    ("wrapped", &["ada@example.com failed 5.1.1 invalid_recipient hard"]),
    ("yahoo", &["ada@example.com failed - invalid_recipient hard"]),
    ("zoho", &["ada@example.com failed - invalid_recipient hard"]),
];

fn line(one: &Bounced) -> String {
    let status = one.status.as_deref().unwrap_or("-");
    format!("{} {} {status} {}{}", one.recipient, one.action, one.class.as_str(), if one.hard { " hard" } else { "" })
}

#[test]
fn each_format_is_read() {
    for (name, expected) in READ {
        let notice = parse(&sample(name));
        let found: Vec<String> = notice.recipients.iter().map(line).collect();
        assert_eq!((notice.kind, found), (Kind::Dsn, expected.iter().map(|&line| line.to_owned()).collect()), "{name}");
    }
}

#[test]
fn a_complaint_is_known_as_such_and_says_whose() {
    let expected: [(&str, &str, &[&str]); 7] = [
        ("arf", "abuse", &["ada@example.com", "bob@example.com"]),
        ("arf_redacted", "abuse", &[]),
        ("arf_opt_out", "opt-out", &["ada@example.com"]),
        ("arf_auth_failure", "auth-failure", &["ada@example.com"]),
        ("arf_hotmail", "abuse", &["ada@example.com"]),
        ("apple_unsubscribe", "opt-out", &["ada@example.com"]),
        ("ses_complaint", "abuse", &["ada@example.com"]),
    ];
    for (name, kind, recipients) in expected {
        let notice = parse(&sample(name));
        let found: Vec<&str> = notice.recipients.iter().map(|one| one.recipient.as_str()).collect();
        assert_eq!((notice.kind, notice.feedback_type.as_deref(), found.as_slice()), (Kind::Arf, Some(kind), recipients), "{name}");
        assert!(notice.recipients.iter().all(|one| !one.hard && one.action == "complained"), "{name}");
    }
}

#[test]
fn a_server_that_has_given_up_does_not_try_on_however_it_says_so() {
    let told = |says: &str| {
        let head = "From: MAILER-DAEMON@mx.example.test\nSubject: Delivery report\n\nHello, this is the mail server on mx.example.test.\n\n";
        parse(format!("{head}  <ada@example.com>  {says}\n").as_bytes()).recipients.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    for (says, action) in [
        ("delivery failed; will not continue trying", "failed"),
        ("delivery failed. No further attempts will be made.", "failed"),
        ("delivery failed, and will not be retried", "failed"),
        ("delivery failed; will continue trying", "delayed"),
        ("delivery is delayed; further attempts will be made", "delayed"),
    ] {
        assert!(told(says).starts_with(&format!("ada@example.com {action} ")), "{says}: {}", told(says));
    }
}

#[test]
fn mail_of_people_is_neither() {
    for name in ["vacation", "letter"] {
        let notice = parse(&sample(name));
        assert_eq!((notice.kind, notice.recipients.len()), (Kind::Other, 0), "{name}");
    }
}

#[test]
fn an_answer_while_away_says_in_whose_place() {
    assert_eq!(parse(&sample("vacation")).answered_for.as_deref(), Some("ada@example.com"));
    assert_eq!(parse(&sample("letter")).answered_for, None);
    assert_eq!(parse(&sample("postfix")).answered_for, None);
}

#[test]
fn every_sample_is_expected() {
    let known = |name: &str| {
        READ.iter().any(|(known, _)| *known == name) || ["vacation", "letter", "ses_complaint", "apple_unsubscribe"].contains(&name)
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bounces/samples");
    for entry in std::fs::read_dir(folder).expect("samples") {
        let name = entry.expect("an entry").file_name().to_string_lossy().trim_end_matches(".eml").to_owned();
        assert!(known(&name) || name.starts_with("arf"), "{name} is tested by nobody");
    }
}

#[test]
fn the_message_that_came_back_is_named() {
    let notice = parse(&sample("postfix"));
    assert_eq!(notice.original.message_id.as_deref(), Some("0001.0002@sender.test"));
    assert_eq!(notice.original.return_path.as_deref(), Some("b-7f3a@bounces.sender.test"));
    assert_eq!(notice.original.recipients, ["ada@example.com"]);
    assert_eq!(notice.addressed_to, ["b-7f3a@bounces.sender.test"]);
    for name in ["exim", "qmail", "gmail", "fml", "exchange_2003", "zoho"] {
        assert_eq!(parse(&sample(name)).original.message_id.as_deref(), Some("0001.0002@sender.test"), "{name}");
    }
}

#[test]
fn any_line_end_reads_the_same() {
    for (name, _) in READ {
        let raw = lines::unix(&sample(name));
        let with =
            |end: &[u8]| raw.iter().flat_map(|byte| if *byte == b'\n' { end.to_vec() } else { vec![*byte] }).collect::<Vec<u8>>();
        let plain = parse(&raw);
        assert_eq!(parse(&with(b"\r\n")), plain, "{name}");
        assert_eq!(parse(&with(b"\r")), plain, "{name}");
    }
}

#[test]
fn a_notice_that_names_nobody_or_somebody_twice_is_read_without_harm() {
    let head = "From: Notices <no-reply@sns.example.test>\nSubject: AWS Notification Message\n\n";
    let recipients = |json: &str| -> Vec<String> {
        parse(format!("{head}{json}").as_bytes()).recipients.into_iter().map(|one| one.recipient).collect()
    };
    let bounced = |address: &str| {
        recipients(&format!(
            r#"{{"notificationType":"Bounce","bounce":{{"bounceType":"Permanent","bouncedRecipients":[{{"emailAddress":"{address}","status":"5.1.1"}}]}}}}"#
        ))
    };
    assert_eq!(bounced(" ada@example.com "), ["ada@example.com"]);
    assert!(bounced("").is_empty() && bounced(" ").is_empty());
    let complained = recipients(
        r#"{"notificationType":"Complaint","complaint":{"complainedRecipients":[{"emailAddress":"ada@example.com"},{"emailAddress":"ADA@example.com"},{"emailAddress":""}]}}"#,
    );
    assert_eq!(complained, ["ada@example.com"]);
}

#[test]
fn a_sample_cut_anywhere_is_read_without_harm() {
    for (name, _) in READ {
        let raw = sample(name);
        for end in (0..raw.len()).step_by(97) {
            let _ = parse(&raw[..end]);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(raw in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&raw);
    }

    #[test]
    fn what_looks_like_a_report_is_read(fields in prop::collection::vec(
        ("(Final-Recipient|Original-Recipient|Action|Status|Diagnostic-Code|Content-Type|Feedback-Type|X-Failed-Recipients)?", "[ :;@<>=.a-z0-9\r\n\t\"\u{e4}\u{1b}-]{0,40}"), 0..20)
    ) {
        let head = "From: MAILER-DAEMON@example.test\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n";
        let body: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let _ = parse(format!("{head}{body}").as_bytes());
        let _ = parse(body.as_bytes());
    }
}
