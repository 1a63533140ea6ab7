use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fs::File,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use serde::Serialize;

const SHARDS: usize = 64;
const KEPT_MESSAGES: usize = 20;
const KEPT_BYTES: usize = 256 * 1024;
const KEPT_SECONDS: u64 = 600;

/// Everything that the sink saw since its start or the last reset.
pub struct Counts {
    ids: [Mutex<HashSet<u128, Unhashed>>; SHARDS],
    tried: [Mutex<HashSet<u128, Unhashed>>; SHARDS],
    received: AtomicU64,
    unique: AtomicU64,
    domains: RwLock<HashMap<String, Arc<Domain>>>,
    timeline: Timeline,
    messages: Mutex<VecDeque<Kept>>,
    log: Option<Mutex<File>>,
    /// Open now.
    pub connections_open: AtomicI64,
    /// Ever.
    pub connections_total: AtomicU64,
    /// Lines that are no command, bare carriage returns and bare line feeds.
    pub protocol_errors: AtomicU64,
}

/// A message as it came.
#[derive(Default)]
struct Kept {
    sender: String,
    recipient: String,
    bytes: Vec<u8>,
}

/// One of the last messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The envelope's sender.
    pub sender: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// As it came over the wire, without the doubled dots; its first 256 KB.
    pub bytes: Vec<u8>,
}

/// Counts of one recipient domain.
#[derive(Default)]
pub struct Domain {
    received: AtomicU64,
    unique: AtomicU64,
    /// 4xx replies.
    pub(super) tempfailed: AtomicU64,
    /// 5xx replies.
    pub(super) rejected: AtomicU64,
    connections: AtomicI64,
    connections_peak: AtomicI64,
    timeline: Timeline,
    bucket: Mutex<(u64, u64)>,
    pub(super) asked: AtomicU64,
    /// Of `timed*` domains: Message-ID to the millisecond of its first arrival.
    arrivals: Option<Mutex<BTreeMap<String, f64>>>,
}

/// `GET /stats`.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Stats {
    pub received: u64,
    pub unique_message_ids: u64,
    pub duplicates: u64,
    pub rate_last_10s: f64,
    pub connections_open: i64,
    pub connections_total: u64,
    pub protocol_errors: u64,
    pub by_domain: BTreeMap<String, u64>,
    pub domains: BTreeMap<String, DomainStats>,
}

/// A domain's part of [`Stats`].
#[derive(Clone, Debug, Serialize)]
pub struct DomainStats {
    /// Messages that were or would have been accepted.
    pub received: u64,
    /// Distinct Message-IDs among them.
    pub unique: u64,
    /// 4xx replies.
    pub tempfailed: u64,
    /// 5xx replies.
    pub rejected: u64,
    /// Connections whose last recipient is of this domain.
    pub connections_open: i64,
    /// The most there were of them.
    pub connections_peak: i64,
}

