//! Waits for connections that can be read: epoll on Linux, poll elsewhere.

use std::os::unix::net::UnixStream;

#[cfg(target_os = "linux")]
pub(crate) use linux::Poller;
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::Poller;

#[cfg(target_os = "linux")]
mod linux {
    //! Level-triggered epoll; the event carries the connection's number.

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    use super::UnixStream;

    /// The connections to wait for.
    pub(crate) struct Poller {
        epoll: Epoll,
        events: Vec<EpollEvent>,
    }

    impl Poller {
        /// Watches `streams`, numbered as they are ordered.
        pub(crate) fn new(streams: &[UnixStream]) -> anyhow::Result<Self> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            for (number, stream) in streams.iter().enumerate() {
                epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, u64::try_from(number)?))?;
            }
            Ok(Self { epoll, events: vec![EpollEvent::empty(); streams.len()] })
        }

        /// Fills `ready` with the numbers of the connections that can be read; none after so many milliseconds of silence.
        pub(crate) fn wait(&mut self, ready: &mut Vec<usize>, silence_ms: u16) -> anyhow::Result<()> {
            ready.clear();
            let count = match self.epoll.wait(&mut self.events, EpollTimeout::from(silence_ms)) {
                Err(nix::Error::EINTR) => 0,
                other => other?,
            };
            for event in &self.events[..count] {
                ready.push(usize::try_from(event.data())?);
            }
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    //! poll, whose cost grows with the connections.

    use std::os::fd::{AsFd as _, OwnedFd};

    use nix::poll::{PollFd, PollFlags, PollTimeout};

    use super::UnixStream;

    /// The connections to wait for.
    pub(crate) struct Poller {
        descriptors: Vec<OwnedFd>,
    }

    impl Poller {
        /// Watches `streams`, numbered as they are ordered.
        pub(crate) fn new(streams: &[UnixStream]) -> anyhow::Result<Self> {
            let copies = streams.iter().map(|stream| stream.as_fd().try_clone_to_owned());
            Ok(Self { descriptors: copies.collect::<Result<_, _>>()? })
        }

        /// Fills `ready` with the numbers of the connections that can be read; none after so many milliseconds of silence.
        pub(crate) fn wait(&mut self, ready: &mut Vec<usize>, silence_ms: u16) -> anyhow::Result<()> {
            ready.clear();
            let polled = self.descriptors.iter().map(|copy| PollFd::new(copy.as_fd(), PollFlags::POLLIN));
            let mut polled: Vec<_> = polled.collect();
            match nix::poll::poll(&mut polled, PollTimeout::from(silence_ms)) {
                Err(nix::Error::EINTR) | Ok(0) => return Ok(()),
                other => other?,
            };
            ready.extend((0..polled.len()).filter(|&number| polled[number].any() != Some(false)));
            Ok(())
        }
    }
}
