//! Protocol fronts: bytes in, bytes out, no decisions about data.
//!
//! A front knows its wire format, its own limits and how to spell errors. What a request means is
//! decided in [`crate::service`].

pub mod grpc;
