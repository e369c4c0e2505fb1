//! H1, and what is understood in one way only.

use super::*;

fn head(line: &str, headers: &[&str]) -> String {
    let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line}\r\n{lines}\r\n")
}

fn complete(line: &str, headers: &[&str]) -> Request {
    let sent = head(line, headers);
    match read(sent.as_bytes()) {
        Head::Complete(length, request) => {
            assert_eq!(length, sent.len());
            request
        }
        Head::Partial => panic!("{sent}: partial"),
        Head::Refused(refusal, _) => panic!("{sent}: {refusal:?}"),
    }
}

fn refused(line: &str, headers: &[&str]) -> String {
    let sent = head(line, headers);
    match read(sent.as_bytes()) {
        Head::Refused(refusal, _) => format!("{:?}", refusal.status),
        Head::Partial => panic!("{sent}: partial"),
        Head::Complete(..) => panic!("{sent}: served"),
    }
}

const JSON: &str = "Content-Type: application/json";

#[test]
fn no_page_and_no_other_host_is_served() {
    for host in ["localhost", "LOCALHOST", "localhost:80", "localhost:65535", "localhost:"] {
        complete("GET /health HTTP/1.1", &[&format!("host: {host}")]);
    }
    for host in [
        "",
        "evil",
        "127.0.0.1",
        "[::1]",
        "localhost.",
        "localhost.evil",
        "evil:80",
        "localhost@evil",
        "localhost:80:1",
    ] {
        assert_eq!(refused("GET /health HTTP/1.1", &[&format!("Host: {host}")]), "Forbidden", "H1: {host}");
    }
    for origin in ["Origin: http://localhost", "oRiGiN: null", "Origin:"] {
        for line in ["GET /health HTTP/1.1", "GET /health HTTP/1.0", "OPTIONS / HTTP/1.1", "POST / HTTP/1.1"] {
            assert_eq!(refused(line, &["Host: localhost", JSON, origin]), "Forbidden", "H1: {line}, {origin}");
        }
    }
    assert_eq!(refused("GET /health HTTP/1.1", &[]), "BadRequest", "HTTP/1.1 says its host");
    assert_eq!(refused("GET /health HTTP/1.1", &["Host: localhost", "Host: localhost"]), "BadRequest");
    assert_eq!(refused("GET /health HTTP/1.0", &["Host: evil"]), "Forbidden", "H1: an old client that says one");
    complete("GET /health HTTP/1.0", &[]);
}

#[test]
fn a_body_has_one_length() {
    let post = |headers: &[&'static str]| [&["Host: localhost", JSON], headers].concat();
    let body = |headers| complete("POST / HTTP/1.1", &post(headers)).body;
    assert!(matches!(body(&[]), Body::Length(0)));
    assert!(matches!(body(&["Content-Length: 17"]), Body::Length(17)));
    assert!(matches!(body(&["Content-Length: 99999999999999999999999"]), Body::Length(usize::MAX)), "over any limit");
    assert!(matches!(body(&["Transfer-Encoding: Chunked"]), Body::Chunked(_)));
    for (headers, status) in [
        (&["Content-Length: 1", "Content-Length: 1"][..], "BadRequest"),
        (&["Content-Length: 1", "Transfer-Encoding: chunked"], "BadRequest"),
        (&["Content-Length: +1"], "BadRequest"),
        (&["Content-Length: 1, 1"], "BadRequest"),
        (&["Content-Length:"], "BadRequest"),
        (&["Transfer-Encoding: gzip, chunked"], "NotImplemented"),
        (&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "BadRequest"),
    ] {
        assert_eq!(refused("POST / HTTP/1.1", &post(headers)), status, "{headers:?}");
    }
    assert_eq!(refused("POST / HTTP/1.0", &post(&["Transfer-Encoding: chunked"])), "NotImplemented");
}

#[test]
fn the_connection_stays_as_the_client_says() {
    let keep = |line, headers: &[&'static str]| complete(line, &[&["Host: localhost"], headers].concat()).keep;
    assert_eq!(keep("GET /health HTTP/1.1", &[]), Keep::Open);
    assert_eq!(keep("GET /health HTTP/1.1", &["Connection: foo, Close"]), Keep::Close);
    assert_eq!(keep("GET /health HTTP/1.0", &[]), Keep::Close);
    assert_eq!(keep("GET /health HTTP/1.0", &["Connection: Keep-Alive"]), Keep::OpenAsAsked);
}

#[test]
fn a_handshake_is_answered_with_its_key() {
    // The example of RFC 6455.
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let headers =
        ["Host: localhost", "Upgrade: WebSocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13", key];
    let accept = Target::Upgrade("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
    assert_eq!(complete("GET / HTTP/1.1", &headers).target, accept);
    let without = |left_out: &str| -> Vec<&str> {
        headers.iter().copied().filter(|header| !header.starts_with(left_out)).collect()
    };
    assert_eq!(refused("GET / HTTP/1.1", &without("Upgrade")), "MethodNotAllowed");
    assert_eq!(refused("GET / HTTP/1.1", &without("Connection")), "BadRequest");
    assert_eq!(refused("GET / HTTP/1.1", &without("Sec-WebSocket-Version")), "UpgradeRequired");
    assert_eq!(refused("GET / HTTP/1.1", &without("Sec-WebSocket-Key")), "BadRequest");
    assert_eq!(refused("GET / HTTP/1.1", &[&headers[..], &["Content-Length: 1"]].concat()), "BadRequest");
    assert_eq!(refused("GET / HTTP/1.1", &[&headers[..], &["Origin: null"]].concat()), "Forbidden", "H1");
    assert_eq!(refused("GET /other HTTP/1.1", &headers), "NotFound");
}

#[test]
fn where_a_head_is_cut_it_is_partial() {
    let sent = head("GET /health?x=y HTTP/1.1", &["Host: localhost", "Accept: */*"]);
    for cut in 0..sent.len() {
        assert!(matches!(read(&sent.as_bytes()[..cut]), Head::Partial), "cut at {cut}");
    }
    assert!(matches!(read(sent.as_bytes()), Head::Complete(..)));
}
