//! Room: gateway/grpc.
pub mod zstdb;
