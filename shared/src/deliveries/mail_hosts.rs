//! Where the mail of a domain goes, as DNS said last: shared by all workers, so that a fleet asks once.

use std::time::Duration;

use sqlx::{FromRow, PgPool};

use crate::error::Result;

/// What is known of a domain.
#[derive(Clone, Debug, FromRow, PartialEq)]
pub struct Known {
    /// The domain.
    pub domain: String,
    /// Its MX hosts, lower case, without a dot at the end; none where it has none.
    pub mail_hosts: Vec<String>,
    /// Worth asking anew; what is known holds until then.
    pub expired: bool,
    /// Seconds until then.
    pub expires_seconds: f64,
}

/// An answer of DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// MX hosts.
    Hosts(Vec<String>),
    /// No such records, or no such domain.
    None,
    /// A null MX: the domain takes no mail.
    Refused,
    /// No answer.
    Failed,
}

/// What is known of these domains.
///
/// # Errors
/// The database failed.
pub async fn known(pool: &PgPool, domains: &[String]) -> Result<Vec<Known>> {
    Ok(sqlx::query_as(
        "SELECT domain, mail_hosts, expires_at <= now() AS expired, extract(epoch FROM expires_at - now())::float8 AS expires_seconds
         FROM recipient_domains WHERE domain = ANY ($1)",
    )
    .bind(domains)
    .fetch_all(pool)
    .await?)
}

/// Keeps an answer. No answer keeps what was known, and is asked again after `fresh`.
///
/// # Errors
/// The database failed.
pub async fn keep(pool: &PgPool, domain: &str, answer: &Answer, fresh: Duration) -> Result<()> {
    let (name, hosts) = match answer {
        Answer::Hosts(hosts) => ("hosts", hosts.as_slice()),
        Answer::None => ("none", &[][..]),
        Answer::Refused => ("refused", &[][..]),
        Answer::Failed => ("failed", &[][..]),
    };
    sqlx::query(
        "INSERT INTO recipient_domains AS r (domain, mail_hosts, answer, expires_at)
         VALUES ($1, $2, $3, now() + make_interval(secs => $4))
         ON CONFLICT (domain) DO UPDATE SET
             mail_hosts = CASE excluded.answer WHEN 'failed' THEN r.mail_hosts ELSE excluded.mail_hosts END,
             answer = CASE excluded.answer WHEN 'failed' THEN r.answer ELSE excluded.answer END,
             looked_up_at = now(), expires_at = excluded.expires_at, updated_at = now()",
    )
    .bind(domain)
    .bind(hosts)
    .bind(name)
    .bind(fresh.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets domains that nobody has asked for in a month.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &PgPool) -> Result<u64> {
    Ok(sqlx::query("DELETE FROM recipient_domains WHERE expires_at < now() - interval '30 days'")
        .execute(pool)
        .await?
        .rows_affected())
}
