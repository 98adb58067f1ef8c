//! Room: gateway/grpc/zstdb.
