//! The sources of the shard that are asked about, and stand-ins for their neighbours.

#[path = "../../src/shard/cut.rs"]
pub mod cut;
#[path = "../../src/shard/epoch.rs"]
pub mod epoch;
#[path = "../../src/shard/error.rs"]
pub mod error;
#[path = "../../src/shard/handle.rs"]
pub mod handle;
#[path = "../../src/shard/message.rs"]
pub mod message;
#[path = "../../src/shard/pin.rs"]
pub mod pin;

/// Answers go straight back: handing them over core by core is the actor's affair.
pub mod courier {
    #[derive(Debug, Clone)]
    pub struct Courier;

    impl Courier {
        pub fn here() -> Self {
            Self
        }
    }
}

mod stand_in;

use stand_in::{actor, meter, reader, snapshot, store};

pub mod questions;
