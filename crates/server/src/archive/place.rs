//! Where the archive is: a folder, or a bucket of a service that speaks S3.
//!
//! Must never print a credential, and never make a folder that is not there: an archive that is not mounted is away.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use grapevine_model::ServerName;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use serde::Deserialize;

use super::{Archive, WRITE_LIMIT};
use crate::config_storage::{ArchiveConfig, ArchivePlace};

/// A connection to the service comes about within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A request that failed is repeated by the client itself so often, and for so long: a person may wait for it.
const RETRIES: usize = 2;
const RETRY_LIMIT: Duration = Duration::from_secs(8);
/// A larger file has no credentials in it.
const MAX_CREDENTIALS_BYTES: u64 = 64 * 1024;

/// The file of `archive.credentials`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

/// The archive of this configuration, and this server's own part of it.
///
/// # Errors
/// One line that says what is wrong; no secret is in it.
pub(super) fn open(
    config: &ArchiveConfig,
    server: &ServerName,
    id: u64,
) -> Result<Archive, String> {
    let (store, root): (Arc<dyn ObjectStore>, &str) = match &config.place {
        ArchivePlace::Folder(folder) => {
            let store = LocalFileSystem::new_with_prefix(folder)
                .map_err(|_| format!("archive.url: {} is no folder", folder.display()))?;
            (Arc::new(store.with_fsync(true)), "")
        }
        ArchivePlace::S3 {
            bucket,
            prefix,
            endpoint,
            region,
        } => {
            let mut builder = match &config.credentials {
                Some(file) => {
                    let found = credentials(file)?;
                    let mut builder = AmazonS3Builder::new()
                        .with_access_key_id(found.access_key_id)
                        .with_secret_access_key(found.secret_access_key);
                    if let Some(token) = found.session_token {
                        builder = builder.with_token(token);
                    }
                    builder
                }
                None => AmazonS3Builder::from_env(),
            };
            if let Some(endpoint) = endpoint {
                builder = builder
                    .with_endpoint(endpoint)
                    .with_allow_http(endpoint.starts_with("http://"));
            }
            if let Some(region) = region {
                builder = builder.with_region(region);
            }
            let options = ClientOptions::new()
                .with_allow_http(endpoint.as_ref().is_some_and(|e| e.starts_with("http://")))
                .with_connect_timeout(CONNECT_LIMIT)
                .with_timeout(WRITE_LIMIT);
            let retry = RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_LIMIT,
                ..RetryConfig::default()
            };
            let store = builder
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_retry(retry)
                .build()
                // The text of this error may name what was given.
                .map_err(|_| format!("archive.url: the bucket {bucket} can't be used with these settings; see archive.endpoint, archive.region and the credentials"))?;
            (Arc::new(store), prefix)
        }
    };
    let own = format!("{}-{id:016x}", server.as_str());
    let prefix = root
        .split('/')
        .filter(|part| !part.is_empty())
        .fold(Path::default(), |path, part| path.join(part));
    Ok(Archive::new(store, prefix.join(own)))
}

fn credentials(file: &FilePath) -> Result<Credentials, String> {
    let say = |why: &str| format!("archive.credentials: {}: {why}", file.display());
    let size = std::fs::metadata(file).map_err(|error| say(&error.to_string()))?;
    if size.len() > MAX_CREDENTIALS_BYTES {
        return Err(say("too large"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| say(&error.to_string()))?;
    // The parser's own error would quote the line.
    toml::from_str(&text).map_err(|_| {
        say("it is to have access_key_id = \"...\" and secret_access_key = \"...\", and may have session_token")
    })
}
