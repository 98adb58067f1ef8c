//! Who may administrate, in whichever protocol.

use super::connection::Peer;
use crate::config;
use crate::model::{Error, ErrorKind, Result};
use xxhash_rust::xxh64::xxh64;

/// The rule. With a password its checksum opens; without one, being on this machine does.
pub(super) struct Access {
    password_sum64: Option<u64>,
}

impl Access {
    /// The rule that `admin` makes.
    pub(super) fn new(admin: &config::Admin) -> Self {
        let password = admin.password.as_deref();
        Self {
            password_sum64: password.map(|password| sum64_of(password.as_bytes())),
        }
    }

    /// Whether a request is an administrator's: by where it comes from and the checksum of the
    /// password that it brings, if it brings one.
    ///
    /// # Errors
    /// `Denied` (`PASSWORD_MISMATCH`, `PASSWORD_MISSING`) with the remedy.
    pub(super) fn check(&self, peer: Option<&Peer>, sum64: Option<u64>) -> Result<()> {
        let denied =
            |reason, message: &'static str| Err(Error::new(ErrorKind::Denied, reason, message));
        match self.password_sum64 {
            // One comparison of two words: its time tells nothing about them.
            Some(password) if Some(password) == sum64 => Ok(()),
            Some(_) => denied(
                "PASSWORD_MISMATCH",
                "Forbidden: the administrator's password is missing or wrong (admin.password)",
            ),
            None if peer.is_some_and(Peer::is_loopback) => Ok(()),
            None => denied(
                "PASSWORD_MISSING",
                "Forbidden: without admin.password only clients on the server's own machine may administrate",
            ),
        }
    }
}

/// The checksum of a password.
pub(super) fn sum64_of(password: &[u8]) -> u64 {
    xxh64(password, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(from: &str) -> Peer {
        Peer::at(from.parse().unwrap())
    }

    fn access(password: Option<&str>) -> Access {
        Access::new(&config::Admin {
            password: password.map(str::to_owned),
        })
    }

    #[test]
    fn with_a_password_only_its_checksum_opens() {
        let access = access(Some("123"));
        let sum64 = 4_353_148_100_880_623_749;
        assert_eq!(sum64_of(b"123"), sum64);
        assert!(access.check(Some(&peer("10.0.0.1:9")), Some(sum64)).is_ok());
        for sum64 in [None, Some(0), Some(1), Some(sum64 + 1)] {
            let here = peer("127.0.0.1:9");
            let denied = access.check(Some(&here), sum64).unwrap_err();
            assert_eq!(denied.kind(), ErrorKind::Denied);
        }
    }

    #[test]
    fn without_a_password_only_this_machine_may() {
        let access = access(None);
        for from in [
            "127.0.0.1:9",
            "127.8.8.8:9",
            "[::1]:9",
            "[::ffff:127.0.0.1]:9",
        ] {
            assert!(access.check(Some(&peer(from)), None).is_ok(), "{from}");
        }
        for from in [Some("10.0.0.1:9"), Some("[::ffff:10.0.0.1]:9"), None] {
            let peer = from.map(peer);
            assert!(access.check(peer.as_ref(), Some(0)).is_err(), "{from:?}");
        }
    }
}
