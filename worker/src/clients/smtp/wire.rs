use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use shared::deliveries::reply::Stage;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::{
    error::{SessionError, Trouble},
    reply::{Inbox, Malformed, Reply},
    stream::Stream,
};

/// A stream and the replies that came over it. Every call has its time limit; after an error nothing may be read or written.
pub(super) struct Wire {
    pub(super) stream: Stream,
    inbox: Inbox,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, inbox: Inbox::default() }
    }

    /// The code of the next reply; `limit` is for the whole of it, so that a server that drips bytes gains nothing.
    pub(super) async fn code(&mut self, stage: Stage, limit: Duration) -> Result<u16, SessionError> {
        // Several replies usually arrive together: only the first one waits.
        if let Some(code) = self.inbox.take().map_err(|malformed| Trouble::from(malformed).at(stage))? {
            return Ok(code);
        }
        match timeout(limit, self.receive()).await {
            Ok(result) => result.map_err(|trouble| trouble.at(stage)),
            Err(_) => Err(Trouble::Timeout(limit.as_secs()).at(stage)),
        }
    }

    async fn receive(&mut self) -> Result<u16, Trouble> {
        loop {
            if self.stream.read_buf(self.inbox.space()).await? == 0 {
                return Err(Trouble::Closed);
            }
            if let Some(code) = self.inbox.take()? {
                return Ok(code);
            }
        }
    }

    /// The reply whose code was read last.
    pub(super) fn reply(&self) -> Reply {
        self.inbox.reply()
    }

    /// The lines of the reply whose code was read last.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.inbox.lines()
    }

    /// Whether bytes wait that no command asked for.
    pub(super) fn has_unread(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Writes all of it. On an error: how many bytes the stream had taken; the rest was certainly not sent.
    /// `limit` is for each time that the peer takes nothing (RFC 5321 section 4.5.3.2.5 counts per block).
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), (usize, Trouble)> {
        let late = || Trouble::Timeout(limit.as_secs());
        let mut taken = 0;
        while taken < bytes.len() {
            match timeout(limit, self.stream.write(&bytes[taken..])).await {
                Ok(Ok(0)) => return Err((taken, Trouble::Closed)),
                Ok(Ok(count)) => taken += count,
                Ok(Err(error)) => return Err((taken, error.into())),
                Err(_) => return Err((taken, late())),
            }
        }
        match timeout(limit, self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err((taken, error.into())),
            Err(_) => Err((taken, late())),
        }
    }

    /// What the server said or did without being asked, without waiting: `None` if nothing.
    pub(super) fn unasked(&mut self) -> Option<Result<u16, Trouble>> {
        loop {
            match self.inbox.take() {
                Ok(Some(code)) => return Some(Ok(code)),
                Ok(None) => {}
                Err(malformed) => return Some(Err(malformed.into())),
            }
            let mut chunk = [0; 512];
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
                Poll::Pending if self.inbox.is_empty() => return None,
                Poll::Pending => return Some(Err(Malformed::Code.into())),
                Poll::Ready(Err(error)) => return Some(Err(error.into())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Some(Err(Trouble::Closed)),
                Poll::Ready(Ok(())) => self.inbox.space().extend_from_slice(buffer.filled()),
            }
        }
    }
}
