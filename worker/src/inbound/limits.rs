//! How much one client may take: connections at once, and mails in a minute, by its address (IPv6: its /64).

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Clients that are remembered at most; beyond that, those without a connection are forgotten.
const REMEMBERED: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// What the clients have taken.
pub struct Limits {
    connections: usize,
    mails_per_minute: usize,
    clients: Mutex<HashMap<IpAddr, Client>>,
}

struct Client {
    connections: usize,
    since: Instant,
    mails: usize,
}

impl Limits {
    /// So many connections of one client at once, so many mails in a minute.
    #[must_use]
    pub fn new(connections: usize, mails_per_minute: usize) -> Self {
        Self { connections, mails_per_minute, clients: Mutex::default() }
    }

    /// A connection begins, if the client may have another one.
    pub fn enter(&self, client: IpAddr) -> bool {
        let mut clients = self.clients.lock();
        if clients.len() >= REMEMBERED {
            clients.retain(|_, client| client.connections > 0);
        }
        let client = clients.entry(network(client)).or_insert_with(|| Client { connections: 0, since: Instant::now(), mails: 0 });
        let free = client.connections < self.connections;
        client.connections += usize::from(free);
        free
    }

    /// It ends.
    pub fn leave(&self, client: IpAddr) {
        if let Some(client) = self.clients.lock().get_mut(&network(client)) {
            client.connections = client.connections.saturating_sub(1);
        }
    }

    /// A mail begins, if the client may bring another one.
    pub fn mail(&self, client: IpAddr, now: Instant) -> bool {
        let mut clients = self.clients.lock();
        let Some(client) = clients.get_mut(&network(client)) else { return true };
        if now.duration_since(client.since) >= MINUTE {
            (client.since, client.mails) = (now, 0);
        }
        let free = client.mails < self.mails_per_minute;
        client.mails += usize::from(free);
        free
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_connections_and_its_mails_of_the_minute() {
        let limits = Limits::new(2, 2);
        let (ip, near, other): (IpAddr, IpAddr, IpAddr) = (
            "2001:db8::1".parse().expect("an address"),
            "2001:db8::2".parse().expect("an address"),
            "192.0.2.1".parse().expect("an address"),
        );
        assert!(limits.enter(ip) && limits.enter(near) && !limits.enter(ip));
        assert!(limits.enter(other), "another network");
        limits.leave(near);
        assert!(limits.enter(ip));
        let now = Instant::now();
        assert!(limits.mail(ip, now) && limits.mail(near, now) && !limits.mail(ip, now));
        assert!(limits.mail(ip, now + MINUTE));
    }
}
