//! The sample file against the code: it has every key with its default, and each of its keys is one.

use std::path::Path;

use crate::support::Place;

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("packaging/heddled.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The sample with every key in force.
fn uncommented() -> String {
    let is_setting = |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    let lines = sample();
    let lines = lines.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_setting(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What `heddled --check-config` says is in force under this file.
fn in_force(toml: &str) -> toml::Table {
    let place = Place::new();
    place.configure(toml);
    let mut command = place.command();
    command.env_remove("HEDDLE_SOCKET").env_remove("HEDDLE_STATE_DIR").env_remove("HEDDLE_LOG").arg("--check-config");
    let output = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

#[test]
fn as_it_comes_the_sample_changes_nothing() {
    let set: Vec<_> =
        sample().lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
    assert!(set.is_empty(), "{set:?}");
    let (mut with, mut without) = (in_force(&sample()), in_force(""));
    // They are below a directory of the test.
    for place in ["socket", "state_dir"] {
        assert!(with.remove(place).is_some() && without.remove(place).is_some());
    }
    assert_eq!(with, without);
}

#[test]
fn the_sample_has_every_key_with_its_default() {
    let (set, defaults) = (in_force(&uncommented()), in_force(""));
    let written: toml::Table = toml::from_str(&uncommented()).unwrap();
    for (key, value) in &set {
        let named = written.get(key).unwrap_or_else(|| panic!("the sample does not have {key}"));
        assert_eq!(named, value, "{key}");
    }
    let limits = |table: &toml::Table| table["limits"].clone();
    assert_eq!(limits(&set), limits(&defaults), "each is the default");
    for key in ["default_ttl_ms", "allowed_filters", "worktree_roots", "log"] {
        assert_eq!(set[key], defaults[key], "{key}");
    }
    // The default of this one is that it is not there.
    assert!(set.contains_key("repos") && !defaults.contains_key("repos"));
    assert_eq!(set.len(), defaults.len() + 1);
}

#[test]
fn what_is_wrong_with_the_file_or_the_surroundings_is_exit_78() {
    let place = Place::new();
    let path = place.root.join("home/.config/heddle/heddled.toml");
    let check = |prepare: &dyn Fn(&mut std::process::Command)| {
        let mut command = place.command();
        command.env_remove("HEDDLE_STATE_DIR").arg("--check-config");
        prepare(&mut command);
        place.run(&mut command)
    };
    let as_is = |_: &mut std::process::Command| {};
    place.configure("");
    std::fs::write(&path, b"log = '\xff'").unwrap();
    let (code, said) = check(&as_is);
    assert!(code == Some(78) && said.contains("UTF-8") && said.contains("heddled.toml"), "{said}");
    place.configure(&format!("{}log = 'info'", "# x\n".repeat(300_000)));
    let (code, said) = check(&as_is);
    assert!(code == Some(78) && said.contains("1048576 bytes"), "{said}");
    place.configure("");
    let (code, said) = check(&|command| {
        command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    });
    assert!(code == Some(78) && said.contains("HOME"), "{said}");
    let (code, said) = check(&|command| {
        command.env("HEDDLE_STATE_DIR", "state");
    });
    assert!(code == Some(78) && said.contains("HEDDLE_STATE_DIR must be an absolute path"), "{said}");
    let (code, said) = check(&|command| {
        command.env("HEDDLE_LOG", "heddled=loud");
    });
    assert!(code == Some(78) && said.contains("heddled=loud"), "{said}");
}

#[test]
fn a_configuration_that_another_user_could_replace_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.configure("[limits]\nconnections = 5\n");
    let directory = place.root.join("home/.config/heddle");
    let mode = |mode| std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let (code, said) = place.run(&mut place.command());
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("lets every user put another file in its place") && said.contains("chmod o-w"), "{said}");
    mode(0o755);
    place.start().stop();
}
