//! A form with a file, piece by piece. The parser beneath (multer) reads whatever is there and holds a part's header until it is whole,
//! however long it grows; so it is fed little by little, and no more than a little ahead of what was taken out.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{
        FromRequest, Multipart, Request,
        multipart::{Field, MultipartError},
    },
};
use futures::Stream;
use shared::error::Error;

use crate::{
    error::{ApiError, ApiResult},
    state::AppState,
};

/// Bytes that the parser gets at a time: with every call, even if it holds enough for that already.
const PIECE: usize = 8 * 1024;
/// Bytes that it may hold: a piece for each call that short fields before a file need, and the header of a part.
const MOST_AHEAD: u64 = 128 * 1024;

/// A form that is being read.
pub struct Pieces {
    multipart: Multipart,
    meter: Arc<Meter>,
}

/// A field of it.
pub struct Piece<'a> {
    field: Field<'a>,
    meter: &'a Meter,
}

#[derive(Default)]
struct Meter {
    taken: AtomicU64,
    overlong: AtomicBool,
    draining: AtomicBool,
}

impl FromRequest<AppState> for Pieces {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let meter = Arc::new(Meter::default());
        let request = request.map(|body| {
            let feed = Feed { body: body.into_data_stream(), left: Bytes::new(), fed: 0, pause: false, meter: meter.clone() };
            Body::from_stream(feed)
        });
        let multipart = Multipart::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::MediaType(format!("the body must be multipart/form-data: {rejection}")))?;
        Ok(Self { multipart, meter })
    }
}

impl Pieces {
    /// The next field; nothing at the end.
    ///
    /// # Errors
    /// 400: the form is malformed, or the header of a part too long. 408: it did not arrive.
    pub async fn next(&mut self) -> ApiResult<Option<Piece<'_>>> {
        let meter = &self.meter;
        let field = self.multipart.next_field().await.map_err(|error| lost(meter, &error))?;
        Ok(field.map(|field| {
            let header: usize = field.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            meter.taken.fetch_add(header as u64, Ordering::Relaxed);
            Piece { field, meter }
        }))
    }

    /// Reads on to the end, or to where it cannot be read, past the parser.
    pub async fn drain(&mut self) {
        self.meter.draining.store(true, Ordering::Relaxed);
        while let Ok(Some(_)) = self.multipart.next_field().await {}
    }
}

impl Piece<'_> {
    /// Empty where it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.field.name().unwrap_or_default()
    }

    /// Empty where it has none.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.field.file_name().unwrap_or_default()
    }

    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// As [`Pieces::next`].
    pub async fn chunk(&mut self) -> ApiResult<Option<Bytes>> {
        let chunk = self.field.chunk().await.map_err(|error| lost(self.meter, &error))?;
        if let Some(bytes) = &chunk {
            self.meter.taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(chunk)
    }
}

fn lost(meter: &Meter, error: &MultipartError) -> ApiError {
    if meter.overlong.load(Ordering::Relaxed) {
        return Error::invalid("body", "holds a part whose header is too long").into();
    }
    if error.status().is_client_error() {
        Error::invalid("body", format!("is not well-formed multipart/form-data: {}", error.body_text())).into()
    } else {
        ApiError::BodyLost("the body could not be read to its end".to_owned())
    }
}

/// What the parser reads from.
struct Feed {
    body: BodyDataStream,
    left: Bytes,
    fed: u64,
    pause: bool,
    meter: Arc<Meter>,
}

impl Stream for Feed {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.meter.draining.load(Ordering::Relaxed) {
            self.left.clear();
            while ready!(Pin::new(&mut self.body).poll_next(cx)).is_some_and(|piece| piece.is_ok()) {}
            return Poll::Ready(None);
        }
        // The parser reads until there is nothing: it is told so after each piece.
        if std::mem::take(&mut self.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) => self.left = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => return Poll::Ready(None),
            }
        }
        if self.fed.saturating_sub(self.meter.taken.load(Ordering::Relaxed)) > MOST_AHEAD {
            self.meter.overlong.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(io::Error::other("the header of a part is too long"))));
        }
        let length = self.left.len().min(PIECE);
        let piece = self.left.split_to(length);
        self.fed += length as u64;
        self.pause = true;
        Poll::Ready(Some(Ok(piece)))
    }
}
