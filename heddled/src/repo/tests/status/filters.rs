//! Content filters: those that may run do, and where another would be needed nothing is told.

use std::path::{Path, PathBuf};

use super::super::capture::write;
use super::super::fixture::Fixture;
use crate::repo::{CaptureRefused, Error};

impl Fixture {
    fn refused_look(&self, worktree: &Path, allowed: &[String]) -> (String, PathBuf) {
        match self.look(worktree, false, allowed) {
            Err(Error::Capture(CaptureRefused::FilterNotAllowed { filter, path })) => (filter, path),
            other => panic!("{other:?}"),
        }
    }
}

/// A file that Git has to look at once more: its times are not those in the index.
fn touch(worktree: &Path, name: &str, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    std::fs::File::options().write(true).open(worktree.join(name)).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_filter_runs_when_it_is_allowed() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.users_filter("upper", "#!/bin/sh\nexec tr a-z A-Z\n");
    f.users_filter("lfs", "#!/bin/sh\nexec tr a-z A-Z\n");
    let upper = ["upper".to_owned()];
    for (driver, allowed) in [("lfs", &[][..]), ("upper", &upper)] {
        write(&main, ".gitattributes", format!("*.up filter={driver}\n"));
        write(&main, "x.up", "content");
        f.git(&main, &["add", "-A"]);
        f.git(&main, &["commit", "--quiet", "--allow-empty", "-m", driver]);
        for seconds in [1, 2] {
            touch(&main, "x.up", seconds);
            assert!(!f.assert_status(&main, allowed).is_dirty(), "filtered, it is the same");
        }
        write(&main, "x.up", "other");
        assert!(f.assert_status(&main, allowed).is_dirty());
    }
}

/// Without the filter the file seems changed where it is not, and unchanged where it is.
#[test]
fn a_filter_that_may_not_run_is_named() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    write(&main, "raw.up", "raw");
    touch(&main, "raw.up", 1);
    f.git(&main, &["add", "-A"]);
    f.git(&main, &["commit", "--quiet", "-m", "before there were attributes"]);
    f.users_filter("upper", "#!/bin/sh\nexec tr a-z A-Z\n");
    write(&main, ".gitattributes", "*.up filter=upper\n");
    write(&main, "x.up", "content");
    touch(&main, "x.up", 1);
    f.git(&main, &["add", "x.up", ".gitattributes"]);
    f.git(&main, &["commit", "--quiet", "-m", "a filter"]);
    let expected = |path: &str| ("upper".to_owned(), PathBuf::from(path));
    // What need not be looked at needs no filter.
    assert!(!f.look(&main, true, &[]).unwrap().is_dirty());
    touch(&main, "x.up", 2);
    assert!(f.oracle(&main).changed.is_empty(), "to Git it is the same");
    f.refused_look(&main, &[]);
    f.git(&main, &["update-index", "--refresh"]);

    touch(&main, "raw.up", 2);
    assert_eq!(f.oracle(&main).changed.len(), 1, "to Git it has changed");
    assert_eq!(f.refused_look(&main, &[]), expected("raw.up"));
    f.assert_status(&main, &["upper".to_owned()]);
    std::fs::remove_file(main.join("raw.up")).unwrap();
    f.assert_changed(&main, 1);
    // One that is not tracked is refused as at a capture, and so is a filter that nobody defines; a link has none.
    write(&main, "new.up", "");
    assert_eq!(f.refused_look(&main, &[]), expected("new.up"));
    std::fs::remove_file(main.join("new.up")).unwrap();
    std::os::unix::fs::symlink("x.up", main.join("new.up")).unwrap();
    f.assert_changed(&main, 2);
    write(&main, "folder/.gitattributes", "y filter=nobody\n");
    write(&main, "folder/y", "");
    assert_eq!(f.refused_look(&main, &[]), ("nobody".to_owned(), PathBuf::from("folder/y")));
}
