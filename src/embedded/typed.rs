//! Values with their types, in the bytes of every client.

use super::Keyspace;
use crate::client::{PutOptions, Stored, Typed};
use crate::model::Result;
use bytes::Bytes;

impl Keyspace {
    /// Stores a value with its type, as the options say beside that.
    ///
    /// # Errors
    /// `Invalid` (`VALUE_TYPE`) for a floating-point number that is not finite, and as
    /// [`Keyspace::put_with`].
    pub async fn put_typed(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Typed>,
        options: PutOptions,
    ) -> Result<Stored> {
        let (value, options) = options.of_typed(&value.into())?;
        self.put_with(key, value, options).await
    }

    /// Reads a value as what it is; `None` when the key is not there.
    ///
    /// # Errors
    /// `Invalid` (`VALUE_TYPE`) for bytes that are not what their type says, and as [`Keyspace::get`].
    pub async fn get_typed(&self, key: impl Into<Bytes>) -> Result<Option<Typed>> {
        let value = self.get(key).await?;
        Ok(value.map(|value| value.typed()).transpose()?)
    }
}
