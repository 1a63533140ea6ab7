//! Transactions whose futures are dropped midway.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use shared::{database, testing::Stage};
use sqlx::postgres::PgPoolOptions;

/// Polls a future at most so many times, each when it was woken; answers whether it ended.
async fn polled<F: Future>(future: F, times: usize) -> bool {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| {
        let ended = future.as_mut().poll(context).is_ready();
        left -= 1;
        if ended || left == 0 { Poll::Ready(ended) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn a_transaction_that_is_given_up_while_it_begins_is_over() {
    let stage = Stage::new().await;
    let pool = PgPoolOptions::new().max_connections(1).connect_with((*stage.pool.connect_options()).clone()).await.expect("a pool");
    let mut given_up = 0;
    // Where PostgreSQL is quick its answer may be there before the first poll ends.
    for _ in 0..1_000 {
        for times in 1..20 {
            if polled(database::begin(&pool), times).await {
                break;
            }
            given_up += 1;
            // It is refused outside a transaction.
            let error = sqlx::raw_sql("SAVEPOINT inside").execute(&pool).await.expect_err("no transaction");
            assert_eq!(
                error.as_database_error().and_then(|error| error.code()).as_deref(),
                Some("25P01"),
                "after {times} polls: {error}"
            );
        }
        if given_up > 0 {
            return;
        }
    }
    panic!("a poll that writes BEGIN waits for the answer, at least once in a thousand times");
}
