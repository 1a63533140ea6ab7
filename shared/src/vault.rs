//! Secrets at rest, and the signatures in links and in addresses that mail comes back to.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{
    keyring::{FIRST, LONGEST_ID, Length, Ring},
    settings::{Secrets, Settings},
};

mod return_path;

pub use return_path::{Origin, fits as return_path_fits};

/// First byte of what was sealed or signed with the key "0", and of what is under a key with an id: one byte of length and the id follow.
const WITHOUT_ID: u8 = 1;
const WITH_ID: u8 = 2;
/// Octets of the signature that a token carries: 128 bits of the 256.
const TOKEN_MAC: usize = 16;
/// Campaign and contact.
const TOKEN_IDS: usize = 16 + 16;
const LONGEST_TOKEN: usize = 2 + LONGEST_ID + TOKEN_IDS + TOKEN_MAC;

/// The head that says which key was used.
fn head(id: &str) -> Vec<u8> {
    if id == FIRST {
        return vec![WITHOUT_ID];
    }
    // The ring takes no id that is longer than 16.
    let length = u8::try_from(id.len()).unwrap_or(0);
    [&[WITH_ID, length], id.as_bytes()].concat()
}

/// The id that a head names, and what follows it.
fn headed(bytes: &[u8]) -> Option<(&str, &[u8])> {
    match bytes.split_first()? {
        (&WITHOUT_ID, rest) => Some((FIRST, rest)),
        (&WITH_ID, rest) => {
            let (&length, rest) = rest.split_first()?;
            let (id, rest) = rest.split_at_checked(usize::from(length))?;
            Some((std::str::from_utf8(id).ok()?, rest))
        }
        _ => None,
    }
}

/// Which key sealed this.
#[must_use]
pub fn key_id(sealed: &[u8]) -> Option<&str> {
    headed(sealed).map(|(id, _)| id)
}

/// Seals credentials for the table: AES-256-GCM under the active key of the settings.
pub struct Vault {
    /// The active one first.
    keys: Vec<Key>,
}

struct Key {
    id: String,
    seals: RandomizedNonceKey,
    marks: hmac::Key,
}

impl Vault {
    /// Takes the keys of `secrets.encryption_keys` and `secrets.encryption_key`: 32 bytes each, in base64.
    ///
    /// # Errors
    /// A sentence that names the setting, never the key.
    pub fn from_settings(secrets: &Secrets) -> Result<Self, String> {
        let ring = Ring::read("encryption_key", &secrets.encryption_keys, &secrets.encryption_key, Length::Exactly(32))?;
        let keys = ring.keys().iter().map(|key| {
            let seals = RandomizedNonceKey::new(&AES_256_GCM, &key.bytes)
                .map_err(|_| "settings: secrets.encryption_key is unusable".to_owned())?;
            let of_its_own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.bytes), b"marks");
            Ok(Key { id: key.id.clone(), seals, marks: hmac::Key::new(hmac::HMAC_SHA256, of_its_own.as_ref()) })
        });
        Ok(Self { keys: keys.collect::<Result<_, String>>()? })
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn active_id(&self) -> &str {
        &self.keys[0].id
    }

    /// The marks of a value: the same for the same value, and of no use for guessing it without the key. One for each key, the active
    /// one's first: that is the one to keep, any of them is one to find again.
    #[must_use]
    pub fn marks(&self, value: &[u8]) -> Vec<Vec<u8>> {
        self.keys.iter().map(|key| hmac::sign(&key.marks, value).as_ref().to_vec()).collect()
    }

    /// Key id, nonce, ciphertext and tag. `context` (the id of the row) is authenticated with it, so that a sealed value cannot be
    /// moved to another row.
    ///
    /// # Errors
    /// The cipher failed; it has no reason to.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        let key = &self.keys[0];
        let mut buffer = plain.to_vec();
        let nonce =
            key.seals.seal_in_place_append_tag(Aad::from(context), &mut buffer).map_err(|_| "the secret could not be sealed")?;
        let mut sealed = head(&key.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut buffer);
        Ok(sealed)
    }

    /// What was sealed with the same `context`.
    ///
    /// # Errors
    /// It was sealed under another key or for another row, or was changed.
    pub fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        let refused = "the secret does not open: another encryption_key sealed it, or it was changed";
        let (id, rest) = headed(sealed).ok_or(refused)?;
        let key =
            self.keys.iter().find(|known| known.id == id).ok_or_else(|| {
                format!("the secret was sealed under the key {id:?}, which secrets.encryption_keys does not have")
            })?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or(refused)?;
        let mut buffer = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused)?;
        let plain = key.seals.open_in_place(nonce, Aad::from(context), &mut buffer).map_err(|_| refused)?;
        Ok(plain.to_vec())
    }
}

