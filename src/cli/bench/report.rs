//! The result, for people and for programs.

use super::args::{Rival, Shape};
use super::course::End;
use super::histogram::Histogram;
use super::load::Outcome;
use super::source::Work;
use crate::cli::status::table;
use crate::client::Protocol;
use crate::config::format_size;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// The latencies that are reported.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What one side did.
#[derive(Debug)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Bytes of the server's memory before it was asked for anything.
    pub idle: Option<u64>,
    /// All of its rounds together.
    pub total: Outcome,
    /// Each round.
    pub rounds: Vec<Outcome>,
}

/// A number of each pair, and what is said of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, min, max })
    }

    fn json(self) -> Value {
        json!({ "median": round(self.median), "min": round(self.min), "max": round(self.max) })
    }
}

/// Everything about a measurement.
#[derive(Debug)]
pub struct Report<'a> {
    /// The load.
    pub shape: &'a Shape,
    /// What was compared with.
    pub rival: Option<&'a Rival>,
    /// The server, and then what it was compared with.
    pub sides: Vec<Side>,
}

type Measure = fn(&Outcome) -> Option<f64>;

/// What pairs are compared by: the subject's number over the rival's.
const COMPARED: [(&str, Measure); 4] = [
    ("throughput", |it| Some(values_per_second(it))),
    ("server CPU per value", |it| {
        Some(micros(it.server_cpu?) / it.values.max(1) as f64)
    }),
    ("p50", |it| Some(micros(it.all().quantile(0.5)))),
    ("p99", |it| Some(micros(it.all().quantile(0.99)))),
];

impl Report<'_> {
    /// The ratios of the pairs, by name; none without a rival.
    fn ratios(&self) -> Vec<(&'static str, Spread)> {
        let [subject, rival] = &self.sides[..] else {
            return Vec::new();
        };
        let ratio = |(name, measure): (&'static str, Measure)| {
            let pairs = subject.rounds.iter().zip(&rival.rounds);
            let ratios = pairs.filter_map(|(a, b)| Some(measure(a)? / measure(b)?));
            let finite: Vec<f64> = ratios.filter(|ratio| ratio.is_finite()).collect();
            Some((name, Spread::of(finite)?))
        };
        COMPARED.into_iter().filter_map(ratio).collect()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let shape = self.shape;
        let mut text = format!(
            "{} {} {} values, {} x {} in flight",
            shape.work.word(),
            format_size(shape.size as u64),
            shape.kind.word(),
            shape.connections,
            shape.in_flight
        );
        if let Some(rate) = shape.rate {
            write!(text, ", {rate} requests/s").expect("writing to a string does not fail");
        }
        for side in &self.sides {
            let rows = rows(side, shape);
            let rows: Vec<_> = rows
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            write!(text, "\n\n{}\n{}", side.name, table(&rows))
                .expect("writing to a string does not fail");
        }
        let ratios = self.ratios();
        if !ratios.is_empty() {
            let rows: Vec<_> = ratios
                .iter()
                .map(|(name, it)| {
                    let spread = format!("{:.3}  ({:.3} .. {:.3})", it.median, it.min, it.max);
                    (*name, spread)
                })
                .collect();
            let [subject, rival] = &self.sides[..] else {
                return text;
            };
            write!(
                text,
                "\n\n{} / {}: median (min .. max) of {} pairs\n{}",
                subject.name,
                rival.name,
                subject.rounds.len(),
                table(&rows)
            )
            .expect("writing to a string does not fail");
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let shape = self.shape;
        let mut report = json!({
            "work": shape.work.word(),
            "front": match shape.protocol {
                Protocol::Zstdb => "zstdb",
                Protocol::Native { .. } => "native",
                Protocol::Etcd => "etcd",
            },
            "value_size": shape.size,
            "value_kind": shape.kind.word(),
            "keys": shape.keys,
            "connections": shape.connections,
            "in_flight": shape.in_flight,
            "threads": shape.threads,
            "rate": shape.rate,
            "user_keys": shape.user_keys,
            "baseline": self.rival.map(rival_word),
            "machine": machine(),
        });
        if let Work::Mixed { read_share } = shape.work {
            report["read_share"] = json!(read_share);
        }
        match shape.end {
            End::After(length) => report["duration_s"] = json!(length.as_secs_f64()),
            End::Count(count) => report["count"] = json!(count),
        }
        for side in &self.sides {
            report[&side.name] = side_json(side, shape.size);
        }
        let ratios = self.ratios();
        if !ratios.is_empty() {
            let ratios = ratios
                .into_iter()
                .map(|(name, spread)| (identifier(name), spread.json()));
            report["ratio"] = Value::Object(ratios.collect());
            report["pairs"] = json!(self.sides[0].rounds.len());
        }
        report
    }
}

/// `server CPU per request` as `server_cpu_per_request`.
fn identifier(name: &str) -> String {
    name.to_lowercase().replace([' ', '.'], "_")
}

fn rival_word(rival: &Rival) -> String {
    match rival {
        Rival::Noop {
            stack,
            pread: false,
        } => stack.word().to_owned(),
        Rival::Noop { stack, pread: true } => format!("{} with pread", stack.word()),
        Rival::Program(path) => path.display().to_string(),
        Rival::Same(base) => base.name.to_owned(),
    }
}

fn per_second(outcome: &Outcome) -> f64 {
    outcome.requests() as f64 / outcome.elapsed.as_secs_f64()
}

fn values_per_second(outcome: &Outcome) -> f64 {
    outcome.values as f64 / outcome.elapsed.as_secs_f64()
}

