//! Where the daemon's socket, lock and state are.

use std::path::{Path, PathBuf};

use crate::env::Env;
use crate::error::Error;
use crate::exit::Exit;

/// The most bytes that a path of a Unix socket may have, its final NUL not counted.
pub(crate) const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The places of one daemon.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The socket, as configured; the running daemon may have another.
    pub(crate) socket: PathBuf,
    /// Whether somebody named that socket, so that no other is looked for.
    pub(crate) named: bool,
    /// The state directory.
    pub(crate) state: PathBuf,
}

impl Paths {
    /// Finds them: `--socket`, then the environment, then the defaults.
    pub(crate) fn find(env: &Env, flag: Option<&Path>, uid: u32) -> Result<Self, Error> {
        let (socket, named) = socket(env, flag, uid)?;
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(Error::local(Exit::CONFIG, format!("the socket's path is too long: {}", socket.display()))
                .fact(format!("it has {length} bytes, and a Unix socket's path may have {SOCKET_PATH_MAX}"))
                .hint("set HEDDLE_SOCKET to a shorter path, in a directory of your own with mode 0700"));
        }
        let state = state(env).ok_or_else(|| {
            Error::local(Exit::CONFIG, "there is no place for the daemon's state: HOME is not set")
                .hint("set HOME, or HEDDLE_STATE_DIR to an absolute path")
        })?;
        Ok(Self { socket, named, state })
    }

    /// The file that the running daemon holds locked, and in which it says where it listens.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("heddled.lock")
    }

    /// The file that is locked while somebody starts the daemon.
    pub(crate) fn start_lock(&self) -> PathBuf {
        self.state.join("start.lock")
    }

    /// What a daemon that was started here says on its standard error.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.join("heddled.log")
    }
}

fn absolute(env: &Env, name: &str) -> Option<PathBuf> {
    env.os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Where the socket is, however long that path may be, and whether somebody named it.
pub(crate) fn socket(env: &Env, flag: Option<&Path>, uid: u32) -> Result<(PathBuf, bool), Error> {
    let named = flag
        .map(Path::to_path_buf)
        .or_else(|| env.os("HEDDLE_SOCKET").filter(|value| !value.is_empty()).map(PathBuf::from));
    let socket = match &named {
        Some(path) => std::path::absolute(path).map_err(|cause| Error::io("find the socket", path, &cause))?,
        None => match absolute(env, "XDG_RUNTIME_DIR") {
            Some(runtime) => runtime.join("heddle/heddled.sock"),
            None => {
                let temporary = absolute(env, "TMPDIR").unwrap_or_else(|| "/tmp".into());
                temporary.join(format!("heddle-{uid}/heddled.sock"))
            }
        },
    };
    Ok((socket, named.is_some()))
}

/// Where the state is, if there is such a place.
pub(crate) fn state(env: &Env) -> Option<PathBuf> {
    absolute(env, "HEDDLE_STATE_DIR")
        .or_else(|| absolute(env, "XDG_STATE_HOME").map(|home| home.join("heddle")))
        .or_else(|| absolute(env, "HOME").map(|home| home.join(".local/state/heddle")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)], flag: Option<&str>) -> Paths {
        Paths::find(&Env::of(variables), flag.map(Path::new), 1000).expect("paths")
    }

    #[test]
    fn the_nearest_word_on_the_socket_wins() {
        let all = [("HEDDLE_SOCKET", "/e/s"), ("XDG_RUNTIME_DIR", "/run/user/1000"), ("TMPDIR", "/t"), ("HOME", "/h")];
        assert_eq!(find(&all, Some("/f/s")).socket, Path::new("/f/s"));
        assert_eq!(find(&all, None).socket, Path::new("/e/s"));
        assert_eq!(find(&all[1..], None).socket, Path::new("/run/user/1000/heddle/heddled.sock"));
        assert_eq!(find(&all[2..], None).socket, Path::new("/t/heddle-1000/heddled.sock"));
        assert_eq!(find(&all[3..], None).socket, Path::new("/tmp/heddle-1000/heddled.sock"));
        assert!(find(&all, None).named && !find(&all[1..], None).named);
    }

    #[test]
    fn state_follows_the_same_order() {
        let all = [("HEDDLE_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(find(&all, None).state, Path::new("/s"));
        assert_eq!(find(&all[1..], None).state, Path::new("/x/heddle"));
        assert_eq!(find(&all[2..], None).state, Path::new("/h/.local/state/heddle"));
        assert!(Paths::find(&Env::of(&[]), None, 1).is_err(), "no HOME is a clear error");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_a_clear_error() {
        let long = format!("/{}", "a".repeat(SOCKET_PATH_MAX));
        let error = Paths::find(&Env::of(&[("HOME", "/h")]), Some(Path::new(&long)), 1).expect_err("too long");
        assert_eq!(error.exit(), Exit::CONFIG);
    }
}
