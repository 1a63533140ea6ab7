//! Files: one code over a folder of this machine and an S3-compatible server.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt, stream};
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig, aws::AmazonS3Builder, buffered::BufWriter, local::LocalFileSystem,
    path::Path, prefix::PrefixStore,
};
use tokio::{io::AsyncWriteExt, runtime::Handle};

use crate::settings;

/// Bytes of a part of an upload: S3's smallest.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Parts of one upload on the wire at once.
const PARTS_AT_ONCE: usize = 2;
/// Bytes that one read asks for. A file is read by ranges, so that a reader that pauses holds no connection that times out.
const RANGE_BYTES: u64 = 4 * 1024 * 1024;

/// Where objects are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
}

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address in the settings is of no use.
    #[error("store.url {url:?} {reason}")]
    Settings {
        /// As it stands in the settings.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk or the server failed or refused.
    #[error("store: {0}")]
    Object(#[from] object_store::Error),
    /// Writing failed.
    #[error("store: {0}")]
    Write(#[from] io::Error),
}

impl From<StoreError> for crate::error::Error {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl Store {
    /// The store that the settings name: `file:///folder` (made if it is not there) or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// The address is malformed, of another scheme, or the folder cannot be made.
    pub fn from_settings(settings: &settings::Store) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Settings { url: settings.url.clone(), reason };
        let url = url::Url::parse(&settings.url).map_err(|error| wrong(format!("is not an address: {error}")))?;
        let objects: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => {
                let folder = url.to_file_path().map_err(|()| wrong("is not an absolute path".to_owned()))?;
                std::fs::create_dir_all(&folder).map_err(|error| wrong(format!("cannot be made: {error}")))?;
                Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_fsync(true))
            }
            "s3" => {
                let bucket =
                    url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| wrong("names no bucket".to_owned()))?;
                let prefix = Path::from_url_path(url.path()).map_err(|error| wrong(format!("has a malformed prefix: {error}")))?;
                Arc::new(PrefixStore::new(s3(settings, bucket)?, prefix))
            }
            scheme => return Err(wrong(format!("has the scheme {scheme}; it must be file or s3"))),
        };
        Ok(Self { objects })
    }

    /// Starts an object under `key`. It is there, whole, after [`Writer::finish`], and not before.
    #[must_use]
    pub fn writer(&self, key: &str) -> Writer {
        let objects = Arc::clone(&self.objects);
        let upload = BufWriter::with_capacity(objects, Path::from(key), PART_BYTES).with_max_concurrency(PARTS_AT_ONCE);
        Writer { upload: Some(upload) }
    }

    /// The bytes of an object from `offset` (counted from 0) to its end; nothing where `offset` is at or behind the end.
    ///
    /// # Errors
    /// The object is not there ([`Store::size`] tells), or the store failed; the stream may fail later.
    pub async fn read(&self, key: &str, offset: u64) -> Result<impl Stream<Item = Result<Bytes, StoreError>> + use<>, StoreError> {
        let path = Path::from(key);
        let size = self.objects.head(&path).await?.size;
        let objects = Arc::clone(&self.objects);
        Ok(stream::try_unfold((objects, path, offset), move |(objects, path, from)| async move {
            if from >= size {
                return Ok(None);
            }
            let to = size.min(from + RANGE_BYTES);
            let bytes = objects.get_range(&path, from..to).await?;
            Ok(Some((bytes, (objects, path, to))))
        }))
    }

    /// The whole of an object, for small ones.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_all(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let parts = self.read(key, 0).await?;
        parts
            .try_fold(Vec::new(), async |mut all, part| {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await
    }

    /// Bytes of an object; none where it is not there.
    ///
    /// # Errors
    /// The store failed.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&Path::from(key)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keys of the objects under `prefix` that were last written before `before`.
    pub fn older_than(&self, prefix: &str, before: DateTime<Utc>) -> impl Stream<Item = Result<String, StoreError>> + use<> {
        let listed = self.objects.list(Some(&Path::from(prefix)));
        listed
            .try_filter_map(move |object| async move { Ok((object.last_modified < before).then(|| object.location.to_string())) })
            .err_into()
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// The store failed.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.objects.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn s3(settings: &settings::Store, bucket: &str) -> Result<impl ObjectStore, StoreError> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&settings.s3_region)
        .with_retry(RetryConfig { max_retries: 4, retry_timeout: Duration::from_secs(30), ..RetryConfig::default() })
        .with_client_options(
            ClientOptions::new()
                .with_timeout(Duration::from_secs(120))
                .with_connect_timeout(Duration::from_secs(5))
                .with_allow_http(settings.s3_endpoint.starts_with("http://")),
        )
        .with_virtual_hosted_style_request(false);
    if !settings.s3_endpoint.is_empty() {
        builder = builder.with_endpoint(settings.s3_endpoint.trim_end_matches('/'));
    }
    if !settings.s3_access_key.expose().is_empty() {
        builder =
            builder.with_access_key_id(settings.s3_access_key.expose()).with_secret_access_key(settings.s3_secret_key.expose());
    }
    Ok(builder.build()?)
}

/// An object that is being written. Dropped before [`Writer::finish`], it leaves nothing.
pub struct Writer {
    upload: Option<BufWriter>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("open", &self.upload.is_some()).finish()
    }
}

impl Writer {
    /// Appends `bytes`; waits while [`PARTS_AT_ONCE`] parts are on the wire, so that memory stays bounded.
    ///
    /// # Errors
    /// The store failed; the object will not be there.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        match &mut self.upload {
            Some(upload) => Ok(upload.put(bytes).await?),
            None => Err(closed()),
        }
    }

    /// Makes the object visible.
    ///
    /// # Errors
    /// The store failed; the object is not there.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let mut upload = self.upload.take().ok_or_else(closed)?;
        Ok(upload.shutdown().await?)
    }

    /// Throws away what was written.
    ///
    /// # Errors
    /// The store failed; parts may be left that the store's own life cycle must remove.
    pub async fn abort(mut self) -> Result<(), StoreError> {
        match self.upload.take() {
            Some(mut upload) => Ok(upload.abort().await?),
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an abandoned upload could not be removed");
                }
            });
        }
    }
}

fn closed() -> StoreError {
    io::Error::new(io::ErrorKind::BrokenPipe, "the object is closed").into()
}

#[cfg(test)]
mod tests;
