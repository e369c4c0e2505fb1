//! Tests of the socket, with real clients.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};

use proto_schema::Timestamp;

use super::*;

struct Place {
    root: tempfile::TempDir,
    lock: Lock,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(root.path(), &root.path().join("s"), Timestamp::from_unix_ms(0)).unwrap();
        Self { root, lock }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("heddle/heddled.sock")
    }

    fn bind(&self) -> Result<(UnixListener, SocketGuard), SocketError> {
        bind(&self.lock, &self.path())
    }
}

#[test]
fn it_is_ours_alone_and_carries_bytes_and_goes_with_its_guard() {
    let place = Place::new();
    let (listener, guard) = place.bind().unwrap();
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700), "S1");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "it does not block");
    assert_eq!(fcntl(listener.as_fd(), FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits(), 1);

    let mut client = UnixStream::connect(place.path()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"x").unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).unwrap();
    drop((listener, guard));
    assert!(!place.path().exists());
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let place = Place::new();
    secure_dir(place.path().parent().unwrap()).unwrap();
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists(), "a killed daemon leaves its socket");
    let (_listener, _guard) = place.bind().unwrap();
    let error = place.bind().unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "F2: {error:?}");
    assert!(error.to_string().contains("HEDDLE_SOCKET"));
    UnixStream::connect(place.path()).unwrap();
}

#[test]
fn a_live_listener_with_a_full_queue_is_still_live() {
    let place = Place::new();
    let (_listener, _guard) = place.bind().unwrap();
    let address = UnixAddr::new(&place.path()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = endpoint().unwrap();
        let full = connect(client.as_raw_fd(), &address).is_err();
        waiting.push(client);
        if full {
            break;
        }
    }
    assert!(matches!(place.bind(), Err(SocketError::InUse { .. })), "F2: and without waiting");
}

#[test]
fn what_is_no_stream_socket_is_refused_and_left_there() {
    let place = Place::new();
    secure_dir(place.path().parent().unwrap()).unwrap();
    std::fs::write(place.path(), "mine").unwrap();
    assert!(matches!(place.bind(), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(place.path()).unwrap(), "mine", "F2");
    std::fs::remove_file(place.path()).unwrap();

    let other = place.root.path().join("other.sock");
    std::os::unix::fs::symlink(&other, place.path()).unwrap();
    assert!(matches!(place.bind(), Err(SocketError::NotASocket { .. })), "F2: a link");
    assert!(!other.exists(), "nothing was bound through the link");
    std::fs::remove_file(place.path()).unwrap();

    let _datagrams = UnixDatagram::bind(place.path()).unwrap();
    assert!(matches!(place.bind(), Err(SocketError::InUse { .. })), "F2: a live one of another type");
    assert!(place.path().exists());
}

#[test]
fn the_guard_removes_only_its_own_socket_and_keeps_the_lock() {
    let place = Place::new();
    let (listener, guard) = place.bind().unwrap();
    std::fs::remove_file(place.path()).unwrap();
    let _other = UnixListener::bind(place.path()).unwrap();
    drop(listener);
    let Place { root, lock } = place;
    drop(lock);
    let again = || Lock::acquire(root.path(), Path::new("/s"), Timestamp::from_unix_ms(0));
    assert!(again().is_err(), "F1: the guard still has the lock");
    drop(guard);
    assert!(root.path().join("heddle/heddled.sock").exists(), "F2: it is another's");
    again().unwrap();
}

#[test]
fn a_path_that_is_too_long_and_an_open_directory_are_refused() {
    let place = Place::new();
    let long = place.root.path().join("x".repeat(120));
    assert!(matches!(bind(&place.lock, &long), Err(SocketError::Path(PathError::SocketTooLong { .. }))));
    let open = place.root.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::write(open.join("somebody-s"), "").unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
    assert!(matches!(bind(&place.lock, &open.join("s")), Err(SocketError::Path(PathError::Open { .. }))), "S1");
}

#[test]
fn a_socket_that_is_gone_is_bound_again_and_never_anothers() {
    let place = Place::new();
    let (_listener, mut guard) = place.bind().unwrap();
    assert!(guard.restore().unwrap().is_none(), "nothing is done while it is in place");
    std::fs::remove_dir_all(place.path().parent().unwrap()).unwrap();
    let listener = guard.restore().unwrap().unwrap();
    UnixStream::connect(place.path()).unwrap();
    assert!(guard.restore().unwrap().is_none());

    std::fs::remove_file(place.path()).unwrap();
    let other = UnixListener::bind(place.path()).unwrap();
    for _ in 1..LOOKS {
        assert!(guard.restore().unwrap().is_none(), "it is new");
    }
    assert!(matches!(guard.restore(), Err(SocketError::InUse { .. })), "F2");
    drop(other);
    let listener = (listener, guard.restore().unwrap().unwrap());

    // With another lock file another daemon may serve the state directory: F1.
    std::fs::remove_file(place.path()).unwrap();
    std::fs::remove_file(crate::lifecycle::lock_path(place.root.path())).unwrap();
    assert!(matches!(guard.restore(), Err(SocketError::LockLost { .. })));
    drop((listener, guard));
    assert!(!place.path().exists());
}

#[test]
fn a_socket_that_is_about_to_listen_is_not_replaced() {
    let place = Place::new();
    let (_listener, mut guard) = place.bind().unwrap();
    let address = UnixAddr::new(&place.path()).unwrap();
    // Each new one has its time.
    for _ in 0..2 {
        std::fs::remove_file(place.path()).unwrap();
        let other = endpoint().unwrap();
        bind_address(other.as_raw_fd(), &address).unwrap();
        for _ in 1..LOOKS {
            assert!(guard.restore().unwrap().is_none(), "F2: it is bound, and does not listen yet");
        }
        listen(&other, Backlog::MAXCONN).unwrap();
        UnixStream::connect(place.path()).unwrap();
        assert!(matches!(guard.restore(), Err(SocketError::InUse { .. })), "F2");
    }
    assert!(guard.restore().unwrap().is_some(), "a dead one is replaced");
}
