//! The `shardkeep` binary: everything is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Only the binary that tests start has fail points; `FAILPOINTS` says which of them act.
    let _fail_points = fail::has_failpoints().then(fail::FailScenario::setup);
    shardkeep::cli::run()
}
