//! Compiles the protos with `protox`, so that no `protoc` is needed on the machine.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let native = std::fs::read_dir("proto/shardkeep/v1")?;
    let mut protos = native
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    protos.push("proto/zstdb.proto".into());
    protos.sort();
    let descriptors = protox::compile(protos, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), prost_types_bytes(&descriptors))?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".shardkeep")
        .compile_fds(descriptors)?;
    // A peer that `bench` compares with: only its client, and nothing of it in our reflection.
    tonic_prost_build::configure()
        .bytes(".")
        .build_server(false)
        .compile_fds(protox::compile(["etcd_kv.proto"], ["proto"])?)?;
    Ok(())
}

/// The descriptor set in its wire form, for the reflection service.
fn prost_types_bytes(descriptors: &prost_types::FileDescriptorSet) -> Vec<u8> {
    use prost::Message as _;
    descriptors.encode_to_vec()
}
