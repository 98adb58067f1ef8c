//! Case 5, where it is hardest to see: after a failed sync the page cache holds what the disk does
//! not. Made on a small ext4 in a file, whose blocks are overwritten behind the kernel's back.

use crate::bench::Bench;
use crate::faults::{arm, disarm};
use crate::support::SmallDisk;
use crate::support::noise;
use shardkeep::model::SegmentId;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Where a block of a file lies on its disk, in bytes.
fn physical(path: &Path, offset: u64) -> u64 {
    let output = Command::new("filefrag")
        .arg("-v")
        .arg("-b1")
        .arg(path)
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let extents = text.lines().filter_map(|line| {
        // ` 0:  4096.. 8191:  1052672.. 1056767:  4096: ...`; a path may be full of numbers too.
        line.trim_start().split_once(':')?.0.parse::<u64>().ok()?;
        let mut numbers = line
            .split(|it: char| !it.is_ascii_digit())
            .filter_map(|it| it.parse::<u64>().ok());
        let [_, from, to, at] = [(); 4].map(|()| numbers.next());
        Some((from?, to?, at?))
    });
    let extent = { extents }.find(|(from, to, _)| (*from..=*to).contains(&offset));
    let (from, _, at) = extent.unwrap_or_else(|| panic!("no extent of {offset}:\n{text}"));
    at + offset - from
}

/// Case 5: a group whose sync failed, that reads well from the page cache and is not on the disk,
/// is not taken over.
#[test]
fn what_only_the_page_cache_holds_is_not_believed() {
    let Some(disk) = SmallDisk::mount(64) else {
        return;
    };
    let mut bench = Bench::armed_in(disk.path());
    bench.put("a", b"acknowledged");
    let path = bench.segment_path(SegmentId(1));
    arm("log::sync", "1*return");
    assert!(
        bench
            .run(crate::bench::put("b", &noise(1, 30_000)))
            .is_err()
    );
    disarm("log::sync");
    bench.crash();
    // The kernel writes the pages and keeps them, clean. Then the disk forgets one.
    std::fs::File::open(&path).unwrap().sync_all().unwrap();
    let forgotten = 16 * 1024;
    let image = std::fs::OpenOptions::new().write(true).open(disk.image());
    let image = image.unwrap();
    let at = physical(&path, forgotten);
    image.write_all_at(&[0; 4096], at).unwrap();
    image.sync_all().unwrap();
    let cached = std::fs::read(&path).unwrap();
    let page = usize::try_from(forgotten).unwrap();
    assert_ne!(
        cached[page..page + 4096],
        [0; 4096],
        "the cache still has it"
    );
    let report = bench.open();
    assert_eq!(report.adopted_groups, 0);
    assert_eq!(bench.get("b"), None);
    assert_eq!(bench.get("a").unwrap(), b"acknowledged");
    bench.crash();
}
