//! Content filters: `lfs` and those that are allowed run as the user defines them; for any other nothing is stored.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::fixture::Fixture;
use super::write;
use crate::repo::{Capture, CaptureRefused, Cause, Error};

/// Stores content as `git lfs clean` does: by its SHA-256 below the Git directory, a pointer in its place.
const LFS: &str = r#"#!/bin/sh
temporary=$(mktemp) && cat > $temporary
if head -c 8 $temporary | grep -q ^version; then cat $temporary; exit; fi
id=$(sha256sum < $temporary | cut -c-64)
folder=$GIT_DIR/lfs/objects/$(echo $id | cut -c-2)/$(echo $id | cut -c3-4)
mkdir -p $folder && mv $temporary $folder/$id
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\n' $id
"#;

impl Fixture {
    /// Defines a filter in the user's configuration.
    pub(in crate::repo::tests) fn users_filter(&self, driver: &str, script: &str) {
        let path = self.root.join(format!("filter-{driver}"));
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.git(&self.root, &["config", "--global", &format!("filter.{driver}.clean"), path.to_str().unwrap()]);
    }

    fn refused_filter(&self, worktree: &Path, allowed: &[String]) -> Option<(String, PathBuf)> {
        let refused = self.prepare_with(worktree, allowed);
        self.assert_clear(worktree);
        match refused {
            Err(Error::Capture(CaptureRefused::FilterNotAllowed { filter, path })) => Some((filter, path)),
            Ok(Capture::Nothing { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn lfs_stores_its_objects_in_the_repository() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.users_filter("lfs", LFS);
    write(&main, ".gitattributes", "*.big filter=lfs -text\n");
    write(&main, "x.big", "large content");
    write(&main, "folder/y.big", "more");
    write(&main, "pointer.big", "version https://git-lfs.github.com/spec/v1\n");
    f.assert_like_git(&main, &[]);
    let pointer = f.git(&main, &["cat-file", "-p", "HEAD:x.big"]);
    let id = pointer.rsplit(':').next().unwrap();
    let object = main.join(".git/lfs/objects").join(&id[..2]).join(&id[2..4]).join(id);
    assert_eq!(std::fs::read_to_string(object).unwrap(), "large content");

    // A linked worktree's objects are the repository's, too.
    let side = f.root.join("side");
    f.git(&main, &["worktree", "add", "--quiet", "-b", "side", side.to_str().unwrap()]);
    write(&side, "side.big", "of the side");
    f.capture(&side);
    let pointer = f.git(&side, &["cat-file", "-p", "HEAD:side.big"]);
    let id = pointer.rsplit(':').next().unwrap();
    assert!(main.join(".git/lfs/objects").join(&id[..2]).join(&id[2..4]).join(id).exists());
}

#[test]
fn a_filter_runs_when_it_is_listed() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.users_filter("upper", "#!/bin/sh\nexec tr a-z A-Z\n");
    write(&main, ".gitattributes", "*.up filter=upper\n");
    write(&main, "x.up", "content");
    // Long ago: what changed in the very moment in which the index is written is looked at again, by the filter.
    let file = std::fs::File::options().write(true).open(main.join("x.up")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(f.refused_filter(&main, &[]), Some(("upper".to_owned(), "x.up".into())));
    assert_eq!(f.git(&main, &["status", "--porcelain"]), "?? .gitattributes\n?? x.up", "nothing was changed");
    f.assert_like_git(&main, &["upper".to_owned()]);
    assert_eq!(f.git(&main, &["cat-file", "-p", "HEAD:x.up"]), "CONTENT");
    // What is not changed needs no filter.
    write(&main, "other", "content");
    f.assert_like_git(&main, &[]);
}

#[test]
fn nothing_is_stored_raw_wherever_the_filter_is_named() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    let expected = |path: &str| Some(("odd".to_owned(), PathBuf::from(path)));
    write(&main, "a/b/x", "content");
    write(&main, ".gitattributes", "[attr]large filter=odd\n");
    write(&main, "a/.gitattributes", "x large\n");
    assert_eq!(f.refused_filter(&main, &[]), expected("a/b/x"), "by a macro, from a folder above");
    // Plain Git stores it raw, as content that is there already: it is refused all the same.
    f.git(&main, &["add", "a/b/x"]);
    assert_eq!(f.refused_filter(&main, &[]), expected("a/b/x"), "what the index has already");
    f.git(&main, &["reset", "--quiet"]);
    std::fs::remove_file(main.join(".gitattributes")).unwrap();
    std::fs::remove_file(main.join("a/.gitattributes")).unwrap();
    write(&main, ".git/info/attributes", "x filter=odd\n");
    assert_eq!(f.refused_filter(&main, &[]), expected("a/b/x"), "by the repository's own attributes");
    std::fs::remove_file(main.join(".git/info/attributes")).unwrap();
    write(&f.root, "home/.config/git/attributes", "x filter=odd\n");
    assert_eq!(f.refused_filter(&main, &[]), expected("a/b/x"), "by the user's attributes");
    f.git(&f.root, &["config", "--global", "core.attributesFile", "~/mine"]);
    write(&f.root, "home/mine", "x filter=odd\n");
    assert_eq!(f.refused_filter(&main, &[]), expected("a/b/x"), "by the attributes that the user names");
    // A link has no content to filter, and an attribute may be taken back.
    std::fs::remove_file(main.join("a/b/x")).unwrap();
    std::os::unix::fs::symlink("b", main.join("a/x")).unwrap();
    write(&main, "b/x", "content");
    write(&main, "b/.gitattributes", "x -filter\n");
    f.assert_like_git(&main, &[]);
}

#[test]
fn a_filter_that_fails_stores_nothing() {
    let f = Fixture::new();
    let main = f.init("main", &[]);
    f.users_filter("lfs", "#!/bin/sh\ncat\nexit 1\n");
    write(&main, ".gitattributes", "*.big filter=lfs\n");
    write(&main, "x.big", "content");
    // To Git it is not required, so that it would store the file as it is.
    match f.prepare(&main) {
        Err(Error::Unavailable { cause: Cause::Program { stderr, .. }, .. }) => assert!(stderr.contains("lfs")),
        other => panic!("{other:?}"),
    }
    f.assert_clear(&main);
}
