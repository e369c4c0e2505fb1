//! Everything that the whole suite printed, against every token of its run. `.ci/run` sets the two variables after the tests;
//! without them this has nothing to look at.

use std::collections::HashSet;

use crate::support::ledger;

#[test]
fn nothing_that_the_suite_printed_has_a_token() {
    let (Some(directory), Some(printed)) =
        (std::env::var_os("HEDDLED_TEST_LEDGER"), std::env::var_os("HEDDLED_TEST_PRINTED"))
    else {
        eprintln!("skipped: HEDDLED_TEST_PRINTED does not say what was printed");
        return;
    };
    let mut seen = HashSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tokens") {
            seen.extend(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    let printed = std::fs::read(printed).unwrap();
    assert!(seen.len() > 1000, "the suite has used tokens: {}", seen.len());
    let passed = String::from_utf8_lossy(&printed).matches("test result: ok.").count();
    assert!(passed > 10, "this is what the suite printed: {passed} test programs passed");
    let lines = printed.split(|byte| *byte == b'\n').enumerate();
    let leaking: Vec<usize> =
        lines.filter(|(_, line)| ledger::has_secret(line, &seen)).map(|(number, _)| number + 1).collect();
    assert!(leaking.is_empty(), "these lines have a reservation token: {leaking:?}");
}

#[test]
fn a_token_is_found_with_and_without_its_prefix() {
    let secret = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst";
    let (known, none) = (HashSet::from([secret.to_owned()]), HashSet::new());
    let zeros = vec![0; 10_000];
    for text in [format!("hrt_{secret}"), format!("x\0hrt_{secret}\"}}"), format!("hrt_{secret}aaa")] {
        assert!(ledger::has_secret(&[&*zeros, text.as_bytes(), &zeros].concat(), &none), "{text}");
    }
    for text in [format!("hrt_...{secret}"), format!("aa{secret}zz"), secret.to_owned()] {
        assert!(ledger::has_secret(text.as_bytes(), &known), "{text}");
        assert!(!ledger::has_secret(text.as_bytes(), &none), "{text}");
    }
    assert!(!ledger::has_secret(format!("hrt_{}", &secret[1..]).as_bytes(), &known));
    assert!(!ledger::has_secret(format!("hrt_{}", "a".repeat(52)).as_bytes(), &none), "an example is no secret");
}
