//! What becomes of a call whose handler breaks: its caller is told a name, and the log has it.

use jsonrpsee::RpcModule;
use jsonrpsee::types::Params;
use serde_json::Value;

use super::*;
use crate::observe::tests::Shown;
use crate::server::budget::Budget;
use crate::server::request::Names;

fn caller() -> Caller {
    Caller {
        admission: Admission::Full,
        connected_at_ms: 0,
        peer: Peer { uid: 0, pid: None },
        via: Via::Lines,
        stay: watch::channel(Stay::Here).1,
        connection: ConnectionId(0),
        subscriptions: Arc::default(),
        names: Names::default(),
        budget: Budget::default(),
    }
}

async fn ask(methods: &Methods, caller: &Caller, line: &str) -> Value {
    let work = parse(methods, &mut Order::default(), line.as_bytes(), 10);
    serde_json::from_slice(&run(work, caller.clone()).await.line.unwrap()).unwrap()
}

fn broken(_: &Params<'_>) -> u8 {
    panic!("a defect");
}

#[tokio::test]
async fn a_handler_that_panics_is_named_in_its_answer_as_in_the_log() {
    let mut module = RpcModule::new(());
    module.register_async_method("daemon.info", |params, _, _| async move { broken(&params) }).unwrap();
    let (methods, caller) = (Methods::from(module), caller());
    let shown = Shown::at("info");
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = ask(&methods, &caller, r#"{"jsonrpc":"2.0","id":7,"method":"daemon.info"}"#).await;
        let error = &answer["error"];
        assert_eq!(
            (&answer["id"], &error["code"], &error["data"]["kind"]),
            (&7.into(), &(-32603).into(), &"internal".into())
        );
        assert!(!error.to_string().contains("panicked"), "nothing else is told: {error}");
        let request = error["data"]["request"].as_str().unwrap().to_owned();
        assert!(shown.text().contains(&format!("a handler panicked request={request}")), "{request}: {}", shown.text());
        names.push(request);
    }
    assert_ne!(names[0], names[1], "each call has a name of its own");
}
