//! A message's body as it arrives, and as it is sent on: framing is taken off and made anew.
//!
//! Data is handed on as the leases it arrived in. Invariant: what follows a body is never taken for part of it; it is
//! what [`Incoming::rest`] returns.

use std::io::ErrorKind;
use std::task::{Context, Poll};

use ringway_runtime::{Draft, Few, Lease, Segment, SendList};

use crate::http1::{
    BodyFraming, CHUNK_END, ChunkLimits, Decoder, LAST_CHUNK, LAST_CHUNK_HEAD, Refusal, ResponseFraming,
    Step, Trailers, chunk_head,
};
use crate::http2;
use crate::link::Link;

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Its framing or its size breaks a rule.
    Refused(Refusal),
    /// FIN before its end.
    Ended,
    /// The connection was reset.
    Reset,
    /// The connection's deadline passed.
    TimedOut,
}

/// A body being received.
pub(crate) struct Incoming {
    framing: Framing,
    pending: Option<Lease>,
    /// Bytes of data so far.
    pub received: u64,
    /// What came after a stream's body.
    trailers: Option<Box<Trailers>>,
}

enum Framing {
    Done,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    /// Until the link's end, which is told from its being cut (HTTP/2); at most so many bytes more.
    Stream(u64),
}

impl Incoming {
    /// A request's body. `rest` is what came after the head.
    pub fn of_request(
        framing: BodyFraming,
        limits: ChunkLimits,
        rest: Option<Lease>,
        from: &Link,
    ) -> Incoming {
        let framing = match framing {
            BodyFraming::None => Framing::Done,
            _ if from.is_stream() => Framing::Stream(limits.body_bytes_max),
            BodyFraming::Length(0) | BodyFraming::UntilEnd => Framing::Done,
            BodyFraming::Length(bytes) => Framing::Length(bytes),
            BodyFraming::Chunked => Framing::Chunked(Decoder::new(limits)),
        };
        Incoming { framing, pending: rest, received: 0, trailers: None }
    }

    /// A body that is all there: the first `len` bytes of `bytes`.
    pub fn ready(len: u64, bytes: Lease) -> Incoming {
        let framing = if len == 0 { Framing::Done } else { Framing::Length(len) };
        Incoming { framing, pending: Some(bytes), received: 0, trailers: None }
    }

    /// A response's body.
    pub fn of_response(framing: ResponseFraming, rest: Option<Lease>, from: &Link) -> Incoming {
        let framing = match framing {
            _ if from.stream().is_some_and(http2::Stream::is_bodyless) => Framing::Done,
            ResponseFraming::None => Framing::Done,
            _ if from.is_stream() => Framing::Stream(u64::MAX),
            ResponseFraming::Length(0) => Framing::Done,
            ResponseFraming::Length(bytes) => Framing::Length(bytes),
            ResponseFraming::Chunked => Framing::Chunked(Decoder::new(ChunkLimits::default())),
            ResponseFraming::UntilClose => Framing::UntilClose,
        };
        Incoming { framing, pending: rest, received: 0, trailers: None }
    }

    /// It has arrived whole.
    pub fn is_done(&self) -> bool {
        match &self.framing {
            Framing::Done => true,
            Framing::Chunked(decoder) => decoder.ended(),
            _ => false,
        }
    }

    /// What came after the body, once it is done.
    pub fn rest(&mut self) -> Option<Lease> {
        self.pending.take().filter(|lease| !lease.is_empty())
    }

    pub fn trailers(&self) -> Option<&Trailers> {
        match &self.framing {
            Framing::Chunked(decoder) => decoder.trailers(),
            _ => self.trailers.as_deref(),
        }
    }

    /// The next piece of data; `None` once there is no more.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Result<Option<Lease>, Broken>> {
        loop {
            if self.is_done() {
                return Poll::Ready(Ok(None));
            }
            let lease = match self.pending.take() {
                Some(lease) if !lease.is_empty() => lease,
                _ => match link.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(lease)) => lease,
                    Poll::Ready(Err(error)) if error.kind() == ErrorKind::TimedOut => {
                        return Poll::Ready(Err(Broken::TimedOut));
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reset)),
                },
            };
            if lease.is_end() {
                if let Framing::UntilClose | Framing::Stream(_) = self.framing {
                    self.framing = Framing::Done;
                    self.trailers = link.stream().and_then(http2::Stream::take_trailers);
                    continue;
                }
                return Poll::Ready(Err(Broken::Ended));
            }
            match self.cut(lease) {
                Ok(None) => {}
                Ok(Some(data)) => {
                    self.received += data.len() as u64;
                    return Poll::Ready(Ok(Some(data)));
                }
                Err(refusal) => return Poll::Ready(Err(Broken::Refused(refusal))),
            }
        }
    }

    /// Takes the next data from `lease`; what is left of it stays pending.
    fn cut(&mut self, mut lease: Lease) -> Result<Option<Lease>, Refusal> {
        match &mut self.framing {
            Framing::Done => {
                self.pending = Some(lease);
                Ok(None)
            }
            Framing::UntilClose => Ok(Some(lease)),
            Framing::Stream(left) => {
                *left = left.checked_sub(lease.len() as u64).ok_or(Refusal::BodyTooLarge)?;
                Ok(Some(lease))
            }
            Framing::Length(left) if (lease.len() as u64) <= *left => {
                *left -= lease.len() as u64;
                if *left == 0 {
                    self.framing = Framing::Done;
                }
                Ok(Some(lease))
            }
            Framing::Length(left) => {
                let data = lease.slice(0..*left as usize);
                lease.advance(*left as usize);
                self.framing = Framing::Done;
                self.pending = Some(lease);
                Ok(Some(data))
            }
            Framing::Chunked(decoder) => match decoder.next(&lease)? {
                Step::Data(range) => {
                    let data = lease.slice(range.clone());
                    lease.advance(range.end);
                    self.pending = Some(lease);
                    Ok(Some(data))
                }
                Step::NeedMore => Ok(None),
                Step::End(used) => {
                    lease.advance(used);
                    self.pending = Some(lease);
                    Ok(None)
                }
            },
        }
    }
}

/// How a body is framed when it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// As it is: its length was announced, or the connection's end is the body's.
    Plain,
    /// In chunks.
    Chunked,
}

impl Outgoing {
    /// Adds a piece of data.
    pub fn push(self, list: &mut SendList, data: Lease) {
        match self {
            Outgoing::Plain => list.push(data),
            Outgoing::Chunked => {
                let mut room = [0; 18];
                list.push(Segment::Few(Few::new(chunk_head(data.len() as u64, &mut room))));
                list.push(data);
                list.push(CHUNK_END);
            }
        }
    }

    /// Adds the body's end.
    pub fn finish(self, list: &mut SendList, trailers: Option<&Trailers>) {
        match (self, trailers) {
            (Outgoing::Plain, _) => {}
            (Outgoing::Chunked, None) => list.push(LAST_CHUNK),
            (Outgoing::Chunked, Some(trailers)) => {
                let bytes = trailers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
                let mut draft = Draft::sized(LAST_CHUNK_HEAD.len() + bytes + CHUNK_END.len());
                draft.put(LAST_CHUNK_HEAD);
                for (name, value) in trailers.iter() {
                    for part in [name, b": ", value, b"\r\n"] {
                        draft.put(part);
                    }
                }
                draft.put(CHUNK_END);
                list.push(draft.into_lease());
            }
        }
    }
}
