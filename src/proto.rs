//! What the wire speaks: the code that `build.rs` generates from `proto/`, and its descriptors.
//!
//! Servers and clients share it. Nothing is added here; rules about messages live with who uses
//! them.

/// zstdb's protocol: service `Badger`, which has no package.
#[allow(missing_docs, clippy::pedantic)]
pub mod zstdb {
    tonic::include_proto!("_");
}

/// The native protocol: package `shardkeep.v1`.
#[allow(missing_docs, clippy::pedantic, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("shardkeep.v1");
}

/// The part of etcd's protocol that `bench etcd` speaks.
#[allow(missing_docs, clippy::pedantic)]
pub mod etcd {
    tonic::include_proto!("etcdserverpb");
}

/// The compiled `FileDescriptorSet` of what this server speaks, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
