//! The configuration as an operator meets it: layers, origins, and messages that name the remedy.

use shardkeep::config::{
    Config, Durability, KeyMode, Layers, Loaded, LogFormat, Problem, Schedule,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    load_with(file, environment, &[])
}

fn load_with(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str, &'static str)],
) -> Result<Loaded, Vec<Problem>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shardkeep.toml");
    std::fs::write(&path, file).unwrap();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let flags = flags
        .iter()
        .map(|(key, value, flag)| (*key, (*value).to_owned(), *flag));
    Layers::new()
        .file(Some(&path))
        .environment(environment.iter().map(owned))
        .flags(flags.collect())
        .load()
        .map_err(|error| error.problems().to_vec())
}

fn config(file: &str) -> Config {
    match load(file, &[]) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// The message about the one thing that is wrong.
fn problem(file: &str) -> String {
    let problems = load(file, &[]).expect_err("this configuration is wrong");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = Layers::new().load().unwrap().config;
    assert_eq!(config.server.host, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(config.server.port, 8282);
    assert_eq!(config.server.max_upload_size, 16 * MIB);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.admin.password, None);
    assert_eq!(config.storage.data_dir, Path::new("./data"));
    assert_eq!(config.storage.shards, None);
    assert_eq!(config.storage.durability, Durability::Sync);
    assert_eq!(config.keys.mode, KeyMode::Content);
    assert!(!config.keys.overwrite);
    assert_eq!(
        config.keys.tombstone_retention,
        Duration::from_secs(30 * 24 * 3600)
    );
    assert_eq!(config.compression.level, 3);
    assert_eq!(config.compression.min_gain, 0.05);
    assert_eq!(config.disk.min_free, 4096 * MIB);
    assert_eq!(config.backup.dir, Path::new("./data/backups"));
    assert!(config.backup.auto_dir.is_none() && config.backup.auto_every.is_none());
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn every_default_is_explained_in_the_default_file() {
    let text = include_str!("../config/default.toml");
    let mut explained = false;
    for line in text.lines() {
        let is_key = !line.is_empty() && !line.starts_with(['#', '[']);
        assert!(!is_key || explained, "no comment above {line:?}");
        explained = line.starts_with('#');
    }
}

#[test]
fn each_layer_wins_over_the_one_before_and_entries_say_which() {
    let loaded = load_with(
        "[server]\nport = 1\nmax_connections = 2\nhost = \"::1\"",
        &[
            ("SHARDKEEP__SERVER__PORT", "3"),
            ("SHARDKEEP__SERVER__MAX_CONNECTIONS", "4"),
            ("HOME", "/nowhere"),
        ],
        &[("server.port", "5", "--port")],
    )
    .unwrap();
    let origin = |key: &str| {
        let entries = loaded.entries();
        let entry = entries.into_iter().find(|it| it.key == key).unwrap();
        (entry.value.unwrap(), entry.origin)
    };
    assert_eq!(origin("server.port"), ("5".into(), "flag --port".into()));
    let variable = "environment variable SHARDKEEP__SERVER__MAX_CONNECTIONS";
    assert_eq!(
        origin("server.max_connections"),
        ("4".into(), variable.into())
    );
    assert_eq!(origin("server.host").0, "::1");
    assert!(origin("server.host").1.starts_with("file /"));
    assert!(origin("server.host").1.ends_with("shardkeep.toml"));
    assert_eq!(
        origin("server.keepalive_timeout"),
        ("10s".into(), "default".into())
    );
    assert_eq!(loaded.config.server.port, 5);
    assert_eq!(loaded.config.server.max_connections, 4);
}

#[test]
fn the_backup_directory_follows_the_data_directory() {
    let loaded = load("[storage]\ndata_dir = \"/srv/x\"", &[]).unwrap();
    assert_eq!(loaded.config.backup.dir, Path::new("/srv/x/backups"));
    let entries = loaded.entries();
    let entry = entries.iter().find(|it| it.key == "backup.dir").unwrap();
    assert_eq!(entry.value.as_deref(), Some("/srv/x/backups"));
    assert_eq!(entry.origin, "default");
}

#[test]
fn zstdbs_variable_names_the_data_directory_unless_ours_does() {
    let data_dir = |environment| load("", environment).unwrap().config.storage.data_dir;
    assert_eq!(data_dir(&[("zstdb_data", "/a")]), Path::new("/a"));
    let both = [("SHARDKEEP__STORAGE__DATA_DIR", "/b"), ("zstdb_data", "/a")];
    assert_eq!(data_dir(&both), Path::new("/b"));
}

#[test]
fn sizes_and_times_are_read_with_units_and_sizes_without() {
    let config = config(
        "[server]\nmax_upload_size = 1048576\nrequest_timeout = \"1m 30s\"\n[disk]\nmin_free = \"2 GB\"",
    );
    assert_eq!(config.server.max_upload_size, MIB);
    assert_eq!(config.server.request_timeout, Duration::from_secs(90));
    assert_eq!(config.disk.min_free, 2_000_000_000);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let message = problem("[server]\nmax_upload_sise = 5");
    assert!(
        message.starts_with("server.max_upload_sise (file /"),
        "{message}"
    );
    assert!(
        message.contains("did you mean server.max_upload_size?"),
        "{message}"
    );
    let message = problem("[sever]\nport = 5");
    assert!(message.contains("did you mean server.port?"), "{message}");
    assert!(problem("[serve]").contains("serve ("));
}

#[test]
fn an_unknown_variable_of_ours_is_refused_and_its_value_kept_secret() {
    let problems = load("", &[("SHARDKEEP__ADMIN__PASWORD", "hunter2")]).unwrap_err();
    let message = problems[0].to_string();
    assert!(
        message.contains("did you mean SHARDKEEP__ADMIN__PASSWORD?"),
        "{message}"
    );
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_key_of_the_wrong_shape_is_refused() {
    assert!(problem("server = 5").contains("write [server]"));
    assert!(problem("[server]\nport = [1, 2]").contains("give one value"));
    assert!(problem("[server.port]\nx = 1").contains("server.port.x"));
}

#[test]
fn everything_wrong_is_said_at_once_with_value_origin_and_remedy() {
    let problems = load_with(
        "[server]\nport = 70000\n[storage]\ndurability = \"maybe\"\n[gc]\nlive_threshold = 1.5",
        &[("SHARDKEEP__COMPRESSION__LEVEL", "22")],
        &[("server.max_upload_size", "2000 MiB", "--max-upload-size-mb")],
    )
    .unwrap_err();
    let all = problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(problems.len(), 5, "{all}");
    for part in [
        "server.port = \"70000\" (file /",
        "give a number from 0 to 65535",
        "storage.durability = \"maybe\"",
        "give \"sync\" or \"os\"",
        "gc.live_threshold = \"1.5\"",
        "compression.level = \"22\" (environment variable SHARDKEEP__COMPRESSION__LEVEL)",
        "server.max_upload_size = \"2000 MiB\" (flag --max-upload-size-mb): out of range; \
         give a size from 1 KiB to 1 GiB",
    ] {
        assert!(all.contains(part), "{part}\nis missing in\n{all}");
    }
}

#[test]
fn impossible_values_are_refused() {
    for (section, key, value) in [
        ("server", "host", "\"example.com\""),
        // Most often a variable of a script that is not set: no reason to listen everywhere.
        ("server", "host", "\"\""),
        ("server", "port", "8282.5"),
        ("server", "port", "-1"),
        ("server", "stream_window", "2147483648"),
        ("server", "connection_window", "1000"),
        ("server", "request_timeout", "60"),
        ("server", "request_timeout", "\"0s\""),
        ("server", "max_connections", "0"),
        ("server", "max_upload_size", "\"17 parsecs\""),
        ("storage", "data_dir", "\"\""),
        ("storage", "shards", "0"),
        ("storage", "shards", "1025"),
        ("storage", "shards", "\"many\""),
        ("keys", "mode", "\"both\""),
        ("keys", "overwrite", "\"yes please\""),
        ("compression", "level", "-1"),
        ("compression", "min_gain", "nan"),
        ("compression", "threads", "0"),
        ("dedup", "min_size", "0"),
        ("gc", "live_threshold", "-0.1"),
        ("gc", "live_threshold", "1.0"),
        ("supervise", "writer_timeout", "\"0s\""),
        ("backup", "auto_every", "\"@every never\""),
        ("log", "level", "\"debgu\""),
        ("log", "format", "\"xml\""),
        ("log", "max_size", "10"),
    ] {
        let message = problem(&format!("[{section}]\n{key} = {value}"));
        assert!(
            message.starts_with(&format!("{section}.{key} = ")),
            "{message}"
        );
    }
}

#[test]
fn every_key_of_the_default_file_is_read_and_checked() {
    let defaults = Layers::new().load().unwrap().entries();
    assert!(defaults.len() > 50);
    for key in defaults.iter().map(|it| it.key.as_str()) {
        let variable = format!("SHARDKEEP__{}", key.to_uppercase().replace('.', "__"));
        let refused = load("", &[(&variable, "\0")]).is_err();
        assert_eq!(refused, key != "admin.password", "{key}");
    }
}

#[test]
fn contradictions_name_both_sides() {
    let message = problem("[storage]\nsegment_size = \"8 MiB\"");
    assert!(
        message.starts_with("storage.segment_size = \"8 MiB\""),
        "{message}"
    );
    assert!(
        message.contains("server.max_upload_size = \"16 MiB\" (default)"),
        "{message}"
    );
    let message = problem("[admission]\nbytes_in_flight = \"8 MiB\"");
    assert!(
        message.contains("or lower server.max_upload_size"),
        "{message}"
    );
    let message = problem("[server]\nstream_window = \"32 MiB\"");
    assert!(message.starts_with("server.connection_window"), "{message}");
    assert!(problem("[backup]\nauto_dir = \"x\"").contains("--auto-backup-every"));
    assert!(problem("[backup]\nauto_every = \"@daily\"").contains("--auto-backup-dir"));
}

#[test]
fn scheduled_backups_stay_inside_the_backup_directory() {
    let with = |dir: &str| {
        format!("[backup]\ndir = \"/b\"\nauto_every = \"@every 1h30m\"\nauto_dir = \"{dir}\"")
    };
    let inside = config(&with("/b/nightly")).backup;
    assert_eq!(
        inside.dir.join(inside.auto_dir.unwrap()),
        Path::new("/b/./nightly")
    );
    assert!(matches!(inside.auto_every, Some(Schedule::Every(it)) if it.as_secs() == 5400));
    assert_eq!(
        config(&with("nightly")).backup.auto_dir.unwrap(),
        Path::new("nightly")
    );
    for outside in ["/elsewhere", "/bb", "../x", "/b/../x"] {
        assert!(
            problem(&with(outside)).contains("--backup-dir"),
            "{outside}"
        );
    }
}

#[test]
fn zstdbs_backup_directory_alone_is_the_one_that_backups_are_confined_to() {
    let zstdbs = "[backup]\nauto_every = \"@every 1h30m\"\nauto_dir = \"/srv/backups\"";
    let backup = config(zstdbs).backup;
    assert_eq!(backup.dir, Path::new("/srv/backups"));
    assert_eq!(backup.auto_dir.unwrap(), Path::new("."));
}

#[test]
fn overwrite_is_accepted_in_content_mode_as_zstdb_does() {
    assert!(config("[keys]\noverwrite = true").keys.overwrite);
}

#[test]
fn two_flags_for_one_key_must_agree() {
    let flags = |second| {
        let first = ("storage.data_dir", "/a", "--data-dir");
        load_with(
            "",
            &[],
            &[first, ("storage.data_dir", second, "--alt-data-dir")],
        )
    };
    assert_eq!(
        flags("/a").unwrap().config.storage.data_dir,
        Path::new("/a")
    );
    let message = flags("/b").unwrap_err()[0].to_string();
    assert!(
        message.contains("--alt-data-dir): contradicts \"/a\" (flag --data-dir)"),
        "{message}"
    );
}

#[test]
fn a_password_is_never_shown() {
    let loaded = load("[admin]\npassword = \"hunter2\"", &[]).unwrap();
    assert_eq!(loaded.config.admin.password.as_deref(), Some("hunter2"));
    assert!(!format!("{:?} {:?}", loaded.entries(), loaded.config).contains("hunter2"));
}

#[test]
fn a_file_that_is_missing_or_not_toml_is_named() {
    let missing = Layers::new()
        .file(Some(Path::new("/no/such.toml")))
        .load()
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("\"/no/such.toml\" (flag --config): cannot be read")
    );
    let message = problem("[server\nport = 1");
    assert!(
        message.contains("not TOML") && message.contains("line 1"),
        "{message}"
    );
}
