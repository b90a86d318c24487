//! The plane of cost and effectiveness as an SVG that reads well on light and dark pages.

use std::{
    fmt::Write as _,
    io::{self, Write},
    ops::RangeInclusive,
};

use super::tradeoff::Point;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 580.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 400.0;
/// Room that a label wants.
const LABEL: f64 = 100.0;
/// As many points of a curve get marks of their own.
const MARKS: usize = 30;
/// About how many steps an axis has.
const STEPS: f64 = 6.0;
/// Okabe and Ito's colours that stand out on white and on black alike.
const COLOURS: [&str; 6] = ["#d55e00", "#0088cc", "#009e73", "#cc79a7", "#b8860b", "#7a6fd0"];

const STYLE: &str = "\
svg{background:#fff;color:#222;font:13px system-ui,sans-serif}
text{fill:currentColor}.grid{stroke:currentColor;opacity:.15}.front{stroke:currentColor;opacity:.6;
fill:none;stroke-dasharray:5 4}.label{font-size:11px;opacity:.85}
@media(prefers-color-scheme:dark){svg{background:#15171a;color:#e4e4e4}}";

/// What a picture shows, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture<'a> {
    /// Says what runs to the right.
    pub x: &'a str,
    /// Says what runs upwards.
    pub y: &'a str,
    /// Whether x grows by factors; numbers must be above 0 then.
    pub log: bool,
    /// Whether the points of a method are joined, and their names left out.
    pub lines: bool,
    /// Whether the front is marked.
    pub front: bool,
}

/// Writes the points, coloured by method, with the spread over seeds as bars and the front as a
/// dashed line.
///
/// # Errors
/// Those of `output`.
pub fn plot(output: &mut impl Write, points: &[Point], picture: &Picture) -> io::Result<()> {
    let ends = points.iter().map(|p| (p.x.least, p.x.most));
    let x = match picture.log {
        true => Axis::by_factors(ends, LEFT..=RIGHT),
        false => Axis::over(ends, LEFT..=RIGHT),
    };
    let y = Axis::over(points.iter().map(|p| (p.y.least, p.y.most)), BOTTOM..=TOP);
    let mut svg = String::new();
    draw(&mut svg, points, picture, &x, &y).expect("writing into memory cannot fail");
    output.write_all(svg.as_bytes())
}

/// A range of values and the pixels it covers.
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    log: bool,
    pixels: RangeInclusive<f64>,
}

impl Axis {
    /// From round number to round number around all values.
    fn over(values: impl Iterator<Item = (f64, f64)>, pixels: RangeInclusive<f64>) -> Axis {
        let (from, to) = ends(values);
        // values that only rounding tells apart are one
        let apart = to - from > to.abs().max(from.abs()) * 1e-9;
        let range = if apart { to - from } else { to.abs().max(1.0) };
        let magnitude = 10f64.powf((range / STEPS).log10().floor());
        let fits = |&step: &f64| range / step <= STEPS;
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(fits);
        let step = step.unwrap_or(range);
        let (from, to) = ((from / step).floor() * step, (to / step).ceil() * step);
        let to = to.max(from + step);
        let count = ((to - from) / step).round() as u32;
        let ticks = (0..=count).map(|n| from + f64::from(n) * step).collect();
        Axis { from, to, ticks, log: false, pixels }
    }

    /// By factors, from the smallest to the largest value and a little beyond; ticks at 1, 2 and 5
    /// times powers of ten, of a long axis at the powers.
    fn by_factors(values: impl Iterator<Item = (f64, f64)>, pixels: RangeInclusive<f64>) -> Axis {
        let (from, to) = ends(values);
        let (from, to) = (from / 1.15, to * 1.15);
        let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
        let marks: &[f64] = if to / from > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks = powers.flat_map(|power| marks.iter().map(move |mark| mark * 10f64.powi(power)));
        let mut ticks: Vec<f64> = ticks.filter(|tick| (from..=to).contains(tick)).collect();
        if ticks.len() < 2 {
            ticks = vec![from * 1.15, to / 1.15];
            ticks.dedup();
        }
        Axis { from, to, ticks, log: true, pixels }
    }

    fn pixel(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        self.pixels.start() + share * (self.pixels.end() - self.pixels.start())
    }

    /// With as many decimals as it takes to tell ticks apart.
    fn tick(&self, value: f64) -> String {
        let step = match (self.log, &self.ticks[..]) {
            (false, [first, second, ..]) => second - first,
            // ends without a round number between them
            (true, [first, second]) => (second - first).min(value),
            _ => value,
        };
        let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
        format!("{value:.decimals$}")
    }
}

