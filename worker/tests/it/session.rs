//! The SMTP session against the sink and against servers that follow a script.

mod script;
mod tls;

use mochila_bench::sink::{Change, Options, Sink};
use mochila_worker::{
    clients::smtp::{Invalid, Malformed, OpenError, Relay, Reply, Sent, Session, SessionError, Stage, Trouble},
    sending::verdict::judge,
};
use proptest::{collection::vec, prelude::*};
use script::{Server, Step, envelope, greet, line, relay, say};
use shared::{deliveries::ledger::State, settings::Settings};

const MESSAGE: &[u8] = b"Message-ID: <1@a.test>\r\nSubject: hi\r\n\r\nhello\r\n";

async fn sink() -> Sink {
    Sink::start(&Options::default()).await.expect("a sink")
}

async fn open(sink: &Sink) -> Session {
    Session::open(&relay(sink.smtp.port())).await.expect("the sink greets")
}

async fn send(session: &mut Session, to: &str) -> Sent {
    session.send("s@a.test", to, MESSAGE).await
}

fn accepted(sent: Sent) -> Reply {
    match sent {
        Sent::Accepted(reply) => reply,
        other => panic!("accepted was to come, not {other:?}"),
    }
}

fn refused(sent: Sent) -> (Stage, Reply, bool) {
    match sent {
        Sent::Refused { stage, reply, session_usable } => (stage, reply, session_usable),
        other => panic!("refused was to come, not {other:?}"),
    }
}

fn not_sent(sent: Sent) -> SessionError {
    match sent {
        Sent::NotSent { error } => error,
        other => panic!("not sent was to come, not {other:?}"),
    }
}

fn unknown(sent: Sent) -> SessionError {
    match sent {
        Sent::Unknown { error } => error,
        other => panic!("unknown was to come, not {other:?}"),
    }
}

/// Commands, each of which waits for its answer.
fn by_steps(exchanges: &[(&'static str, &str)]) -> Vec<Step> {
    exchanges.iter().flat_map(|(command, answer)| [Step::OnlyLine(command), say(&format!("{answer}\r\n"))]).collect()
}

fn script(parts: Vec<Vec<Step>>) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_temporary_failure_is_followed_by_acceptance() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    let (stage, reply, usable) = refused(send(&mut session, "r@greylist.test").await);
    assert_eq!((stage, reply.code, reply.enhanced.as_deref(), usable), (Stage::Recipient, 451, Some("4.7.1"), true));
    accepted(send(&mut session, "r@greylist.test").await);
    assert_eq!(sink.counts.stats().received, 1);
}

#[tokio::test]
async fn a_refused_recipient_leaves_the_connection_usable() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    for round in 0..3 {
        let (stage, reply, usable) = refused(send(&mut session, "bounce-1@b.test").await);
        assert_eq!((stage, reply.code, usable), (Stage::Recipient, 550, true), "round {round}");
        accepted(send(&mut session, "r@b.test").await);
        let (stage, reply, usable) = refused(send(&mut session, "r@reject.test").await);
        assert_eq!((stage, reply.code, usable), (Stage::Dot, 554, true), "round {round}");
    }
    let stats = sink.counts.stats();
    assert_eq!((stats.received, stats.connections_total, stats.protocol_errors, session.messages()), (3, 1, 0, 9));
    session.quit().await;
}

#[tokio::test]
async fn a_421_instead_of_the_banner_opens_no_session() {
    let sink = sink().await;
    sink.settings.change(&Change { banner_code: Some(421), ..Change::default() });
    let error = Session::open(&relay(sink.smtp.port())).await.err().expect("no session");
    assert_eq!((error.stage(), error.reply().map(|reply| reply.code)), (Stage::Greeting, Some(421)));
}

#[tokio::test]
async fn a_421_on_a_kept_connection_says_nothing_about_the_message() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    accepted(send(&mut session, "r@b.test").await);
    sink.settings.change(&Change { refuse_connections: Some(true), ..Change::default() });
    let (stage, reply, usable) = refused(send(&mut session, "r@b.test").await);
    assert_eq!((stage, reply.code, usable), (Stage::Reuse, 421, false));
    assert!(!session.is_usable());
}

