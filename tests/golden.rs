//! Every observed answer of the original server, reproduced by ours.

mod support;

use bytes::Bytes;
use serde_json::Value;
use shardkeep::proto::zstdb::badger_client::BadgerClient;
use shardkeep::proto::zstdb::{Item, ItemReply, ListFilter};
use support::{Server, raw};
use tonic::transport::Channel;

const GOLDEN: &str = include_str!("data/golden.jsonl");

#[tokio::test]
async fn every_answer_is_the_one_that_was_observed() {
    let cases: Vec<Value> = GOLDEN
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), 94);
    let mut differences = Vec::new();
    for cases in cases.chunk_by(|one, next| one["flags"] == next["flags"]) {
        run(cases, &mut differences).await;
    }
    assert!(
        differences.is_empty(),
        "{} answers differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Runs cases of equal flags on one fresh server.
async fn run(cases: &[Value], differences: &mut Vec<String>) {
    let flags = cases[0]["flags"].as_array().unwrap();
    let flags = flags.iter().map(|flag| flag.as_str().unwrap());
    let server = Server::builder().flags(flags).start().await;
    let channel = server.channel().await;
    for case in cases {
        let got = answer(&channel, case).await;
        let wanted = &case["reply"];
        if !agree(case, &got, wanted) {
            differences.push(format!(
                "{} {}:\n  got    {got}\n  wanted {wanted}",
                case["flags"], case["case"]
            ));
        }
    }
    server.stop().await;
}

async fn answer(channel: &Channel, case: &Value) -> Value {
    let method = case["method"].as_str().unwrap();
    let request = &case["request"];
    if let Some(hex) = request["raw_hex"].as_str() {
        let reply = raw::call(channel, method, unhex(hex)).await;
        return described(&reply.unwrap());
    }
    let mut client = BadgerClient::new(channel.clone());
    if method == "List" {
        let filter = ListFilter {
            prefix: request["prefix"].as_str().unwrap().to_owned(),
            pagenum: i32::try_from(request["pagenum"].as_i64().unwrap()).unwrap(),
        };
        let reply = client.list(filter).await.unwrap().into_inner();
        return serde_json::json!({ "keys": reply.keys });
    }
    let item = Item {
        key: bytes_of(&request["key"]),
        data: bytes_of(&request["data"]),
        ver64: request["ver64"].as_u64().unwrap(),
        sum64: request["sum64"].as_u64().unwrap(),
    };
    let reply = match method {
        "Set" => client.set(item).await,
        "Get" => client.get(item).await,
        "Delete" => client.delete(item).await,
        "Exists" => client.exists(item).await,
        "Count" => client.count(item).await,
        "Ping" => client.ping(item).await,
        "Admin" => client.admin(item).await,
        "Status" => client.status(item).await,
        other => panic!("the golden file has a method {other}"),
    };
    described(&reply.unwrap().into_inner())
}

fn agree(case: &Value, got: &Value, wanted: &Value) -> bool {
    let is_status = case["method"] == "Admin" && case["request"]["key"]["utf8"] == "status";
    if !is_status {
        return got == wanted;
    }
    let (mut got_rest, mut wanted_rest) = (got.clone(), wanted.clone());
    let got_data = got_rest["data"].take();
    let wanted_data = wanted_rest["data"].take();
    got_rest == wanted_rest && same_status(&got_data, &wanted_data)
}

/// Sizes and times are the machine's own; their names, their order and their form are not.
fn same_status(got: &Value, wanted: &Value) -> bool {
    let own = |name: &str| matches!(name, "elapse_ms" | "lsm_size" | "vlog_size");
    let members = |data: &Value| -> Option<Vec<(String, String)>> {
        let line = data["utf8"].as_str()?.strip_suffix("}\n")?;
        let line = line.strip_prefix('{')?;
        let members = line.split(',').map(|member| {
            let (name, value) = member.split_once(':')?;
            let name = name.strip_prefix('"')?.strip_suffix('"')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            value.parse::<u64>().ok()?;
            let value = if own(name) { "" } else { value };
            Some((name.to_owned(), value.to_owned()))
        });
        members.collect()
    };
    members(wanted).is_some() && members(got) == members(wanted)
}

fn described(reply: &ItemReply) -> Value {
    serde_json::json!({
        "errcode": reply.errcode,
        "status": describe_bytes(&reply.status),
        "key": describe_bytes(&reply.key),
        "data": describe_bytes(&reply.data),
        "ver64": reply.ver64,
        "sum64": reply.sum64,
    })
}

fn describe_bytes(bytes: &Bytes) -> Value {
    if bytes.is_empty() {
        return serde_json::json!({ "empty": true });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::json!({ "utf8": text }),
        Err(_binary) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            serde_json::json!({ "hex": hex })
        }
    }
}

fn bytes_of(described: &Value) -> Bytes {
    if described["empty"] == true {
        return Bytes::new();
    }
    match (described["utf8"].as_str(), described["hex"].as_str()) {
        (Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
        (None, Some(hex)) => unhex(hex),
        _ => panic!("not a description of bytes: {described}"),
    }
}

fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
