//! Calls over HTTP, however they are sent.

use serde_json::{Value, json};

use crate::raw::{Http, call, post};
use crate::support::{Place, key};

#[test]
fn calls_batches_and_notifications_are_answered_as_on_a_line() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let (mut http, mut lines) = (Http::open(&daemon), daemon.client());
    let held = http.call("agent.reserve", &json!({"repo": repo.at(), "thread": "t"})).unwrap()["reservation"].take();
    assert_eq!(lines.show(&held)["status"], "active");
    let params = json!({"repo": repo.at(), "thread": "t"});
    let (refused, on_line) =
        (http.call("agent.reserve", &params).unwrap_err(), lines.refused("live_owner", "agent.reserve", &params));
    let (mut refused, mut on_line) = (refused.0, on_line.0);
    for error in [&mut refused, &mut on_line] {
        assert!(error["data"]["request"].take().is_string(), "it has a name in the log");
        error["data"]["details"]["owner"].take();
    }
    assert_eq!(refused, on_line, "an error is the same over HTTP");

    let answers = http.post(&format!("[{},5,{}]", call(1, "daemon.info", &json!({})), call(2, "no.such", &json!({}))));
    let answers = answers.json();
    assert_eq!(answers.as_array().unwrap().len(), 3, "{answers}");
    assert_eq!((&answers[0]["id"], &answers[2]["error"]["code"]), (&json!(1), &json!(-32601)));

    let revision = lines.ok("daemon.info", &json!({}))["revision"].take();
    for method in ["agent.reserve", "daemon.shutdown", "daemon.info"] {
        let body =
            json!({"jsonrpc": "2.0", "method": method, "params": {"repo": repo.at(), "thread": "n"}}).to_string();
        let response = http.post(&body);
        assert_eq!((response.status, response.body.as_str()), (204, ""), "a notification has no answer");
    }
    assert_eq!(lines.ok("daemon.info", &json!({}))["revision"], revision, "and changes nothing");
    let nonsense = http.post("nonsense");
    assert_eq!((nonsense.status, nonsense.json()["error"]["code"].clone()), (200, json!(-32700)));
    assert_eq!(http.call("agent.release", &key(&held)).unwrap()["reservation"]["status"], "complete");
}

#[test]
fn a_hold_by_connection_is_refused_over_plain_http() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let params = json!({"repo": repo.at(), "thread": "t", "hold_connection": true});
    let fault = Http::open(&daemon).call("agent.reserve", &params).unwrap_err();
    assert_eq!((&fault.0["code"], &fault.details()["field"]), (&json!(-32602), &json!("hold_connection")));
    assert!(fault.details()["expected"].as_str().unwrap().contains("HTTP"), "{:?}", fault.0);
    let held = daemon.client().reserve(repo.at(), "t");
    let fault = Http::open(&daemon).call("agent.resume", &key(&held)).unwrap_err();
    assert_eq!(fault.0["code"], json!(-32602), "its connection is nobody's: {fault:?}");
}

#[test]
fn a_body_comes_in_any_pieces() {
    let place = Place::new();
    let daemon = place.start();
    let mut http = Http::open(&daemon);
    let body = call(1, "daemon.health", &json!({}));
    for byte in post(&body).as_bytes() {
        http.send([*byte]);
    }
    assert_eq!(http.response().json()["id"], 1);
    let head = "POST /?a=b HTTP/1.1\r\nhost: localhost:8080\r\nContent-Type: application/json\r\n";
    let (first, second) = body.split_at(10);
    let chunks =
        format!("{:x};a=b\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\nA-Trailer: x\r\n\r\n", first.len(), second.len());
    for byte in format!("\r\n{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes() {
        http.send([*byte]);
    }
    assert_eq!(http.response().json()["id"], 1);
    // A client that waits is told to go on; one that does not wait is not.
    let waiting = format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len());
    http.send(&waiting);
    assert_eq!(http.response().status, 100);
    http.send(&body);
    assert_eq!(http.response().json()["id"], 1);
    http.send(waiting + &body);
    assert_eq!(http.response().status, 200);
}

#[test]
fn requests_that_follow_each_other_are_answered_in_their_order() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut http = Http::open(&daemon);
    let held = http.call("agent.reserve", &json!({"repo": repo.at(), "thread": "t"})).unwrap()["reservation"].take();
    let new = repo.loose_commit("HEAD", "two");
    let mut update = key(&held);
    update["expected"] = held["anchor_state"].clone();
    update["new"] = new.clone().into();
    let calls = [
        call(1, "thread.update", &update),
        call(2, "daemon.info", &json!({})),
        call(3, "agent.release", &key(&held)),
        call(4, "agent.heartbeat", &key(&held)),
    ];
    let requests: String = calls.iter().map(|call| post(call)).collect();
    http.send(
        requests + "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
    );
    let answers: Vec<Value> = (0..4).map(|_| http.response().json()).collect();
    let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2), &json!(3), &json!(4)]);
    assert_eq!(answers[3]["error"]["data"]["kind"], "agent_session_inactive");
    assert_eq!(repo.id("refs/heads/t"), new);
    let last = http.response();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    http.expect_end();
}

#[test]
fn connections_stay_or_end_as_the_client_says() {
    let place = Place::new();
    let daemon = place.start();
    let mut http = Http::open(&daemon);
    for _ in 0..3 {
        assert_eq!(http.get("/health").status, 200);
    }
    http.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(http.response().header("connection"), Some("keep-alive"));
    http.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(http.response().header("connection"), Some("close"));
    http.expect_end();

    // As `printf | socat` does it.
    let mut http = Http::open(&daemon);
    http.send(post(&call(1, "daemon.info", &json!({}))).repeat(3));
    http.half_close();
    for _ in 0..3 {
        assert_eq!(http.response().json()["id"], 1);
    }
    http.expect_end();

    let mut http = Http::open(&daemon);
    let length = http.get("/health").header("content-length").map(str::to_owned);
    http.send("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\nHEAD /nope HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = http.try_response(false).unwrap();
    assert_eq!(head.header("content-length"), length.as_deref());
    assert_eq!(http.try_response(false).unwrap().status, 404);
    assert_eq!(http.get("/health").status, 200, "no body has come between");
}

#[test]
fn health_is_in_the_status() {
    let place = Place::new();
    place.configure("[limits]\nactive_sessions = 1\n");
    let daemon = place.start();
    let repo = place.repo("r");
    let mut http = Http::open(&daemon);
    let well = http.get("/health");
    assert_eq!((well.status, &well.json()), (200, &http.call("daemon.health", &json!({})).unwrap()));
    http.call("agent.reserve", &json!({"repo": repo.at(), "thread": "t"})).unwrap();
    let full = http.get("/health");
    assert_eq!((full.status, &full.json()["healthy"]), (503, &json!(false)));
}

#[test]
fn curl_works_as_it_is_written_down() {
    let place = Place::new();
    let daemon = place.start();
    let curl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--unix-socket"]).arg(daemon.socket()).args(arguments);
        command.output().map(|output| String::from_utf8(output.stdout).unwrap())
    };
    let body = call(1, "daemon.info", &json!({}));
    match curl(&["-H", "content-type: application/json", "-d", &body, "http://localhost/"]) {
        Ok(answer) => {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["result"]["pid"], daemon.pid());
            let health: Value = serde_json::from_str(&curl(&["http://localhost/health"]).unwrap()).unwrap();
            assert_eq!(health["healthy"], true);
        }
        Err(error) => eprintln!("not looked at, there is no curl: {error}"),
    }
}
