//! Access tokens: JWT, HS256 and nothing else, short-lived. They say who calls and in which session; what the caller may do, and whether
//! the session still holds, is asked of the tables each time.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::Clock,
    error::{Error, Result},
    keyring::{FIRST, Length, Ring},
    settings::Settings,
};

/// What our processes' clocks may differ.
const SKEW: TimeDelta = TimeDelta::seconds(60);
/// Sets the key of successors apart from the key that signs.
const SUCCESSION: &[u8] = b"the successor of a refresh token";

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Uuid,
    sid: Uuid,
    iat: i64,
    exp: i64,
}

/// What an access token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Who calls.
    pub user_id: Uuid,
    /// In which session.
    pub session_id: Uuid,
}

/// Issues and checks access tokens.
#[derive(Clone)]
pub struct Tokens {
    header: Header,
    encoding: EncodingKey,
    decoding: Vec<(String, DecodingKey)>,
    validation: Validation,
    succession: hmac::Key,
    clock: Clock,
    lifetime: TimeDelta,
}

impl Tokens {
    /// Signs with the first of `secrets.jwt_keys`, whose id stands in the token, and checks with each of them; `secrets.jwt_key` is the one
    /// that tokens without an id are signed with.
    ///
    /// # Errors
    /// A sentence: a key is not base64 of 32 bytes or more.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, String> {
        let secrets = &settings.secrets;
        let ring = Ring::read("jwt_key", &secrets.jwt_keys, &secrets.jwt_key, Length::AtLeast(32))?;
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(ring.active().id.clone()).filter(|id| id != FIRST);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256];
        // Times are compared below, with the clock that tests can move.
        validation.validate_exp = false;
        validation.required_spec_claims = ["exp".to_owned(), "sub".to_owned()].into();
        Ok(Self {
            header,
            encoding: EncodingKey::from_secret(&ring.active().bytes),
            decoding: ring.keys().iter().map(|key| (key.id.clone(), DecodingKey::from_secret(&key.bytes))).collect(),
            validation,
            succession: hmac::Key::new(
                hmac::HMAC_SHA256,
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &ring.active().bytes), SUCCESSION).as_ref(),
            ),
            clock,
            lifetime: TimeDelta::seconds(settings.auth.access_token_seconds),
        })
    }

    /// Seconds that a new token is good for.
    #[must_use]
    pub fn lifetime_seconds(&self) -> i64 {
        self.lifetime.num_seconds()
    }

    /// A token for the user in a session, good from now on.
    ///
    /// # Errors
    /// The signature failed.
    pub fn issue(&self, user_id: Uuid, session_id: Uuid) -> Result<String> {
        let now = self.clock.now();
        let claims = Claims { sub: user_id, sid: session_id, iat: now.timestamp(), exp: (now + self.lifetime).timestamp() };
        jsonwebtoken::encode(&self.header, &claims, &self.encoding).map_err(Error::internal)
    }

    /// The refresh token that takes the place of this one. It can be made again as long as somebody shows the old one, so that it need
    /// not be stored; without the key nobody can make it.
    #[must_use]
    pub fn successor(&self, refresh_token: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.succession, refresh_token.as_bytes()))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]: malformed, not signed by us with HS256, expired, or issued in the future.
    pub fn check(&self, token: &str) -> Result<Claimed> {
        const REFUSED: Error = Error::Unauthorized("the access token is not valid");
        let named = jsonwebtoken::decode_header(token).map_err(|_| REFUSED)?.kid;
        let id = named.as_deref().unwrap_or(FIRST);
        let (_, key) = self.decoding.iter().find(|(known, _)| known == id).ok_or(REFUSED)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|_| REFUSED)?.claims;
        let now = self.clock.now();
        let expired = moment(claims.exp).is_none_or(|expires_at| expires_at <= now);
        if expired {
            return Err(Error::Unauthorized("the access token has expired"));
        }
        if moment(claims.iat).is_none_or(|issued_at| issued_at > now + SKEW) {
            return Err(Error::Unauthorized("the access token is not valid"));
        }
        Ok(Claimed { user_id: claims.sub, session_id: claims.sid })
    }
}

