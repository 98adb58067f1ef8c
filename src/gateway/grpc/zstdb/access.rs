//! Who may administrate.

use crate::config;
use crate::gateway::grpc::connection::Peer;
use crate::model::{Error, ErrorKind};
use crate::proto::zstdb::Item;
use tonic::Request;
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
            password_sum64: password.map(|password| xxh64(password.as_bytes(), 0)),
        }
    }

    /// Whether the request comes from an administrator.
    ///
    /// # Errors
    /// `Denied` with the remedy.
    pub(super) fn admin_of(&self, request: &Request<Item>) -> Result<(), Error> {
        let denied =
            |reason, message: &'static str| Err(Error::new(ErrorKind::Denied, reason, message));
        match self.password_sum64 {
            // One comparison of two words: its time tells nothing about them.
            Some(sum64) if sum64 == request.get_ref().sum64 => Ok(()),
            Some(_) => denied("PASSWORD_MISMATCH", "Forbidden"),
            None if is_loopback(request) => Ok(()),
            None => denied(
                "PASSWORD_MISSING",
                "Forbidden: without admin.password only clients on the server's own machine may administrate",
            ),
        }
    }
}

fn is_loopback(request: &Request<Item>) -> bool {
    let peer = request.extensions().get::<Peer>();
    peer.is_some_and(Peer::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(from: Option<&str>, sum64: u64) -> Request<Item> {
        let mut request = Request::new(Item {
            sum64,
            ..Item::default()
        });
        if let Some(from) = from {
            let peer = Peer::at(from.parse().unwrap());
            request.extensions_mut().insert(peer);
        }
        request
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
        assert!(access.admin_of(&request(Some("10.0.0.1:9"), sum64)).is_ok());
        for sum64 in [0, 1, sum64 + 1] {
            let denied = access
                .admin_of(&request(Some("127.0.0.1:9"), sum64))
                .unwrap_err();
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
            assert!(access.admin_of(&request(Some(from), 0)).is_ok(), "{from}");
        }
        for from in [Some("10.0.0.1:9"), Some("[::ffff:10.0.0.1]:9"), None] {
            assert!(access.admin_of(&request(from, 0)).is_err(), "{from:?}");
        }
    }
}
