//! Serves the zones.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use hickory_proto::{
    op::{Header, HeaderCounts, Metadata, ResponseCode},
    rr::{Name, RData, Record, rdata::SOA},
};
use hickory_server::{
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use super::zones::{Behaviour, Listener, Said, Zones};

/// Seconds that answers may be kept: none, so that a change is seen at once.
const TTL: u32 = 0;

/// A name server that runs until it is dropped.
pub struct Server {
    /// Where it is asked, over UDP and TCP.
    pub address: SocketAddr,
    /// What it knows.
    pub zones: Arc<Zones>,
    task: JoinHandle<()>,
}

impl Server {
    /// On a free port of loopback.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// On this address; port 0 takes a free one.
    ///
    /// # Errors
    /// It cannot be listened on.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, None).await
    }

    /// The same; the listener hears of each question before it is answered.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub async fn listen_with(address: SocketAddr, listener: Arc<dyn Listener>) -> io::Result<Self> {
        Self::open(address, Some(listener)).await
    }

    async fn open(address: SocketAddr, listener: Option<Arc<dyn Listener>>) -> io::Result<Self> {
        let (udp, tcp) = bind(address).await?;
        let address = udp.local_addr()?;
        let zones = Arc::new(Zones::default());
        let mut server = hickory_server::Server::new(Handler { zones: zones.clone(), listener });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 128);
        let task = tokio::spawn(async move {
            if let Err(error) = server.block_until_done().await {
                eprintln!("the name server ended: {error}");
            }
        });
        Ok(Self { address, zones, task })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The same port for both; a free one of UDP may be taken for TCP.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { 20 } else { 1 };
    loop {
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 1 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

struct Handler {
    zones: Arc<Zones>,
    listener: Option<Arc<dyn Listener>>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let unsent = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let Ok(info) = request.request_info() else { return unsent };
        let (name, kind) = (Name::from(info.query.name().clone()).to_lowercase(), info.query.query_type());
        self.zones.count(&name, kind);
        if let Some(listener) = &self.listener {
            listener.asked(&name.to_ascii(), &self.zones).await;
        }
        let mut said = None;
        match self.zones.behaviour(&name) {
            Some(Behaviour::Silent) => return unsent,
            Some(Behaviour::Fail) => metadata.response_code = ResponseCode::ServFail,
            Some(Behaviour::Deny) => said = Some(Said::NoName),
            Some(Behaviour::Held(mut go)) => {
                // Whoever held it is gone: it answers.
                let _ = go.wait_for(|go| *go).await;
                said = Some(self.zones.find(&name, kind));
            }
            None => said = Some(self.zones.find(&name, kind)),
        }
        let mut answers = Vec::new();
        let mut authority = None;
        match said {
            Some(Said::Records(found)) => {
                answers = found.into_iter().map(|(name, data)| Record::from_rdata(name, TTL, data)).collect();
            }
            Some(Said::NoRecords) => authority = Some(start_of_authority()),
            Some(Said::NoName) => {
                metadata.response_code = ResponseCode::NXDomain;
                authority = Some(start_of_authority());
            }
            None => {}
        }
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &request.edns {
            builder.edns(edns);
        }
        let message = builder.build(metadata, &answers, [], &authority, []);
        response.send_response(message).await.unwrap_or(unsent)
    }
}

/// What makes an answer of nothing an authoritative one.
fn start_of_authority() -> Record {
    let data = SOA::new(Name::root(), Name::root(), 1, 60, 60, 60, TTL);
    Record::from_rdata(Name::root(), TTL, RData::SOA(data))
}
