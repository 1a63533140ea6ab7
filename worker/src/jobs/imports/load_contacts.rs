//! Turns an uploaded file into contacts: [`shared::imports::load`] does it, this tells it when to stop.

use shared::{
    imports::{
        import,
        load::{Checkpoint, Halt, Load, PART_RECORDS},
        payload::LoadContacts,
    },
    store::Store,
};

use crate::run::{Context, Failure, Outcome, Run, Stop};

struct Steps<'a>(&'a Context);

impl Checkpoint for Steps<'_> {
    type Stop = Failure;

    async fn checkpoint(&mut self, done: i64, total: i64) -> Result<(), Failure> {
        self.0.checkpoint(done, Some(total)).await
    }
}

impl Run for LoadContacts {
    async fn run(self, context: &Context) -> Outcome {
        let store = Store::from_settings(&context.settings.store)?;
        let load = Load {
            pool: &context.pool,
            store: &store,
            import_id: self.import_id,
            lease: context.lease(),
            part_records: PART_RECORDS,
        };
        match load.run(&mut Steps(context)).await {
            Ok(report) => Ok(serde_json::to_value(report)?),
            Err(Halt::Stopped(stopped)) => {
                if matches!(stopped, Failure::Stopped(Stop::Cancelled)) {
                    import::cancelled(&context.pool, self.import_id).await?;
                }
                Err(stopped)
            }
            Err(Halt::Refused(failure)) => Err(Failure::Fail(anyhow::Error::msg(failure))),
            Err(Halt::Failed(error)) => Err(Failure::Retry(error.into())),
        }
    }
}
