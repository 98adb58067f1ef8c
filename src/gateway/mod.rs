//! Room: gateway.
pub mod grpc;
