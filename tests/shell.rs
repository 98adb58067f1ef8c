//! The shell: commands line by line, through a pipe.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;
use support::program::{code, command, output, piped, said};
use support::proxy::Proxy;
use support::{Builder, Server};

fn user_keys() -> Builder {
    Server::builder().flags(["--allow-user-key", "--allow-overwrite"])
}

/// What a script writes, its exit code, and what it says beside.
fn shell(server: SocketAddr, flags: &[&str], script: &str) -> (String, i32, String) {
    let output = piped(server, &[&["shell"], flags].concat(), script.as_bytes());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (text, code(&output), said(&output))
}

#[tokio::test]
async fn a_script_is_run_line_by_line() {
    let server = user_keys().start().await;
    let script = r#"
        # a remark, and nothing
        put --key greeting --value 'hello  world'
        get greeting
        put --key "two words" --value "a \"quote\""   # another remark
        get two\ words
        scan --reverse
        rm greeting
        stat greeting
        scan
        exit
        scan
    "#;
    let (text, code, said) = shell(server.address(), &["--quiet"], script);
    let expected = "greeting\nhello  worldtwo words\na \"quote\"two words\ngreeting\ntwo words\n";
    assert_eq!(text, expected, "{said}");
    assert_eq!(code, 3, "the one that failed was not found: {said}");
    assert!(said.contains("not found: greeting"), "{said}");
}

#[tokio::test]
async fn a_namespace_is_used_by_the_commands_that_have_one() {
    let server = user_keys().start().await;
    let script = "
        ns create orders
        use orders
        put --key 1 --value one
        get 1
        cas 1 --if-absent --value two
        put --namespace default --key other --value x
        du
        rm 1
        use
        scan
        status
    ";
    let (text, code, said) = shell(server.address(), &["--output", "json"], script);
    assert_eq!(code, 2, "get writes no JSON: {said}");
    assert!(said.contains("--output json needs --out"), "{said}");
    let keys = output(server.address(), &["scan", "--namespace", "orders"]);
    assert_eq!(keys, "", "it was removed there");
    assert_eq!(output(server.address(), &["scan"]), "other\n");
    let objects = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let objects: Vec<_> = objects.map(Result::unwrap).collect();
    let kinds: Vec<_> = objects
        .iter()
        .filter_map(|it| it["error"]["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["usage", "conflict"], "{text}");
    assert!(objects.iter().any(|it| it["freed_bytes"] == 3), "{text}");
    let (text, code, _) = shell(server.address(), &["--namespace", "orders"], "scan");
    assert_eq!((text.as_str(), code), ("", 0));
}

#[tokio::test]
async fn a_line_that_is_no_command_does_not_keep_the_others_from_running() {
    let server = user_keys().start().await;
    let script = "get 'open\nno-such-command\nserve --port 0\nput --key k --value v\nhelp ns\n";
    let (text, code, said) = shell(server.address(), &[], script);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("not closed") && said.contains("no-such-command"),
        "{said}"
    );
    assert!(said.contains("serve is not for the shell"), "{said}");
    assert!(
        text.starts_with("k\n") && text.contains("describe"),
        "{text}"
    );
    let (text, code, _) = shell(server.address(), &["--stop"], script);
    assert_eq!((text.as_str(), code), ("", 2), "it stops at the first");
}

#[tokio::test]
async fn a_command_that_reads_its_input_takes_the_rest_of_the_script() {
    let server = user_keys().start().await;
    let (_, code, said) = shell(server.address(), &[], "put --user-keys --key k\nthe value");
    assert_eq!(code, 0, "{said}");
    assert_eq!(output(server.address(), &["get", "k"]), "the value");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_all_lines_and_is_made_again_when_the_server_was() {
    let place = tempfile::TempDir::new().unwrap();
    let start = || user_keys().data_dir(place.path().join("data")).start();
    let server = start().await;
    let proxy = Proxy::to(server.address()).await;
    let mut shell = command(proxy.address(), &["shell"]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut script = shell.stdin.take().unwrap();
    let mut told = BufReader::new(shell.stdout.take().unwrap());
    let mut line = |command: &str| {
        writeln!(script, "{command}").unwrap();
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    let mut version = line("cas leader --if-absent --value 0");
    for number in 1..=10 {
        version = line(&format!(
            "cas leader --if-version {version} --value {number}"
        ));
        assert_eq!(line("scan"), "leader");
    }
    assert_eq!(proxy.accepted(), 1, "connections of 21 commands");
    server.stop().await;
    let server = start().await;
    proxy.lead_to(server.address());
    line(&format!("cas leader --if-version {version} --value anew"));
    assert_eq!(line("scan"), "leader");
    assert_eq!(proxy.accepted(), 2);
    drop(script);
    assert!(shell.wait().unwrap().success());
    assert_eq!(output(server.address(), &["get", "leader"]), "anew");
}