#[tokio::test]
async fn a_421_on_a_fresh_connection_is_about_the_message() {
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), vec![say("421 4.3.2 closing\r\n")]])]).await;
    let (stage, _, usable) = refused(send(&mut server.open().await, "r@b.test").await);
    assert_eq!((stage, usable), (Stage::Mail, false));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_noticed() {
    let one = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body, say("250 ok\r\n421 4.4.2 idle\r\n"), Step::Hang];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), one])]).await;
    let mut session = server.open().await;
    accepted(send(&mut session, "r@b.test").await);
    // Both lines came in one segment: the second one is in the session's buffer already.
    assert!(!session.is_alive_hint() && !session.is_usable());
    assert_eq!(not_sent(send(&mut session, "r@b.test").await).stage, Stage::Reuse);
}

#[tokio::test]
async fn an_open_connection_looks_alive() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    assert!(session.is_alive_hint());
    accepted(send(&mut session, "r@b.test").await);
    assert!(session.is_alive_hint() && session.is_usable());
}

#[tokio::test]
async fn a_connection_that_ends_in_data_has_sent_nothing() {
    let sink = sink().await;
    let error = not_sent(send(&mut open(&sink).await, "r@drop.test").await);
    assert_eq!(error.stage, Stage::Data);
    accepted(send(&mut open(&sink).await, "r@drop.test").await);
    assert_eq!(sink.counts.stats().received, 1);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_dot_has_sent_nothing() {
    let cut = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Bytes(1000)];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), cut])]).await;
    let mut session = server.open().await;
    // More than the sockets' buffers take, so that the dot is still ours when the server has gone.
    let big = b"0123456789\r\n".repeat(4_000_000);
    assert_eq!(not_sent(session.send("s@a.test", "r@b.test", &big).await).stage, Stage::Data);
    assert!(!session.is_usable());
}

#[tokio::test]
async fn no_answer_to_the_final_dot_leaves_the_message_in_doubt() {
    let sink = sink().await;
    let mut relay = relay(sink.smtp.port());
    relay.timeouts.final_dot = 1;
    let mut session = Session::open(&relay).await.expect("the sink greets");
    let error = unknown(send(&mut session, "r@mute.test").await);
    assert!(matches!((error.stage, error.trouble), (Stage::Dot, Trouble::Timeout(1))));
    assert!(!session.is_usable());
    assert_eq!(sink.counts.stats().received, 1);
}

#[tokio::test]
async fn a_connection_that_ends_after_the_dot_leaves_the_message_in_doubt() {
    let cut = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), cut])]).await;
    let error = unknown(send(&mut server.open().await, "r@b.test").await);
    assert!(matches!((error.stage, error.trouble), (Stage::Dot, Trouble::Closed)));
}

#[tokio::test]
async fn a_banner_that_does_not_come_is_waited_for_no_longer_than_its_limit() {
    let server = Server::start(vec![vec![Step::Hang]]).await;
    let mut relay = server.relay();
    relay.timeouts.greeting = 1;
    let Err(OpenError::Broken(error)) = Session::open(&relay).await else { panic!("it opened") };
    assert_eq!(error.to_string(), "greeting: no answer within 1 s");
}

#[tokio::test]
async fn an_answer_that_drips_is_waited_for_no_longer_than_its_limit() {
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), vec![say("250-"), Step::Hang]])]).await;
    let mut relay = server.relay();
    relay.timeouts.command = 1;
    let mut session = Session::open(&relay).await.expect("the script greets");
    assert!(matches!(not_sent(send(&mut session, "r@b.test").await).trouble, Trouble::Timeout(1)));
    assert!(!session.is_usable(), "the rest of the answer would be taken for the next one");
}

#[tokio::test]
async fn a_server_that_takes_few_messages_is_not_given_more() {
    let sink_like = |count| {
        let one = || [envelope(), vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body, say("250 ok\r\n")]].into_iter().flatten();
        (0..count).flat_map(|_| one()).collect()
    };
    let server = Server::start(vec![script(vec![greet(&["PIPELINING", "LIMITS MAILMAX=2"]), sink_like(2)])]).await;
    let mut session = server.open().await;
    accepted(send(&mut session, "r@b.test").await);
    assert!(session.is_usable());
    accepted(send(&mut session, "r@b.test").await);
    assert!(!session.is_usable());
}

