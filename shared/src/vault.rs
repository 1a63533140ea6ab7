//! Secrets at rest, and the signatures in links.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use uuid::Uuid;

use crate::settings::{Secret, Secrets, Settings};

/// First byte of what [`Vault::seal`] answers: which key sealed it. There is one key so far.
const KEY_ID: u8 = 1;
/// First byte of a link token.
const TOKEN_VERSION: u8 = 1;
/// Octets of the signature that a token carries: 128 bits of the 256.
const TOKEN_MAC: usize = 16;
const TOKEN_SIGNED: usize = 1 + 16 + 16;

/// Seals credentials for the table: AES-256-GCM under the key of the settings.
pub struct Vault {
    key: RandomizedNonceKey,
}

impl Vault {
    /// Takes the key from `secrets.encryption_key`: 32 bytes in base64.
    ///
    /// # Errors
    /// A sentence that names the setting, never the key.
    pub fn from_settings(secrets: &Secrets) -> Result<Self, String> {
        let key = decode("secrets.encryption_key", &secrets.encryption_key)?;
        if key.len() != 32 {
            return Err(format!("settings: secrets.encryption_key is {} bytes, not 32", key.len()));
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| "settings: secrets.encryption_key is unusable")?;
        Ok(Self { key })
    }

    /// Key id, nonce, ciphertext and tag. `context` (the id of the row) is authenticated with it, so that a sealed value cannot be
    /// moved to another row.
    ///
    /// # Errors
    /// The cipher failed; it has no reason to.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        let mut buffer = plain.to_vec();
        let nonce =
            self.key.seal_in_place_append_tag(Aad::from(context), &mut buffer).map_err(|_| "the secret could not be sealed")?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + buffer.len());
        sealed.push(KEY_ID);
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
        let (&key_id, rest) = sealed.split_first().ok_or(refused)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or(refused)?;
        if key_id != KEY_ID {
            return Err(format!("the secret was sealed under key {key_id}, which this build does not know"));
        }
        let mut buffer = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused)?;
        let plain = self.key.open_in_place(nonce, Aad::from(context), &mut buffer).map_err(|_| refused)?;
        Ok(plain.to_vec())
    }
}

/// Makes and checks the links in mails. Cheap to share; a token costs two SHA-256 blocks.
#[derive(Clone)]
pub struct Links {
    key: hmac::Key,
    unsubscribe_base: String,
}

impl Links {
    /// Takes the key from `secrets.link_key` (32 bytes or more in base64) and the base from `api.public_url`.
    ///
    /// # Errors
    /// A sentence that names the setting, never the key.
    pub fn from_settings(settings: &Settings) -> Result<Self, String> {
        let key = decode("secrets.link_key", &settings.secrets.link_key)?;
        if key.len() < 32 {
            return Err(format!("settings: secrets.link_key is {} bytes, less than 32", key.len()));
        }
        let base = settings.api.public_url.as_str().trim_end_matches('/');
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), unsubscribe_base: format!("{base}/u/") })
    }

    /// The link that takes this contact out of what this campaign's workspace sends.
    #[must_use]
    pub fn unsubscribe_url(&self, campaign_id: Uuid, contact_id: Uuid) -> String {
        let mut url = String::with_capacity(self.unsubscribe_base.len() + 66);
        url.push_str(&self.unsubscribe_base);
        URL_SAFE_NO_PAD.encode_string(self.signed(campaign_id, contact_id), &mut url);
        url
    }

    /// The token of that link: 66 characters of the URL-safe alphabet.
    #[must_use]
    pub fn unsubscribe_token(&self, campaign_id: Uuid, contact_id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(self.signed(campaign_id, contact_id))
    }

    /// Campaign and contact of a token that was made here; compares in constant time.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<(Uuid, Uuid)> {
        let mut bytes = [0; TOKEN_SIGNED + TOKEN_MAC + 2];
        let length = URL_SAFE_NO_PAD.decode_slice(token, &mut bytes).ok()?;
        let bytes = bytes.get(..length)?;
        if length != TOKEN_SIGNED + TOKEN_MAC || bytes[0] != TOKEN_VERSION {
            return None;
        }
        let (signed, mac) = bytes.split_at(TOKEN_SIGNED);
        let expected = hmac::sign(&self.key, signed);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..TOKEN_MAC], mac).ok()?;
        Some((Uuid::from_slice(&signed[1..17]).ok()?, Uuid::from_slice(&signed[17..]).ok()?))
    }

    /// The token of a link in a mail about an account: the id of a row of `mail_tokens`, signed for its purpose.
    #[must_use]
    pub fn mail_token(&self, purpose: &str, id: Uuid) -> String {
        let mut token = [0; 16 + TOKEN_MAC];
        token[..16].copy_from_slice(id.as_bytes());
        token[16..].copy_from_slice(&self.mail_token_signature(purpose, id)[..TOKEN_MAC]);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// The id of a token that was made here for the same purpose; compares in constant time.
    #[must_use]
    pub fn read_mail_token(&self, purpose: &str, token: &str) -> Option<Uuid> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == 16 + TOKEN_MAC)?;
        let (id, mac) = bytes.split_at(16);
        let id = Uuid::from_slice(id).ok()?;
        let expected = self.mail_token_signature(purpose, id);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected[..TOKEN_MAC], mac).ok()?;
        Some(id)
    }

    fn mail_token_signature(&self, purpose: &str, id: Uuid) -> [u8; 32] {
        // Longer than what other tokens sign, and told apart by its first words.
        let signed = format!("a link in a mail about an account: {purpose} {}", id.simple());
        let mut signature = [0; 32];
        signature.copy_from_slice(hmac::sign(&self.key, signed.as_bytes()).as_ref());
        signature
    }

    fn signed(&self, campaign_id: Uuid, contact_id: Uuid) -> [u8; TOKEN_SIGNED + TOKEN_MAC] {
        let mut token = [0; TOKEN_SIGNED + TOKEN_MAC];
        token[0] = TOKEN_VERSION;
        token[1..17].copy_from_slice(campaign_id.as_bytes());
        token[17..TOKEN_SIGNED].copy_from_slice(contact_id.as_bytes());
        let mac = hmac::sign(&self.key, &token[..TOKEN_SIGNED]);
        token[TOKEN_SIGNED..].copy_from_slice(&mac.as_ref()[..TOKEN_MAC]);
        token
    }
}

fn decode(name: &str, secret: &Secret) -> Result<Vec<u8>, String> {
    STANDARD.decode(secret.expose().trim()).map_err(|_| format!("settings: {name} is not base64"))
}

#[cfg(test)]
mod tests {
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

    proptest! {
        #[test]
        fn nothing_else_verifies(token in "[A-Za-z0-9_-]{0,80}|\\PC{0,80}") {
            prop_assert_eq!(links().verify(&token), None);
        }
    }
}
