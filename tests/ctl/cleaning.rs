//! `heddlectl thread clean`: what it says it removes, keeps and would remove.

use crate::support::World;

#[test]
fn it_says_what_it_removes_and_why_the_rest_stays() {
    let world = World::with_daemon();
    let said = world.run(&["thread", "clean"]);
    let nothing = "There is nothing to clean: no thread of this repository has a linked worktree.\n";
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), nothing), "{said}");
    for (thread, merged) in [("done", true), ("open", false)] {
        let said = world.run(&["reserve", "-q", "--ttl", "5m", "--thread", thread, "--worktree"]);
        assert_eq!(said.code, Some(0), "{said}");
        let session = said.stdout.trim_end().to_owned();
        let path = world.path("app.worktrees").join(thread);
        std::fs::write(path.join(thread), thread).expect("written");
        let at = path.to_str().expect("text");
        world.git(&["-C", at, "add", "-A"]);
        world.git(&["-C", at, "commit", "--quiet", "-m", thread]);
        if merged {
            world.git(&["merge", "--quiet", thread]);
        }
        let mut release = world.command(&["release", "--session", &session]);
        assert_eq!(world.say(release.current_dir(&path)).code, Some(0));
    }
    let rest = "kept     open
         $ROOT/app.worktrees/open
         not merged into 'main' yet: 1 commit ahead
";
    let said = world.run(&["thread", "clean", "--dry-run"]);
    let would = "would go done
         $ROOT/app.worktrees/done
";
    assert_eq!(said.stdout, format!("{would}{rest}1 worktree would be removed; its branch stays.\n"), "{said}");
    assert!(world.path("app.worktrees/done/done").exists());
    let said = world.run(&["thread", "clean"]);
    let removed = would.replace("would go", "removed ");
    assert_eq!(said.stdout, format!("{removed}{rest}1 worktree was removed; its branch stays.\n"), "{said}");
    assert!(!world.path("app.worktrees/done").exists());
    let json = world.json(&["thread", "clean"]);
    assert_eq!((&json["removed"], &json["kept"][0]["thread"]), (&serde_json::json!([]), &"open".into()));
    assert_eq!(world.run(&["thread", "clean"]).stdout, format!("{rest}Nothing was removed.\n"));
}
