//! Tests of the configuration, on real files.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new(content: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.0.path().join("heddle")).unwrap();
        std::fs::write(place.file(), content).unwrap();
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("heddle/heddled.toml")
    }

    fn load(&self, flags: Flags, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let home = [("HOME", "/home/u"), ("XDG_CONFIG_HOME", self.0.path().to_str().unwrap())];
        Config::load(flags, &home.iter().chain(variables).copied().collect(), Uid::effective())
    }
}

fn message(content: &str) -> String {
    Place::new(content).load(Flags::default(), &[]).unwrap_err().to_string()
}

#[test]
fn without_anything_the_defaults_hold() {
    let environment = [("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/1")].into_iter().collect();
    let config = Config::load(Flags::default(), &environment, Uid::effective()).unwrap();
    assert_eq!(config.socket, Path::new("/run/user/1/heddle/heddled.sock"));
    assert_eq!(config.state_dir, Path::new("/home/u/.local/state/heddle"));
    assert_eq!((config.default_ttl_ms, config.log.as_str(), config.repos), (300_000, "info", None));
    assert_eq!((config.limits.line_bytes, config.limits.connections), (1_048_576, 4_096));
    assert_eq!(config.limits.line_bytes, proto_schema::MAX_LINE_BYTES as u64, "as the contract says");
    assert_eq!(config.limits.batch, proto_schema::MAX_BATCH as u64, "as the contract says");
}

#[test]
fn a_flag_goes_before_a_variable_before_the_file() {
    let place = Place::new("socket = '/f/s'\nstate_dir = '/f/d'\nlog = 'warn'\n");
    let variables = [("HEDDLE_SOCKET", "/e/s"), ("HEDDLE_STATE_DIR", "/e/d"), ("HEDDLE_LOG", "error")];
    let flags = Flags {
        socket: Some("/c/s".into()),
        state_dir: Some("/c/d".into()),
        log: Some("debug".to_owned()),
        config: None,
    };
    let of = |flags, variables: &[_]| {
        let config = place.load(flags, variables).unwrap();
        (config.socket.display().to_string(), config.state_dir.display().to_string(), config.log)
    };
    let all = |(socket, state, log): (&str, &str, &str)| (socket.to_owned(), state.to_owned(), log.to_owned());
    assert_eq!(of(flags, &variables), all(("/c/s", "/c/d", "debug")));
    assert_eq!(of(Flags::default(), &variables), all(("/e/s", "/e/d", "error")));
    assert_eq!(of(Flags::default(), &[("XDG_RUNTIME_DIR", "/r")]), all(("/f/s", "/f/d", "warn")));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let place = Place::new("log = 'warn'");
    let other = place.0.path().join("other.toml");
    let named = || Flags { config: Some(other.clone()), ..Flags::default() };
    let error = place.load(named(), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::File { problem: FileProblem::Missing, .. }), "{error}");
    let by_variable = [("HEDDLE_CONFIG", other.to_str().unwrap())];
    assert!(place.load(Flags::default(), &by_variable).is_err());
    let error = place.load(Flags::default(), &[("HEDDLE_CONFIG", "other.toml")]).unwrap_err();
    assert!(error.to_string().starts_with("HEDDLE_CONFIG must be an absolute path"), "{error}");
    std::fs::write(&other, "log = 'debug'").unwrap();
    assert_eq!(place.load(named(), &[]).unwrap().log, "debug");
    assert_eq!(place.load(Flags::default(), &by_variable).unwrap().log, "debug");
    std::fs::remove_file(place.file()).unwrap();
    assert_eq!(place.load(Flags::default(), &[]).unwrap().log, "info", "the default one need not be there");
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    for (content, key, suggestion) in [
        ("sokcet = '/x'", "'sokcet'", "'socket'?"),
        ("statedir = '/x'", "'statedir'", "'state_dir'?"),
        ("[limits]\nconections = 1", "'limits.conections'", "'connections'?"),
        ("[Limits]\nbatch = 1", "'Limits'", "'limits'?"),
    ] {
        let message = message(content);
        assert!(message.contains(key) && message.contains(suggestion), "{message}");
    }
    let message = message("xyzzy = 1");
    assert!(message.contains("'xyzzy'") && !message.contains("did you mean"), "{message}");
}

