//! Plots as inline SVG: bars with intervals, reliability, confusion. Colours come from the page's
//! style, so that they change in dark mode; each plot also shows its numbers.
//!
//! Plotting crates write fixed colours and sizes, so the plots are drawn here and follow the page.

use maud::{Markup, html};

/// Width of a plot in SVG units. On a phone, one unit is a little less than a pixel.
const WIDTH: f64 = 440.0;

/// Height of one bar, and of the gap between groups, in SVG units.
const BAR: f64 = 15.0;
const GAP: f64 = 9.0;

/// One value of a [`bars`] plot.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Its length, in the unit of the axis; `None` draws nothing.
    pub value: Option<f64>,
    /// Ends of its interval.
    pub interval: Option<(f64, f64)>,
}

/// Horizontal bars: a row for each group, a bar for each series, on an axis from 0 to `most`.
/// `shown` formats a value.
#[must_use]
pub fn bars(
    title: &str,
    series: &[&str],
    groups: &[(String, Vec<Bar>)],
    most: f64,
    shown: &dyn Fn(f64) -> String,
) -> Markup {
    let names = groups.iter().map(|g| g.0.chars().count()).max();
    let left = 16.0 + 6.6 * names.unwrap_or(0).clamp(4, 28) as f64;
    let (width, right) = (WIDTH, 56.0);
    let scale = (width - left - right) / most.max(f64::MIN_POSITIVE);
    let row = BAR * series.len() as f64 + GAP;
    let top = 26.0;
    let height = top + row * groups.len() as f64 + 4.0;
    let x = |value: f64| left + value.clamp(0.0, most) * scale;
    html! {
        svg viewBox=(format!("0 0 {width} {height:.0}")) role="img" aria-label=(title) {
            (legend(series, left))
            line.axis x1=(at(left)) x2=(at(left)) y1=(at(top)) y2=(at(height)) {}
            @for (i, (name, bars)) in groups.iter().enumerate() {
                @let y = top + row * i as f64;
                text x=(at(left - 8.0)) y=(at(y + row / 2.0)) text-anchor="end" { (cut(name)) }
                @for (s, bar) in bars.iter().enumerate() {
                    @let y = y + GAP / 2.0 + BAR * s as f64;
                    @if let Some(value) = bar.value {
                        rect class=(format!("s{}", s % 2)) x=(at(left)) y=(at(y))
                            width=(at(x(value) - left)) height=(at(BAR - 2.0)) {}
                        @if let Some((low, high)) = bar.interval {
                            path.whisker d=(whisker(x(low), x(high), y + BAR / 2.0 - 1.0)) {}
                        }
                        @let end = bar.interval.map_or(value, |i| i.1.max(value));
                        text.soft x=(at(x(end) + 6.0)) y=(at(y + BAR - 4.0)) { (shown(value)) }
                    }
                }
            }
        }
    }
}

fn whisker(low: f64, high: f64, y: f64) -> String {
    format!("M{low:.1} {:.1}v6m0 -3H{high:.1}m0 -3v6", y - 3.0)
}

/// One series of a [`reliability`] plot: confidence, accuracy, share of the images in the bin.
#[derive(Clone, Debug)]
pub struct Reliability {
    /// Name of the series.
    pub name: String,
    /// Bins that have images.
    pub bins: Vec<(f64, f64, f64)>,
}

/// Accuracy over confidence, with a dot for each bin; its area is the share of images. A dot on the
/// diagonal means that the model is right as often as it says.
#[must_use]
pub fn reliability(title: &str, series: &[Reliability]) -> Markup {
    let (side, left, top) = (300.0, 44.0, 26.0);
    let x = |v: f64| left + side * v.clamp(0.0, 1.0);
    let y = |v: f64| top + side * (1.0 - v.clamp(0.0, 1.0));
    let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {:.0}", top + side + 40.0)) role="img" aria-label=(title) {
            (legend(&names, left))
            rect.axis x=(at(left)) y=(at(top)) width=(at(side)) height=(at(side)) {}
            path.axis d=(format!("M{:.1} {:.1}L{:.1} {:.1}", x(0.0), y(0.0), x(1.0), y(1.0))) {}
            @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                text.soft x=(at(x(tick))) y=(at(top + side + 16.0)) text-anchor="middle" {
                    (format!("{:.0} %", 100.0 * tick))
                }
                text.soft x=(at(left - 6.0)) y=(at(y(tick) + 4.0)) text-anchor="end" {
                    (format!("{:.0}", 100.0 * tick))
                }
            }
            text.soft x=(at(left + side / 2.0)) y=(at(top + side + 34.0)) text-anchor="middle" {
                "confidence"
            }
            @for (s, one) in series.iter().enumerate() {
                path class=(format!("l{}", s % 2)) d=(polyline(one, &x, &y)) {}
                @for (confidence, accuracy, share) in &one.bins {
                    circle class=(format!("s{}", s % 2)) cx=(at(x(*confidence)))
                        cy=(at(y(*accuracy))) r=(at(2.5 + 11.0 * share.sqrt())) {}
                }
            }
        }
    }
}

fn polyline(series: &Reliability, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (i, (confidence, accuracy, _)) in series.bins.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        path.push_str(&format!(
            "{command}{:.1} {:.1}",
            x(*confidence),
            y(*accuracy)
        ));
    }
    path
}

