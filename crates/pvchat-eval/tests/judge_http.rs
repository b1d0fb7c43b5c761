//! The judge over HTTP, against a service on the loopback interface that plays a script.
#![cfg(feature = "judge-http")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use pvchat_eval::{
    Error,
    judge::{Criterion, HttpTransport, Item, Judge, LanguageJudge, Mark},
};

/// Answers one request with each of the replies, on connections of their own, and returns the requests.
fn service(replies: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/v1/", listener.local_addr().unwrap());
    let requests = thread::spawn(move || {
        replies
            .into_iter()
            .map(|reply| {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let mut line = String::new();
                    assert!(reader.read_line(&mut line).unwrap() > 0, "the request ends in its head: {head}");
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                reader.into_inner().write_all(reply.as_bytes()).unwrap();
                head + &String::from_utf8(body).unwrap()
            })
            .collect()
    });
    (address, requests)
}

fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn good(mark: u8) -> String {
    let content = format!("{{\"mark\": {mark}, \"reason\": \"says so\"}}");
    reply("200 OK", &serde_json::json!({ "choices": [{ "message": { "content": content } }] }).to_string())
}

fn transport(address: &str) -> HttpTransport {
    HttpTransport::new(address).unwrap().with_attempts(3, Duration::from_millis(20)).with_timeout(10)
}

fn mark(transport: HttpTransport) -> pvchat_eval::Result<Mark> {
    let item = Item {
        subject: "Aa".parse().unwrap(),
        question: "what is <Aa> wearing ?".into(),
        reference: "<Aa> is wearing a red shirt .".into(),
        answer: "a shirt".into(),
    };
    LanguageJudge::new(transport, "some-model").mark(Criterion::DescriptiveCompleteness, &item)
}

#[test]
fn the_service_gets_model_prompt_and_key_and_the_mark_names_model_and_address() {
    let (address, requests) = service(vec![good(3)]);
    let found = mark(transport(&address).with_key("secret").unwrap()).unwrap();
    let bare = address.trim_end_matches('/');
    assert_eq!((found.mark, found.reason.as_str()), (3, "says so"));
    assert_eq!(found.judge, format!("language model some-model at {bare}"));
    let requests = requests.join().unwrap();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer secret"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["model"], "some-model");
    assert!(body["messages"][1]["content"].as_str().unwrap().contains("a red shirt"), "{body}");
    assert!(!format!("{:?}", transport(&address).with_key("secret").unwrap()).contains("secret"));
    for key in ["", "two words", "line\r\nhost: elsewhere", "schlüssel"] {
        assert!(transport(&address).with_key(key).is_err(), "{key:?}");
    }
}

#[test]
fn statuses_that_pass_are_tried_again_after_a_pause() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let (address, requests) = service(vec![reply(status, "not now"), reply(status, "not now"), good(4)]);
        let begun = Instant::now();
        assert_eq!(mark(transport(&address)).unwrap().mark, 4, "{status}");
        // 20 and 40 milliseconds.
        assert!(begun.elapsed() >= Duration::from_millis(60), "{status}: {:?}", begun.elapsed());
        assert_eq!(requests.join().unwrap().len(), 3);
    }
    let busy = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (address, requests) = service(vec![busy.into(), good(5)]);
    let begun = Instant::now();
    assert_eq!(mark(transport(&address)).unwrap().mark, 5);
    assert!(begun.elapsed() >= Duration::from_secs(1), "the pause is the one that was asked for");
    requests.join().unwrap();
}

#[test]
fn what_stays_wrong_is_told_with_address_and_status() {
    let (address, requests) = service(vec![reply("503 Service Unavailable", "maintenance"); 3]);
    let error = mark(transport(&address)).unwrap_err();
    assert!(matches!(error, Error::Judge { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains(&address) && text.contains("503 Service Unavailable maintenance") && text.contains("attempt 3"),
        "{text}"
    );
    requests.join().unwrap();

    // Final ones are not tried again, and texts go nowhere but to the address.
    let elsewhere =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for (answer, said) in
        [(reply("401 Unauthorized", "no such key"), "no such key"), (elsewhere.into(), "307 Temporary Redirect")]
    {
        let (address, requests) = service(vec![answer]);
        let error = mark(transport(&address)).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("attempt 1"), "{error}");
        assert_eq!(requests.join().unwrap().len(), 1);
    }
}

#[test]
fn malformed_answers_are_asked_for_again_and_told() {
    let (address, requests) = service(vec![reply("200 OK", "{\"choices\": ["), good(2)]);
    assert_eq!(mark(transport(&address)).unwrap().mark, 2);
    requests.join().unwrap();
    let (address, requests) = service(vec![reply("200 OK", "<html>"); 3]);
    let error = mark(transport(&address)).unwrap_err();
    assert!(matches!(error, Error::Reply { .. }) && error.to_string().contains("<html>"), "{error}");
    assert_eq!(requests.join().unwrap().len(), 3);
    // A connection that ends in the middle of an answer is a connection that failed.
    let (address, requests) = service(vec!["HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".into(), good(1)]);
    assert_eq!(mark(transport(&address)).unwrap().mark, 1);
    requests.join().unwrap();
}

#[test]
fn a_service_that_is_not_there_or_says_nothing_is_told() {
    // A port that was free a moment ago.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let address = format!("http://127.0.0.1:{port}/v1");
    let error = mark(transport(&address)).unwrap_err();
    assert!(matches!(error, Error::Judge { .. }) && error.to_string().contains(&address), "{error}");

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/v1", silent.local_addr().unwrap());
    let hasty = transport(&address).with_attempts(2, Duration::ZERO).with_timeout(1);
    let begun = Instant::now();
    let error = mark(hasty).unwrap_err().to_string();
    assert!(error.contains("timeout") && error.contains("attempt 2"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn addresses_that_nothing_can_be_sent_to_are_refused() {
    for address in
        ["", "localhost:8000", "ftp://host/v1", "http://", "http:///v1", "http://user:key@host", "http://host/v1?key=1"]
    {
        let error = HttpTransport::new(address).unwrap_err().to_string();
        assert!(error.contains(&format!("{address:?}")) && error.contains("http://localhost:8000/v1"), "{error}");
    }
    let https = HttpTransport::new("https://host/v1");
    assert_eq!(https.is_ok(), cfg!(feature = "judge-https"), "{https:?}");
    if let Err(error) = https {
        assert!(error.to_string().contains("judge-https"), "{error}");
    }
}