#[test]
fn what_is_wrong_says_which_key_and_why() {
    for (content, parts) in [
        ("default_ttl_ms = 999", ["default_ttl_ms", "from 1000 to 86400000", "999"]),
        ("default_ttl_ms = 86400001", ["default_ttl_ms", "86400000", "86400001"]),
        ("limits.batch = 0", ["limits.batch", "from 1 to 10000", "is 0"]),
        ("default_ttl_ms = '5m'", ["default_ttl_ms", "invalid type", "line 1"]),
        ("limits.batch = -1", ["batch", "-1", "line 1"]),
        ("limits = 3", ["limits", "invalid type", "line 1"]),
        ("worktree_roots = ['~/trees']", ["worktree_roots", "absolute", "~/trees"]),
        ("repos = ['/a', 'b']", ["repos", "absolute", "'b'"]),
        ("socket = 'x'", ["socket", "absolute", "'x'"]),
        ("allowed_filters = ['a b']", ["allowed_filters", "a b", "clean"]),
        ("log = 'heddled=loud'", ["log", "heddled=loud", "info"]),
        ("log = 'a'\nlog = 'b'", ["duplicate key", "line 2", "heddled.toml"]),
        ("socket = ", ["line 1", "heddled.toml", "socket"]),
    ] {
        let message = message(content);
        for part in parts {
            assert!(message.contains(part), "{part:?} in {message:?} of {content:?}");
        }
    }
    let long = format!("socket = '/{}'", "x".repeat(120));
    assert!(message(&long).contains("121 bytes"), "the length of the socket's path");
}

#[test]
fn a_file_that_others_could_have_written_is_refused() {
    let place = Place::new("log = 'warn'");
    let mode = |mode| std::fs::set_permissions(place.file(), PermissionsExt::from_mode(mode)).unwrap();
    let load = |uid| {
        let environment = [("HOME", "/h"), ("XDG_CONFIG_HOME", place.0.path().to_str().unwrap())].into_iter().collect();
        Config::load(Flags::default(), &environment, uid)
    };
    mode(0o646);
    let error = load(Uid::effective()).unwrap_err().to_string();
    assert!(error.contains("0646") && error.contains("chmod o-w"), "N1: {error}");
    mode(0o664);
    assert_eq!(load(Uid::effective()).unwrap().log, "warn");
    if Uid::effective().is_root() {
        std::os::unix::fs::chown(place.file(), Some(65_534), None).unwrap();
        let error = load(Uid::effective()).unwrap_err().to_string();
        assert!(error.contains("uid 65534"), "N1: {error}");
        assert!(load(Uid::from_raw(65_534)).is_ok(), "its owner may");
        std::os::unix::fs::chown(place.file(), Some(0), None).unwrap();
        assert!(load(Uid::from_raw(65_534)).is_ok(), "root's is trusted");
    } else {
        let error = load(Uid::from_raw(Uid::effective().as_raw() + 1)).unwrap_err().to_string();
        assert!(error.contains("belongs to"), "N1: {error}");
    }
    std::fs::remove_file(place.file()).unwrap();
    std::fs::create_dir(place.file()).unwrap();
    let error = place.load(Flags::default(), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::File { problem: FileProblem::NotAFile, .. }), "{error}");
}

#[test]
fn what_is_printed_says_the_same_when_it_is_read() {
    let place = Place::new(
        "socket = '/s/x.sock'\nallowed_filters = ['crypt']\nrepos = ['/a\"b']\n[limits]\nbatch = 7\nwaiters = 0\n",
    );
    let config = place.load(Flags::default(), &[]).unwrap();
    assert_eq!((config.limits.batch, config.limits.waiters), (7, 0));
    let text = toml::to_string(&config).unwrap();
    assert_eq!(Place::new(&text).load(Flags::default(), &[]).unwrap(), config, "{text}");
}