#[tokio::test]
async fn replies_that_are_odd_but_legible_are_read() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    assert_eq!(accepted(send(&mut session, "r@latin.test").await).text, "accept\u{fffd}");
    assert_eq!(accepted(send(&mut session, "r@long.test").await).text.len(), 64 * 1001 + 2);
    let (stage, reply, usable) = refused(send(&mut session, "r@571.test").await);
    assert_eq!((stage, reply.code, usable), (Stage::Recipient, 571, true));
    accepted(send(&mut session, "r@b.test").await);
}

#[tokio::test]
async fn a_reply_without_end_is_not_read_for_ever() {
    let endless = "250-0123456789\r\n".repeat(8192);
    let answers = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body, say(&endless), Step::Hang];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), answers])]).await;
    let error = unknown(send(&mut server.open().await, "r@b.test").await);
    assert!(matches!(error.trouble, Trouble::Malformed(Malformed::LongReply)));
}

#[tokio::test]
async fn replies_may_be_cut_at_every_byte() {
    let drip = |text: &str| Step::Drip(text.as_bytes().to_vec());
    let steps = vec![
        drip("220-hello\r\n220 ESMTP\r\n"),
        line("EHLO"),
        drip("250-x\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"),
        line("MAIL FROM:<s@a.test> SIZE="),
        line("RCPT"),
        line("DATA"),
        drip("250 2.1.0 ok\r\n250-2.1.5 a\r\n250 2.1.5 b\r\n354 go\r\n"),
        Step::Body,
        drip("250-2.0.0 queued\r\n250 2.0.0 as 7\r\n"),
    ];
    let server = Server::start(vec![steps]).await;
    assert_eq!(accepted(send(&mut server.open().await, "r@b.test").await).text, "queued\nas 7");
}

#[tokio::test]
async fn a_body_arrives_as_it_was_but_for_its_line_ends() {
    let sink = sink().await;
    let mut session = open(&sink).await;
    for (body, expected) in [
        ("\r\n.", "\r\n.\r\n"),
        ("\r\n.\r\n..\r\n.a", "\r\n.\r\n..\r\n.a\r\n"),
        ("a\n.\nQUIT\n", "a\r\n.\r\nQUIT\r\n"),
        ("a\r.\rQUIT", "a\r\n.\r\nQUIT\r\n"),
        (".leading\r\n\r\n", ".leading\r\n\r\n"),
        ("", ""),
    ] {
        accepted(session.send("s@a.test", "r@b.test", body.as_bytes()).await);
        assert_eq!(sink.counts.messages(1), [expected]);
    }
    let stats = sink.counts.stats();
    assert_eq!((stats.protocol_errors, stats.connections_total), (0, 1), "no bare line feed and no smuggled command");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bare_line_end_leaves_and_nothing_is_smuggled_whatever_a_message_holds(
        message in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..300),
    ) {
        let wanted = String::from_utf8_lossy(&message).replace("\r\n", "\n").replace(['\r', '\n'], "\r\n");
        let wanted = if wanted.is_empty() || wanted.ends_with("\r\n") { wanted } else { wanted + "\r\n" };
        runtime().block_on(async {
            let sink = sink().await;
            let mut session = open(&sink).await;
            accepted(session.send("s@a.test", "r@b.test", &message).await);
            accepted(session.send("s@a.test", "r@b.test", MESSAGE).await);
            let stats = sink.counts.stats();
            assert_eq!((stats.received, stats.protocol_errors, stats.connections_total), (2, 0, 1));
            let received = sink.counts.received();
            assert_eq!(String::from_utf8_lossy(&received[0].bytes), wanted);
        });
    }

    #[test]
    fn an_address_is_refused_or_arrives_as_it_is(
        from in "(\\PC|[<>@ \r\n\t.a-z]){0,12}(@[a-zü.<>\r\n]{1,8})?", to in "(\\PC|[<>@ \r\n\t.a-z]){0,12}@[a-zü.<>\r\n]{1,8}",
    ) {
        runtime().block_on(async {
            let sink = sink().await;
            let mut session = open(&sink).await;
            let taken = matches!(session.send(&from, &to, MESSAGE).await, Sent::Accepted(_));
            accepted(session.send("s@a.test", "r@b.test", MESSAGE).await);
            let stats = sink.counts.stats();
            assert_eq!((stats.received, stats.protocol_errors, stats.connections_total), (1 + u64::from(taken), 0, 1));
        });
    }
}

