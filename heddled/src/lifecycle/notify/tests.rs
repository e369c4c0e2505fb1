//! Tests of the words, with a manager that is a datagram socket.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use super::*;

struct Listening {
    root: tempfile::TempDir,
    inbox: UnixDatagram,
}

impl Listening {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let inbox = UnixDatagram::bind(root.path().join("notify")).unwrap();
        Self { root, inbox }
    }

    fn manager(&self, more: &[(&str, &str)]) -> Manager {
        let path = self.root.path().join("notify");
        let own = [("NOTIFY_SOCKET", path.to_str().unwrap())];
        Manager::of(&own.iter().chain(more).copied().collect())
    }

    /// The next words; none when nothing is said for this long.
    async fn heard(&self, within: Duration) -> Option<String> {
        let mut words = [0; 1024];
        let length = tokio::time::timeout(within, self.inbox.recv(&mut words)).await.ok()?.unwrap();
        Some(String::from_utf8(words[..length].to_vec()).unwrap())
    }
}

const LONG: Duration = Duration::from_secs(30);

/// Answers one line on every connection, as a daemon would.
fn serve(path: &Path, answers: Arc<AtomicBool>) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Closed with something unread, it would be reset.
            let asked = stream.read(&mut [0; 1024]).await.unwrap();
            assert!(asked > 0);
            if answers.load(Ordering::Relaxed) {
                stream.write_all(b"{}\n").await.unwrap();
            }
        }
    });
}

#[tokio::test]
async fn it_is_ready_when_a_call_is_answered_and_not_before() {
    let listening = Listening::new();
    let socket: Arc<Path> = listening.root.path().join("s").into();
    let answers = Arc::new(AtomicBool::new(false));
    let told = tokio::spawn(listening.manager(&[]).keep_told(Arc::clone(&socket), || async { true }));
    assert_eq!(listening.heard(Duration::from_millis(50)).await, None, "N1: nobody listens");
    serve(&socket, Arc::clone(&answers));
    assert_eq!(listening.heard(Duration::from_millis(50)).await, None, "N1: nobody answers");
    answers.store(true, Ordering::Relaxed);
    let words = listening.heard(LONG).await.unwrap();
    assert_eq!(words, format!("READY=1\nSTATUS=serving on {}", socket.display()));
    told.await.unwrap();
}

#[tokio::test]
async fn the_watchdog_hears_of_progress_only() {
    let listening = Listening::new();
    let socket: Arc<Path> = listening.root.path().join("s").into();
    serve(&socket, Arc::new(AtomicBool::new(true)));
    let goes_on = Arc::new(AtomicBool::new(true));
    let progress = {
        let goes_on = Arc::clone(&goes_on);
        move || {
            let goes_on = goes_on.load(Ordering::Relaxed);
            async move { goes_on || std::future::pending().await }
        }
    };
    let manager = listening.manager(&[("WATCHDOG_USEC", "40000")]);
    assert_eq!(manager.watchdog(), Some(Duration::from_millis(40)));
    let told = tokio::spawn(manager.keep_told(socket, progress));
    assert!(listening.heard(LONG).await.unwrap().starts_with("READY=1"));
    for _ in 0..3 {
        assert_eq!(listening.heard(LONG).await.as_deref(), Some("WATCHDOG=1"));
    }
    goes_on.store(false, Ordering::Relaxed);
    // One may be on its way.
    for _ in 0..3 {
        listening.heard(Duration::from_millis(200)).await;
    }
    assert_eq!(listening.heard(Duration::from_millis(200)).await, None, "N2: the writer stands still");
    goes_on.store(true, Ordering::Relaxed);
    assert_eq!(listening.heard(LONG).await.as_deref(), Some("WATCHDOG=1"), "it goes on again");
    told.abort();
}

#[tokio::test]
async fn a_stop_and_a_reload_are_told_with_what_the_manager_needs() {
    let listening = Listening::new();
    let manager = listening.manager(&[]);
    manager.reloading().await;
    let words = listening.heard(LONG).await.unwrap();
    let usec = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&words);
    assert!(usec.parse::<u64>().unwrap() > 0);
    manager.reloaded("the configuration was read anew").await;
    assert_eq!(listening.heard(LONG).await.unwrap(), "READY=1\nSTATUS=the configuration was read anew");
    manager.stopping(Duration::from_secs(600)).await;
    assert!(listening.heard(LONG).await.unwrap().contains("STOPPING=1\nSTATUS=finishing"));
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_asks_for_time_but_not_for_ever() {
    let listening = Listening::new();
    let manager = listening.manager(&[]);
    assert_eq!(manager.while_busy("quick", async { 1 }).await, 1);
    let work = pause(Duration::from_secs(25));
    manager.while_busy("reading the store", work).await;
    let mut heard = 0;
    let mut words = [0; 1024];
    while let Ok(length) = listening.inbox.try_recv(&mut words) {
        assert_eq!(&words[..length], b"STATUS=reading the store\nEXTEND_TIMEOUT_USEC=30000000");
        heard += 1;
    }
    assert_eq!(heard, 3, "at once, and every ten seconds");
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let interval = |variables: &[(&str, &str)]| watchdog(&variables.iter().copied().collect(), 42);
    assert_eq!(interval(&[("WATCHDOG_USEC", "5000000")]), Some(Duration::from_secs(5)));
    assert_eq!(interval(&[("WATCHDOG_USEC", "5000000"), ("WATCHDOG_PID", "42")]), Some(Duration::from_secs(5)));
    for wrong in [
        &[("WATCHDOG_USEC", "5000000"), ("WATCHDOG_PID", "43")][..],
        &[("WATCHDOG_USEC", "5000000"), ("WATCHDOG_PID", "x")],
        &[("WATCHDOG_USEC", "0")],
        &[("WATCHDOG_USEC", "soon")],
        &[],
    ] {
        assert_eq!(interval(wrong), None, "{wrong:?}");
    }
}

#[tokio::test]
async fn without_a_manager_nothing_is_said_and_nobody_waits() {
    let nobody = Manager::of(&Environment::default());
    nobody.clone().keep_told(Path::new("/nonexistent").into(), || async { true }).await;
    nobody.stopping(Duration::ZERO).await;
    for address in ["vsock:2:1234", "relative", "/nonexistent/socket"] {
        assert!(Manager::of(&[("NOTIFY_SOCKET", address)].into_iter().collect()).socket.is_none(), "{address}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_socket_is_reached() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("heddled-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let inbox = Datagram::bind_addr(&address).unwrap();
    inbox.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let manager = Manager::of(&[("NOTIFY_SOCKET", format!("@{name}"))].into_iter().collect());
    manager.tell("STATUS=here").await;
    let mut words = [0; 64];
    let length = inbox.recv(&mut words).unwrap();
    assert_eq!(&words[..length], b"STATUS=here");
}
