//! Tests of the places and of the directories' safety, on real files.

use std::os::unix::fs::symlink;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn the_socket_is_where_the_first_variable_says() {
    let uid = Uid::from_raw(1000);
    let of = |pairs: &[(&str, &str)]| socket(&environment(pairs), uid).unwrap().display().to_string();
    let all = [("HEDDLE_SOCKET", "/s/x.sock"), ("XDG_RUNTIME_DIR", "/run/user/1000"), ("TMPDIR", "/var/t")];
    assert_eq!(of(&all), "/s/x.sock");
    assert_eq!(of(&all[1..]), "/run/user/1000/heddle/heddled.sock");
    assert_eq!(of(&all[2..]), "/var/t/heddle-1000/heddled.sock");
    assert_eq!(of(&[]), "/tmp/heddle-1000/heddled.sock");
    assert_eq!(of(&[("XDG_RUNTIME_DIR", "relative"), ("TMPDIR", "x")]), "/tmp/heddle-1000/heddled.sock", "ignored");
    assert_eq!(of(&[("HEDDLE_SOCKET", ""), ("XDG_RUNTIME_DIR", "")]), "/tmp/heddle-1000/heddled.sock", "absent");
    let error = socket(&environment(&[("HEDDLE_SOCKET", "x.sock")]), uid).unwrap_err();
    assert_eq!(error.to_string(), "HEDDLE_SOCKET must be an absolute path, but is 'x.sock'");
}

#[test]
fn state_and_configuration_have_their_places() {
    let all = [("HEDDLE_STATE_DIR", "/d"), ("XDG_STATE_HOME", "/x"), ("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/c")];
    let state = |pairs: &[(&str, &str)]| state_dir(&environment(pairs)).unwrap().display().to_string();
    assert_eq!(state(&all), "/d");
    assert_eq!(state(&all[1..]), "/x/heddle");
    assert_eq!(state(&all[2..]), "/home/u/.local/state/heddle");
    assert_eq!(state(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")]), "/h/.local/state/heddle");
    assert!(matches!(state_dir(&environment(&[("HOME", "h")])), Err(PathError::NoHome { .. })));
    assert!(matches!(state_dir(&environment(&[("HEDDLE_STATE_DIR", "d")])), Err(PathError::Relative { .. })));

    let config = |pairs: &[(&str, &str)]| config_file(&environment(pairs)).map(|path| path.display().to_string());
    assert_eq!(config(&all).as_deref(), Some("/c/heddle/heddled.toml"));
    assert_eq!(config(&all[..3]).as_deref(), Some("/home/u/.config/heddle/heddled.toml"));
    assert_eq!(config(&[]), None);
}

#[test]
fn a_socket_path_fits_to_the_byte() {
    let of = |length: usize| PathBuf::from(format!("/{}", "é".repeat(length / 2)) + &"x".repeat((length - 1) % 2));
    let longest = of(MAX_SOCKET_PATH_BYTES);
    assert_eq!(longest.as_os_str().len(), MAX_SOCKET_PATH_BYTES);
    check_socket_path(&longest).unwrap();
    let error = check_socket_path(&longest.join("x")).unwrap_err().to_string();
    for part in [longest.to_str().unwrap(), &(MAX_SOCKET_PATH_BYTES + 2).to_string(), "HEDDLE_SOCKET"] {
        assert!(error.contains(part), "{part:?} in {error:?}");
    }
}

#[test]
fn a_directory_is_made_with_its_parents_for_us_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/heddle");
    secure_dir(&path).unwrap();
    assert_eq!((mode(&path), mode(&root.path().join("a"))), (0o700, 0o700), "P1");
    secure_dir(&path).unwrap();
}

#[test]
fn only_a_directory_of_our_own_name_is_closed() {
    let root = tempfile::tempdir().unwrap();
    for name in ["heddle", "heddle-1000"] {
        let own = root.path().join(name);
        std::fs::create_dir(&own).unwrap();
        chmod(&own, 0o755);
        secure_dir(&own).unwrap();
        assert_eq!(mode(&own), 0o700, "P1: {name}");
    }
    let other = root.path().join("work");
    std::fs::create_dir(&other).unwrap();
    chmod(&other, 0o1777);
    let error = secure_dir(&other).unwrap_err();
    assert!(matches!(error, PathError::Open { mode: 0o1777, .. }), "{error:?}");
    assert_eq!(mode(&other), 0o1777, "P2");
    chmod(&other, 0o700);
    secure_dir(&other).unwrap();
    chmod(&other, 0o755);
    secure_dir(&other).unwrap();
    assert_eq!(mode(&other), 0o700, "nobody uses it yet");
    std::fs::write(other.join("somebody-s"), "").unwrap();
    chmod(&other, 0o755);
    assert!(secure_dir(&other).is_err());
    assert_eq!(mode(&other), 0o755, "P2");
}

#[test]
fn links_and_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let (real, link, file) = (root.path().join("real"), root.path().join("heddle"), root.path().join("heddle-file"));
    secure_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    std::fs::write(&file, "").unwrap();
    for path in [&link, &file] {
        assert!(matches!(secure_dir(path), Err(PathError::NotADirectory { .. })), "P1: {}", path.display());
    }
    let below = secure_dir(&file.join("heddle")).unwrap_err();
    assert!(matches!(below, PathError::Io { .. }), "{below:?}");
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let us = Uid::effective();
    let root = tempfile::tempdir().unwrap();
    let path = if us.is_root() {
        let path = root.path().join("heddle");
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        path
    } else {
        PathBuf::from("/")
    };
    let error = secure_dir(&path).unwrap_err();
    assert!(matches!(error, PathError::OtherOwner { owner, us: uid, .. } if owner != uid), "{error:?}");
}

#[test]
fn a_directory_above_in_which_all_may_write_is_found() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("a/b/file");
    std::fs::create_dir_all(root.path().join("a/b")).unwrap();
    assert_eq!(writable_by_all_above(&file), None);
    chmod(&root.path().join("a"), 0o1777);
    assert_eq!(writable_by_all_above(&file), None, "sticky: only owners may replace what is in it");
    chmod(&root.path().join("a"), 0o777);
    assert_eq!(writable_by_all_above(&file), Some((root.path().join("a"), 0o777)));
}
