//! Sockets of this machine: the operator's, and LMTP's.
//!
//! Must never remove what is no socket, whatever path a configuration names.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::UnixListener;

/// What Linux allows, less the zero at the end.
const PATH_MAX_BYTES: usize = 107;

/// Opens a socket with this mode; one that a killed server left behind is replaced.
///
/// # Errors
/// Whatever the file system says, in one line.
pub(crate) fn listen(path: &Path, mode: u32) -> Result<UnixListener, String> {
    let say = |error: io::Error| format!("{}: {error}", path.display());
    if path.as_os_str().len() > PATH_MAX_BYTES {
        return Err(format!(
            "{}: longer than the {PATH_MAX_BYTES} bytes that a socket's path may have; choose a shorter one",
            path.display()
        ));
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path).map_err(say)?,
        Ok(_) => {
            return Err(format!(
                "{}: there is something else, and it is not removed",
                path.display()
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(say(error)),
    }
    let listener = UnixListener::bind(path).map_err(say)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(say)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lmtp.sock");
        drop(listen(&path, 0o600).unwrap());
        assert!(listen(&path, 0o600).is_ok());
        let file = dir.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(listen(&file, 0o600).unwrap_err().contains("not removed"));
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