fn moment(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn tokens() -> (Tokens, Clock) {
        let clock = Clock::fixed("2026-01-15T12:00:00Z".parse().expect("a date"));
        (Tokens::new(&Settings::sample(), clock.clone()).expect("a key"), clock)
    }

    fn forged(header: Header, claims: &Claims, key: &[u8]) -> String {
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(key)).expect("a token")
    }

    #[test]
    fn a_token_names_its_user_until_it_expires() {
        let (tokens, clock) = tokens();
        let claimed = Claimed { user_id: Uuid::now_v7(), session_id: Uuid::now_v7() };
        let token = tokens.issue(claimed.user_id, claimed.session_id).expect("a token");
        assert_eq!(tokens.check(&token).expect("good"), claimed);
        clock.advance(TimeDelta::seconds(3599));
        assert!(tokens.check(&token).is_ok());
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(tokens.check(&token).expect_err("old").to_string(), "the access token has expired");
    }

    #[test]
    fn another_key_another_algorithm_or_another_time_is_refused() {
        let (tokens, clock) = tokens();
        let now = clock.now().timestamp();
        let good = Claims { sub: Uuid::now_v7(), sid: Uuid::now_v7(), iat: now, exp: now + 60 };
        let key = STANDARD.decode(Settings::sample().secrets.jwt_key.expose()).expect("base64");
        assert!(tokens.check(&forged(Header::new(Algorithm::HS256), &good, &key)).is_ok());
        assert!(tokens.check(&forged(Header::new(Algorithm::HS256), &good, b"another key")).is_err());
        assert!(tokens.check(&forged(Header::new(Algorithm::HS512), &good, &key)).is_err());
        let future = Claims { iat: now + 61, exp: now + 600, ..good };
        assert!(tokens.check(&forged(Header::new(Algorithm::HS256), &future, &key)).is_err());
        assert!(tokens.check("not.a.token").is_err());
    }

    #[test]
    fn a_refresh_token_has_one_successor_under_one_key() {
        let (tokens, _) = tokens();
        assert_eq!(tokens.successor("first"), tokens.successor("first"));
        assert_eq!(tokens.successor("first").len(), 43);
        assert_ne!(tokens.successor("first"), tokens.successor("second"));
        let mut settings = Settings::sample();
        settings.secrets.jwt_key = STANDARD.encode([7; 32]).into();
        assert_ne!(Tokens::new(&settings, Clock::system()).expect("a key").successor("first"), tokens.successor("first"));
    }

    #[test]
    fn a_token_is_good_until_its_key_is_taken_out_of_the_ring() {
        let clock = Clock::fixed("2026-01-15T12:00:00Z".parse().expect("a date"));
        let user = Uuid::now_v7();
        let single = Settings::sample();
        let mut rotated = single.clone();
        rotated.secrets.jwt_keys = format!("2026b:{}", STANDARD.encode([7; 32])).into();
        let mut over = rotated.clone();
        over.secrets.jwt_key = String::new().into();
        let [single, rotated, over] = [single, rotated, over].map(|settings| Tokens::new(&settings, clock.clone()).expect("keys"));
        let (old, new) =
            (single.issue(user, Uuid::now_v7()).expect("a token"), rotated.issue(user, Uuid::now_v7()).expect("a token"));
        assert_eq!(jsonwebtoken::decode_header(&old).expect("a header").kid, None);
        assert_eq!(jsonwebtoken::decode_header(&new).expect("a header").kid.as_deref(), Some("2026b"));
        let good = |tokens: &Tokens| [tokens.check(&old).is_ok(), tokens.check(&new).is_ok()];
        assert_eq!([good(&single), good(&rotated), good(&over)], [[true, false], [true, true], [false, true]]);
    }

    #[test]
    fn a_short_key_is_refused_at_the_start() {
        let mut settings = Settings::sample();
        settings.secrets.jwt_key = "c2hvcnQ=".to_owned().into();
        let error = Tokens::new(&settings, Clock::system()).err();
        assert_eq!(error.as_deref(), Some("settings: secrets.jwt_key is 5 bytes, less than 32"));
    }
}
