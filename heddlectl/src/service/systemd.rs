//! The service in the user's own systemd: two units, the socket and the daemon.

use std::path::{Path, PathBuf};

use super::manager::{Said, look, run};
use super::{State, Step, detached, program, unit};
use crate::client::connector::Connector;
use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;
use crate::files;

const SERVICE: &str = "heddled.service";
const SOCKET: &str = "heddled.socket";

/// What shows why it does not run.
pub(crate) const LOOK: &str = "systemctl --user status heddled.service heddled.socket";

/// Where a unit may be, below the user's own directories and elsewhere.
const OWN: &[(&str, &str)] = &[("XDG_CONFIG_HOME", ".config"), ("XDG_DATA_HOME", ".local/share")];
const SHARED: &[&str] = &[
    "/etc/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
    "/etc/xdg/systemd/user",
];

/// Whether a file says that it may be installed: so much is known without asking anybody.
pub(crate) fn may_be_installed(env: &Env) -> bool {
    let own = OWN.iter().filter_map(|(variable, below_home)| {
        let named = env.os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || Some(Path::new(env.os("HOME")?).join(below_home));
        Some(named.or_else(home)?.join("systemd/user"))
    });
    own.chain(SHARED.iter().map(PathBuf::from)).any(|folder| folder.join(SOCKET).exists())
}

/// See [`super::state`].
pub(crate) fn state(connector: &Connector) -> State {
    const PROPERTIES: &str = "--property=LoadState,FragmentPath,UnitFileState,ActiveState,MainPID,Listen,Environment,\
                              ExecStart,NeedDaemonReload";
    let said = look(connector, &["systemctl", "--user", "show", PROPERTIES, SERVICE, SOCKET]);
    if !said.ok {
        return State { unavailable: Some(why_unavailable(&said)), ..State::default() };
    }
    let mut units = said.out.split("\n\n").map(Properties);
    let (service, socket) = (units.next().unwrap_or_default(), units.next().unwrap_or_default());
    let files: Vec<_> =
        [&service, &socket].into_iter().filter_map(|unit| unit.get("FragmentPath")).map(PathBuf::from).collect();
    let installed = [&service, &socket].iter().all(|unit| unit.get("LoadState") == Some("loaded"));
    let ours = !files.is_empty() && files.iter().all(|file| is_ours(file) == Some(true));
    let is_unread = [&service, &socket].iter().any(|unit| unit.get("NeedDaemonReload") == Some("yes"));
    State {
        manager: Some("systemd"),
        unavailable: None,
        installed,
        written_by_heddlectl: ours,
        outdated: installed && (is_unread || (ours && differs(connector, &files))),
        files,
        enabled: socket.get("UnitFileState") == Some("enabled"),
        listening: socket.get("ActiveState") == Some("active"),
        active: service.get("ActiveState").filter(|_| installed).map(str::to_owned),
        pid: service.get("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
        program: service.get("ExecStart").and_then(program_of).map(PathBuf::from),
        socket: socket
            .get("Listen")
            .and_then(|listen| listen.strip_suffix(" (Stream)"))
            .filter(|_| installed)
            .map(PathBuf::from),
        state_dir: service.get("Environment").and_then(|all| variable(all, "HEDDLE_STATE_DIR")).map(PathBuf::from),
        linger: linger(connector),
    }
}

/// What `systemctl show` said of one unit.
#[derive(Default)]
struct Properties<'a>(&'a str);

impl<'a> Properties<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.filter(|value| !value.is_empty())
    }
}

/// `{ path=/usr/bin/heddled ; argv[]=... }`
fn program_of(exec: &str) -> Option<&str> {
    exec.split_once("path=")?.1.split_once(" ; argv[]=").map(|(path, _)| path)
}

