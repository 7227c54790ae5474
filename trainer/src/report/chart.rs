//! Plots as SVG. Colours come from CSS classes in `chart.css`, so that one drawing serves light
//! pages, dark pages and PNG.

use maud::{Markup, html};

use crate::confidence::Bin;

/// The size of a drawing in its own units, pixels on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 250.0;
/// Margins around the curves: numbers at the left and below, title and legend above.
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 38.0;
/// Longer curves are averaged in groups, which keeps the page small and smooths noise.
const MOST_POINTS: usize = 150;
/// With more classes than this, a matrix's cells have no room for numbers.
const MOST_NUMBERS: usize = 24;

/// One curve.
pub(super) struct Series {
    /// Its name in the legend.
    pub(super) name: &'static str,
    /// (step, value) in step order.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether each point is marked, for the few points of validations.
    pub(super) marks: bool,
}

/// A plot of curves over steps.
pub(super) struct Curves {
    pub(super) title: &'static str,
    pub(super) series: Vec<Series>,
    /// Whether the values are fractions, shown in percent.
    pub(super) percent: bool,
    /// A highlighted step, and the reason.
    pub(super) marked: Option<(f64, String)>,
}

impl Curves {
    /// The drawing; `None` without points.
    pub(super) fn draw(&self) -> Option<Markup> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let last = points().map(|point| point.0).fold(f64::NAN, f64::max);
        if last.is_nan() {
            return None;
        }
        let values = || points().map(|point| point.1);
        let y = RoundScale::new(values().fold(f64::NAN, f64::min), values().fold(f64::NAN, f64::max), 5);
        let x = RoundScale::new(0.0, last, 5);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let at =
            |point: (f64, f64)| (LEFT + x.share(point.0) * (right - LEFT), bottom - y.share(point.1) * (bottom - TOP));
        let mut legend = LEFT;
        let keys = self.series.iter().enumerate().map(|(number, series)| {
            let place = legend;
            legend += 34.0 + 6.4 * series.name.len() as f64;
            (number, place, series.name)
        });
        let keys: Vec<_> = keys.filter(|_| self.series.len() > 1).collect();
        Some(frame(
            WIDTH,
            HEIGHT,
            &self.describe(),
            html! {
                text.title x="0" y="14" { (self.title) }
                @for (number, place, name) in &keys {
                    line.curve.{ "s" (number) } x1=(place) x2=(place + 16.0) y1="30" y2="30" {}
                    text x=(place + 21.0) y="34" { (name) }
                }
                @for tick in &y.ticks {
                    @let (_, height) = at((0.0, *tick));
                    line.grid x1=(LEFT) x2=(right) y1=(round(height)) y2=(round(height)) {}
                    text.end x=(LEFT - 6.0) y=(round(height + 4.0)) { (self.number(*tick, y.step)) }
                }
                @for tick in &x.ticks {
                    @let (place, _) = at((*tick, 0.0));
                    text.middle x=(round(place)) y=(bottom + 16.0) { (plain(*tick, x.step)) }
                }
                text.end x=(right) y=(HEIGHT - 6.0) { "step" }
                @if let Some((step, why)) = &self.marked {
                    @let (place, _) = at((*step, 0.0));
                    @let side = if place > WIDTH / 2.0 { ("end", place - 5.0) } else { ("start", place + 5.0) };
                    line.marked x1=(round(place)) x2=(round(place)) y1=(TOP) y2=(bottom) {}
                    text.(side.0) x=(round(side.1)) y=(bottom - 6.0) { (why) }
                }
                @for (number, series) in self.series.iter().enumerate() {
                    @let points = thinned(&series.points);
                    @let path = points.iter().enumerate().map(|(i, &point)| {
                        let (left, top) = at(point);
                        format!("{}{left:.1} {top:.1}", if i == 0 { 'M' } else { 'L' })
                    }).collect::<String>();
                    path.curve.{ "s" (number) } d=(path) {}
                    @if series.marks || points.len() == 1 {
                        @for &point in &points {
                            @let (left, top) = at(point);
                            circle.{ "s" (number) } cx=(round(left)) cy=(round(top)) r="2.5" {
                                title { "step " (point.0) ": " (self.exact(point.1)) }
                            }
                        }
                    }
                }
            },
        ))
    }

    /// The text for screen readers.
    fn describe(&self) -> String {
        let mut text = format!("{} over steps.", self.title);
        for series in &self.series {
            let ends = series.points.first().zip(series.points.last());
            if let Some((first, last)) = ends {
                let (from, to) = (self.exact(first.1), self.exact(last.1));
                text += &format!(" {}: {from} at step {}, {to} at step {}.", series.name, first.0, last.0);
            }
        }
        text
    }

    fn number(&self, value: f64, step: f64) -> String {
        if self.percent { format!("{} %", plain(100.0 * value, 100.0 * step)) } else { plain(value, step) }
    }

    fn exact(&self, value: f64) -> String {
        if self.percent {
            percent(value)
        } else {
            format!("{value:.3e}").parse().map_or(String::new(), |value: f64| value.to_string())
        }
    }
}

