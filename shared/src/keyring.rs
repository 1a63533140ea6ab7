//! Keys with ids: the first of a ring signs and seals, all of them verify and open, so that a key can be exchanged while servers run.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::settings::Secret;

/// The id of a key that stands alone in the settings, as it was before there were rings. What was made with it carries no id.
pub const FIRST: &str = "0";
/// Characters of an id.
pub const LONGEST_ID: usize = 16;

/// One key of a ring.
#[derive(Clone)]
pub struct Key {
    /// 1 to 16 of `a-z 0-9 - _ .`
    pub id: String,
    /// The key.
    pub bytes: Vec<u8>,
}

/// Keys, the active one first.
#[derive(Clone)]
pub struct Ring {
    keys: Vec<Key>,
}

/// Which bytes a ring's keys may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
}

impl Ring {
    /// Reads `secrets.<name>s` ("2026b:BASE64,2026a:BASE64"); behind its keys, or alone, comes the single key of `secrets.<name>` with
    /// the id "0".
    ///
    /// # Errors
    /// A sentence that names the setting and the id, never a key.
    pub fn read(name: &str, ring: &Secret, single: &Secret, length: Length) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for entry in ring.expose().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (id, text) = entry
                .split_once(':')
                .ok_or_else(|| format!("settings: secrets.{name}s: an entry must be an id, a colon, the key in base64"))?;
            let id = id.trim();
            if !is_id(id) {
                return Err(format!("settings: secrets.{name}s: the id {id:?} must be 1 to {LONGEST_ID} of a-z, 0-9, - _ and ."));
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(format!("settings: secrets.{name}s has the id {id:?} twice"));
            }
            keys.push(Key { id: id.to_owned(), bytes: decoded(&format!("{name}s"), &format!("key {id:?} "), text, length)? });
        }
        if !single.expose().is_empty() && !keys.iter().any(|key| key.id == FIRST) {
            keys.push(Key { id: FIRST.to_owned(), bytes: decoded(name, "", single.expose(), length)? });
        }
        if keys.is_empty() {
            return Err(format!("settings: secrets.{name} or secrets.{name}s is required"));
        }
        Ok(Self { keys })
    }

    /// The key that signs and seals.
    #[must_use]
    pub fn active(&self) -> &Key {
        &self.keys[0]
    }

    /// All keys, the active one first.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

fn decoded(setting: &str, which: &str, text: &str, length: Length) -> Result<Vec<u8>, String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| format!("settings: secrets.{setting} {which}is not base64"))?;
    let count = bytes.len();
    match length {
        Length::Exactly(wanted) if count != wanted => {
            Err(format!("settings: secrets.{setting} {which}is {count} bytes, not {wanted}"))
        }
        Length::AtLeast(wanted) if count < wanted => {
            Err(format!("settings: secrets.{setting} {which}is {count} bytes, less than {wanted}"))
        }
        _ => Ok(bytes),
    }
}

/// A ring with a new key, in two steps: a key that some processes do not know yet must not be used by the others.
pub struct Rotation {
    /// The new key's id.
    pub id: String,
    /// First: the new key is known, behind the old ones.
    pub known: String,
    /// Then: it leads.
    pub leading: String,
}

/// Makes a new key for this ring, with an id made of `today` (e.g. 20261121).
#[must_use]
pub fn rotated(ring: &Ring, today: &str) -> Rotation {
    let taken = |id: &str| ring.keys.iter().any(|key| key.id == id);
    let id = std::iter::once(today.to_owned())
        .chain((b'b'..=b'z').map(|letter| format!("{today}{}", char::from(letter))))
        .find(|id| !taken(id))
        .unwrap_or_else(|| today.to_owned());
    let bytes: [u8; 32] = rand::random();
    let new = format!("{id}:{}", STANDARD.encode(bytes));
    let old = ring.keys.iter().map(|key| format!("{}:{}", key.id, STANDARD.encode(&key.bytes))).collect::<Vec<_>>().join(",");
    Rotation { id, known: format!("{old},{new}"), leading: format!("{new},{old}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ring: &str, single: &str) -> Result<Ring, String> {
        Ring::read("link_key", &ring.to_owned().into(), &single.to_owned().into(), Length::AtLeast(32))
    }

    fn key(octet: u8) -> String {
        STANDARD.encode([octet; 32])
    }

    #[test]
    fn the_first_key_is_active_and_a_single_one_has_the_id_0() {
        let ids = |ring: Ring| ring.keys.into_iter().map(|key| key.id).collect::<Vec<_>>();
        assert_eq!(ids(read("", &key(1)).expect("a ring")), ["0"]);
        assert_eq!(ids(read(&format!("2026b:{}, 2026a:{}", key(2), key(1)), "").expect("a ring")), ["2026b", "2026a"]);
        assert_eq!(ids(read(&format!("2026b:{}", key(2)), &key(1)).expect("a ring")), ["2026b", "0"]);
        assert_eq!(ids(read(&format!("2026b:{},0:{}", key(2), key(1)), &key(1)).expect("a ring")), ["2026b", "0"]);
    }

    #[test]
    fn a_malformed_ring_is_named_and_its_keys_are_not_shown() {
        let wrong = [
            ("", "", "settings: secrets.link_key or secrets.link_keys is required"),
            ("hunter2", "", "settings: secrets.link_keys: an entry must be an id, a colon, the key in base64"),
            ("A:aHVudGVyMg==", "", "settings: secrets.link_keys: the id \"A\" must be 1 to 16 of a-z, 0-9, - _ and ."),
            ("a:hunter2", "", "settings: secrets.link_keys key \"a\" is not base64"),
            ("a:aHVudGVyMg==", "", "settings: secrets.link_keys key \"a\" is 7 bytes, less than 32"),
            ("", "aHVudGVyMg==", "settings: secrets.link_key is 7 bytes, less than 32"),
        ];
        for (ring, single, told) in wrong {
            assert_eq!(read(ring, single).err().as_deref(), Some(told));
        }
        let twice = format!("a:{0},a:{0}", key(1));
        assert_eq!(read(&twice, "").err().as_deref(), Some("settings: secrets.link_keys has the id \"a\" twice"));
    }

    #[test]
    fn a_rotated_ring_knows_the_new_key_first_and_is_led_by_it_then() {
        let old = read("", &key(1)).expect("a ring");
        let rotation = rotated(&old, "20260115");
        let known = read(&rotation.known, "").expect("a ring");
        let new = read(&rotation.leading, "").expect("a ring");
        assert_eq!((rotation.id.as_str(), known.active().id.as_str(), new.active().id.as_str()), ("20260115", "0", "20260115"));
        assert_eq!(new.active().bytes, known.keys()[1].bytes);
        assert_eq!(new.keys()[1].bytes, old.active().bytes);
        assert_eq!(rotated(&new, "20260115").id, "20260115b");
    }
}