/// One variable of those that a unit sets; quoted where it has to be, as a shell would.
fn variable(all: &str, name: &str) -> Option<String> {
    let words = shell_words::split(all).ok()?;
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Whether we wrote a file; none where there is none.
fn is_ours(file: &Path) -> Option<bool> {
    match files::read_text(file) {
        Ok(content) => Some(unit::is_ours(&content)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        // What cannot be read is not ours.
        Err(_) => Some(false),
    }
}

fn differs(connector: &Connector, files: &[PathBuf]) -> bool {
    let Ok(texts) = texts(connector) else { return false };
    files.iter().zip(texts).any(|(file, (_, text))| files::read_text(file).is_ok_and(|content| content != text))
}

fn linger(connector: &Connector) -> Option<bool> {
    let said = look(connector, &["loginctl", "show-user", &connector.uid.to_string(), "--property=Linger", "--value"]);
    match said.out.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn why_unavailable(said: &Said) -> String {
    let line = said.err.lines().next().unwrap_or("systemctl --user says nothing");
    format!("there is no systemd of this user to be reached: {line}")
}

/// The units as this version writes them, each with its name.
///
/// What the caller's environment says about places is in them: the manager's environment does not.
fn texts(connector: &Connector) -> Result<[(&'static str, String); 2], Error> {
    let env = &connector.env;
    let program = program::find(env)?;
    let usual_state = env.os("HOME").map(|home| Path::new(home).join(".local/state/heddle"));
    let runtime = env.os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.unwrap_or_else(|| format!("/run/user/{}", connector.uid).into());
    let paths = &connector.paths;
    let place = if paths.named { paths.socket.clone() } else { configured_socket(connector, &program)? };
    let place = (place != runtime.join("heddle/heddled.sock")).then_some(place);
    place.as_deref().map(program::text).transpose()?;
    let named = [
        ("HEDDLE_SOCKET", place.as_deref().filter(|_| paths.named)),
        ("HEDDLE_STATE_DIR", Some(paths.state.as_path()).filter(|state| usual_state.as_deref() != Some(*state))),
        ("HEDDLE_CONFIG", env.os("HEDDLE_CONFIG").filter(|file| !file.is_empty()).map(Path::new)),
    ];
    let variables = named.into_iter().filter_map(|(name, path)| Some((name, path?)));
    let variables =
        variables.map(|(name, path)| Ok((name, program::text(path)?))).collect::<Result<Vec<_>, Error>>()?;
    Ok([(SERVICE, unit::service(&program, &variables)), (SOCKET, unit::socket(place.as_deref()))])
}

/// The refusal where no systemd of the user is to be had.
fn unavailable(state: &State) -> Error {
    let why = state.unavailable.clone().unwrap_or_default();
    Error::local(Exit::REFUSED, "heddled cannot be a service here")
        .fact(why)
        .fact("nothing was changed")
        .hint("without a service, the daemon is started by the first command that needs it")
        .command("heddlectl daemon start")
}

/// See [`super::install`].
pub(crate) fn install(connector: &Connector, force: bool) -> Result<Vec<Step>, Error> {
    let state = state(connector);
    if state.manager.is_none() {
        return Err(unavailable(&state));
    }
    let program = program::find(&connector.env)?;
    // A daemon that would not start is better told of now.
    configured_socket(connector, &program)?;
    let folder = folder(connector)?;
    let texts = texts(connector)?;
    // A package's units do the same as ours, if they are for the same program, and nothing else has to be in them.
    let is_elsewhere = state.files.iter().all(|file| !file.starts_with(&folder));
    let is_usual = texts == [(SERVICE, unit::service(&program, &[])), (SOCKET, unit::socket(None))];
    let is_same = state.program.as_ref().and_then(|path| path.canonicalize().ok()) == program.canonicalize().ok();
    let is_packaged = state.installed && is_elsewhere && is_usual && is_same;
    let mut steps = Vec::new();
    let mut socket_changes = false;
    if !is_packaged {
        for (name, text) in texts {
            let file = folder.join(name);
            if is_ours(&file) == Some(false) && !force {
                return Err(foreign(&file));
            }
            if files::read_text(&file).ok().as_ref() != Some(&text) {
                socket_changes |= name == SOCKET && state.listening;
                steps.push(Step::Write(file, text));
            }
        }
    }
    let changed = !steps.is_empty();
    if changed || state.outdated {
        steps.push(Step::run(&["systemctl", "--user", "daemon-reload"]));
    }
    if !state.enabled {
        // Before the other daemon is stopped: whoever needs one meanwhile starts the service.
        steps.push(Step::run(&["systemctl", "--user", "enable", SOCKET]));
    }
    steps.extend(detached(connector, &state).map(Step::Stop));
    if socket_changes {
        steps.push(Step::run(&["systemctl", "--user", "restart", SOCKET]));
    } else if !state.listening {
        // Units that failed before may have used up their starts.
        steps.push(Step::Try(words(&["systemctl", "--user", "reset-failed", SERVICE, SOCKET])));
        steps.push(Step::run(&["systemctl", "--user", "start", SOCKET]));
    } else if changed && state.pid.is_some() {
        steps.push(Step::run(&["systemctl", "--user", "restart", SERVICE]));
    }
    Ok(steps)
}

/// See [`super::uninstall`].
pub(crate) fn uninstall(connector: &Connector) -> Result<Vec<Step>, Error> {
    let state = state(connector);
    if state.manager.is_none() {
        return Err(unavailable(&state));
    }
    let mut steps = Vec::new();
    if state.installed {
        steps.push(Step::run(&["systemctl", "--user", "disable", "--now", SOCKET, SERVICE]));
    }
    let folder = folder(connector)?;
    let files = [SERVICE, SOCKET].map(|name| folder.join(name));
    let ours: Vec<_> = files.into_iter().filter(|file| is_ours(file) == Some(true)).map(Step::Remove).collect();
    if !ours.is_empty() {
        steps.extend(ours);
        steps.push(Step::run(&["systemctl", "--user", "daemon-reload"]));
        steps.push(Step::Try(words(&["systemctl", "--user", "reset-failed", SERVICE, SOCKET])));
    }
    Ok(steps)
}

/// See [`super::start`].
pub(crate) fn start(connector: &Connector, service: &State) -> Result<(), Error> {
    // One that failed before may be mended by now; whether it was, its start tells.
    run(connector, &["systemctl", "--user", "reset-failed", SOCKET, SERVICE]);
    let said = run(connector, &["systemctl", "--user", "start", SOCKET, SERVICE]);
    if said.ok {
        return Ok(());
    }
    if let Some(program) = &service.program {
        configured_socket(connector, program)?;
    }
    let error = Error::local(Exit::UNREACHABLE, "the daemon did not start: its service failed");
    let words = run(connector, &["journalctl", "--user", "--unit", SERVICE, "--lines=5", "--output=cat", "--no-pager"]);
    let lines = said.err.lines().chain(words.out.lines()).filter(|line| !line.trim().is_empty());
    Err(lines.fold(error, Error::fact).command(LOOK))
}

/// Where the user's units are, as the manager has it: its environment may be another than ours.
fn folder(connector: &Connector) -> Result<PathBuf, Error> {
    let said = look(connector, &["systemctl", "--user", "show", "--property=UnitPath", "--value"]);
    let folders = said.out.split_whitespace().map(Path::new);
    let own = folders.filter(|folder| folder.ends_with("systemd/user"));
    let is_shared = |folder: &&Path| ["/run", "/etc", "/usr", "/lib"].iter().any(|shared| folder.starts_with(shared));
    own.filter(|folder| !is_shared(folder))
        .map(Path::to_path_buf)
        .next()
        .ok_or_else(|| Error::local(Exit::UNEXPECTED, "systemd does not say where this user's units are").command(LOOK))
}

/// A unit that somebody else wrote.
fn foreign(file: &Path) -> Error {
    Error::local(Exit::REFUSED, format!("somebody else wrote {}", file.display()))
        .fact("nothing was changed")
        .hint("move it away, or let it be replaced")
        .command("heddlectl service install --force")
}

/// Where a daemon that nobody tells where to listen does so: its configuration may say.
fn configured_socket(connector: &Connector, program: &Path) -> Result<PathBuf, Error> {
    let said = run(connector, &[&program.display().to_string(), "--check-config"]);
    if !said.ok {
        let error = Error::local(Exit::CONFIG, "the daemon's configuration is wrong");
        let error = said.err.lines().filter(|line| !line.starts_with("hint:")).fold(error, Error::fact);
        return Err(error.command("heddled --check-config"));
    }
    let socket = said.out.lines().find_map(|line| text_of(line.strip_prefix("socket = ")?));
    socket.map(PathBuf::from).ok_or_else(|| Error::garbled("heddled --check-config names no socket"))
}

/// A string as the configuration prints it: in single quotes as it is, in double quotes as JSON has it, too.
fn text_of(value: &str) -> Option<String> {
    let plain = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    plain.map(str::to_owned).or_else(|| serde_json::from_str(value).ok())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let unit = Properties("LoadState=loaded\nFragmentPath=\nListen=/run/u/s (Stream)\nMainPID=0");
        assert_eq!((unit.get("LoadState"), unit.get("FragmentPath")), (Some("loaded"), None));
        assert_eq!(unit.get("Listen"), Some("/run/u/s (Stream)"));
        assert_eq!(unit.get("Load"), None, "a whole name");
        let exec = "{ path=/a b/heddled ; argv[]=/a b/heddled ; ignore_errors=no ; start_time=[n/a] }";
        assert_eq!(program_of(exec), Some("/a b/heddled"));
        let all = r#"A=1 "HEDDLE_STATE_DIR=/a b/s""#;
        assert_eq!(variable(all, "HEDDLE_STATE_DIR").as_deref(), Some("/a b/s"));
        assert_eq!(variable(all, "HEDDLE_STATE"), None);
        assert_eq!(text_of(r#""/a \"b\"""#).as_deref(), Some(r#"/a "b""#));
        assert_eq!(text_of("'/a\\b'").as_deref(), Some("/a\\b"));
    }

    #[test]
    fn only_a_file_makes_it_worth_asking() {
        let home = tempfile::tempdir().expect("a directory");
        let env = |name: &str| Env::of(&[(name, home.path().to_str().expect("text"))]);
        if SHARED.iter().any(|folder| Path::new(folder).join(SOCKET).exists()) {
            return;
        }
        assert!(!may_be_installed(&env("HOME")));
        let folder = home.path().join(".config/systemd/user");
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join(SOCKET), "").expect("written");
        assert!(may_be_installed(&env("HOME")));
        assert!(!may_be_installed(&env("XDG_CONFIG_HOME")));
    }
}
