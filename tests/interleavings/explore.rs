//! Concurrency inside: the sources of the handle, the admission, the cut, the pins, the epochs and
//! the single flight, compiled once more on primitives that `shuttle` schedules, and run in as many
//! orders as are asked for.
//!
//!     SHARDKEEP_ADVERSARY_CASES=1000000 cargo run --example interleavings
//!
//! `SHARDKEEP_ADVERSARY_CASES` says how many schedules each question gets, and
//! `SHARDKEEP_ADVERSARY_SEED` repeats a run. Each question is then asked once more over a planted
//! fault, which must be found. A schedule that fails is printed; `shuttle` replays it.
//!
//! An example rather than a test: the sources bring tests of their own, which `cfg(test)` would
//! compile too, and which want the real primitives.
#![allow(dead_code, reason = "the sources hold more than is asked about here")]

// What the sources import from these crates, they get from the doors below.
extern crate actix as real_actix;
extern crate self as actix;
extern crate self as arc_swap;
extern crate self as dashmap;
extern crate self as std;
extern crate self as tokio;
extern crate std as real_std;

mod doors;
pub use doors::actor::{Addr, Handler};
pub use doors::arcs::{ArcSwap, ArcSwapOption};
pub use doors::maps::{DashMap, DashSet, mapref};
pub use doors::{actor, sync, time};
pub use real_actix::Message;
pub use real_std::{collections, env, fmt, mem, panic, path};
pub use shardkeep::{codec, config, index, model};

#[path = "../../src/gateway/grpc/budget.rs"]
mod budget;
#[path = "../../src/dedup/single_flight.rs"]
mod single_flight;

mod log;
mod shard;

mod questions;
#[path = "../adversary/run.rs"]
mod run;

use doors::fault::{Fault, planted};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// What is asked, and the fault that must make the answer "no".
struct Question {
    name: &'static str,
    ask: fn(),
    fault: Fault,
    /// Whether it ends under any schedule, or only under fair ones.
    waits_for_nobody: bool,
}

const QUESTIONS: &[Question] = &[
    Question {
        name: "one of many equal uploads has the turn",
        ask: questions::one_upload_has_the_turn,
        fault: Fault::EntryWithoutLock,
        waits_for_nobody: true,
    },
    Question {
        name: "no more bytes are in flight than the budget has",
        ask: questions::the_budget_holds,
        fault: Fault::PermitTooMany,
        waits_for_nobody: true,
    },
    Question {
        name: "a cut is one moment",
        ask: shard::questions::a_cut_is_one_moment,
        fault: Fault::GateOpensEarly,
        waits_for_nobody: true,
    },
    Question {
        name: "a pinned segment stays",
        ask: shard::questions::a_pinned_segment_stays,
        fault: Fault::PinsNotCounted,
        waits_for_nobody: true,
    },
    Question {
        name: "what was seen is believed only while it lasts",
        ask: shard::questions::what_was_seen_is_believed_while_it_lasts,
        fault: Fault::AnnouncedTooLate,
        waits_for_nobody: true,
    },
    Question {
        name: "a handle survives its actors",
        ask: shard::questions::a_handle_survives_its_actors,
        fault: Fault::HealthOverwritten,
        waits_for_nobody: false,
    },
];

/// Runs half of the schedules at random and half by priorities (PCT), which finds rare orders; all
/// at random where somebody asks again and again, which an unfair schedule would never end.
fn explore(question: &Question, seed: u64, schedules: usize) {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    let by_priority = if question.waits_for_nobody {
        schedules / 2
    } else {
        0
    };
    let random = RandomScheduler::new_from_seed(seed, schedules - by_priority);
    Runner::new(random, config.clone()).run(question.ask);
    if by_priority > 0 {
        let pct = PctScheduler::new_from_seed(seed, 3, by_priority);
        Runner::new(pct, config).run(question.ask);
    }
}

fn main() {
    let schedules = usize::try_from(run::cases(2_000)).expect("a number of schedules");
    let seed = run::seed("interleavings");
    let only = env::args().nth(1).unwrap_or_default();
    for question in QUESTIONS.iter().filter(|it| it.name.contains(&only)) {
        explore(question, seed, schedules);
        let quiet = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        // On a thread of its own: a panic that is unwound while others are scheduled leaves its
        // thread unfit for more.
        let found = planted(question.fault, || {
            let again = move || explore(question, seed, schedules.max(2_000));
            real_std::thread::spawn(again).join().is_err()
        });
        panic::set_hook(quiet);
        assert!(
            found,
            "{:?} was not found: {}",
            question.fault, question.name
        );
        println!(
            "{}: {schedules} schedules; {:?} was found",
            question.name, question.fault
        );
    }
}
