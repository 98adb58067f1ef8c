//! Calls whose message is given as bytes, whatever they are.

use super::plain::Plain;
use bytes::Bytes;
use shardkeep::proto::zstdb::ItemReply;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Calls `method` of the service with exactly these bytes as the message.
pub async fn call(channel: &Channel, method: &str, message: Bytes) -> Result<ItemReply, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/Badger/{method}").parse().unwrap();
    let reply = grpc.unary(Request::new(message), path, Plain).await?;
    let reply = prost::Message::decode(reply.into_inner());
    reply.map_err(|error| Status::internal(error.to_string()))
}
