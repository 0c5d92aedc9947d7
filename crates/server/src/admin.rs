//! The admin socket: the service for clients without TLS, for whoever can open the file.
//!
//! Must never be open to others than the owner of the data folder: the folder and the socket are for
//! that user alone.

use std::path::Path;

use grapevine_model::{Refusal, Reply, Request};
use grapevine_rpc::v1::grapevine_client::GrapevineClient;
use grapevine_rpc::{
    Caller, decode_reply, encode_call, grapevine_client, grapevine_server, server_builder,
};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::rpc_service::ClientService;
use crate::socket;

/// Opens the socket; one that a killed server left behind is replaced.
///
/// # Errors
/// Whatever the file system says, in one line.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, String> {
    socket::listen(path, 0o600)
}

/// Serves it until the server stops.
pub(crate) async fn serve(listener: UnixListener, service: ClientService, stop: CancellationToken) {
    let served = server_builder()
        .add_service(grapevine_server(service))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the admin socket has failed");
    }
}

/// The operator's client.
pub(crate) struct AdminClient {
    client: GrapevineClient<Channel>,
}

impl AdminClient {
    /// For a server's admin socket; connects when it is used.
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.to_path_buf();
        // The address is never looked at: the connector knows the socket.
        let channel = Endpoint::from_static("http://admin.socket").connect_with_connector_lazy(
            tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }),
        );
        Self {
            client: grapevine_client(channel),
        }
    }

    /// Asks as the operator.
    ///
    /// # Errors
    /// The server's refusal, or that there is no server.
    pub(crate) async fn call(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let call = encode_call(&Caller::Connection, request);
        let reply = self
            .client
            .call(call)
            .await
            .map_err(|status| {
                Refusal::unavailable(format!(
                    "no server answers at the admin socket: {}",
                    status.message()
                ))
            })?
            .into_inner();
        decode_reply(reply).map_err(|error| Refusal::unavailable(error.to_string()))?
    }
}
