//! A server that stops at once when told to: its listener closes and its connections drop, as when a process is killed.

use std::net::SocketAddr;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Binds a loopback port (0 for any) without listening: it is ours, and connections to it are refused.
pub(crate) fn bind(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    Ok(socket)
}

/// Serves until the token is cancelled; the tracker holds the tasks that then end.
pub(crate) fn serve(listener: TcpListener, router: Router, stop: CancellationToken, tasks: &TaskTracker) {
    let connections = tasks.clone();
    let accept = stop.clone().run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            connections.spawn(stop.clone().run_until_cancelled_owned(connection));
        }
    });
    tasks.spawn(accept);
}
