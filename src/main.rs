//! The `shardkeep` binary: its allocator; everything else is in the library.

mod allocator;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allocator::return_memory_soon();
    // Only the binary that tests start has fail points; `FAILPOINTS` says which of them act.
    let _fail_points = fail::has_failpoints().then(fail::FailScenario::setup);
    shardkeep::cli::run()
}