fn ends(values: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let none = (f64::INFINITY, f64::NEG_INFINITY);
    values.fold(none, |(from, to), (a, b)| (from.min(a), to.max(b)))
}

fn draw(
    svg: &mut String,
    points: &[Point],
    picture: &Picture,
    x: &Axis,
    y: &Axis,
) -> std::fmt::Result {
    let size = format!("viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\"");
    writeln!(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" {size}>")?;
    writeln!(svg, "<title>{} against {}</title>", escaped(picture.y), escaped(picture.x))?;
    writeln!(svg, "<style>{STYLE}</style>")?;
    axes(svg, picture, x, y)?;
    let corner = |p: &&Point| format!("{:.1},{:.1}", x.pixel(p.x.mean), y.pixel(p.y.mean));
    let corners = |points: &[&Point]| points.iter().map(corner).collect::<Vec<_>>().join(" ");
    let mut front: Vec<&Point> = points.iter().filter(|point| point.on_front).collect();
    front.sort_by(|a, b| a.x.mean.total_cmp(&b.x.mean));
    if picture.front {
        writeln!(svg, "<polyline class=\"front\" points=\"{}\"/>", corners(&front))?;
    }
    let mut methods: Vec<&str> = points.iter().map(|point| point.method.as_str()).collect();
    methods.dedup(); // points ascend by method
    for (number, method) in methods.iter().enumerate() {
        let own: Vec<&Point> = points.iter().filter(|point| point.method == *method).collect();
        if picture.lines {
            let colour = colour(number);
            writeln!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>",
                corners(&own)
            )?;
        }
        // a curve of many points is a curve
        let marked = !picture.lines || own.len() <= MARKS;
        for point in own.iter().filter(|_| marked) {
            draw_point(svg, point, number, picture.lines, x, y)?;
        }
        let height = TOP + 14.0 + 22.0 * number as f64;
        mark(svg, number, RIGHT + 24.0, height)?;
        let name = if method.is_empty() { "results" } else { method };
        text(svg, RIGHT + 38.0, height + 4.0, "", name)?;
    }
    if picture.front {
        let height = TOP + 14.0 + 22.0 * methods.len() as f64;
        let (from, to) = (RIGHT + 12.0, RIGHT + 34.0);
        writeln!(svg, "<path class=\"front\" d=\"M{from} {height}H{to}\"/>")?;
        text(svg, RIGHT + 38.0, height + 4.0, "", "Pareto front")?;
    }
    writeln!(svg, "</svg>")
}

fn axes(svg: &mut String, picture: &Picture, x: &Axis, y: &Axis) -> std::fmt::Result {
    for &tick in &x.ticks {
        let at = x.pixel(tick);
        writeln!(svg, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>")?;
        text(svg, at, BOTTOM + 18.0, " text-anchor=\"middle\"", &x.tick(tick))?;
    }
    for &tick in &y.ticks {
        let at = y.pixel(tick);
        writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>")?;
        text(svg, LEFT - 8.0, at + 4.0, " text-anchor=\"end\"", &y.tick(tick))?;
    }
    let middle = " text-anchor=\"middle\"";
    text(svg, (LEFT + RIGHT) / 2.0, BOTTOM + 42.0, middle, picture.x)?;
    let height = (TOP + BOTTOM) / 2.0;
    let turned = format!("{middle} transform=\"rotate(-90 18 {height})\"");
    text(svg, 18.0, height, &turned, picture.y)
}

fn draw_point(
    svg: &mut String,
    point: &Point,
    method: usize,
    nameless: bool,
    x: &Axis,
    y: &Axis,
) -> std::fmt::Result {
    let (at_x, at_y) = (x.pixel(point.x.mean), y.pixel(point.y.mean));
    if point.seeds > 1 {
        let (left, right) = (x.pixel(point.x.least), x.pixel(point.x.most));
        let (low, high) = (y.pixel(point.y.least), y.pixel(point.y.most));
        let colour = colour(method);
        let bars = format!("M{left:.1} {at_y:.1}H{right:.1}M{at_x:.1} {low:.1}V{high:.1}");
        writeln!(svg, "<path stroke=\"{colour}\" opacity=\".7\" d=\"{bars}\"/>")?;
    }
    mark(svg, method, at_x, at_y)?;
    if nameless {
        return Ok(());
    }
    // below its mark, off the front, which rises to the right; at the right edge to the left
    let (aside, anchor) = if at_x < RIGHT - LABEL { (6.0, "start") } else { (-6.0, "end") };
    let attributes = format!(" class=\"label\" text-anchor=\"{anchor}\"");
    text(svg, at_x + aside, at_y + 15.0, &attributes, &point.name)
}

/// Methods differ by shape too, for those who cannot tell the colours.
fn mark(svg: &mut String, method: usize, x: f64, y: f64) -> std::fmt::Result {
    let colour = colour(method);
    let shape = match method % 4 {
        0 => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
        1 => "m-4.5 -4.5h9v9h-9z",
        2 => "m0 -6l5.5 9.5h-11z",
        _ => "m0 -6l6 6l-6 6l-6 -6z",
    };
    writeln!(svg, "<path fill=\"{colour}\" d=\"M{x:.1} {y:.1}{shape}\"/>")
}

fn colour(method: usize) -> &'static str {
    COLOURS[method % COLOURS.len()]
}

