//! What may stand in the table of contacts.

use shared::{address::Address, testing::Stage};

#[tokio::test]
async fn every_letter_that_an_address_may_hold_passes_the_check_of_the_table() {
    let stage = Stage::new().await;
    let letters = ('\0'..=char::MAX).filter_map(|letter| Address::parse_recipient(&format!("a{letter}b@b.test")).ok());
    let addresses: Vec<String> = letters.map(|address| address.as_str().to_owned()).collect();
    assert!(addresses.len() > 100_000);
    let refused: Vec<String> = sqlx::query_scalar(
        "SELECT email FROM unnest($1::text[]) AS a (email) WHERE NOT (email = lower(email) AND length(email) <= 254)",
    )
    .bind(addresses)
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    assert!(refused.is_empty(), "{refused:?}");
}