/// `counts[truth][predicted]` as a grid; the shading of a cell is its share of the row.
#[must_use]
pub fn confusion(title: &str, labels: &[String], counts: &[Vec<u64>]) -> Markup {
    let n = labels.len().max(1) as f64;
    let names = labels.iter().map(|l| l.chars().count()).max();
    let left = 16.0 + 6.6 * names.unwrap_or(0).clamp(4, 28) as f64;
    let cell = ((WIDTH - 2.0 - left) / n).clamp(18.0, 46.0);
    let width = (left + cell * n + 2.0).max(WIDTH);
    let top = 40.0;
    let slanted = cell < 44.0 || names.unwrap_or(0) > 6;
    let extra = if slanted { left * 0.7 } else { 0.0 };
    let top = top + extra;
    html! {
        svg viewBox=(format!("0 0 {width:.0} {:.0}", top + cell * n + 4.0)) role="img"
            aria-label=(title) {
            text.soft x=(at(left)) y="14" { "predicted" }
            text.soft x=(at(left - 8.0)) y=(at(top - 6.0)) text-anchor="end" { "label" }
            @for (i, label) in labels.iter().enumerate() {
                @let middle = left + cell * (i as f64 + 0.5);
                @if slanted {
                    text transform=(format!("translate({:.1} {:.1}) rotate(-60)", middle + 4.0, top - 6.0)) {
                        (cut(label))
                    }
                } @else {
                    text x=(at(middle)) y=(at(top - 6.0)) text-anchor="middle" { (cut(label)) }
                }
                text x=(at(left - 8.0)) y=(at(top + cell * (i as f64 + 0.5) + 4.0))
                    text-anchor="end" { (cut(label)) }
            }
            @for (truth, row) in counts.iter().enumerate() {
                @let sum = row.iter().sum::<u64>().max(1) as f64;
                @for (predicted, &count) in row.iter().enumerate() {
                    @let (x, y) = (left + cell * predicted as f64, top + cell * truth as f64);
                    @let share = count as f64 / sum;
                    rect.axis x=(at(x)) y=(at(y)) width=(at(cell)) height=(at(cell)) {}
                    @if count > 0 {
                        rect class=(if truth == predicted { "cell" } else { "cell wrong" })
                            x=(at(x + 1.0)) y=(at(y + 1.0)) width=(at(cell - 2.0))
                            height=(at(cell - 2.0)) opacity=(at(0.08 + 0.6 * share)) {}
                        text x=(at(x + cell / 2.0)) y=(at(y + cell / 2.0 + 4.0))
                            text-anchor="middle" { (count) }
                    }
                }
            }
        }
    }
}

fn legend(series: &[&str], left: f64) -> Markup {
    let mut x = left;
    let places: Vec<(f64, &str)> = series
        .iter()
        .map(|name| {
            let place = x;
            x += 34.0 + 6.6 * name.chars().count() as f64;
            (place, *name)
        })
        .collect();
    html! {
        @if series.len() > 1 {
            @for (s, (x, name)) in places.iter().enumerate() {
                rect class=(format!("s{}", s % 2)) x=(at(*x)) y="4" width="12" height="12" {}
                text.soft x=(at(x + 17.0)) y="14" { (name) }
            }
        }
    }
}

/// A coordinate, rounded to a tenth.
fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// A name, short enough to fit beside a plot.
fn cut(name: &str) -> String {
    crate::text::shorten_to(name, 28)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_leave_out_what_is_unknown() {
        let bar = |value| Bar {
            value,
            interval: None,
        };
        let groups = [
            ("nv".to_owned(), vec![bar(Some(0.5)), bar(Some(1.0))]),
            ("df".to_owned(), vec![bar(None), bar(Some(7.0))]),
        ];
        let svg = bars("t", &["base", "candidate"], &groups, 1.0, &|v| {
            v.to_string()
        })
        .into_string();
        // 440 - (16 + 4 * 6.6) - 56 units stand for 1. A larger value ends at the end of the axis.
        for (width, times) in [("170.8", 1), ("341.6", 2)] {
            let found = svg.matches(&format!("width=\"{width}\"")).count();
            assert_eq!(found, times, "{width}: {svg}");
        }
    }

    #[test]
    fn a_confusion_matrix_shows_each_count_once() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let svg = confusion("t", &labels, &[vec![11, 2], vec![0, 13]]).into_string();
        for (count, times) in [(">11<", 1), (">2<", 1), (">0<", 0), (">13<", 1)] {
            assert_eq!(svg.matches(count).count(), times, "{count}: {svg}");
        }
    }

    #[test]
    fn labels_are_escaped_and_long_ones_are_cut() {
        let labels = ["<i>".to_owned(), "x".repeat(40)];
        let svg = confusion("t", &labels, &[vec![1, 0], vec![0, 1]]).into_string();
        assert!(svg.contains("&lt;i&gt;") && !svg.contains("<i>"));
        assert!(svg.contains(&format!("{}...", "x".repeat(25))));
    }

    #[test]
    fn a_reliability_plot_puts_sure_and_right_into_the_upper_right() {
        let series = [Reliability {
            name: "m".to_owned(),
            bins: vec![(1.0, 1.0, 1.0)],
        }];
        let svg = reliability("t", &series).into_string();
        assert!(svg.contains(r#"cx="344.0" cy="26.0" r="13.5""#), "{svg}");
    }
}
