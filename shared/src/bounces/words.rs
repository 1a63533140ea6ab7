//! The words of a notice for people, and whether they tell of a failure.

use std::sync::LazyLock;

use mail_parser::decoders::html::html_to_text;
use regex::Regex;

use super::{
    address, original, report,
    sections::{Mail, Role},
};

/// How much of the words is looked at.
const LONGEST: usize = 60_000;

/// What stands above the message that came back.
pub(super) fn of(mail: &Mail) -> String {
    let mut out = String::new();
    for text in mail.texts(Role::Human) {
        push(&mut out, original::cut(text).0);
    }
    if out.trim().is_empty() {
        for page in mail.texts(Role::Page) {
            let text = html_to_text(page.get(..LONGEST).unwrap_or(page));
            push(&mut out, original::cut(&text).0);
        }
    }
    if report::looks_like_fields(&out) {
        out = out.lines().filter(|line| !line.to_ascii_lowercase().contains("-recipient:")).collect::<Vec<_>>().join("\n");
    }
    out
}

fn push(out: &mut String, text: &str) {
    for line in text.lines() {
        if out.len() > LONGEST {
            return;
        }
        out.push_str(line.get(..2000).unwrap_or(line));
        out.push('\n');
    }
}

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static SUBJECT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)undeliver|deliver(y|ed)? ?(status|fail|notif|error|problem|report|delay|subsystem|has failed|incomplete|unsuccess)|fail(ure|ed)?:? ?(notice|delivery|mail|to deliver|message)|returned (mail|message|to sender)|return(ing)? message to sender|",
        r"mail (system error|delivery|failure|error|could not|not delivered|returned|status report)|non-?deliver|not (be )?delivered|could(n'?t| not) be delivered|delivery (to|of) .{0,80}fail|message (delivery|status|rejected|bounced|not|could)|bounced?|returned|rejected|blocked|",
        r"unknown (user|address|recipient)|user unknown|unzustellbar|nicht zustellbar|non remis|échec|no entregad|non recapitat|недоставлен|не доставлен|退信|メールエラー|配信(でき|不能|エラー)|送信(できません|エラー)|loop alert|ndn:|error (sending|delivering)|warning: (message|could|mail)|delayed mail|delay|nondeliverable|problem|error",
    ))
});

static BODY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(could|can|was|were|has|have|is|did|will) ?(not|n'?t) (be |been )*(deliver|reach|relay|sent|complete|accept)|cannot be delivered|undeliver|non-?deliver|unable to deliver|deliver\w* .{0,40}fail|fail\w* to deliver|fail\w* .{0,30}deliver|returned (mail|message)|returning message|(permanent|fatal|delivery) (error|failure|problem)|following (address|recipient|error|destination)|",
        r"did not reach|not delivered|rejected|blocked|bounced|error (occurred|message|sending|delivering)|transcript of session|user unknown|unknown user|no such user|delivery status|mail ?delivery (sub)?system|had trouble delivering|problem delivering|remote host said|giving up|failure reasons|(送信|配信|配達)(でき|不能|エラー)|エラー|unzustell|nicht zugestellt|n'a pas pu|no se pudo|non è stato|не может быть доставлен|无法投递|duplicated message-id|retry time|does not exist|doesn't have a|mailbox|not a (valid|known) (user|address|recipient)",
    ))
});

static DAEMON: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?i)mailer[-_. ]?d(a)?emon|post[-_]?master|mail ?deliver|mail[-_. ]system|system administrator|mail administrator|mdaemon|bounce|maildelivery|daemon@|listserv|smtpd?@|antispam|no-?reply@.*(dion|ezweb|au\.com|auone)|content-filter|exchange|root@|mailrouter|delivery subsystem|ndr@|mailadmin|mta@",
    )
});

static AWAY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?i)out[ -]of[ -](the )?office|vacation|on holiday|away from|auto(mat(ic|ed|ische?))?[- ]?(reply|response|antwort|matic)|abwesenheit|réponse automatique|respuesta automática|risposta automatica|自動(返信|応答)|автоответ",
    )
});

static DELAY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?i)delay|still being retried|warning:? (could not|message|mail)|transient|not (yet )?(been )?delivered (yet|after|for)|temporar(y|ily) (fail|unable|problem|error)",
    )
});

static WARNING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?i)warning (message )?only|do(es)? not need to resend|will (continue to )?(be )?(try|tried|retr)|still (being )?(try|retr)|no action is required|will keep trying|(has|have) (not yet|been delayed)|will be (made|attempted|returned) .{0,60}(days|hours|if)|message is delayed|continue trying|further attempts|attempts will continue|will be retried|not yet been delivered|in the queue .{0,40}(will|until)",
    )
});

static OVER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(r"(?i)permanent|giv(en|ing) up|(will|shall) not (be )?(continue|try|tried|retr)|no (further|more) (delivery )?attempts")
});

fn says(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// Whether a notice without a report tells of a failure. Somebody's answer while away does not.
pub(super) fn tell_of_failure(mail: &Mail, words: &str) -> bool {
    let header = |name| mail.headers.get(name).unwrap_or_default();
    if mail.headers.get("x-failed-recipients").is_some() {
        return true;
    }
    let mailer = header("from").to_ascii_lowercase().contains("mailer-daemon");
    let daemon = says(&DAEMON, header("from")) || header("from").trim().is_empty() || !header("from").contains('@');
    let subject = says(&SUBJECT, header("subject"));
    let body = says(&BODY, words);
    if is_away(mail) && !(says(&DAEMON, header("from")) && subject) {
        return false;
    }
    let nobody = mail.headers.get("return-path").is_some_and(|path| address::first(path).is_none());
    let returned = mail.texts(Role::Original).next().is_some();
    let program = |mailer: &str| mailer.contains("SurfControl") || mailer.contains("SMTP32");
    let sent_by_one = daemon || mail.headers.get("x-mlserver").is_some() || nobody && !is_vacation(mail);
    mailer
        || sent_by_one && (subject || body)
        || subject && body
        || returned && body && mail.headers.get("x-mailer").is_some_and(program)
}

/// Whether a machine answers in somebody's place, by what it says itself (RFC 3834), or by its subject.
fn is_away(mail: &Mail) -> bool {
    says(&AWAY, mail.headers.get("subject").unwrap_or_default())
        || mail.headers.get("x-autoreply").is_some()
        || mail.headers.get("x-apple-action").is_some_and(|value| value.eq_ignore_ascii_case("vacation"))
        || mail.headers.get("precedence").is_some_and(|value| value.eq_ignore_ascii_case("auto_reply"))
}

/// In whose place a machine answered.
pub(super) fn answered_for(mail: &Mail) -> Option<String> {
    let from = mail.headers.get("from")?;
    let found = address::all(from);
    // `ada@example.test <ada@example.com>`: the last is the address.
    let somebody = found.last().map(|found| found.address).filter(|one| address::has_dot(one) && !address::is_role(one))?;
    (is_away(mail) || is_vacation(mail)).then(|| somebody.to_owned())
}

fn is_vacation(mail: &Mail) -> bool {
    mail.headers
        .get("auto-submitted")
        .is_some_and(|value| value.to_ascii_lowercase().contains("auto-replied") || value.contains("vacation"))
}

/// Whether the server still tries.
pub(super) fn tell_of_delay(mail: &Mail, words: &str) -> bool {
    let subject = mail.headers.get("subject").unwrap_or_default();
    !says(&OVER, words) && says(&WARNING, words) && (says(&DELAY, subject) || says(&DELAY, words) || says(&WARNING, words))
}
