//! A horizontal bar for each server: the median, and a line from the least to the greatest round.

use super::{Bar, median};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 100.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 44.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;

/// The chart as an SVG document.
pub fn svg(title: &str, caption: &str, bars: &[Bar]) -> String {
    let height = TOP + ROW * bars.len() as f64 + 30.0;
    let all = bars.iter().flat_map(|bar| &bar.rates);
    let longest = all.copied().fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest;
    let rows: String = bars
        .iter()
        .enumerate()
        .map(|(at, bar)| row(bar, TOP + ROW * at as f64, scale))
        .collect();
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="24" font-size="15" font-weight="600" fill="#1f2328">{}</text>
{rows}<text x="12" y="{}" font-size="10" fill="#59636e">{}</text>
</svg>
"##,
        escaped(title),
        height - 10.0,
        escaped(caption)
    )
}

fn row(bar: &Bar, top: f64, scale: f64) -> String {
    let rate = median(&bar.rates).unwrap_or(0.0);
    let least = bar.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = bar.rates.iter().copied().fold(0.0, f64::max);
    let color = match bar.name.as_str() {
        "shardkeep" => "#0969da",
        _ => "#9aa4af",
    };
    let middle = top + BAR / 2.0;
    let cpu = median(&bar.cpu).map_or(String::new(), |cpu| format!(", {cpu:.0} us CPU"));
    format!(
        r##"<text x="{}" y="{}" font-size="13" text-anchor="end" fill="#1f2328">{}</text>
<rect x="{LEFT}" y="{top}" width="{:.1}" height="{BAR}" fill="{color}"/>
<line x1="{:.1}" y1="{middle}" x2="{:.1}" y2="{middle}" stroke="#1f2328" stroke-width="1.5"/>
<text x="{:.1}" y="{}" font-size="12" fill="#1f2328">{rate:.0}{cpu}</text>
"##,
        LEFT - 8.0,
        middle + 4.5,
        escaped(&bar.name),
        rate * scale,
        LEFT + least.min(most) * scale,
        LEFT + most * scale,
        LEFT + most * scale + 8.0,
        middle + 4.5
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
