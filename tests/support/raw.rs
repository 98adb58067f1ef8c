//! Calls whose message is given as bytes, whatever they are.

use bytes::{Buf as _, BufMut as _, Bytes};
use shardkeep::proto::zstdb::ItemReply;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Calls `method` of the service with exactly these bytes as the message.
pub async fn call(channel: &Channel, method: &str, message: Bytes) -> Result<ItemReply, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/Badger/{method}").parse().unwrap();
    let reply = grpc.unary(Request::new(message), path, RawCodec).await?;
    Ok(reply.into_inner())
}

#[derive(Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = ItemReply;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = ItemReply;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<ItemReply>, Status> {
        let message = buffer.copy_to_bytes(buffer.remaining());
        let reply = prost::Message::decode(message);
        reply
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
