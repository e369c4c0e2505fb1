//! `heddlectl capture`: what it says, and who may.

use crate::support::World;

#[test]
fn a_capture_says_what_it_committed() {
    let world = World::with_daemon();
    world.git(&["config", "--global", "user.name", "A"]);
    world.git(&["config", "--global", "user.email", "a@example.com"]);
    let id = world.reserve("x");
    world.git(&["switch", "--quiet", "x"]);
    std::fs::write(world.path("app/one"), "1").expect("written");
    std::fs::write(world.path("app/two"), "2").expect("written");
    let said = world.run(&["capture", "-m", "Two files", "--confidence", "0.9"]);
    let tip = world.git(&["rev-parse", "x"]);
    let short = &tip.trim()[..12];
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), &*format!("captured 2 paths onto x: {short}\n")), "{said}");
    let said = world.run(&["capture", "--session", &id]);
    let nothing = format!("nothing to capture: x has it all at {short}\n");
    assert_eq!((said.code, said.stdout), (Some(0), nothing));
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    let trailers = world.git(&["show", "-s", "--format=%s|%(trailers:key=Heddle-Confidence,valueonly)"]);
    assert_eq!(trailers.trim(), "Two files|0.9");
    for wrong in [&["--confidence", "1.1"][..], &["--confidence", "x"], &["-m", "x\n\nHeddle-Agent: me"], &["-m", " "]]
    {
        assert_eq!(world.run(&[&["capture"], wrong].concat()).code, Some(2), "{wrong:?}");
    }
    // Like every command that acts for a session: not by naming it from elsewhere.
    let mut elsewhere = world.command(&["capture", "--session", &id]);
    assert_eq!(world.say(elsewhere.current_dir(world.path("home"))).code, Some(77));
    assert_eq!(world.run(&["release"]).code, Some(0));
    assert_eq!(world.run(&["capture", "--session", &id]).code, Some(3));
}