impl Counts {
    pub(super) fn new(log: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            ids: std::array::from_fn(|_| Mutex::default()),
            tried: std::array::from_fn(|_| Mutex::default()),
            received: AtomicU64::new(0),
            unique: AtomicU64::new(0),
            domains: RwLock::default(),
            timeline: Timeline::default(),
            messages: Mutex::default(),
            log: log.map(|path| File::options().create(true).append(true).open(path).map(Mutex::new)).transpose()?,
            connections_open: AtomicI64::new(0),
            connections_total: AtomicU64::new(0),
            protocol_errors: AtomicU64::new(0),
        })
    }

    /// Counts a message; before its 250 is written, so that a client that was told so finds it counted.
    pub(super) fn receive(&self, message: &[u8], sender: &str, recipient: &str, domain: &Domain) {
        let id = message_id(message);
        // Without a Message-ID the whole of it stands for itself.
        let first = insert(&self.ids, &id.unwrap_or(message));
        let second = unix_ms() / 1000;
        self.received.fetch_add(1, Relaxed);
        domain.received.fetch_add(1, Relaxed);
        if first {
            self.unique.fetch_add(1, Relaxed);
            domain.unique.fetch_add(1, Relaxed);
        }
        self.timeline.add(second);
        domain.timeline.add(second);
        if let (Some(arrivals), Some(id)) = (&domain.arrivals, id) {
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0;
            lock(arrivals).entry(String::from_utf8_lossy(id).into_owned()).or_insert(at);
        }
        self.keep(message, sender, recipient);
        if let Some(log) = &self.log {
            let line = format!("{}\t{}\t{recipient}\n", unix_ms(), String::from_utf8_lossy(id.unwrap_or(b"-")));
            // Before the 250, so that a sink that is killed has told what it took. A full disk shows as a missing line.
            let _ = lock(log).write_all(line.as_bytes());
        }
    }

    fn keep(&self, message: &[u8], sender: &str, recipient: &str) {
        let mut kept = lock(&self.messages);
        let mut place = if kept.len() < KEPT_MESSAGES { Kept::default() } else { kept.pop_front().unwrap_or_default() };
        place.bytes.clear();
        place.bytes.extend_from_slice(&message[..message.len().min(KEPT_BYTES)]);
        for (text, value) in [(&mut place.sender, sender), (&mut place.recipient, recipient)] {
            text.clear();
            text.push_str(value);
        }
        kept.push_back(place);
    }

    /// The last messages as they came over the wire without the doubled dots, newest first; at most 20.
    #[must_use]
    pub fn messages(&self, limit: usize) -> Vec<String> {
        lock(&self.messages).iter().rev().take(limit).map(|kept| String::from_utf8_lossy(&kept.bytes).into_owned()).collect()
    }

    /// The same with their envelopes; all that are kept, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let kept = lock(&self.messages);
        let all = kept.iter().map(|Kept { sender, recipient, bytes }| Received {
            sender: sender.clone(),
            recipient: recipient.clone(),
            bytes: bytes.clone(),
        });
        all.collect()
    }

    /// True the first time that it is asked for this recipient.
    pub(super) fn is_first_try(&self, recipient: &str) -> bool {
        insert(&self.tried, &recipient.as_bytes())
    }

    pub(super) fn domain(&self, name: &str) -> Arc<Domain> {
        if let Some(domain) = self.domains.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return domain.clone();
        }
        let made = || Arc::new(Domain { arrivals: name.starts_with("timed").then(Mutex::default), ..Domain::default() });
        self.domains.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_insert_with(made).clone()
    }

    /// Messages by second (Unix time) in the last 10 minutes; seconds without any are left out.
    #[must_use]
    pub fn seconds(&self, domain: &str) -> Option<Vec<(u64, u64)>> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        domains.get(domain).map(|domain| lock(&domain.timeline.0).iter().copied().collect())
    }

    /// First arrivals at a `timed*` domain, in milliseconds of Unix time by Message-ID.
    #[must_use]
    pub fn arrivals(&self, domain: &str) -> Option<BTreeMap<String, f64>> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        domains.get(domain)?.arrivals.as_ref().map(|arrivals| lock(arrivals).clone())
    }

    /// The numbers now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let now = unix_ms() / 1000;
        let recent: u64 =
            lock(&self.timeline.0).iter().filter(|(second, _)| (now - 10..now).contains(second)).map(|(_, count)| count).sum();
        let domains: BTreeMap<String, DomainStats> = self
            .domains
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, domain)| (name.clone(), domain.stats()))
            .collect();
        // Unique first: a message that comes in between must not look like minus one duplicate.
        let unique = self.unique.load(Relaxed);
        let received = self.received.load(Relaxed).max(unique);
        Stats {
            received,
            unique_message_ids: unique,
            duplicates: received - unique,
            rate_last_10s: recent as f64 / 10.0,
            connections_open: self.connections_open.load(Relaxed),
            connections_total: self.connections_total.load(Relaxed),
            protocol_errors: self.protocol_errors.load(Relaxed),
            by_domain: domains.iter().map(|(name, domain)| (name.clone(), domain.received)).collect(),
            domains,
        }
    }

    /// Forgets everything but open connections.
    pub fn reset(&self) {
        for shard in self.ids.iter().chain(&self.tried) {
            lock(shard).clear();
        }
        self.domains.write().unwrap_or_else(PoisonError::into_inner).clear();
        lock(&self.timeline.0).clear();
        lock(&self.messages).clear();
        for count in [&self.received, &self.unique, &self.connections_total, &self.protocol_errors] {
            count.store(0, Relaxed);
        }
    }
}