fn server_micros(outcome: &Outcome) -> Option<f64> {
    micros_each(outcome.server_cpu, outcome)
}

fn micros_each(cpu: Option<Duration>, outcome: &Outcome) -> Option<f64> {
    Some(micros(cpu?) / outcome.requests().max(1) as f64)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// As many digits as a measurement is worth.
fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn rows(side: &Side, shape: &Shape) -> Vec<(String, String)> {
    let outcome = &side.total;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    let (requests, values) = (per_second(outcome), values_per_second(outcome));
    row("requests/s", format!("{}", Rate(requests)));
    if outcome.values != outcome.requests() {
        row("keys/s", format!("{}", Rate(values)));
    }
    let bytes = HumanBytes((values * shape.size as f64) as u64);
    row("values/s", format!("{bytes}/s"));
    if let Some(cpu) = server_micros(outcome) {
        row("server CPU per request", format!("{cpu:.1} us"));
    }
    if let Some(cpu) = micros_each(outcome.client_cpu, outcome) {
        row("client CPU per request", format!("{cpu:.1} us"));
    }
    if let (Some(written), true) = (outcome.written, outcome.writes.0.count() > 0) {
        let each = written / outcome.writes.0.count();
        row("written per request", HumanBytes(each).to_string());
    }
    if let Some(resident) = outcome.resident {
        row("server memory", HumanBytes(resident).to_string());
    }
    if let Some(grown) = side.grown() {
        row("at most above idle", HumanBytes(grown).to_string());
    }
    let kinds = [("get", &outcome.reads.0), ("set", &outcome.writes.0)];
    let present = kinds.iter().filter(|(_, it)| it.count() > 0).count();
    for (kind, latencies) in kinds.into_iter().filter(|(_, it)| it.count() > 0) {
        let prefix = if present > 1 {
            format!("{kind} ")
        } else {
            String::new()
        };
        for (name, share) in QUANTILES {
            row(&format!("{prefix}{name}"), shown(latencies.quantile(share)));
        }
        row(&format!("{prefix}max"), shown(latencies.max()));
    }
    if outcome.unsent > 0 {
        row("due but never sent", HumanCount(outcome.unsent).to_string());
    }
    if outcome.errors > 0 {
        row("failed", HumanCount(outcome.errors).to_string());
    }
    rows
}

/// A number a second: whole, unless it is small.
struct Rate(f64);

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.0 < 100.0 { 2 } else { 0 };
        write!(f, "{:.digits$}", self.0)
    }
}

impl Side {
    /// Bytes that the server's memory had at most, above what it had before.
    fn grown(&self) -> Option<u64> {
        Some(self.total.resident_max?.saturating_sub(self.idle?))
    }
}

fn shown(latency: Duration) -> String {
    let micros = micros(latency);
    match micros {
        ..1e4 => format!("{micros:.0} us"),
        ..1e7 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

fn side_json(side: &Side, size: usize) -> Value {
    let mut value = outcome_json(&side.total, size);
    let rounds = side.rounds.iter().map(values_per_second).map(round);
    value["rounds_per_second"] = json!(rounds.collect::<Vec<_>>());
    value["server_grown_bytes"] = json!(side.grown());
    value
}

fn outcome_json(outcome: &Outcome, size: usize) -> Value {
    let (per_second, values) = (per_second(outcome), values_per_second(outcome));
    let mut value = json!({
        "requests": outcome.requests(),
        "errors": outcome.errors,
        "unsent": outcome.unsent,
        "seconds": round(outcome.elapsed.as_secs_f64()),
        "requests_per_second": round(per_second),
        "values_per_second": round(values),
        "bytes_per_second": (values * size as f64).round(),
        "server_cpu_us_per_request": server_micros(outcome).map(round),
        "client_cpu_us_per_request": micros_each(outcome.client_cpu, outcome).map(round),
        "server_resident_bytes": outcome.resident,
        "written_bytes": outcome.written,
        "latency_us": latency_json(&outcome.all()),
    });
    let kinds = [
        ("get_latency_us", &outcome.reads.0),
        ("set_latency_us", &outcome.writes.0),
    ];
    if kinds.iter().all(|(_, it)| it.count() > 0) {
        for (name, latencies) in kinds {
            value[name] = latency_json(latencies);
        }
    }
    if let Some(error) = &outcome.first_error {
        value["first_error"] = json!(error);
    }
    value
}

fn latency_json(latencies: &Histogram) -> Value {
    let quantiles = QUANTILES
        .iter()
        .map(|(name, share)| (*name, latencies.quantile(*share)));
    let ends = [("max", latencies.max()), ("mean", latencies.mean())];
    let all: Map<String, Value> = quantiles
        .chain(ends)
        .map(|(name, latency)| (identifier(name), json!(round(micros(latency)))))
        .collect();
    Value::Object(all)
}

/// What the numbers were measured on.
#[must_use]
pub fn machine() -> Value {
    let line = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(": ").next())
            .map(str::trim)
            .map(str::to_owned)
    };
    json!({
        "cpu": line("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "kernel": line("/proc/sys/kernel/osrelease", ""),
        "shardkeep": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        let odd = spread(&[3.0, 1.0, 2.0]).expect("not empty");
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[1.0, 2.0]).expect("not empty").median, 1.5);
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn names_become_identifiers() {
        assert_eq!(identifier("server CPU per value"), "server_cpu_per_value");
        assert_eq!(identifier("p99.9"), "p99_9");
    }
}