#[tokio::test]
async fn a_recipient_that_is_refused_although_data_is_accepted_gets_a_lone_dot() {
    let first = vec![say("250 ok\r\n550 5.1.1 no\r\n354 go\r\n"), Step::OnlyLine(".\r\n"), say("554 no recipients\r\n")];
    let second = vec![say("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body, say("250 ok\r\n")];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), first, envelope(), second])]).await;
    let mut session = server.open().await;
    let (stage, reply, usable) = refused(send(&mut session, "r@b.test").await);
    assert_eq!((stage, reply.code, usable), (Stage::Recipient, 550, true));
    accepted(send(&mut session, "r@b.test").await);
    assert!(!server.transcripts().await[0].contains("RSET"));
}

#[tokio::test]
async fn a_transaction_that_was_left_open_is_reset_in_the_next_write() {
    let first = vec![say("250 ok\r\n550 5.1.1 no\r\n554 5.5.1 no recipients\r\n"), line("RSET\r\n")];
    let second = vec![say("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"), Step::Body, say("250 ok\r\n")];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), first, envelope(), second])]).await;
    let mut session = server.open().await;
    assert!(refused(send(&mut session, "r@b.test").await).2);
    accepted(send(&mut session, "r@b.test").await);
}

#[tokio::test]
async fn a_refused_sender_is_not_followed_by_a_message_that_the_server_would_take() {
    let odd = vec![say("550 no\r\n250 ok\r\n354 go\r\n"), Step::Hang];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), odd])]).await;
    let mut session = server.open().await;
    let (stage, _, usable) = refused(send(&mut session, "r@b.test").await);
    assert_eq!((stage, usable), (Stage::Mail, false));
    drop(session);
    assert!(server.transcripts().await[0].ends_with("DATA\r\n"));
}

#[tokio::test]
async fn a_yes_before_the_message_is_there_is_no_yes_to_the_message() {
    let answers = ["250 ok\r\n250 ok\r\n250 ok\r\n", "250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", "250 ok\r\n354 go\r\n354 go\r\n"];
    let stages = [Stage::Data, Stage::Data, Stage::Recipient];
    for (answer, stage) in answers.into_iter().zip(stages) {
        let odd = vec![say(answer), Step::Hang];
        let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), odd])]).await;
        let mut session = server.open().await;
        let error = not_sent(send(&mut session, "r@b.test").await);
        assert_eq!(error.stage, stage, "{answer:?}");
        assert!(matches!(error.trouble, Trouble::Malformed(Malformed::Unexpected(250 | 354))), "{answer:?}: {error}");
        let judgement = judge(&Sent::NotSent { error }, 1, 0.0, &Settings::sample().sending.retry, 0.5);
        assert_eq!((judgement.state, judgement.route_fault, judgement.again), (State::Deferred, true, false), "{answer:?}");
        assert!(!session.is_usable());
        drop(session);
        assert!(server.transcripts().await[0].ends_with("DATA\r\n"), "no message after {answer:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_kept_when_a_server_says_yes_to_data_after_it() {
    let odd = vec![say("250 ok\r\n550 5.1.1 no\r\n250 ok\r\n"), Step::Hang];
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), envelope(), odd])]).await;
    let (stage, reply, usable) = refused(send(&mut server.open().await, "r@b.test").await);
    assert_eq!((stage, reply.code, usable), (Stage::Recipient, 550, false));
}

#[tokio::test]
async fn without_pipelining_too_a_yes_to_data_is_no_yes_to_the_message() {
    let odd = by_steps(&[("MAIL", "250 ok"), ("RCPT", "250 ok"), ("DATA", "250 ok")]);
    let server = Server::start(vec![script(vec![greet(&["8BITMIME"]), odd, vec![Step::Hang]])]).await;
    let mut session = server.open().await;
    assert_eq!(not_sent(send(&mut session, "r@b.test").await).stage, Stage::Data);
    assert!(!session.is_usable());
}

