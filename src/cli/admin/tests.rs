//! The commands against a listener that says what the test wants.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: AdminFlags,
}

fn action(line: &str) -> Action {
    Line::try_parse_from(format!("admin {line}").split(' ')).unwrap().flags.action
}

/// Answers one request, and gives it back.
fn answering(status: &'static str, body: &'static str) -> (Service, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answered = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n{body}").as_bytes()).unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    (Service { address, token: "a-token".to_owned() }, answered)
}

fn request_of(line: &str) -> String {
    let (service, answered) = answering("200 OK", "{\"success\":\"true\"}");
    action(line).perform(&service).unwrap();
    answered.join().unwrap()
}

#[test]
fn each_change_is_the_relays_request_with_the_token() {
    for (line, first, body) in [
        ("add a.example.com", "POST /admin/pds/requestCrawl", "{\"hostname\":\"a.example.com\"}"),
        ("block localhost:2583", "POST /admin/pds/block?host=localhost%3A2583", ""),
        ("unblock a.example.com", "POST /admin/pds/unblock?host=a.example.com", ""),
        ("ban example.com", "POST /admin/subs/banDomain", "{\"domain\":\"example.com\"}"),
        ("unban example.com", "POST /admin/subs/unbanDomain", "{\"domain\":\"example.com\"}"),
        ("takedown did:web:a", "POST /admin/repo/takeDown", "{\"did\":\"did:web:a\"}"),
        ("restore did:web:a", "POST /admin/repo/reverseTakedown", "{\"did\":\"did:web:a\"}"),
        ("resync did:web:a", "POST /admin/repo/resync", "{\"did\":\"did:web:a\"}"),
        ("resync a.example.com", "POST /admin/pds/resync?host=a.example.com", ""),
        ("forget a.example.com", "POST /admin/pds/forget?host=a.example.com", ""),
    ] {
        let request = request_of(line);
        assert!(request.starts_with(&format!("{first} HTTP/1.1\r\n")), "{line}: {request}");
        assert!(request.contains("\r\nAuthorization: Bearer a-token\r\n"), "{line}: {request}");
        assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{line}: {request}");
    }
}

#[test]
fn limits_are_numbers_or_the_default() {
    let Action::Limits(limits) = action("limits a.example.com --accounts 5000 --events-per-day default") else {
        panic!("another action")
    };
    assert_eq!((limits.accounts, limits.events_per_day), (Some(Limit(Some(5000))), Some(Limit(None))));
    assert_eq!(limits.events_per_hour, None);
    for line in ["limits a --accounts many", "limits a --accounts -1", "limits", "block", "log --limit x"] {
        assert!(Line::try_parse_from(format!("admin {line}").split(' ')).is_err(), "{line}");
    }
}

#[test]
fn hosts_are_a_table_that_no_host_can_break() {
    let body = r#"[{"Host":"a.example.com","Status":"active","HasActiveConnection":true,"RepoCount":3,"RepoLimit":0,
        "WaitingAccounts":0,"EventsSeenSinceStartup":12,"LagSeconds":7,"LastError":"evil\u001b[2J\nline"}]"#;
    let (service, _) = answering("200 OK", body);
    let outcome = action("hosts").perform(&service).unwrap();
    assert_eq!(
        outcome.text,
        "HOST           STATUS  CONNECTED  ACCOUNTS  LIMIT  WAITING  EVENTS  LAG  LAST ERROR\n\
         a.example.com  active  yes        3         -      0        12      7 s  evil?[2J?line\n"
    );
    assert_eq!(outcome.json[0]["RepoCount"], 3);
}

#[test]
fn a_refusal_says_what_to_do_next() {
    let refused = |status, body| {
        let (service, _) = answering(status, body);
        format!("{:#}", action("unblock a").perform(&service).err().expect("refused"))
    };
    assert!(refused("401 Unauthorized", "{}").contains("SIGNPOST_ADMIN_TOKEN"));
    assert_eq!(
        refused("403 Forbidden", "{\"message\":\"start it with --admin-token\"}"),
        "start it with --admin-token (403)"
    );
    assert!(refused("nonsense", "").contains("internal listener"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = Service { address: listener.local_addr().unwrap(), token: String::new() };
    drop(listener);
    let nobody = format!("{:#}", action("hosts").perform(&service).err().expect("refused"));
    assert!(nobody.contains("is signpost running"), "{nobody}");
}
