//! The sink's own promises: what it counts, how it misbehaves, what it can be asked.

use mochila_bench::sink::{Options, Sink};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Writes it all at once, and reads until the sink has closed.
async fn talk(sink: &Sink, lines: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(sink.smtp).await.expect("the sink listens");
    stream.write_all(lines.as_bytes()).await.expect("the sink reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the sink answers");
    String::from_utf8_lossy(&answer).lines().map(str::to_owned).collect()
}

fn message(to: &str, id: u32) -> String {
    format!("MAIL FROM:<s@a.test>\r\nRCPT TO:<{to}>\r\nDATA\r\nMessage-ID: <{id}@a.test>\r\n\r\n..dot\r\n.\r\n")
}

async fn get(sink: &Sink, path: &str) -> Value {
    let answer = reqwest::get(format!("http://{}{path}", sink.http)).await.expect("the sink listens");
    answer.json().await.expect("json")
}

#[tokio::test]
async fn what_is_received_is_counted_by_message_id_and_by_domain() {
    let sink = Sink::start(&Options::default()).await.expect("a sink");
    let all = [message("r@b.test", 1), message("r@B.test", 1), message("r@c.test", 2), "QUIT\r\n".to_owned()].concat();
    let answers = talk(&sink, &all).await;
    assert_eq!(answers.iter().filter(|line| line.starts_with("250 2.0.0")).count(), 3);

    let stats = get(&sink, "/stats").await;
    assert_eq!((&stats["received"], &stats["unique_message_ids"], &stats["duplicates"]), (&json!(3), &json!(2), &json!(1)));
    assert_eq!(stats["by_domain"], json!({"b.test": 2, "c.test": 1}));
    assert_eq!(stats["domains"]["b.test"]["unique"], 1);
    assert_eq!(get(&sink, "/messages?limit=1").await, json!({"data": ["Message-ID: <2@a.test>\r\n\r\n.dot\r\n"]}));
    let seconds = get(&sink, "/domains/c.test/seconds").await;
    assert_eq!(seconds["seconds"][0]["received"], 1);
}

#[tokio::test]
async fn it_is_changed_while_it_runs() {
    let sink = Sink::start(&Options::default()).await.expect("a sink");
    let client = reqwest::Client::new();
    let config = format!("http://{}/config", sink.http);
    let put = |change: Value| client.put(&config).json(&change).send();

    let answer: Value = put(json!({"delay_ms": 1, "banner_code": 421})).await.expect("an answer").json().await.expect("json");
    assert_eq!((&answer["delay_ms"], &answer["banner_code"]), (&json!(1), &json!(421)));
    assert_eq!(talk(&sink, "").await, ["421 sink.test ESMTP"]);
    assert_eq!(put(json!({"delay": 1})).await.expect("an answer").status(), 422);
    put(json!({"banner_code": 220})).await.expect("an answer");
    talk(&sink, &(message("r@b.test", 1) + "QUIT\r\n")).await;
    client.post(format!("http://{}/reset", sink.http)).send().await.expect("an answer");
    assert_eq!(get(&sink, "/stats").await["received"], 0);
}

#[tokio::test]
async fn domains_misbehave_by_their_names() {
    let sink = Sink::start(&Options::default()).await.expect("a sink");
    let answer_to = async |to: &str| {
        let lines = format!("MAIL FROM:<s@a.test>\r\nRCPT TO:<{to}>\r\nQUIT\r\n");
        talk(&sink, &lines).await[2].clone()
    };
    assert_eq!(answer_to("r@greylist.test").await, "451 4.7.1 Greylisted, try again later");
    assert_eq!(answer_to("r@greylist.test").await, "250 2.1.5 ok");
    assert_eq!(answer_to("x@greylist.test").await, "451 4.7.1 Greylisted, try again later");
    assert_eq!(answer_to("bounce-1@b.test").await, "550 5.1.1 No such user here");
    let mut flaky = Vec::new();
    for _ in 0..10 {
        flaky.push(answer_to("r@flaky.test").await.starts_with("451"));
    }
    assert_eq!(flaky.iter().filter(|refused| **refused).count(), 1);
}
