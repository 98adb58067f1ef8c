//! Turns what `benches/compare.sh` printed into a table and charts.
//!
//! `cargo run --release --example report -- compare.jsonl CHART_DIR` prints Markdown and writes one
//! SVG for each kind of work. Every figure is the median of the rounds; every ratio is the median of
//! the ratios of the rounds, since only figures of one round were measured side by side.

mod chart;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// One server's figures of one kind of work, a figure a round.
#[derive(Debug, Default)]
pub struct Bar {
    /// The server.
    pub name: String,
    /// Requests a second.
    pub rates: Vec<f64>,
    /// Microseconds of CPU time of the server for a request.
    pub cpu: Vec<f64>,
    /// Microseconds.
    pub p50: Vec<f64>,
    /// Microseconds.
    pub p99: Vec<f64>,
}

/// The figures of a run.
#[derive(Debug, Default)]
struct Run {
    /// Machine, versions and date.
    about: Value,
    /// By work, in the order of appearance within one.
    works: BTreeMap<String, Vec<Bar>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder] = &arguments[..] else {
        eprintln!("usage: report COMPARE.JSONL CHART_DIR");
        return ExitCode::from(2);
    };
    match report(Path::new(input), Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(input: &Path, folder: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(input)
        .map_err(|error| format!("cannot read {}: {error}", input.display()))?;
    let run = parse(&text)?;
    println!("{}\n", caption(&run.about));
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    for (work, bars) in &run.works {
        println!("{}", table(work, bars));
        let path = folder.join(format!("{work}.svg"));
        let svg = chart::svg(&title(work, &run.about), &caption(&run.about), bars);
        std::fs::write(&path, svg)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Run, String> {
    let mut run = Run::default();
    for (number, line) in text.lines().enumerate() {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
        if value.get("result").is_none() {
            run.about = value;
            continue;
        }
        let figures = figures_of(&value["result"])
            .ok_or_else(|| format!("line {}: no figures in it", number + 1))?;
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let bars = run.works.entry(word("work")).or_default();
        let name = word("name");
        let at = bars.iter().position(|bar| bar.name == name);
        let at = at.unwrap_or_else(|| {
            bars.push(Bar {
                name,
                ..Bar::default()
            });
            bars.len() - 1
        });
        let number = |path: &str| figures.pointer(path).and_then(Value::as_f64);
        let bar = &mut bars[at];
        bar.rates.extend(number("/requests_per_second"));
        bar.cpu.extend(number("/server_cpu_us_per_request"));
        bar.p50.extend(number("/latency_us/p50"));
        bar.p99.extend(number("/latency_us/p99"));
    }
    Ok(run)
}

/// The member that holds a server's figures, whatever it is called.
fn figures_of(result: &Value) -> Option<&Value> {
    let mut members = result.as_object()?.values();
    members.find(|member| member.get("requests_per_second").is_some())
}

fn caption(about: &Value) -> String {
    let word = |path: &str| about.pointer(path).and_then(Value::as_str).unwrap_or("?");
    format!(
        "{}, {} cores, Linux {}; shardkeep {}, etcd {}, redis {}; {}",
        word("/cpu"),
        about["cores"],
        word("/kernel"),
        word("/versions/shardkeep"),
        word("/versions/etcd"),
        word("/versions/redis"),
        word("/date")
    )
}

fn title(work: &str, about: &Value) -> String {
    let synced = match work {
        "set" => ", on the disk before the answer",
        _ => "",
    };
    format!(
        "{work} of {} bytes, {} in flight{synced}: requests a second",
        about["size"], about["in_flight"]
    )
}

/// The middle of the rounds.
pub fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 0 => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        _ => Some(sorted[middle]),
    }
}

fn table(work: &str, bars: &[Bar]) -> String {
    let mut table = format!(
        "| {work} | requests/s | server CPU, us | p50, us | p99, us | shardkeep is |\n|---|--:|--:|--:|--:|--:|\n"
    );
    let ours = bars.iter().find(|bar| bar.name == "shardkeep");
    for bar in bars {
        let shown = |numbers: &[f64], digits: usize| {
            median(numbers).map_or("-".to_owned(), |it| format!("{it:.digits$}"))
        };
        let ratios: Vec<f64> = ours.map_or_else(Vec::new, |ours| {
            let pairs = ours.rates.iter().zip(&bar.rates);
            pairs.map(|(ours, theirs)| ours / theirs).collect()
        });
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {}x |\n",
            bar.name,
            shown(&bar.rates, 0),
            shown(&bar.cpu, 1),
            shown(&bar.p50, 0),
            shown(&bar.p99, 0),
            shown(&ratios, 2)
        ));
    }
    table
}