/// Makes and checks the links in mails. Cheap to share; a token costs two SHA-256 blocks.
#[derive(Clone)]
pub struct Links {
    /// Heads of tokens with their keys, the active one first.
    keys: Vec<(Vec<u8>, hmac::Key)>,
    unsubscribe_base: String,
}

impl Links {
    /// Takes the keys of `secrets.link_keys` and `secrets.link_key` (32 bytes or more in base64) and the base from `api.public_url`.
    ///
    /// # Errors
    /// A sentence that names the setting, never the key.
    pub fn from_settings(settings: &Settings) -> Result<Self, String> {
        let secrets = &settings.secrets;
        let ring = Ring::read("link_key", &secrets.link_keys, &secrets.link_key, Length::AtLeast(32))?;
        let keys = ring.keys().iter().map(|key| (head(&key.id), hmac::Key::new(hmac::HMAC_SHA256, &key.bytes))).collect();
        let base = settings.api.public_url.as_str().trim_end_matches('/');
        Ok(Self { keys, unsubscribe_base: format!("{base}/u/") })
    }

    /// The link that takes this contact out of what this campaign's workspace sends.
    #[must_use]
    pub fn unsubscribe_url(&self, campaign_id: Uuid, contact_id: Uuid) -> String {
        let mut url = String::with_capacity(self.unsubscribe_base.len() + LONGEST_TOKEN * 4 / 3 + 1);
        url.push_str(&self.unsubscribe_base);
        URL_SAFE_NO_PAD.encode_string(self.signed(campaign_id, contact_id), &mut url);
        url
    }

    /// The token of that link: 66 characters of the URL-safe alphabet, and up to 23 more under a key with an id.
    #[must_use]
    pub fn unsubscribe_token(&self, campaign_id: Uuid, contact_id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(self.signed(campaign_id, contact_id))
    }

