//! Values with their types: what one client writes another reads, as what it is.

mod support;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use shardkeep::client::{Batch, Database, PutOptions, Typed};
use shardkeep::model::ValueType;
use support::Server;

/// A value as the Python client has stored it.
#[derive(Deserialize)]
struct Stored {
    r#type: String,
    hex: String,
}

impl Stored {
    fn value_type(&self) -> ValueType {
        let all = ValueType::ALL.into_iter();
        let mut same = all.filter(|it| format!("{it:?}").to_uppercase() == self.r#type);
        same.next().expect("a type")
    }

    fn data(&self) -> Bytes {
        let byte = |at| u8::from_str_radix(&self.hex[at..at + 2], 16).expect("hex");
        (0..self.hex.len()).step_by(2).map(byte).collect()
    }
}

/// Those of `data/typed-values.jsonl`.
fn values_of_python() -> Vec<Stored> {
    let lines = include_str!("data/typed-values.jsonl").lines();
    lines.map(|it| serde_json::from_str(it).unwrap()).collect()
}

async fn start() -> (Server, shardkeep::client::Keyspace) {
    let builder = Server::builder().flags(["--allow-user-key", "--allow-overwrite"]);
    let server = builder.start().await;
    let db = Database::connect(&server.address().to_string()).await;
    let keys = db.unwrap().keyspace("");
    (server, keys)
}

#[test]
fn a_value_of_python_is_written_with_the_same_bytes() {
    let values = values_of_python();
    assert_eq!(values.len(), 39);
    for value in values {
        let (data, value_type) = (value.data(), value.value_type());
        let typed = Typed::decode(b"k", &data, value_type).unwrap();
        assert_eq!(typed.encode().unwrap(), data, "{typed:?}");
        assert_eq!(typed.value_type(), value_type);
    }
}

#[test]
fn values_of_rust_have_the_bytes_and_types_of_python() {
    let values: [(Typed, ValueType, &[u8]); 9] = [
        (vec![0, 255].into(), ValueType::Bytes, b"\x00\xff"),
        ("text".into(), ValueType::Text, b"text"),
        ((-7).into(), ValueType::Int64, b"-7"),
        (1.0.into(), ValueType::Double, b"1.0"),
        (1e16.into(), ValueType::Double, b"1e+16"),
        (0.000_01.into(), ValueType::Double, b"1e-05"),
        (true.into(), ValueType::Bool, b"true"),
        (false.into(), ValueType::Bool, b"false"),
        (
            json!({"a": [1, 1e16, null, "é\n"]}).into(),
            ValueType::Json,
            "{\"a\":[1,1e+16,null,\"é\\n\"]}".as_bytes(),
        ),
    ];
    for (value, value_type, data) in values {
        assert_eq!(value.encode().unwrap(), data);
        assert_eq!(value.value_type(), value_type);
    }
}

#[tokio::test]
async fn a_value_comes_back_as_what_it_was() {
    let (server, keys) = start().await;
    let values: [Typed; 6] = [
        Bytes::from_static(b"\x00").into(),
        "text".into(),
        i64::MIN.into(),
        0.1.into(),
        false.into(),
        json!({"list": [1, 2.5]}).into(),
    ];
    for value in values {
        let options = PutOptions::default();
        keys.put_typed("k", value.clone(), options).await.unwrap();
        let stored = keys.get("k").await.unwrap().unwrap();
        assert_eq!(stored.data, value.encode().unwrap());
        assert_eq!(stored.entry.value_type, value.value_type());
        assert_eq!(keys.get_typed("k").await.unwrap(), Some(value));
    }
    let options = PutOptions::default();
    let batch = Batch::new().put_typed("b", true, options).unwrap();
    keys.commit(batch).await.unwrap();
    assert_eq!(keys.get_typed("b").await.unwrap(), Some(true.into()));
    keys.increment("n", 5).await.unwrap();
    assert_eq!(keys.get_typed("n").await.unwrap(), Some(Typed::Int(5)));
    assert_eq!(keys.get_typed("none").await.unwrap(), None);
    server.stop().await;
}
