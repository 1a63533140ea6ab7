//! `mochila-worker parse-bounce`: what a bounce says, one JSON line a recipient. Needs no settings and no database.

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use serde::Serialize;
use shared::bounces::{self, Kind, Notice, mbox};

/// The files to read.
#[derive(Args)]
pub struct ParseBounce {
    /// Mails as they came, or mbox files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// One line of the output. A mail that is neither a notice nor a complaint may say in whose place a machine answered.
#[derive(Serialize)]
struct Line<'a> {
    kind: Kind,
    recipient: Option<&'a str>,
    action: Option<&'a str>,
    status: Option<&'a str>,
    reply_code: Option<u16>,
    class: Option<&'a str>,
    hard: bool,
    diagnostic: Option<&'a str>,
    feedback_type: Option<&'a str>,
}

/// Prints the lines of all files; ends with 1 where one could not be read, after the others.
///
/// # Errors
/// Standard output is closed.
pub fn parse_bounce(arguments: &ParseBounce, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        match fs::read(file) {
            Ok(raw) => {
                for message in mbox::messages(&raw) {
                    print(&bounces::parse(message), out)?;
                }
            }
            Err(error) => {
                eprintln!("mochila-worker: failed to read {}: {error}", file.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn print(notice: &Notice, out: &mut impl Write) -> anyhow::Result<()> {
    let nobody = Line {
        kind: notice.kind,
        recipient: notice.answered_for.as_deref(),
        action: None,
        status: None,
        reply_code: None,
        class: None,
        hard: false,
        diagnostic: None,
        feedback_type: notice.feedback_type.as_deref(),
    };
    if notice.recipients.is_empty() {
        writeln!(out, "{}", serde_json::to_string(&nobody)?)?;
    }
    for one in &notice.recipients {
        let line = Line {
            recipient: Some(&one.recipient),
            action: Some(&one.action),
            status: one.status.as_deref(),
            reply_code: one.reply_code,
            class: Some(one.class.as_str()),
            hard: one.hard,
            diagnostic: Some(&one.diagnostic).filter(|said| !said.is_empty()).map(String::as_str),
            ..nobody
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(files: &[PathBuf]) -> (String, ExitCode) {
        let mut out = Vec::new();
        let code = parse_bounce(&ParseBounce { files: files.to_vec() }, &mut out).expect("written");
        (String::from_utf8(out).expect("text"), code)
    }

    #[test]
    fn each_recipient_is_a_line_and_a_missing_file_stops_nobody() {
        let folder = std::env::temp_dir().join(format!("mochila-parse-bounce-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let bounce = folder.join("bounce.eml");
        let other = folder.join("other.eml");
        fs::write(&bounce, "From mailer-daemon Thu Apr 29 23:34:45 2027\r\nFrom: MAILER-DAEMON@mx.example.test\r\nSubject: failure notice\r\n\r\n<ada@example.com>:\r\nRemote host said: 550 5.1.1 No such user\r\n\r\n<bob@example.com>:\r\nRemote host said: 552 5.2.2 Mailbox full\r\n").expect("written");
        fs::write(&other, b"\xff\xfe\x00").expect("written");
        let away = folder.join("away.eml");
        fs::write(&away, "From: Ada <ada@example.com>\nSubject: Out of office\nAuto-Submitted: auto-replied\n\nUntil Monday.\n")
            .expect("written");
        let (lines, code) = output(&[bounce, folder.join("absent.eml"), other, away]);
        let expected = r#"{"kind":"dsn","recipient":"ada@example.com","action":"failed","status":"5.1.1","reply_code":550,"class":"invalid_recipient","hard":true,"diagnostic":"<ada@example.com>: Remote host said: 550 5.1.1 No such user","feedback_type":null}
{"kind":"dsn","recipient":"bob@example.com","action":"failed","status":"5.2.2","reply_code":552,"class":"quota","hard":false,"diagnostic":"<bob@example.com>: Remote host said: 552 5.2.2 Mailbox full","feedback_type":null}
{"kind":"other","recipient":null,"action":null,"status":null,"reply_code":null,"class":null,"hard":false,"diagnostic":null,"feedback_type":null}
{"kind":"other","recipient":"ada@example.com","action":null,"status":null,"reply_code":null,"class":null,"hard":false,"diagnostic":null,"feedback_type":null}
"#;
        assert_eq!(lines, expected);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::FAILURE));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
