//! What is refused, and that no web page can talk to the daemon.

use serde_json::json;

use crate::raw::{HANDSHAKE, Http, call, connect};
use crate::support::Place;

#[test]
fn a_page_in_a_browser_is_refused_whatever_it_sends() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let body = call(1, "agent.reserve", &json!({"repo": repo.at(), "thread": "t"}));
    let length = body.len();
    let handshake = HANDSHAKE.split_once("localhost\r\n").unwrap().1.trim_end();
    let handshake = format!("{handshake}\r\n");
    let json = "Content-Type: application/json\r\n";
    for (line, headers) in [
        ("POST / HTTP/1.1", format!("Host: localhost\r\nOrigin: http://evil.example\r\n{json}")),
        ("POST / HTTP/1.1", format!("Host: localhost\r\nOrigin: null\r\n{json}")),
        ("POST / HTTP/1.1", format!("Host: localhost\r\nOrigin: http://localhost\r\n{json}")),
        ("POST / HTTP/1.1", format!("Host: evil.example\r\n{json}")),
        ("POST / HTTP/1.1", format!("Host: 127.0.0.1\r\n{json}")),
        ("POST / HTTP/1.0", format!("Host: evil.example\r\n{json}")),
        ("OPTIONS / HTTP/1.1", "Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned()),
        ("GET / HTTP/1.1", format!("Host: localhost\r\nOrigin: http://evil.example\r\n{handshake}")),
        ("GET / HTTP/1.1", format!("Host: evil.example\r\n{handshake}")),
        ("GET /metrics HTTP/1.1", "Host: evil.example\r\n".to_owned()),
    ] {
        let mut http = Http::open(&daemon);
        http.send(format!("{line}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"));
        let response = http.response();
        assert_eq!((response.status, response.kind().as_str()), (403, "unauthorized_peer"), "{line} {headers}");
        assert_eq!(response.headers.iter().filter(|(name, _)| name.starts_with("access-control")).count(), 0);
        http.expect_end();
    }
    // A form needs no leave to be sent to another site; what it can say is no call.
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let mut http = Http::open(&daemon);
        http.send(format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(http.response().status, 415, "{media}");
    }
    assert_eq!(repo.branches().len(), 1, "nothing was done");
    for request in ["ws://evil.example/", "ws://127.0.0.1/"] {
        let refused = tungstenite::client(request, connect(&daemon));
        assert!(refused.is_err(), "{request}");
    }
}

#[test]
fn what_is_not_served_is_told_what_is() {
    let place = Place::new();
    let daemon = place.start();
    let host = "Host: localhost\r\n";
    for (request, status, header, stays) in [
        ("GET /nope HTTP/1.1", 404, None, true),
        ("GET / HTTP/1.1", 405, Some(("allow", "POST")), true),
        ("DELETE /health HTTP/1.1", 405, Some(("allow", "GET, HEAD")), true),
        ("POST / HTTP/1.1", 415, None, true),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 5", 405, Some(("allow", "GET, HEAD")), false),
        ("POST / HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip", 501, None, false),
        ("POST / HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: x", 400, None, false),
        ("POST / HTTP/1.1\r\nContent-Type: application/json\r\nExpect: a miracle", 417, None, true),
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade",
            426,
            Some(("sec-websocket-version", "13")),
            true,
        ),
        ("GET /health HTTP/2.0", 505, None, false),
        ("GET /health", 400, None, false),
        ("PRI * HTTP/2.0", 505, None, false),
        ("HELLO", 400, None, false),
        ("GET http://localhost/health HTTP/1.1", 404, None, true),
        ("GET /health HTTP/1.1\r\nno colon", 400, None, false),
    ] {
        let mut http = Http::open(&daemon);
        http.send(format!("{request}\r\n{host}\r\n"));
        let response = http.response();
        assert_eq!(response.status, status, "{request}: {response:?}");
        assert_eq!(response.kind(), "invalid_request", "{request}");
        assert_ne!(response.json()["error"]["data"]["hint"], "", "{request}");
        if let Some((name, value)) = header {
            assert_eq!(response.header(name), Some(value), "{request}");
        }
        if stays {
            assert_eq!(http.get("/health").status, 200, "{request}: the connection stays");
        } else {
            assert_eq!(response.header("connection"), Some("close"), "{request}");
            http.expect_end();
        }
    }
}