    /// Campaign and contact of a token that was made here; compares in constant time.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<(Uuid, Uuid)> {
        let mut bytes = [0; LONGEST_TOKEN + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let bytes = bytes.get(..length)?;
        let (head, key) = self.keys.iter().find(|(head, _)| bytes.starts_with(head))?;
        if length != head.len() + TOKEN_IDS + TOKEN_MAC {
            return None;
        }
        let (signed, mac) = bytes.split_at(head.len() + TOKEN_IDS);
        let expected = hmac::sign(key, signed);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..TOKEN_MAC], mac).ok()?;
        let (campaign, contact) = signed[head.len()..].split_at(16);
        Some((Uuid::from_slice(campaign).ok()?, Uuid::from_slice(contact).ok()?))
    }

    /// The token of a link in a mail about an account: the id of a row of `mail_tokens`, signed for its purpose.
    #[must_use]
    pub fn mail_token(&self, purpose: &str, id: Uuid) -> String {
        let mut token = [0; 16 + TOKEN_MAC];
        token[..16].copy_from_slice(id.as_bytes());
        token[16..].copy_from_slice(&mail_token_signature(&self.keys[0].1, purpose, id)[..TOKEN_MAC]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The id of a token that was made here for the same purpose; compares in constant time.
    #[must_use]
    pub fn read_mail_token(&self, purpose: &str, token: &str) -> Option<Uuid> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == 16 + TOKEN_MAC)?;
        let (id, mac) = bytes.split_at(16);
        let id = Uuid::from_slice(id).ok()?;
        // It lives for days and names no key: any of the ring will do.
        let signed = self.keys.iter().any(|(_, key)| {
            let expected = mail_token_signature(key, purpose, id);
            aws_lc_rs::constant_time::verify_slices_are_equal(&expected[..TOKEN_MAC], mac).is_ok()
        });
        signed.then_some(id)
    }

    fn signed(&self, campaign_id: Uuid, contact_id: Uuid) -> Vec<u8> {
        let (head, key) = &self.keys[0];
        let mut token = Vec::with_capacity(LONGEST_TOKEN);
        token.extend_from_slice(head);
        token.extend_from_slice(campaign_id.as_bytes());
        token.extend_from_slice(contact_id.as_bytes());
        let mac = hmac::sign(key, &token);
        token.extend_from_slice(&mac.as_ref()[..TOKEN_MAC]);
        token
    }
}

