//! Memory: the process keeps what it may hold for others well under what the machine, or the control
//! group that it runs in, lets it have. A process that takes more is killed without a word.

use crate::config::Config;
use crate::config::format_size;
use std::path::Path;

/// Requests, their sealed forms and replies may each take as much as `admission.bytes_in_flight`:
/// together three of these shares.
const IN_FLIGHT_SHARE: u64 = 8;
/// What a connection may send before it is asked, so that a hundred of them stay under a tenth.
const WINDOW_SHARE: u64 = 1024;
/// Smaller windows would stop a sender at each round trip.
const WINDOW_MIN: u32 = 64 * 1024;

/// Lowers what the configuration lets in where the memory would not suffice, and says so.
pub(super) fn fit(config: &mut Config) {
    let Some(memory) = limit() else { return };
    lower(config, memory);
}

fn lower(config: &mut Config, memory: u64) {
    let affordable = (memory / IN_FLIGHT_SHARE).max(config.server.max_upload_size);
    if affordable < config.admission.bytes_in_flight {
        tracing::warn!(
            wanted = format_size(config.admission.bytes_in_flight),
            allowed = format_size(affordable),
            memory = format_size(memory),
            "admission.bytes_in_flight is more than an eighth of the memory of this process; less is let in. Set it lower, or raise the limit"
        );
        config.admission.bytes_in_flight = affordable;
    }
    let window = u32::try_from(memory / WINDOW_SHARE).unwrap_or(u32::MAX);
    let window = window.max(WINDOW_MIN);
    config.server.stream_window = config.server.stream_window.min(window);
    config.server.connection_window = config.server.connection_window.min(window);
}

/// Bytes that this process may take; `None` where nobody says.
fn limit() -> Option<u64> {
    fail::fail_point!("memory::limit", |_| None);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = groups.lines().filter_map(limit_of_group);
    of_groups.chain(machine()).min()
}

fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = kib.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The least limit of a control group and those above it, from a line of `/proc/self/cgroup`
/// (`man 7 cgroups`). A container may see its own group as the root.
fn limit_of_group(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (root, file) = if controllers.is_empty() {
        ("/sys/fs/cgroup", "memory.max")
    } else if controllers.split(',').any(|it| it == "memory") {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    } else {
        return None;
    };
    let root = Path::new(root);
    let own = root.join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups
        .filter_map(|group| std::fs::read_to_string(group.join(file)).ok())
        .filter_map(|text| text.trim().parse().ok()) // "max" is no limit.
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn config() -> Config {
        Layers::new().load().unwrap().config
    }

    #[test]
    fn plenty_of_memory_changes_nothing() {
        let (mut config, before) = (config(), config());
        lower(&mut config, 64 << 30);
        assert_eq!(
            config.admission.bytes_in_flight,
            before.admission.bytes_in_flight
        );
        assert_eq!(config.server.stream_window, before.server.stream_window);
    }

    #[test]
    fn little_memory_lets_less_in_but_always_one_value() {
        let mut config = config();
        lower(&mut config, 512 << 20);
        assert_eq!(config.admission.bytes_in_flight, 64 << 20);
        assert_eq!(config.server.stream_window, 512 << 10);
        lower(&mut config, 32 << 20);
        assert_eq!(
            config.admission.bytes_in_flight,
            config.server.max_upload_size
        );
        assert_eq!(config.server.connection_window, WINDOW_MIN);
    }

    #[test]
    fn lines_of_other_controllers_say_nothing() {
        for line in ["8:pids:/", "1:name=systemd:/", "", "0:"] {
            assert_eq!(limit_of_group(line), None, "{line:?}");
        }
    }
}
