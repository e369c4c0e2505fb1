//! A state of a newer format is refused as it is, by all that could touch it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::run::{command, say, word};
use crate::support::Place;

fn image(directory: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            image(&path, into);
        } else if !path.ends_with("heddled.lock") {
            into.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
}

fn files(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    image(state, &mut files);
    files
}

#[test]
fn a_newer_state_is_refused_byte_for_byte_as_it_is_and_says_who_wrote_it() {
    let place = Place::new();
    let mut daemon = place.start();
    daemon.client().reserve(place.repo("r").at(), "t");
    daemon.stop();
    let format = place.state().join("format");
    assert_eq!(
        std::fs::read_to_string(&format).unwrap(),
        format!("heddled state, format 1\nwritten by heddled {}\n", env!("CARGO_PKG_VERSION"))
    );
    std::fs::write(&format, "heddled state, format 2\nwritten by heddled 9.8.7\nand more\n").unwrap();
    let before = files(&place.state());
    let file = place.root.join("b");
    for words in [&[][..], &["backup", word(&file)], &["verify"]] {
        let said = say(&mut command(&place, words));
        assert_eq!(said.code, Some(74), "{words:?}: {said:?}");
        let told = said.stdout + &said.stderr;
        for part in ["format 2", "written by heddled 9.8.7", "Start the heddled that wrote it", "Nothing was changed"] {
            assert!(told.contains(part), "{words:?}: {part} in {told}");
        }
        assert!(files(&place.state()) == before, "{words:?}: it was changed");
    }
    assert!(!file.exists());
}

#[test]
fn a_newer_journal_is_refused_byte_for_byte_as_it_is() {
    use std::os::unix::fs::FileExt;

    let place = Place::new();
    let mut daemon = place.start();
    daemon.client().reserve(place.repo("r").at(), "t");
    daemon.kill();
    for name in ["00", "01", "02"] {
        let segment = std::fs::OpenOptions::new().write(true).open(place.state().join("journal").join(name)).unwrap();
        for copy in [0, 4096] {
            segment.write_all_at(b"2", copy + 7).unwrap();
        }
    }
    let before = files(&place.state());
    let said = say(&mut command(&place, &[]));
    assert_eq!(said.code, Some(74), "{said:?}");
    assert!(said.stderr.contains("unknown format 2"), "{said:?}");
    assert!(files(&place.state()) == before, "it was changed");
}