fn mail_token_signature(key: &hmac::Key, purpose: &str, id: Uuid) -> [u8; 32] {
    // Longer than what other tokens sign, and told apart by its first words.
    let signed = format!("a link in a mail about an account: {purpose} {}", id.simple());
    let mut signature = [0; 32];
    signature.copy_from_slice(hmac::sign(key, signed.as_bytes()).as_ref());
    signature
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn vault() -> Vault {
        Vault::from_settings(&Settings::sample().secrets).expect("the sample key")
    }

    fn links() -> Links {
        Links::from_settings(&Settings::sample()).expect("the sample key")
    }

    #[test]
    fn a_sealed_secret_opens_only_for_its_row_and_unchanged() {
        let sealed = vault().seal(b"hunter2", b"row 1").expect("sealed");
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(vault().open(&sealed, b"row 1"), Ok(b"hunter2".to_vec()));
        assert!(vault().open(&sealed, b"row 2").is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault().open(&changed, b"row 1").is_err(), "octet {index} was changed");
            assert!(vault().open(&sealed[..index], b"row 1").is_err(), "cut at {index}");
        }
    }

    #[test]
    fn the_same_secret_is_sealed_differently_each_time() {
        assert_ne!(vault().seal(b"hunter2", b""), vault().seal(b"hunter2", b""));
    }

    #[test]
    fn a_key_of_the_wrong_size_is_named_but_not_shown() {
        let mut settings = Settings::sample();
        settings.secrets.encryption_key = "c2hvcnQ=".to_owned().into();
        settings.secrets.link_key = "not base64".to_owned().into();
        let errors = [Vault::from_settings(&settings.secrets).err(), Links::from_settings(&settings).err()];
        insta::assert_debug_snapshot!(errors, @r#"
        [
            Some(
                "settings: secrets.encryption_key is 5 bytes, not 32",
            ),
            Some(
                "settings: secrets.link_key is not base64",
            ),
        ]
        "#);
    }

    #[test]
    fn a_token_names_its_campaign_and_contact_and_cannot_be_changed() {
        let (campaign, contact) = (Uuid::now_v7(), Uuid::now_v7());
        let token = links().unsubscribe_token(campaign, contact);
        assert_eq!(token.len(), 66);
        assert_eq!(links().verify(&token), Some((campaign, contact)));
        assert_eq!(links().unsubscribe_url(campaign, contact), format!("http://127.0.0.1:8080/u/{token}"));
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(links().verify(&changed), None, "character {index} was changed");
        }
        let mut other = Settings::sample();
        other.secrets.link_key = STANDARD.encode([7; 32]).into();
        assert_eq!(Links::from_settings(&other).expect("a key").verify(&token), None);
    }

    #[test]
    fn a_mail_token_is_good_for_its_purpose_alone_and_cannot_be_changed() {
        let id = Uuid::now_v7();
        let token = links().mail_token("reset", id);
        assert_eq!(links().read_mail_token("reset", &token), Some(id));
        assert_eq!(links().read_mail_token("invitation", &token), None);
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(links().read_mail_token("reset", &String::from_utf8(changed).expect("ASCII")), None);
            assert_eq!(links().read_mail_token("reset", &token[..index]), None);
        }
    }

    fn ring(octets: &[(&str, u8)]) -> Settings {
        let keys = octets.iter().map(|(id, octet)| format!("{id}:{}", STANDARD.encode([*octet; 32]))).collect::<Vec<_>>().join(",");
        let mut settings = Settings::sample();
        (settings.secrets.encryption_key, settings.secrets.link_key) = Default::default();
        (settings.secrets.encryption_keys, settings.secrets.link_keys) = (keys.clone().into(), keys.into());
        settings
    }

    #[test]
    fn what_was_sealed_and_signed_before_a_rotation_opens_after_it_until_the_old_key_is_taken_out() {
        let (campaign, contact) = (Uuid::now_v7(), Uuid::now_v7());
        let steps = [ring(&[("0", 1)]), ring(&[("2026a", 2), ("0", 1)]), ring(&[("2026b", 3), ("2026a", 2)])];
        let vaults = steps.each_ref().map(|settings| Vault::from_settings(&settings.secrets).expect("keys"));
        let links = steps.each_ref().map(|settings| Links::from_settings(settings).expect("keys"));
        let sealed = vaults.each_ref().map(|vault| vault.seal(b"hunter2", b"row").expect("sealed"));
        let tokens = links.each_ref().map(|links| links.unsubscribe_token(campaign, contact));
        let mails = links.each_ref().map(|links| links.mail_token("reset", contact));
        assert_eq!(sealed.each_ref().map(|sealed| key_id(sealed)), [Some("0"), Some("2026a"), Some("2026b")]);
        let marks = vaults.each_ref().map(|vault| vault.marks(b"hunter2").swap_remove(0));
        for (vault, opens) in vaults.iter().zip([[true, false, false], [true, true, false], [false, true, true]]) {
            assert_eq!(sealed.each_ref().map(|sealed| vault.open(sealed, b"row").is_ok()), opens);
            assert_eq!(marks.each_ref().map(|mark| vault.marks(b"hunter2").contains(mark)), opens);
            assert_eq!(marks.each_ref().map(|mark| vault.marks(b"hunter3").contains(mark)), [false; 3]);
        }
        for (links, verifies) in links.iter().zip([[true, false, false], [true, true, false], [false, true, true]]) {
            assert_eq!(tokens.each_ref().map(|token| links.verify(token) == Some((campaign, contact))), verifies);
            assert_eq!(mails.each_ref().map(|token| links.read_mail_token("reset", token) == Some(contact)), verifies);
        }
        let error = vaults[2].open(&sealed[0], b"row").expect_err("its key is gone");
        assert_eq!(error, "the secret was sealed under the key \"0\", which secrets.encryption_keys does not have");
    }

    #[test]
    fn a_token_under_a_key_with_an_id_cannot_be_changed() {
        let links = Links::from_settings(&ring(&[("2026a", 2), ("2026b", 2)])).expect("keys");
        let (campaign, contact) = (Uuid::now_v7(), Uuid::now_v7());
        let token = links.unsubscribe_token(campaign, contact);
        assert_eq!(links.verify(&token), Some((campaign, contact)));
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(links.verify(&String::from_utf8(changed).expect("ASCII")), None, "character {index} was changed");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_verifies(token in "[A-Za-z0-9_-]{0,120}|\\PC{0,80}") {
            prop_assert_eq!(links().verify(&token), None);
        }
    }
}
