//! Work in a transaction that is begun again where others were faster.

use super::{ClientError, Keyspace, Result, Transaction};

/// How often work is tried.
const ATTEMPTS_MAX: usize = 32;

impl Keyspace {
    /// Does some work in a transaction and commits it, from the beginning when others were faster, up
    /// to 32 times in all. What the work gives, and what it has done outside of the transaction, is of
    /// its last run.
    ///
    /// ```no_run
    /// # async fn example(keys: shardkeep::client::Keyspace) -> shardkeep::client::Result<()> {
    /// use shardkeep::client::Typed;
    ///
    /// let seats_left = keys
    ///     .transact(async |transaction| {
    ///         let seats = transaction.get("seats").await?;
    ///         let Some(Typed::Int(seats)) = seats.map(|it| it.typed()).transpose()? else {
    ///             return Ok(0);
    ///         };
    ///         transaction.put_typed("seats", seats - 1)?;
    ///         Ok(seats - 1)
    ///     })
    ///     .await?;
    /// # let _: i64 = seats_left;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Conflict`] after the last attempt, those of the work, and those of
    /// [`Transaction::commit`].
    pub async fn transact<T>(
        &self,
        mut work: impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(&mut work).await {
                Err(ClientError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                done => return done,
            }
        }
    }

    async fn attempt<T>(
        &self,
        work: &mut impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done)
    }
}
