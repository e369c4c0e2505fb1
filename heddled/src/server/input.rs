//! Reading what comes in on a connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::ReadHalf;

use super::protocol::Protocol;

thread_local! {
    /// Where input comes in. More than most messages have; a long one comes in several reads.
    static INPUT: RefCell<Box<[MaybeUninit<u8>]>> = RefCell::new(Box::new_uninit_slice(32 * 1024));
}

/// Reads what has come in: its length, or 0 at the end. No buffer is kept for what may come: most connections are silent most
/// of the time, so one serves all.
pub(super) async fn read_in(input: &mut ReadHalf<'_>, protocol: &mut Protocol) -> io::Result<usize> {
    poll_fn(|context| {
        INPUT.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::uninit(buffer);
            ready!(Pin::new(&mut *input).poll_read(context, &mut read))?;
            let read = read.filled();
            protocol.input(read.len()).extend_from_slice(read);
            Poll::Ready(Ok(read.len()))
        })
    })
    .await
}