impl Domain {
    fn stats(&self) -> DomainStats {
        DomainStats {
            received: self.received.load(Relaxed),
            unique: self.unique.load(Relaxed),
            tempfailed: self.tempfailed.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            connections_open: self.connections.load(Relaxed),
            connections_peak: self.connections_peak.load(Relaxed),
        }
    }

    /// A connection begins to send to this domain.
    pub(super) fn enter(&self) {
        let open = self.connections.fetch_add(1, Relaxed) + 1;
        self.connections_peak.fetch_max(open, Relaxed);
    }

    /// It turned to another one, or ended.
    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Whether another message fits into this second.
    pub(super) fn has_room(&self, per_second: u64) -> bool {
        let now = unix_ms() / 1000;
        let mut bucket = lock(&self.bucket);
        if bucket.0 != now {
            *bucket = (now, 0);
        }
        bucket.1 += 1;
        bucket.1 <= per_second
    }
}

/// Messages by second.
#[derive(Default)]
struct Timeline(Mutex<VecDeque<(u64, u64)>>);

impl Timeline {
    fn add(&self, second: u64) {
        let mut seconds = lock(&self.0);
        match seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => {
                seconds.push_back((second, 1));
                while seconds.front().is_some_and(|(first, _)| first + KEPT_SECONDS < second) {
                    seconds.pop_front();
                }
            }
        }
    }
}

/// The keys are hashes already.
#[derive(Clone, Default)]
struct Folded(u64);
type Unhashed = BuildHasherDefault<Folded>;

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

fn insert(shards: &[Mutex<HashSet<u128, Unhashed>>; SHARDS], key: &&[u8]) -> bool {
    let keys = BuildHasherDefault::<DefaultHasher>::default();
    let low = keys.hash_one(key);
    // 128 bits: two of a hundred million ids that fall together would hide a duplicate.
    let high = keys.hash_one((low, key.len(), key));
    let key = u128::from(high) << 64 | u128::from(low);
    lock(&shards[high as usize % SHARDS]).insert(key)
}

/// The value of the Message-ID header field, without blanks and angle brackets.
fn message_id(message: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"message-id:";
    for line in message.split(|byte| *byte == b'\n') {
        if line.is_empty() || line == b"\r" {
            return None;
        }
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = line[NAME.len()..].trim_ascii();
            return Some(value.strip_prefix(b"<").and_then(|value| value.strip_suffix(b">")).unwrap_or(value));
        }
    }
    None
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_found_in_the_header_only() {
        assert_eq!(message_id(b"Date: x\r\nmessage-ID: <a@b>\r\n\r\nhi"), Some(b"a@b".as_slice()));
        assert_eq!(message_id(b"Date: x\r\n\r\nMessage-ID: <a@b>\r\n"), None);
    }

    #[test]
    fn the_same_id_twice_is_a_duplicate() {
        let counts = Counts::new(None).expect("no log");
        let domain = counts.domain("a.test");
        for message in ["Message-ID: <1>\r\n\r\na", "Message-ID: <1>\r\n\r\nb", "Message-ID: <2>\r\n\r\na", "\r\nnone", "\r\nnone"]
        {
            counts.receive(message.as_bytes(), "s@a.test", "r@a.test", &domain);
        }
        let stats = counts.stats();
        assert_eq!((stats.received, stats.unique_message_ids, stats.duplicates, stats.by_domain["a.test"]), (5, 3, 2, 5));
        assert_eq!(counts.messages(1), ["\r\nnone"]);
        counts.reset();
        assert_eq!(counts.stats().received, 0);
    }
}
