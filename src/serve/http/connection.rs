//! Connections: accepting them, time limits, making room for new ones, and closing.
//!
//! hyper speaks HTTP/1.1; this module does what hyper leaves to its user. hyper's timer closes a
//! connection whose header is not complete in time, [`WriteTimeout`] one that does not take its answer.
//! When there are too many connections, the one that has been idle longest is closed, so that ten
//! thousand idle sockets keep no client out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::ServiceExt;

use super::request::{Peer, without_trailing_slash};
use crate::serve::metrics::{Metrics, count};

/// A header must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(9);

/// A client must take some bytes of its answer within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(9);

/// Most header fields of one request.
const MAX_HEADERS: usize = 64;

/// Most bytes of one request's header, and the size of hyper's buffer.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long the server waits before it accepts again when it has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The open connections, and which of them are idle.
#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Idle connections, the one that has been idle longest first.
    idle: std::collections::BTreeMap<u64, Arc<Notify>>,
    /// The key in `idle` of each idle connection.
    idle_key: HashMap<u64, u64>,
    open: usize,
    /// Connections that were ever opened.
    opened: u64,
}

/// All connections.
#[derive(Debug, Default)]
pub(in crate::serve) struct Connections(Mutex<State>);

impl Connections {
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new connection, and closes an idle one if there are `most` already. `None` if all of
    /// them are busy. The flag says whether one was closed.
    fn open(&self, most: usize, close: &Arc<Notify>) -> Option<(u64, bool)> {
        let mut evicted = false;
        {
            let mut state = self.locked();
            if state.open >= most {
                let (_, oldest) = state.idle.pop_first()?;
                oldest.notify_one();
                evicted = true;
            }
            state.open += 1;
            state.opened += 1;
        }
        let id = self.locked().opened;
        self.set_idle(id, close);
        Some((id, evicted))
    }

    /// The connection becomes idle.
    fn set_idle(&self, id: u64, close: &Arc<Notify>) {
        let mut state = self.locked();
        state.next += 1;
        let at = state.next;
        state.idle.insert(at, Arc::clone(close));
        state.idle_key.insert(id, at);
    }

    /// The connection has a request.
    fn set_busy(&self, id: u64) {
        let mut state = self.locked();
        if let Some(at) = state.idle_key.remove(&id) {
            state.idle.remove(&at);
        }
    }

    fn close(&self, id: u64) {
        self.set_busy(id);
        self.locked().open -= 1;
    }

    /// Number of open connections.
    pub(in crate::serve) fn count(&self) -> usize {
        self.locked().open
    }
}

/// Accepts connections until `stop` is true, and serves each one on its own task.
pub(in crate::serve) async fn accept(
    listener: TcpListener,
    router: Router,
    (max_connections, metrics): (usize, Arc<Metrics>),
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No more file descriptors, or the client has left already.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let close = Arc::new(Notify::new());
        let Some((id, evicted)) = connections.open(max_connections, &close) else {
            drop(stream);
            continue;
        };
        count(&metrics.connections);
        if evicted {
            count(&metrics.connections_evicted);
        }
        let connection = Connection {
            id,
            close,
            connections: Arc::clone(&connections),
            stop: stop.clone(),
        };
        tokio::spawn(connection.serve(stream, peer, router.clone()));
    }
}

struct Connection {
    id: u64,
    close: Arc<Notify>,
    connections: Arc<Connections>,
    stop: watch::Receiver<bool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.close(self.id);
    }
}

impl Connection {
    async fn serve(mut self, stream: TcpStream, peer: SocketAddr, router: Router) {
        // Answers are small, and clients wait for them.
        let _ = stream.set_nodelay(true);
        // Until the first byte comes, a connection costs a socket and no buffers.
        tokio::select! {
            ready = tokio::time::timeout(HEADER_TIMEOUT, stream.readable()) => {
                if !matches!(ready, Ok(Ok(()))) {
                    return;
                }
            }
            () = self.close.notified() => return,
            _ = self.stop.wait_for(|&stop| stop) => return,
        }
        let (id, connections) = (self.id, Arc::clone(&self.connections));
        let close = Arc::clone(&self.close);
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            let busy = Busy::new(id, &connections, &close);
            async move {
                let response = answer(router, request, peer).await;
                drop(busy);
                Ok::<_, Infallible>(response)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .half_close(false);
        let io = TokioIo::new(WriteTimeout::new(stream));
        let mut connection = pin!(http.serve_connection(io, service));
        let stop = async {
            let _ = self.stop.wait_for(|&stop| stop).await;
        };
        let mut stop = pin!(stop);
        let mut stopping = false;
        loop {
            tokio::select! {
                // An error means that the client left or did not speak HTTP.
                _ = connection.as_mut() => return,
                () = self.close.notified() => return,
                () = stop.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Marks a connection as busy until the answer to its request is made.
struct Busy {
    id: u64,
    connections: Arc<Connections>,
    close: Arc<Notify>,
}

impl Busy {
    fn new(id: u64, connections: &Arc<Connections>, close: &Arc<Notify>) -> Self {
        connections.set_busy(id);
        Self {
            id,
            connections: Arc::clone(connections),
            close: Arc::clone(close),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connections.set_idle(self.id, &self.close);
    }
}

async fn answer(router: Router, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let mut request = request.map(Body::new);
    if let Some(uri) = without_trailing_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    request.extensions_mut().insert(Peer(peer.ip()));
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// A stream that fails when the other side takes nothing for [`WRITE_TIMEOUT`].
struct WriteTimeout {
    stream: TcpStream,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl WriteTimeout {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline: None,
        }
    }

    /// Passes on the result of a write, or fails once it has been pending for too long.
    fn watch<T>(
        &mut self,
        polled: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_TIMEOUT)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(polled, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(polled, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_make_room_and_busy_ones_do_not() {
        let all = Connections::default();
        let notify = || Arc::new(Notify::new());
        let (first, _) = all.open(2, &notify()).unwrap();
        let (second, evicted) = all.open(2, &notify()).unwrap();
        assert!(!evicted);
        all.set_busy(first);
        let (third, evicted) = all.open(2, &notify()).unwrap();
        assert!(evicted);
        // The evicted connection's task ends.
        all.close(second);
        all.set_busy(third);
        assert!(all.open(2, &notify()).is_none());
        all.close(first);
        assert!(all.open(2, &notify()).is_some());
        assert_eq!(all.count(), 2);
    }
}