#[tokio::test]
async fn a_server_without_pipelining_is_spoken_to_step_by_step() {
    let refusal = by_steps(&[("MAIL", "250 ok"), ("RCPT", "550 5.1.1 no"), ("RSET", "250 ok")]);
    let acceptance = by_steps(&[("MAIL", "250 ok"), ("RCPT", "250 ok"), ("DATA", "354 go")]);
    let end = script(vec![vec![Step::Body, say("250 ok\r\n")], by_steps(&[("QUIT", "221 bye")])]);
    let server = Server::start(vec![script(vec![greet(&["8BITMIME"]), refusal, acceptance, end])]).await;
    let mut session = server.open().await;
    assert!(refused(send(&mut session, "r@b.test").await).2);
    accepted(send(&mut session, "r@b.test").await);
    session.quit().await;
    server.transcripts().await;
}

#[tokio::test]
async fn an_address_that_would_inject_a_command_is_refused_before_anything_is_written() {
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), vec![Step::Hang]])]).await;
    let mut session = server.open().await;
    for bad in ["r@b.test>\r\nRSET\r\nRCPT TO:<x@b.test", "r@b.test\nDATA", "r b@c.test", "<r@b.test>", "ü@b.test", ""] {
        let error = not_sent(session.send("s@a.test", bad, MESSAGE).await);
        assert!(matches!(error.trouble, Trouble::Invalid(Invalid::Address(_) | Invalid::NeedsUtf8(_))), "{bad:?}");
        assert!(session.is_usable());
    }
    drop(session);
    assert_eq!(server.transcripts().await, ["EHLO mochila.test\r\n"]);
}

#[tokio::test]
async fn a_send_that_is_dropped_half_way_spoils_the_session() {
    let server = Server::start(vec![script(vec![greet(&["PIPELINING"]), vec![Step::Hang]])]).await;
    let mut session = server.open().await;
    let mut sending = Box::pin(session.send("s@a.test", "r@b.test", MESSAGE));
    assert!(futures::poll!(&mut sending).is_pending());
    drop(sending);
    assert!(!session.is_usable());
    assert_eq!(not_sent(send(&mut session, "r@b.test").await).stage, Stage::Reuse);
}

fn with_credentials(relay: Relay) -> Relay {
    Relay { username: Some("user".to_owned()), password: Some("secret".to_owned().into()), ..relay }
}

#[tokio::test]
async fn credentials_are_given_as_the_server_asks() {
    let plain = vec![line("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"), say("235 welcome\r\n")];
    let login = vec![
        line("AUTH LOGIN\r\n"),
        say("334 VXNlcm5hbWU6\r\n"),
        line("dXNlcg==\r\n"),
        say("334 UGFzc3dvcmQ6\r\n"),
        line("c2VjcmV0\r\n"),
        say("235 welcome\r\n"),
    ];
    let server =
        Server::start(vec![script(vec![greet(&["AUTH LOGIN PLAIN"]), plain]), script(vec![greet(&["AUTH LOGIN"]), login])]).await;
    for mechanism in ["PLAIN", "LOGIN"] {
        Session::open(&with_credentials(server.relay())).await.expect(mechanism);
    }
    server.transcripts().await;
}

#[tokio::test]
async fn refused_credentials_open_no_session() {
    let refusal = vec![line("AUTH PLAIN"), say("535 5.7.8 no\r\n")];
    let server = Server::start(vec![script(vec![greet(&["AUTH PLAIN"]), refusal]), greet(&["PIPELINING"])]).await;
    let error = Session::open(&with_credentials(server.relay())).await.err().expect("no session");
    assert_eq!((error.stage(), error.reply().map(|reply| reply.code)), (Stage::Auth, Some(535)));
    assert!(!format!("{error} {error:?}").contains("secret"));
    let error = Session::open(&with_credentials(server.relay())).await.err();
    assert!(matches!(error, Some(OpenError::AuthNotOffered { .. })));
}