/// Horizontal bars, one per class: its name and its value, a fraction; `None` if it does not occur.
pub(super) fn bars(title: &str, bars: &[(&str, [u8; 3], Option<f64>)]) -> Markup {
    const ROW: f64 = 21.0;
    let longest = bars.iter().map(|bar| bar.0.chars().count()).max().unwrap_or(0).min(18);
    let left = 24.0 + 7.0 * longest as f64;
    let (width, top) = (WIDTH - left - 52.0, 26.0);
    let height = top + ROW * bars.len() as f64 + 4.0;
    let values: Vec<String> =
        bars.iter().map(|(name, _, value)| format!("{name} {}", value.map_or("absent".to_owned(), percent))).collect();
    frame(
        WIDTH,
        height,
        &format!("{title}: {}.", values.join(", ")),
        html! {
            text.title x="0" y="14" { (title) }
            @for (number, (name, color, value)) in bars.iter().enumerate() {
                @let y = top + ROW * number as f64;
                rect.swatch x="0.5" y=(y + 3.5) width="11" height="11" rx="2" fill=(hex(*color)) {}
                text x="18" y=(y + 13.0) { (shortened(name, 18)) }
                rect.back x=(left) y=(y + 3.0) width=(width) height="12" rx="2" {}
                @if let Some(value) = value {
                    rect.bar x=(left) y=(y + 3.0) width=(round(width * value)) height="12" rx="2" {}
                    text.end x=(WIDTH) y=(y + 13.0) { (percent(*value)) }
                } @else {
                    text.end x=(WIDTH) y=(y + 13.0) { "absent" }
                }
            }
        },
    )
}

/// A confusion matrix in percent of each true class's pixels: one row per true class, one column
/// per predicted one.
pub(super) fn matrix(title: &str, names: &[&str], shares: &[Vec<f64>]) -> Markup {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(14);
    let label = 8.0 + 6.4 * longest as f64;
    let cell = if names.len() > MOST_NUMBERS { 14.0 } else { 36.0 };
    let top = 22.0 + 0.75 * label;
    // The title needs room as well.
    let width = (label + cell * names.len() as f64 + 0.7 * label).max(8.4 * title.len() as f64);
    let height = top + cell * names.len() as f64 + 4.0;
    let text = format!("{title}: {} true classes in rows, as many predicted classes in columns.", names.len());
    frame(
        width,
        height,
        &text,
        html! {
            text.title x="0" y="14" { (title) }
            @for (number, name) in names.iter().enumerate() {
                @let (x, y) = (label + cell * (number as f64 + 0.5), top + cell * (number as f64 + 0.5));
                text.end x=(label - 6.0) y=(y + 4.0) { (shortened(name, 14)) }
                text transform={ "translate(" (round(x)) " " (round(top - 5.0)) ") rotate(-40)" } { (shortened(name, 14)) }
            }
            @for (row, cells) in shares.iter().enumerate() {
                @for (column, &share) in cells.iter().enumerate() {
                    @let (x, y) = (label + cell * column as f64, top + cell * row as f64);
                    rect.cell x=(x + 0.5) y=(y + 0.5) width=(cell - 1.0) height=(cell - 1.0) {}
                    @if share > 0.0 {
                        rect.heat x=(x + 0.5) y=(y + 0.5) width=(cell - 1.0) height=(cell - 1.0)
                            fill-opacity=(format!("{share:.3}")) {
                            title { (names[row]) " taken for " (names[column]) ": " (percent(share)) }
                        }
                    }
                    @if names.len() <= MOST_NUMBERS && share >= 0.005 {
                        text.middle.ink x=(x + cell / 2.0) y=(y + cell / 2.0 + 4.0) { (format!("{:.0}", 100.0 * share)) }
                    }
                }
            }
        },
    )
}

