//! Connections: accepting, time limits, making room, and the way out.
//!
//! hyper speaks HTTP/1.1; here is what it leaves to its user. A connection that sends no whole
//! header in time is closed by hyper's timer, one that does not take its answer by [`Stalled`]. When
//! there are too many connections, those that do nothing go first, oldest first, so that ten thousand
//! idle sockets keep nobody out.

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

use super::app::App;
use super::metrics::count;
use super::router::{Peer, without_trailing_slash};

/// A header must be whole after this time, counted from when the connection could send it.
const HEADER_PATIENCE: Duration = Duration::from_secs(9);

/// An answer must move on within this time.
const WRITE_PATIENCE: Duration = Duration::from_secs(9);

/// Header fields of one request.
const MAX_HEADERS: usize = 64;

/// Bytes of one request's header, and of hyper's buffer.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long accepting pauses when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that do nothing, by when they began to.
#[derive(Debug, Default)]
struct Idle {
    next: u64,
    waiting: std::collections::BTreeMap<u64, Arc<Notify>>,
    /// Where each connection stands in `waiting`.
    place: HashMap<u64, u64>,
    open: usize,
    connections: u64,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Idle>);

impl Connections {
    fn locked(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, for which an idle one may have to go. `None` if all `most` are busy.
    fn open(&self, most: usize, close: &Arc<Notify>) -> Option<(u64, bool)> {
        let mut evicted = false;
        {
            let mut idle = self.locked();
            if idle.open >= most {
                let (_, oldest) = idle.waiting.pop_first()?;
                oldest.notify_one();
                evicted = true;
            }
            idle.open += 1;
            idle.connections += 1;
        }
        let id = self.locked().connections;
        self.rest(id, close);
        Some((id, evicted))
    }

    /// The connection waits for a request.
    fn rest(&self, id: u64, close: &Arc<Notify>) {
        let mut idle = self.locked();
        idle.next += 1;
        let at = idle.next;
        idle.waiting.insert(at, Arc::clone(close));
        idle.place.insert(id, at);
    }

    /// The connection has a request.
    fn work(&self, id: u64) {
        let mut idle = self.locked();
        if let Some(at) = idle.place.remove(&id) {
            idle.waiting.remove(&at);
        }
    }

    fn close(&self, id: u64) {
        self.work(id);
        self.locked().open -= 1;
    }

    /// Connections that are open.
    pub(super) fn count(&self) -> usize {
        self.locked().open
    }
}

/// Accepts connections until `stop` is true, and serves each on a task of its own.
pub(super) async fn accept(
    listener: TcpListener,
    router: Router,
    app: Arc<App>,
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
                // Out of file descriptors, or a client that left already.
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let close = Arc::new(Notify::new());
        let Some((id, evicted)) = connections.open(app.config.max_connections, &close) else {
            drop(stream);
            continue;
        };
        count(&app.desk.metrics.connections);
        if evicted {
            count(&app.desk.metrics.connections_evicted);
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
        // Answers are small and clients wait for them.
        let _ = stream.set_nodelay(true);
        // Until the first byte there is nothing but the socket: no buffers.
        tokio::select! {
            ready = tokio::time::timeout(HEADER_PATIENCE, stream.readable()) => {
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
            .header_read_timeout(HEADER_PATIENCE)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEADER_BYTES)
            .half_close(false);
        let io = TokioIo::new(Stalled::new(stream));
        let mut connection = pin!(http.serve_connection(io, service));
        let stop = async {
            let _ = self.stop.wait_for(|&stop| stop).await;
        };
        let mut stop = pin!(stop);
        let mut stopping = false;
        loop {
            tokio::select! {
                // An error is the client's: it left, or spoke no HTTP.
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

/// A connection that has a request, until its answer is made.
struct Busy {
    id: u64,
    connections: Arc<Connections>,
    close: Arc<Notify>,
}

impl Busy {
    fn new(id: u64, connections: &Arc<Connections>, close: &Arc<Notify>) -> Self {
        connections.work(id);
        Self {
            id,
            connections: Arc::clone(connections),
            close: Arc::clone(close),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connections.rest(self.id, &self.close);
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

/// A stream that fails when the other side takes nothing for too long.
struct Stalled {
    stream: TcpStream,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stalled {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            deadline: None,
        }
    }

    /// Passes progress on, and waits only so long for it.
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
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_PATIENCE)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stalled {
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
        all.work(first);
        let (third, evicted) = all.open(2, &notify()).unwrap();
        assert!(evicted);
        // The evicted connection's task ends.
        all.close(second);
        all.work(third);
        assert!(all.open(2, &notify()).is_none());
        all.close(first);
        assert!(all.open(2, &notify()).is_some());
        assert_eq!(all.count(), 2);
    }
}
