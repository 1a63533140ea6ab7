//! Addresses that mail comes back to: where a bounce goes (RFC 5321 section 4.4, one for each recipient), and where a mail unsubscribes.
//!
//! A local part has 64 octets at most and may lose its case on the way, so it is base32 in lower case: a letter for its kind, the ids, and
//! as much of their HMAC as fits. What fits beside two ids is 56 bits; each guess costs a mail, and a hit no more than one wrong bounce.

use aws_lc_rs::hmac;
use uuid::Uuid;

use super::Links;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Longest address in octets, RFC 5321 section 4.5.3.1.3 without the angle brackets.
const LONGEST_ADDRESS: usize = 254;
/// Octets of an id.
const ID: usize = 16;
/// Octets of the HMAC beside two ids, and beside one.
const SHORT_MAC: usize = 7;
const LONG_MAC: usize = 16;

const DELIVERY: char = 'b';
const MESSAGE: char = 'm';
const UNSUBSCRIBE: char = 'u';

/// What a mail was that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A campaign's mail to a recipient.
    Delivery {
        /// The campaign.
        campaign_id: Uuid,
        /// The recipient.
        contact_id: Uuid,
    },
    /// A message of its own.
    Message {
        /// The message.
        message_id: Uuid,
    },
}

impl Links {
    /// The address at `host` that bounces of this mail go to: the same on every attempt.
    #[must_use]
    pub fn return_path(&self, host: &str, origin: Origin) -> String {
        let local = match origin {
            Origin::Delivery { campaign_id, contact_id } => self.local_part(DELIVERY, &[campaign_id, contact_id]),
            Origin::Message { message_id } => self.local_part(MESSAGE, &[message_id]),
        };
        format!("{local}@{host}")
    }

    /// What came back to such an address; compares in constant time.
    #[must_use]
    pub fn read_return_path(&self, local_part: &str) -> Option<Origin> {
        if let Some([campaign_id, contact_id]) = self.read_local_part(DELIVERY, local_part) {
            return Some(Origin::Delivery { campaign_id, contact_id });
        }
        let [message_id] = self.read_local_part(MESSAGE, local_part)?;
        Some(Origin::Message { message_id })
    }

    /// The address at `host` where any mail takes this contact out of what this campaign's workspace sends.
    #[must_use]
    pub fn unsubscribe_mailbox(&self, host: &str, campaign_id: Uuid, contact_id: Uuid) -> String {
        format!("{}@{host}", self.local_part(UNSUBSCRIBE, &[campaign_id, contact_id]))
    }

    /// Campaign and contact of such an address; compares in constant time.
    #[must_use]
    pub fn read_unsubscribe_mailbox(&self, local_part: &str) -> Option<(Uuid, Uuid)> {
        self.read_local_part(UNSUBSCRIBE, local_part).map(|[campaign_id, contact_id]| (campaign_id, contact_id))
    }

    fn local_part(&self, kind: char, ids: &[Uuid]) -> String {
        let mut octets = [0; 2 * ID + SHORT_MAC];
        let signed = ids.len() * ID;
        for (place, id) in octets.chunks_exact_mut(ID).zip(ids) {
            place.copy_from_slice(id.as_bytes());
        }
        let mac = mac(&self.keys[0].1, kind, &octets[..signed]);
        let length = signed + mac_length(ids.len());
        octets[signed..length].copy_from_slice(&mac.as_ref()[..length - signed]);
        let mut local = String::with_capacity(64);
        local.push(kind);
        encode(&octets[..length], &mut local);
        local
    }

    fn read_local_part<const IDS: usize>(&self, kind: char, local_part: &str) -> Option<[Uuid; IDS]> {
        let mut rest = local_part.chars();
        if rest.next()?.to_ascii_lowercase() != kind {
            return None;
        }
        let mut octets = [0; 2 * ID + SHORT_MAC];
        let signed = IDS * ID;
        let length = signed + mac_length(IDS);
        decode(rest.as_str(), octets.get_mut(..length)?)?;
        let (ids, given) = octets[..length].split_at(signed);
        // It is on its way for days and names no key: any of the ring will do.
        let is_ours = self.keys.iter().any(|(_, key)| {
            let expected = mac(key, kind, ids);
            aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..given.len()], given).is_ok()
        });
        is_ours.then(|| std::array::from_fn(|n| Uuid::from_slice(&ids[n * ID..(n + 1) * ID]).unwrap_or_default()))
    }
}

/// Whether an address at this host can stand in an envelope.
#[must_use]
pub fn fits(host: &str) -> bool {
    64 + 1 + host.len() <= LONGEST_ADDRESS
}

fn mac_length(ids: usize) -> usize {
    if ids == 2 { SHORT_MAC } else { LONG_MAC }
}

fn mac(key: &hmac::Key, kind: char, ids: &[u8]) -> hmac::Tag {
    // Told apart from all that the same keys sign by its first words.
    let mut context = hmac::Context::with_key(key);
    context.update(b"an address that mail comes back to: ");
    context.update(&[kind as u8]);
    context.update(ids);
    context.sign()
}

/// RFC 4648 section 6 in lower case, without padding.
fn encode(octets: &[u8], out: &mut String) {
    for chunk in octets.chunks(5) {
        let bits = chunk.iter().enumerate().fold(0_u64, |bits, (n, octet)| bits | u64::from(*octet) << (32 - 8 * n));
        for n in 0..(chunk.len() * 8).div_ceil(5) {
            out.push(char::from(ALPHABET[(bits >> (35 - 5 * n) & 31) as usize]));
        }
    }
}