/// The accuracy of the pixels in each bin of confidence; a dashed line shows where both are equal.
pub(super) fn reliability(title: &str, bins: &[Bin]) -> Markup {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let (across, up) = (right - LEFT, bottom - TOP);
    let all: u64 = bins.iter().map(|bin| bin.pixels).sum();
    let width = across / bins.len() as f64;
    let ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    let text = format!("{title}: the accuracy of pixels by their confidence, in {} bins.", bins.len());
    frame(
        WIDTH,
        HEIGHT,
        &text,
        html! {
            text.title x="0" y="14" { (title) }
            @for tick in ticks {
                @let (x, y) = (LEFT + across * tick, bottom - up * tick);
                line.grid x1=(LEFT) x2=(right) y1=(round(y)) y2=(round(y)) {}
                text.end x=(LEFT - 6.0) y=(round(y + 4.0)) { (format!("{:.0} %", 100.0 * tick)) }
                // The last one would not fit if it were centred.
                @let side = if tick == 1.0 { ("end", right) } else { ("middle", x) };
                text.(side.0) x=(round(side.1)) y=(bottom + 16.0) { (format!("{:.0} %", 100.0 * tick)) }
            }
            text.end x=(right) y=(HEIGHT - 6.0) { "confidence" }
            @for (number, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.pixels > 0) {
                @let height = up * bin.accuracy();
                rect.bar x=(round(LEFT + width * number as f64 + 1.0)) y=(round(bottom - height)) width=(round(width - 2.0))
                    height=(round(height)) {
                    title {
                        "confidence " (percent(bin.confidence())) ": " (percent(bin.accuracy())) " right, "
                        (percent(bin.pixels as f64 / all as f64)) " of the pixels"
                    }
                }
            }
            line.marked x1=(LEFT) y1=(bottom) x2=(right) y2=(TOP) {}
        },
    )
}

fn frame(width: f64, height: f64, description: &str, content: Markup) -> Markup {
    html! {
        svg.chart xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (round(width)) " " (round(height)) }
            width=(round(width)) height=(round(height)) role="img" aria-label=(description) { (content) }
    }
}

/// A scale from a round number to a round number.
struct RoundScale {
    low: f64,
    high: f64,
    step: f64,
    ticks: Vec<f64>,
}

impl RoundScale {
    /// Covers `low` to `high` with about `count` steps of 1, 2 or 5 times a power of ten.
    fn new(low: f64, high: f64, count: usize) -> RoundScale {
        // The axis of a curve that stays near its lowest value starts there, any other at zero.
        let low = if low > 0.0 && low < 0.5 * high { 0.0 } else { low };
        let span = if high > low { high - low } else { high.abs().max(1e-12) };
        let rough = span / count as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(rough);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().max(first + 1.0);
        let ticks = (0..=(last - first) as usize).map(|number| (first + number as f64) * step).collect();
        RoundScale { low: first * step, high: last * step, step, ticks }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// At most [`MOST_POINTS`] points, each the mean of equally many neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |group: &[(f64, f64)]| {
        let sum = group.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / group.len() as f64, sum.1 / group.len() as f64)
    };
    points.chunks(group).map(mean).collect()
}

/// A number with as many decimals as the tick distance needs; thousands as `k`.
fn plain(value: f64, step: f64) -> String {
    if step >= 1000.0 {
        return format!("{}k", value / 1000.0);
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{value:.decimals$}")
}

/// A fraction in percent.
pub(super) fn percent(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{:.1} %", 100.0 * value) }
}

/// A colour in CSS notation.
pub(super) fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() > most { name.chars().take(most - 1).chain(['…']).collect() } else { name.to_owned() }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks_around_the_values() {
        for (low, high, expected) in [
            (0.0, 1380.0, vec!["0", "500", "1000", "1500"]),
            (0.31, 2.4, vec!["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]),
            (0.82, 0.93, vec!["0.80", "0.85", "0.90", "0.95"]),
            (0.001, 0.02, vec!["0.000", "0.005", "0.010", "0.015", "0.020"]),
            (0.5, 0.5, vec!["0.5", "0.6"]),
            (0.0, 0.0, vec!["0.0000000000000", "0.0000000000005"]),
        ] {
            let axis = RoundScale::new(low, high, 5);
            let ticks: Vec<String> = axis.ticks.iter().map(|tick| plain(*tick, axis.step)).collect();
            if high > 0.0 {
                assert_eq!(ticks, expected, "{low} to {high}");
            }
            assert!(axis.low <= low && axis.high >= high && axis.high > axis.low, "{low} to {high}");
        }
    }

    #[test]
    fn many_points_become_few_with_the_same_mean() {
        let points: Vec<_> = (0..600).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let few = thinned(&points);
        assert_eq!((few.len(), few[0]), (150, (1.5, 0.5)));
        assert_eq!(thinned(&points[..150]), points[..150]);
    }

    #[test]
    fn curves_stand_where_their_values_are() {
        let series = Series { name: "val", points: vec![(0.0, 0.0), (50.0, 0.5), (100.0, 1.0)], marks: true };
        let curves = Curves { title: "mIoU", series: vec![series], percent: true, marked: Some((50.0, "best".into())) };
        let drawing = curves.draw().unwrap().into_string();
        // Left, middle and right of the frame; bottom, middle and top.
        assert!(drawing.contains(r#"d="M54.0 212.0L230.0 128.0L406.0 44.0""#), "{drawing}");
        assert!(drawing.contains("val: 0.0 % at step 0, 100.0 % at step 100."), "{drawing}");
        assert!(drawing.contains(">best<") && drawing.matches("<circle").count() == 3, "{drawing}");
        let empty = Curves { series: Vec::new(), ..curves };
        assert!(empty.draw().is_none());
    }
}
