//! Tests of what is handed over, with real sockets.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        secure_dir(place.path().parent().unwrap()).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap().join("heddle/heddled.sock")
    }

    fn bound(&self) -> OwnedFd {
        let listener = UnixListener::bind(self.path()).unwrap();
        std::fs::set_permissions(self.path(), PermissionsExt::from_mode(0o600)).unwrap();
        listener.into()
    }
}

fn problem(result: Result<Option<UnixListener>, ActivationError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_listener_at_the_path_is_taken_and_stays_when_it_is_dropped() {
    let place = Place::new();
    let socket = place.bound();
    let kept = socket.try_clone().unwrap();
    let listener = Handed(vec![socket]).listener(&place.path()).unwrap().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it does not block");
    drop(listener);
    let _waiting = UnixStream::connect(place.path()).unwrap();
    assert!(UnixListener::from(kept).accept().is_ok(), "who hands it over still has it");
    assert!(Handed::default().listener(&place.path()).unwrap().is_none());
}

#[test]
fn only_what_the_daemon_would_have_made_is_taken() {
    let place = Place::new();
    let path = place.path();
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(problem(Handed(vec![file.into()]).listener(&path)).contains("not a listening"), "A1");
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(problem(Handed(vec![one.into()]).listener(&path)).contains("not a listening"), "A1: it does not listen");
    let datagram = UnixDatagram::bind(path.with_file_name("d")).unwrap();
    assert!(problem(Handed(vec![datagram.into()]).listener(&path)).contains("not a listening"), "A1");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(
        problem(Handed(vec![tcp.into()]).listener(&path)).contains("not a listening"),
        "A1: never a network socket"
    );

    let socket = place.bound();
    let again = || Handed(vec![socket.try_clone().unwrap()]).listener(&path);
    let elsewhere = Handed(vec![socket.try_clone().unwrap()]).listener(&path.with_file_name("other"));
    assert!(problem(elsewhere).contains("heddlectl service install"), "A1: another place");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o660)).unwrap();
    assert!(problem(again()).contains("SocketMode=0600"), "A1: others may connect");
    std::fs::remove_file(&path).unwrap();
    assert!(problem(again()).contains("not there any more"), "A1: nobody can reach it");
    std::fs::write(&path, "").unwrap();
    assert!(problem(again()).contains("something else"), "A1");
}

#[test]
fn an_open_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().canonicalize().unwrap().join("open/s");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(path.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    let refused = Handed(vec![listener.into()]).listener(&path);
    assert!(matches!(refused, Err(ActivationError::Path(PathError::Open { .. }))), "A1: {refused:?}");
}

#[cfg(not(target_os = "macos"))]
#[test]
fn variables_that_are_not_for_us_mean_nothing() {
    let own = std::process::id().to_string();
    let handed = |variables: &[(&str, &str)]| handed_over(&variables.iter().copied().collect());
    assert!(handed(&[]).unwrap().is_empty());
    assert!(handed(&[("LISTEN_FDS", "1")]).unwrap().is_empty(), "without a pid it is nobody's");
    assert!(handed(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "1")]).unwrap().is_empty(), "an ancestor's");
    assert!(handed(&[("LISTEN_FDS", "0"), ("LISTEN_PID", &own)]).unwrap().is_empty());
    for wrong in ["x", "-1", "17", "4294967296"] {
        let refused = handed(&[("LISTEN_FDS", wrong), ("LISTEN_PID", &own)]);
        assert!(matches!(refused, Err(ActivationError::Variable { .. })), "{wrong}");
    }
    assert!(super::own(1_000_000).is_none(), "what is not open is nobody's");
}
