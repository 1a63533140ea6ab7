//! The noun: a key pair that signs mail of a sending domain. Private keys are sealed in the table and leave this file only towards the
//! worker.
//!
//! ```text
//! pending (published, not yet seen) → active (signs) → retiring (its record stays for mail on its way) → retired
//! ```

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{self, KeySize},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    vault::Vault,
};

/// How long the record of a key that signs no more is still asked for: what is on its way is retried for days, and verified at its end.
pub const OVERLAP: TimeDelta = TimeDelta::days(7);

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[schema(as = DkimAlgorithm)]
pub enum Algorithm {
    /// RSA of 2048 bits: every receiver verifies it.
    #[serde(rename = "rsa-sha256")]
    Rsa,
    /// RFC 8463: small and quick; not every receiver verifies it, so it signs beside the other.
    #[serde(rename = "ed25519-sha256")]
    Ed25519,
}

impl Algorithm {
    /// As in the table, and as in `a=` of a signature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// As in `k=` of the record.
    #[must_use]
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl TryFrom<String> for Algorithm {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = [Self::Rsa, Self::Ed25519].into_iter().find(|algorithm| algorithm.name() == name);
        known.ok_or_else(|| format!("there is no DKIM algorithm {name:?}"))
    }
}

/// A row of `dkim_keys` without its private key.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0016_sending_domains.sql")]
pub struct DkimKey {
    pub id: Uuid,
    pub sending_domain_id: Uuid,
    pub selector: String,
    #[sqlx(try_from = "String")]
    pub algorithm: Algorithm,
    pub public_key: String,
    pub state: String,
    pub activated_at: Option<DateTime<Utc>>,
    pub retired_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl DkimKey {
    /// The name of its record.
    #[must_use]
    pub fn record_name(&self, domain: &str) -> String {
        format!("{}._domainkey.{domain}", self.selector)
    }

    /// What its record says (RFC 6376 section 3.6.1).
    #[must_use]
    pub fn record_value(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.algorithm.key_type(), self.public_key)
    }
}

/// A key that signs, opened. `Debug` hides it.
#[derive(Clone)]
pub struct SigningKey {
    /// `s=` of the signature.
    pub selector: String,
    /// `a=` of the signature.
    pub algorithm: Algorithm,
    /// The private key, PKCS#8 in DER.
    pub pkcs8: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (secret)", self.selector, self.algorithm.name())
    }
}

/// A key pair that is in no table yet.
pub struct Fresh {
    algorithm: Algorithm,
    selector: String,
    pkcs8: Vec<u8>,
    public_key: String,
}

/// Makes a key of each algorithm, under selectors that nobody has: the processor works for some hundred milliseconds, off the tasks'
/// threads.
///
/// # Errors
/// The cipher failed; it has no reason to.
pub async fn make_pair() -> Result<[Fresh; 2]> {
    tokio::task::spawn_blocking(|| {
        // Two workspaces may claim one domain: their selectors must not meet.
        let stem = format!("m{:08x}", rand::random::<u32>());
        Ok([fresh_rsa(&stem)?, fresh_ed25519(&stem)?])
    })
    .await
    .map_err(Error::internal)?
}

fn fresh_rsa(stem: &str) -> Result<Fresh> {
    let failed = |_| Error::Internal("an RSA key could not be made".to_owned());
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    Ok(Fresh {
        algorithm: Algorithm::Rsa,
        selector: format!("{stem}-rsa"),
        pkcs8: private.as_ref().to_vec(),
        public_key: STANDARD.encode(public.as_ref()),
    })
}

fn fresh_ed25519(stem: &str) -> Result<Fresh> {
    let failed = |_| Error::Internal("an Ed25519 key could not be made".to_owned());
    let pair = Ed25519KeyPair::generate().map_err(failed)?;
    let private = pair.to_pkcs8().map_err(failed)?;
    Ok(Fresh {
        algorithm: Algorithm::Ed25519,
        selector: format!("{stem}-ed25519"),
        pkcs8: private.as_ref().to_vec(),
        // RFC 8463 section 4.2: the 32 octets themselves, without the structure of X.509.
        public_key: STANDARD.encode(pair.public_key().as_ref()),
    })
}

