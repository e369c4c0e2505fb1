//! The figures: as the text format of Prometheus has it, and true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::raw::{Http, Web};
use crate::support::{Place, key};

/// A sample's name and labels, as they stand, and its value.
type Samples = BTreeMap<String, f64>;

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_lowercase())
        && characters.all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_')
}

/// The labels of a sample, in their order. Strict: names once, values quoted, nothing between.
fn labels(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for label in text.split_terminator(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{text}"));
        let value =
            value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or_else(|| panic!("{text}"));
        assert!(is_name(name) && !value.contains(['"', '\\', '\n']) && !value.is_empty(), "{text}");
        assert!(found.iter().all(|(known, _)| known != name), "{text}: twice");
        found.push((name.to_owned(), value.to_owned()));
    }
    found
}

/// Reads the text strictly, as `promtool check metrics` does: each family in one piece, with help and type before it,
/// named as its type wants it; histograms that add up.
fn parse(text: &str) -> Samples {
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut helped = String::new();
    assert!(text.ends_with('\n'), "the last line has its ending");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, type_) = rest.split_once(' ').unwrap();
            assert_eq!(name, helped, "the help comes before");
            assert!(families.insert(name.to_owned()), "{name} comes in one piece");
            assert!(matches!(type_, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(name.ends_with("_total"), type_ == "counter", "{line}");
            (family, kind) = (name.to_owned(), type_.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
            labels(rest.strip_suffix('}').unwrap_or_else(|| panic!("{line}")));
            let is_part = kind == "histogram"
                && ["_bucket", "_sum", "_count"].iter().any(|part| name == format!("{family}{part}"));
            assert!(is_part || (name == family && kind != "histogram"), "{line} is not of {family}");
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes once");
        }
    }
    check_histograms(text, &samples);
    samples
}

/// Buckets rise, the last one has everything.
fn check_histograms(text: &str, samples: &Samples) {
    let (mut series, mut bound, mut count) = (String::new(), f64::MIN, 0.0);
    for line in text.lines().filter(|line| line.contains("_bucket{")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let (head, le) = name.rsplit_once("le=\"").unwrap();
        let (le, value): (f64, f64) = (le.trim_end_matches("\"}").parse().unwrap(), value.parse().unwrap());
        if head != series {
            (series, bound, count) = (head.to_owned(), f64::MIN, 0.0);
        }
        assert!(le > bound && value >= count, "{line}");
        (bound, count) = (le, value);
        if le.is_infinite() {
            let labels = head.split_once('{').unwrap().1.trim_end_matches(',');
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let total = format!("{}_count{labels}", head.split_once("_bucket").unwrap().0);
            assert_eq!(samples[&total], value, "{line}");
        }
    }
}

fn scrape(http: &mut Http) -> Samples {
    let response = http.get("/metrics");
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    parse(&response.body)
}

#[test]
fn what_happens_is_counted() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let (mut http, mut lines, mut web) = (Http::open(&daemon), daemon.client(), Web::open(&daemon));
    let before = scrape(&mut http);
    let held: Vec<_> = (0..3).map(|n| lines.reserve(repo.at(), &format!("t{n}"))).collect();
    lines.release(&held[0]);
    lines.ok("agent.evict", &json!({"session_id": held[1]["session_id"], "reason": "a test"}));
    lines.refused("live_owner", "agent.reserve", &json!({"repo": repo.at(), "thread": "t2"}));
    web.call("agent.heartbeat", &key(&held[2])).unwrap();
    lines.subscribe(&json!({"session_id": held[2]["session_id"]}));
    let after = scrape(&mut http);
    let grown =
        |series: &str| after[series] - before.get(series).copied().unwrap_or_else(|| panic!("{series} was there"));
    for (series, by) in [
        (r#"heddled_requests_total{method="agent.reserve",outcome="ok"}"#, 3.0),
        (r#"heddled_requests_total{method="agent.reserve",outcome="refused"}"#, 1.0),
        (r#"heddled_requests_total{method="agent.reserve",outcome="failed"}"#, 0.0),
        (r#"heddled_requests_total{method="agent.heartbeat",outcome="ok"}"#, 1.0),
        (r#"heddled_request_duration_seconds_count{method="agent.reserve"}"#, 4.0),
        (r#"heddled_requests_total{method="daemon.metrics",outcome="ok"}"#, 1.0),
        (r#"heddled_sessions_ended_total{reason="released"}"#, 1.0),
        (r#"heddled_sessions_ended_total{reason="evicted"}"#, 1.0),
        (r#"heddled_sessions_ended_total{reason="process_exited"}"#, 0.0),
        (r#"heddled_sessions{status="active"}"#, 1.0),
        (r#"heddled_sessions{status="complete"}"#, 1.0),
        (r#"heddled_sessions{status="abandoned"}"#, 1.0),
        ("heddled_threads", 3.0),
        ("heddled_repositories", 1.0),
    ] {
        assert_eq!(grown(series), by, "{series}");
    }
    assert_eq!(after[r#"heddled_errors_total{kind="live_owner"}"#], 1.0);
    assert_eq!(after["heddled_connections"], 3.0);
    assert_eq!((before["heddled_subscriptions"], after["heddled_subscriptions"]), (0.0, 1.0));
    assert_eq!(after["heddled_inbox_length"], 0.0, "nothing waits");
    let info = lines.ok("daemon.info", &json!({}));
    assert_eq!(after["heddled_revision"], info["revision"].as_f64().unwrap());
    assert_eq!(after[&format!("heddled_build_info{{version={}}}", info["version"])], 1.0);
    // A reserve that makes a branch is two changes, so there were more flushes than operations at most.
    assert!(grown("heddled_flush_duration_seconds_count") >= 5.0);
    assert!(grown("heddled_flush_operations_sum") >= grown("heddled_flush_duration_seconds_count"));
    assert!(grown("heddled_flush_duration_seconds_sum") > 0.0);
    assert!(grown(r#"heddled_request_duration_seconds_sum{method="agent.reserve"}"#) > 0.0);
    // What was never called is there, too.
    assert_eq!(before[r#"heddled_request_duration_seconds_count{method="agent.capture"}"#], 0.0);
    // The same over a line.
    let text = lines.ok("daemon.metrics", &json!({}))["text"].take();
    assert_eq!(parse(text.as_str().unwrap()).keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

#[test]
fn no_secret_is_in_the_figures() {
    let place = Place::new();
    let daemon = place.start();
    let repo = place.repo("r");
    let mut http = Http::open(&daemon);
    let held = http.call("agent.reserve", &json!({"repo": repo.at(), "thread": "t"})).unwrap()["reservation"].take();
    http.call(held["reservation_token"].as_str().unwrap(), &json!({})).unwrap_err();
    http.send(format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", held["reservation_token"], held["reservation_token"]));
    assert!(!http.response().body.contains("hrt_"), "an error repeats none");
    let text = Http::open(&daemon).get("/metrics").body;
    assert!(!text.contains("hrt_") && !text.contains(repo.at()), "{text}");
    assert!(!place.log().contains(held["reservation_token"].as_str().unwrap()), "nor does the log");
}
