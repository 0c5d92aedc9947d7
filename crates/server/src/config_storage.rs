//! The keys of `grapevine.toml` about what is kept, where, and for how long.
//!
//! Holds no credential: those stand in a file of their own, or in the environment.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The keys of `[storage]`.
pub(crate) const STORAGE_KEYS: &[&str] = &["over_quota_hours", "retain_hours"];
/// The keys of `[archive]`.
pub(crate) const ARCHIVE_KEYS: &[&str] = &[
    "url",
    "endpoint",
    "region",
    "credentials",
    "after_days",
    "larger_than_mib",
    "every_seconds",
];

/// A person who is told that the inbox is full tidies up within a day, or is away for longer than
/// senders ought to wait without a word.
const DEFAULT_OVER_QUOTA_HOURS: u64 = 24;
/// Two days: a weekend on which nobody looks.
const DEFAULT_RETAIN_HOURS: u64 = 48;
/// What was not read for a season is seldom read again.
const DEFAULT_AFTER_DAYS: u32 = 90;
/// Once an hour: what is old is an hour older then.
const DEFAULT_EVERY_SECONDS: u64 = 3_600;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Mail for a full inbox is tried for so long, then reported.
    pub(crate) over_quota_hours: u64,
    /// A copy of each message is kept so long after its delivery; 0 for none.
    pub(crate) retain_hours: u64,
}

/// Where old and large bodies go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchiveConfig {
    /// Where.
    pub(crate) place: ArchivePlace,
    /// The file with the credentials; none for those of the environment.
    pub(crate) credentials: Option<PathBuf>,
    /// What came, or was fetched, longer ago than this goes there; 0 for all.
    pub(crate) after_days: u32,
    /// What is larger goes there on the next day.
    pub(crate) larger_than_bytes: Option<u64>,
    /// From one look to the next.
    pub(crate) every_seconds: u64,
}

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArchivePlace {
    /// A folder, on another disk or mounted.
    Folder(PathBuf),
    /// A bucket of a service that speaks S3.
    S3 {
        /// Its name.
        bucket: String,
        /// Below which names.
        prefix: String,
        /// Where the service is; none for that of the region.
        endpoint: Option<String>,
        /// Its region.
        region: Option<String>,
    },
}

/// The table `[storage]` as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct StorageTable {
    over_quota_hours: Option<u64>,
    retain_hours: Option<u64>,
}

/// The table `[archive]` as it is written.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ArchiveTable {
    url: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    credentials: Option<PathBuf>,
    after_days: Option<u32>,
    larger_than_mib: Option<u64>,
    every_seconds: Option<u64>,
}

impl StorageTable {
    /// With defaults.
    pub(crate) fn check(self) -> Storage {
        Storage {
            over_quota_hours: self.over_quota_hours.unwrap_or(DEFAULT_OVER_QUOTA_HOURS),
            retain_hours: self.retain_hours.unwrap_or(DEFAULT_RETAIN_HOURS),
        }
    }
}

impl ArchiveTable {
    /// With defaults, all paths made whole; none where there is no archive.
    pub(crate) fn check(self, folder: &Path) -> Result<Option<ArchiveConfig>, String> {
        let Some(url) = self.url else {
            return Ok(None);
        };
        let wrong =
            || format!("archive.url = {url:?}: write \"file:///FOLDER\" or \"s3://BUCKET/PREFIX\"");
        let place = if let Some(path) = url.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(wrong());
            }
            ArchivePlace::Folder(PathBuf::from(path))
        } else if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            if bucket.is_empty() || !bucket.chars().all(plain) {
                return Err(wrong());
            }
            ArchivePlace::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: self.endpoint,
                region: self.region,
            }
        } else {
            return Err(wrong());
        };
        if let ArchivePlace::S3 {
            endpoint: Some(endpoint),
            ..
        } = &place
            && !(endpoint.starts_with("https://") || endpoint.starts_with("http://"))
        {
            return Err(format!(
                "archive.endpoint = {endpoint:?}: write \"https://HOST\", or \"http://HOST:PORT\" inside a network that you trust"
            ));
        }
        Ok(Some(ArchiveConfig {
            place,
            credentials: self.credentials.map(|file| folder.join(file)),
            after_days: self.after_days.unwrap_or(DEFAULT_AFTER_DAYS),
            larger_than_bytes: self
                .larger_than_mib
                .map(|mib| mib.saturating_mul(1024 * 1024)),
            every_seconds: self.every_seconds.unwrap_or(DEFAULT_EVERY_SECONDS).max(1),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn archive(url: &str) -> Result<Option<ArchiveConfig>, String> {
        let table = ArchiveTable {
            url: Some(url.to_owned()),
            credentials: Some("keys.toml".into()),
            ..ArchiveTable::default()
        };
        table.check(Path::new("/etc/grapevine"))
    }

    #[test]
    fn an_archive_is_a_folder_or_a_bucket_and_nothing_else() {
        let folder = archive("file:///srv/archive").unwrap().unwrap();
        assert_eq!(folder.place, ArchivePlace::Folder("/srv/archive".into()));
        assert_eq!(
            folder.credentials,
            Some(PathBuf::from("/etc/grapevine/keys.toml"))
        );
        let bucket = archive("s3://mail/some/where").unwrap().unwrap();
        assert!(
            matches!(bucket.place, ArchivePlace::S3 { bucket, prefix, .. } if bucket == "mail" && prefix == "some/where")
        );
        for url in ["", "/srv", "file://srv", "s3://", "s3://a b/", "http://x/"] {
            let refused = archive(url).unwrap_err();
            assert!(refused.contains("s3://BUCKET/PREFIX"), "{url}: {refused}");
        }
        assert_eq!(ArchiveTable::default().check(Path::new("/")), Ok(None));
    }
}