/// Puts a pair into the table, to be published.
///
/// # Errors
/// The database failed.
pub async fn insert(connection: &mut PgConnection, vault: &Vault, sending_domain_id: Uuid, pair: &[Fresh; 2]) -> Result<()> {
    for fresh in pair {
        let id = Uuid::now_v7();
        let sealed = vault.seal(&fresh.pkcs8, id.as_bytes()).map_err(Error::Internal)?;
        sqlx::query(
            "INSERT INTO dkim_keys (id, sending_domain_id, selector, algorithm, private_key_sealed, public_key)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(sending_domain_id)
        .bind(&fresh.selector)
        .bind(fresh.algorithm.name())
        .bind(sealed)
        .bind(&fresh.public_key)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The keys of a domain whose records are to stand in DNS, oldest first.
///
/// # Errors
/// The database failed.
pub async fn published(connection: &mut PgConnection, sending_domain_id: Uuid) -> Result<Vec<DkimKey>> {
    Ok(sqlx::query_as(
        "SELECT id, sending_domain_id, selector, algorithm, public_key, state, activated_at, retired_at, created_at, updated_at
         FROM dkim_keys WHERE sending_domain_id = $1 AND state <> 'retired' ORDER BY id",
    )
    .bind(sending_domain_id)
    .fetch_all(connection)
    .await?)
}

/// The record of this key was seen in DNS: it signs from now on, and what signed with the same algorithm before it retires.
///
/// # Errors
/// The database failed.
pub async fn activate(connection: &mut PgConnection, key: &DkimKey, now: DateTime<Utc>) -> Result<()> {
    let activated = sqlx::query(
        "UPDATE dkim_keys SET state = 'active', activated_at = $2, updated_at = now() WHERE id = $1 AND state = 'pending'",
    )
    .bind(key.id)
    .bind(now)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if activated == 1 {
        sqlx::query(
            "UPDATE dkim_keys SET state = 'retiring', retired_at = $4, updated_at = now()
             WHERE sending_domain_id = $1 AND algorithm = $2 AND id < $3 AND state IN ('pending', 'active')",
        )
        .bind(key.sending_domain_id)
        .bind(key.algorithm.name())
        .bind(key.id)
        .bind(now)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Keys that have retired [`OVERLAP`] ago: their records may go.
///
/// # Errors
/// The database failed.
pub async fn retire(connection: &mut PgConnection, sending_domain_id: Uuid, now: DateTime<Utc>) -> Result<()> {
    sqlx::query(
        "UPDATE dkim_keys SET state = 'retired', updated_at = now()
         WHERE sending_domain_id = $1 AND state = 'retiring' AND retired_at <= $2",
    )
    .bind(sending_domain_id)
    .bind(now - OVERLAP)
    .execute(connection)
    .await?;
    Ok(())
}

/// The keys that sign for a domain of a workspace, RSA last, so that it stands first in the mail. None where the domain is not known or has
/// no key whose record was seen.
///
/// # Errors
/// The database failed, or a key does not open.
pub async fn active(pool: &PgPool, vault: &Vault, workspace_id: Uuid, domain: &str) -> Result<Vec<SigningKey>> {
    #[derive(FromRow)]
    struct Row {
        id: Uuid,
        selector: String,
        #[sqlx(try_from = "String")]
        algorithm: Algorithm,
        private_key_sealed: Vec<u8>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT k.id, k.selector, k.algorithm, k.private_key_sealed
         FROM dkim_keys k JOIN sending_domains d ON d.id = k.sending_domain_id
         WHERE d.workspace_id = $1 AND d.domain = $2 AND k.state = 'active' ORDER BY k.algorithm, k.id",
    )
    .bind(workspace_id)
    .bind(domain)
    .fetch_all(pool)
    .await?;
    let opened = rows.into_iter().map(|row| {
        let pkcs8 = vault.open(&row.private_key_sealed, row.id.as_bytes()).map_err(Error::Internal)?;
        Ok(SigningKey { selector: row.selector, algorithm: row.algorithm, pkcs8 })
    });
    opened.collect()
}
