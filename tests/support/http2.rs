//! HTTP/2 by hand, for what no decent client would send.

use prost::Message;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What every HTTP/2 connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

/// The flag of SETTINGS and PING that are answers.
pub const ACK: u8 = 1;

/// Flags of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The HEADERS frame of a call of zstdb's protocol.
pub fn call_headers(stream: u32, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, &format!("/Badger/{method}"), more)
}

/// The HEADERS frame of a call.
pub fn headers(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in usual.iter().chain(more) {
        // A literal field that is not indexed, with a literal name (RFC 7541, section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(
                u8::try_from(text.len())
                    .ok()
                    .filter(|len| *len < 127)
                    .unwrap(),
            );
            block.extend_from_slice(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A gRPC message: a flag, a length, and the bytes.
pub fn grpc_message(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// A connection that has said the preface and its settings.
pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    stream.write_all(PREFACE).await.unwrap();
    let settings = frame(SETTINGS, 0, 0, &payload);
    stream.write_all(&settings).await.unwrap();
    stream
}

/// The next frame as (kind, flags, stream, payload); `None` when the connection has ended.
pub async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.ok()?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    Some((header[3], header[4], id, payload))
}

/// Returns when the peer has seen everything that was written so far: frames are taken in their order,
/// and it answers a ping that comes behind them.
pub async fn seen(stream: &mut TcpStream) {
    const PAYLOAD: &[u8; 8] = b"all seen";
    let ping = frame(PING, 0, 0, PAYLOAD);
    stream.write_all(&ping).await.unwrap();
    let answered = async {
        while let Some((kind, flags, _, payload)) = read_frame(stream).await {
            if (kind, flags) == (PING, ACK) && payload == PAYLOAD {
                return true;
            }
        }
        false
    };
    let answered = tokio::time::timeout(super::PATIENCE, answered).await;
    assert_eq!(answered, Ok(true), "the ping is not answered");
}

/// Reads until the peer ends the connection.
pub async fn read_to_end(stream: &mut TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
