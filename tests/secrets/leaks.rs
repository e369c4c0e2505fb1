//! Everything that the daemon logged at the most talkative level, and every byte it stored, against every token of the run.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Client, Holder, Place, Random, eventually, key, token};

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            metadata if metadata.is_dir() => files(&path, found),
            metadata if metadata.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// Uses the tokens in every way that there is, right and wrong.
fn exercise(client: &mut Client, repo: &str, random: &mut Random, tokens: &mut Vec<String>) {
    for n in 0..20 {
        let mut params = json!({"repo": repo, "thread": format!("t{n}"), "at_tip": true});
        if n % 2 == 0 {
            let own = token(random);
            params["request_id"] = format!("r{n}").into();
            params["reservation_token"] = own.clone().into();
            tokens.push(own);
        }
        let held = client.ok("agent.reserve", &params)["reservation"].take();
        tokens.push(held["reservation_token"].as_str().unwrap().to_owned());
        client.refused("live_owner", "agent.reserve", &json!({"repo": repo, "thread": format!("t{n}")}));
        client.ok("agent.heartbeat", &key(&held));
        client.ok("agent.validate", &key(&held));
        wrong(client, &held, random, tokens);
        match n % 4 {
            0 => drop(client.release(&held)),
            1 => {
                client.ok("agent.evict", &json!({"session_id": held["session_id"], "reason": "a test"}));
                client.refused("agent_session_inactive", "agent.heartbeat", &key(&held));
            }
            2 => {
                let mut again = params.clone();
                again["reservation_token"] = token(random).into();
                tokens.push(again["reservation_token"].as_str().unwrap().to_owned());
                client.refused("idempotency_conflict", "agent.reserve", &again);
            }
            _ => {}
        }
    }
}

/// Tokens where they do not belong, in lines that are none.
fn wrong(client: &mut Client, held: &Value, random: &mut Random, tokens: &mut Vec<String>) {
    let other = token(random);
    let mut mismatch = key(held);
    mismatch["reservation_token"] = other.clone().into();
    client.refused("reservation_token_mismatch", "agent.release", &mismatch);
    let secret = held["reservation_token"].as_str().unwrap();
    let id = &held["session_id"];
    for (kind, params) in [
        ("agent_session_not_found", json!({"session_id": secret, "reservation_token": secret})),
        ("reservation_token_mismatch", json!({"session_id": id, "reservation_token": format!("{secret}x")})),
        ("invalid_params", json!({"session_id": id, "reservation_token": [secret]})),
        ("invalid_params", json!({"session_id": id, "reservation_token": secret, secret: 1})),
    ] {
        let fault = client.refused(kind, "agent.heartbeat", &params);
        assert!(!fault.0.to_string().contains(secret), "an error does not repeat a token: {}", fault.0);
    }
    for fault in [
        client.refused("invalid_params", "agent.list", &json!({"status": secret})),
        client.refused("method_not_found", secret, &json!({})),
    ] {
        assert!(!fault.0.to_string().contains(secret), "an error does not repeat a token: {}", fault.0);
    }
    for line in [
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"agent.release\",\"params\":{{\"reservation_token\":\"{secret}\""
        ),
        secret.to_owned(),
        format!("{{\"jsonrpc\":\"{secret}\",\"id\":1,\"method\":\"daemon.info\"}}"),
    ] {
        client.send_line(&line);
        assert!(client.receive()["error"].is_object());
    }
    tokens.push(other);
}

#[test]
fn no_token_is_in_the_log_or_in_the_state() {
    let place = Place::new();
    let mut command = place.command();
    command.env("HEDDLE_LOG", "trace");
    let mut daemon = place.launch(&mut command);
    let mut client = eventually("the daemon answers", || Client::try_connect(&place.socket()).ok());
    let repo = place.repo("r");
    let mut random = Random::new(9);
    let mut tokens = Vec::new();
    exercise(&mut client, repo.at(), &mut random, &mut tokens);
    let mut holder = Holder::start();
    let params = json!({"repo": repo.at(), "thread": "held", "hold_for_pid": holder.pid()});
    let held = client.ok("agent.reserve", &params)["reservation"].take();
    tokens.push(held["reservation_token"].as_str().unwrap().to_owned());
    holder.kill_and_wait();
    eventually("it has ended", || (client.show(&held)["status"] == "abandoned").then_some(()));
    // What was never asked for again, what is listed, and what others see.
    for (method, params) in [("agent.list", json!({"limit": 1000})), ("oplog.list", json!({"limit": 1000}))] {
        let told = client.ok(method, &params).to_string();
        assert!(!tokens.iter().any(|token| told.contains(&token[4..])), "{method}");
    }
    daemon.kill();

    assert!(tokens.len() > 40);
    let mut found = vec![place.root.join("log")];
    files(&place.state(), &mut found);
    files(&repo.path.join(".git"), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for path in found {
        let content = std::fs::read(&path).unwrap();
        let content = String::from_utf8_lossy(&content);
        for token in &tokens {
            // Without its prefix too, for the log masks what follows it.
            assert!(!content.contains(&token[4..]), "{} has a token", path.display());
        }
    }
    assert!(place.log().lines().count() > 100, "the log was talkative");
}
