//! The noun: a file that goes with a message. The bytes lie in the row until the message is over.

use base64::{Engine, engine::general_purpose::STANDARD};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::error::{Error, FieldError, Result};

/// Bytes of all attachments of one message.
pub const MOST_BYTES: usize = 10 * 1024 * 1024;
/// Attachments of one message.
pub const MOST: usize = 50;

/// An attachment as it is given.
#[derive(Clone, Debug)]
pub struct Given {
    /// What the recipient saves it as.
    pub filename: String,
    /// `type/subtype`, with parameters or without.
    pub content_type: String,
    /// Base64.
    pub content: String,
    /// Named in the HTML as `cid:…`.
    pub content_id: Option<String>,
}

/// An attachment that is good.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0019_messages.sql")]
pub struct Attachment {
    pub filename: String,
    pub content_type: String,
    pub content_id: Option<String>,
    pub content: Vec<u8>,
}

/// An attachment as it is told: without its bytes.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0019_messages.sql")]
pub struct Told {
    pub filename: String,
    pub content_type: String,
    pub content_id: Option<String>,
    pub bytes: i32,
}

/// Checks and decodes them.
///
/// # Errors
/// [`Error::TooLarge`]: all together.
pub fn checked(given: Vec<Given>, errors: &mut Vec<FieldError>) -> Result<Vec<Attachment>> {
    if given.len() > MOST {
        errors.push(FieldError::new("attachments", format!("must be at most {MOST}, not {}", given.len())));
        return Ok(Vec::new());
    }
    // Before they are decoded.
    if given.iter().map(|one| one.content.len() / 4 * 3).sum::<usize>() > MOST_BYTES + 3 * MOST {
        return Err(Error::TooLarge { limit_bytes: MOST_BYTES as u64 });
    }
    let mut good = Vec::with_capacity(given.len());
    let mut bytes = 0;
    for (index, one) in given.into_iter().enumerate() {
        let mut wrong = |field: &str, reason: String| errors.push(FieldError::new(format!("attachments[{index}].{field}"), reason));
        let length = one.filename.chars().count();
        if !(1..=255).contains(&length) || one.filename.chars().any(|c| c.is_control() || matches!(c, '/' | '\\')) {
            wrong(
                "filename",
                format!("must be 1 to 255 characters without slashes and control characters, not {:?}", one.filename),
            );
        }
        if !is_content_type(&one.content_type) {
            wrong(
                "content_type",
                format!("must be a type that a file can have, such as application/pdf, not {:?}", one.content_type),
            );
        }
        if one.content_id.as_deref().is_some_and(|id| !is_content_id(id)) {
            wrong("content_id", "must be 1 to 200 letters, digits and . _ + - @".to_owned());
        }
        match STANDARD.decode(&one.content) {
            Ok(content) => {
                bytes += content.len();
                good.push(Attachment {
                    filename: one.filename,
                    content_type: one.content_type,
                    content_id: one.content_id,
                    content,
                });
            }
            Err(error) => wrong("content", format!("is not base64: {}", error.to_string().to_lowercase())),
        }
    }
    if bytes > MOST_BYTES {
        return Err(Error::TooLarge { limit_bytes: MOST_BYTES as u64 });
    }
    Ok(good)
}

fn is_content_id(id: &str) -> bool {
    (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-@".contains(&b))
}

/// `type/subtype` and parameters. Not a message or a multipart: those cannot be in base64 (RFC 2046 section 5).
fn is_content_type(text: &str) -> bool {
    let token = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b));
    let mut pieces = text.split(';').map(str::trim);
    let Some((kind, subtype)) = pieces.next().and_then(|whole| whole.split_once('/')) else { return false };
    let lower = kind.to_ascii_lowercase();
    text.len() <= 200
        && token(kind)
        && token(subtype)
        && !matches!(lower.as_str(), "message" | "multipart")
        && pieces.all(|piece| {
            piece.split_once('=').is_some_and(|(name, value)| {
                let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                token(name)
                    && quoted.map_or_else(
                        || token(value),
                        |inside| inside.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"\"\\".contains(&b)),
                    )
            })
        })
}

/// Puts them into the table, in the caller's transaction.
pub(super) async fn insert(connection: &mut PgConnection, message_id: Uuid, attachments: &[Attachment]) -> Result<()> {
    for (position, one) in attachments.iter().enumerate() {
        sqlx::query(
            "INSERT INTO message_attachments (message_id, position, filename, content_type, content_id, bytes, content)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(message_id)
        .bind(i16::try_from(position).map_err(Error::internal)?)
        .bind(&one.filename)
        .bind(&one.content_type)
        .bind(&one.content_id)
        .bind(i32::try_from(one.content.len()).map_err(Error::internal)?)
        .bind(&one.content)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Those of a message that is not over, in their order.
///
/// # Errors
/// The database failed.
pub async fn load(pool: &PgPool, message_id: Uuid) -> Result<Vec<Attachment>> {
    let attachments = sqlx::query_as(
        "SELECT filename, content_type, content_id, coalesce(content, '') AS content FROM message_attachments
         WHERE message_id = $1 ORDER BY position",
    )
    .bind(message_id)
    .fetch_all(pool)
    .await?;
    Ok(attachments)
}

/// Those of a message without their bytes, in their order.
///
/// # Errors
/// The database failed.
pub async fn of(pool: &PgPool, message_id: Uuid) -> Result<Vec<Told>> {
    let attachments = sqlx::query_as(
        "SELECT filename, content_type, content_id, bytes FROM message_attachments WHERE message_id = $1 ORDER BY position",
    )
    .bind(message_id)
    .fetch_all(pool)
    .await?;
    Ok(attachments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_one_that_a_file_can_have() {
        for good in ["application/pdf", "text/calendar; method=REQUEST; charset=\"utf-8\"", "image/svg+xml"] {
            assert!(is_content_type(good), "{good}");
        }
        for bad in
            ["", "pdf", "a/b\r\nBcc: x", "message/rfc822", "multipart/mixed; boundary=x", "a/b; c", "a/b; c=\"\r\n\"", "a /b"]
        {
            assert!(!is_content_type(bad), "{bad}");
        }
    }
}