/// Fills `octets` exactly, or says no: other lengths, other letters, bits that belong to no octet.
fn decode(text: &str, octets: &mut [u8]) -> Option<()> {
    if text.len() != (octets.len() * 8).div_ceil(5) {
        return None;
    }
    for (letters, place) in text.as_bytes().chunks(8).zip(octets.chunks_mut(5)) {
        let mut bits = 0_u64;
        for (n, letter) in letters.iter().enumerate() {
            let value = match letter {
                b'a'..=b'z' => letter - b'a',
                b'A'..=b'Z' => letter - b'A',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => return None,
            };
            bits |= u64::from(value) << (35 - 5 * n);
        }
        let decoded = bits.to_be_bytes();
        let (whole, spare) = decoded[3..].split_at_checked(place.len())?;
        if spare.iter().any(|octet| *octet != 0) {
            return None;
        }
        place.copy_from_slice(whole);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;
    use crate::{address::Address, settings::Settings};

    fn links(octet: u8) -> Links {
        let mut settings = Settings::sample();
        settings.secrets.link_key = STANDARD.encode([octet; 32]).into();
        Links::from_settings(&settings).expect("a key")
    }

    fn links_of_others() -> Links {
        links(2)
    }

    fn local(address: &str) -> &str {
        address.split_once('@').expect("an address").0
    }

    fn delivery(campaign: u128, contact: u128) -> Origin {
        Origin::Delivery { campaign_id: Uuid::from_u128(campaign), contact_id: Uuid::from_u128(contact) }
    }

    #[test]
    fn base32_is_that_of_the_rfc() {
        for (octets, letters) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            let mut out = String::new();
            encode(octets.as_bytes(), &mut out);
            assert_eq!(out, letters);
            let mut back = vec![0; octets.len()];
            assert_eq!(decode(letters, &mut back), Some(()));
            assert_eq!(back, octets.as_bytes());
        }
        assert_eq!(decode("mz", &mut [0]), None, "spare bits");
    }

    #[test]
    fn the_keys_of_the_ring_read_what_any_of_them_wrote() {
        let key = |id: &str, octet: u8| format!("{id}:{}", STANDARD.encode([octet; 32]));
        let ring = |keys: String| {
            let mut settings = Settings::sample();
            settings.secrets.link_key = Default::default();
            settings.secrets.link_keys = keys.into();
            Links::from_settings(&settings).expect("keys")
        };
        let old = ring(key("a", 1)).return_path("bounces.shop.test", delivery(1, 2));
        let both = ring([key("b", 2), key("a", 1)].join(","));
        assert_eq!(both.read_return_path(local(&old)), Some(delivery(1, 2)));
        assert_eq!(ring(key("b", 2)).read_return_path(local(&old)), None);
    }

    #[test]
    fn a_host_that_is_too_long_for_an_envelope_is_known() {
        assert!(fits(&"a".repeat(189)));
        assert!(!fits(&"a".repeat(190)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_however_its_case_was_changed(campaign in any::<u128>(), contact in any::<u128>(), upper in any::<u64>()) {
            let links = links(1);
            let message = Origin::Message { message_id: Uuid::from_u128(contact) };
            let unsubscribe = links.unsubscribe_mailbox("b.test", Uuid::from_u128(campaign), Uuid::from_u128(contact));
            for (address, expected) in [
                (links.return_path("b.test", delivery(campaign, contact)), Some(delivery(campaign, contact))),
                (links.return_path("b.test", message), Some(message)),
                (unsubscribe, None),
            ] {
                let parsed = Address::parse(&address).expect("an address");
                prop_assert_eq!(parsed.as_str(), &address, "lower case, and nothing that needs quotes");
                prop_assert!(parsed.local().len() <= 64);
                let mixed: String = parsed
                    .local()
                    .chars()
                    .enumerate()
                    .map(|(n, c)| if upper >> n & 1 == 1 { c.to_ascii_uppercase() } else { c })
                    .collect();
                prop_assert_eq!(links.read_return_path(&mixed), expected);
                let unsubscribes = expected.is_none().then(|| (Uuid::from_u128(campaign), Uuid::from_u128(contact)));
                prop_assert_eq!(links.read_unsubscribe_mailbox(&mixed), unsubscribes, "a bounce address unsubscribes nobody");
            }
        }

        #[test]
        fn what_was_changed_or_made_elsewhere_is_nobodys(campaign in any::<u128>(), contact in any::<u128>(), at in 0_usize..64, letter in "[a-z2-7=.+é]") {
            let links = links(1);
            let address = links.return_path("b.test", delivery(campaign, contact));
            let local = local(&address);
            prop_assert_eq!(links_of_others().read_return_path(local), None);
            prop_assert_eq!(links.read_return_path(&local[..at]), None);
            let changed = [&local[..at], letter.as_str(), &local[at + 1..]].concat();
            prop_assert_eq!(links.read_return_path(&changed).is_some(), changed == local);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let links = links(1);
            prop_assert_eq!(links.read_return_path(&text), None);
            prop_assert_eq!(links.read_unsubscribe_mailbox(&text), None);
        }
    }
}