fn escaped(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control(), " "); // XML forbids them
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn text(svg: &mut String, x: f64, y: f64, attributes: &str, text: &str) -> std::fmt::Result {
    let text = escaped(text);
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{attributes}>{text}</text>")
}

#[cfg(test)]
mod tests {
    use super::{super::tradeoff::Spread, *};

    #[test]
    fn axes_go_from_round_number_to_round_number() {
        #[track_caller]
        fn check(from: f64, to: f64, ticks: &[&str]) {
            let axis = Axis::over([(from, to)].into_iter(), 0.0..=100.0);
            let written: Vec<String> = axis.ticks.iter().map(|&tick| axis.tick(tick)).collect();
            assert_eq!(written, ticks);
            assert!(axis.pixel(from) >= 0.0 && axis.pixel(to) <= 100.0);
        }
        check(0.31, 0.352, &["0.31", "0.32", "0.33", "0.34", "0.35", "0.36"]);
        check(0.0, 12.0, &["0", "2", "4", "6", "8", "10", "12"]);
        check(3.0, 3.0, &["3.0", "3.5"]);
        check(0.0, 0.0, &["0.0", "0.2"]);
        check(0.3, 0.1 + 0.2, &["0.2", "0.4"]);
    }

    #[test]
    fn an_axis_by_factors_has_ticks_at_equal_factors() {
        let axis = Axis::by_factors([(0.002, 0.05)].into_iter(), 0.0..=100.0);
        let written: Vec<String> = axis.ticks.iter().map(|&tick| axis.tick(tick)).collect();
        assert_eq!(written, ["0.002", "0.005", "0.01", "0.02", "0.05"]);
        let at: Vec<f64> = axis.ticks.iter().map(|&tick| axis.pixel(tick)).collect();
        assert!((at[3] - at[2] - (at[2] - at[1])).abs() < 1e-9 && at[0] > 0.0 && at[4] < 100.0);
        let short = Axis::by_factors([(3.0, 3.3)].into_iter(), 0.0..=100.0);
        let written: Vec<String> = short.ticks.iter().map(|&tick| short.tick(tick)).collect();
        assert_eq!(written, ["3.0", "3.3"]);
        let long = Axis::by_factors([(1e-4, 10.0)].into_iter(), 0.0..=100.0);
        let written: Vec<String> = long.ticks.iter().map(|&tick| long.tick(tick)).collect();
        assert_eq!(written, ["0.0001", "0.001", "0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn every_point_and_method_is_drawn_and_names_cannot_break_the_drawing() {
        let at = |value| Spread { least: value, mean: value, most: value };
        let point = |method: &str, name: &str, flops, ndcg| Point {
            method: method.into(),
            name: name.into(),
            seeds: 2,
            x: at(flops),
            y: at(ndcg),
            columns: Vec::new(),
            on_front: true,
        };
        let points = [point("l0", "a<b", 1.0, 0.3), point("splade & co", "c", 2.0, 0.4)];
        let drawn = |lines: bool, front: bool| {
            let picture = Picture { x: "cost <", y: "nDCG@10", log: lines, lines, front };
            let mut bytes = Vec::new();
            plot(&mut bytes, &points, &picture).unwrap();
            let svg = String::from_utf8(bytes).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
            svg
        };
        let svg = drawn(false, true);
        for text in [
            ">a&lt;b<",
            ">c<",
            ">l0<",
            ">splade &amp; co<",
            ">Pareto front<",
            ">cost &lt;<",
            "</svg>",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        let svg = drawn(true, false);
        assert!(!svg.contains(">a&lt;b<") && !svg.contains("Pareto") && svg.contains(">l0<"));
        assert_eq!(svg.matches("<polyline").count(), 2);
    }
}
