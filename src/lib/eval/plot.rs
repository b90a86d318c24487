//! The plane of cost and effectiveness as an SVG, drawn by `plotters`.

use std::{
    io::{self, Write},
    ops::Range,
};

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{axis::Axis, tradeoff::Point};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 480;
/// As many points of a curve have marks of their own.
const MARKS: usize = 30;
/// Half the side of the square that a mark and its surroundings take.
const MARK: i32 = 7;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
/// Okabe and Ito's colours, of those that contrast with white.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x88, 0xcc),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xb8, 0x86, 0x0b),
    RGBColor(0x7a, 0x6f, 0xd0),
];

type Svg<'s> = SVGBackend<'s>;
type Area<'s> = DrawingArea<Svg<'s>, Shift>;
type Chart<'c, 's> = ChartContext<'c, Svg<'s>, Cartesian2d<Axis, Axis>>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// What a picture shows, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture<'a> {
    /// The title of the horizontal axis.
    pub x: &'a str,
    /// The title of the vertical axis.
    pub y: &'a str,
    /// Whether the horizontal axis is logarithmic; its values must be above 0 then.
    pub log: bool,
    /// Whether the points of a method are joined, and their names left out.
    pub lines: bool,
    /// Whether the front is marked.
    pub front: bool,
}

/// Writes the points, coloured by method, with the spread over seeds as bars and the front as a wide
/// pale line.
///
/// # Errors
/// Those of `output`.
pub fn plot(output: &mut impl Write, points: &[Point], picture: &Picture) -> io::Result<()> {
    let mut svg = String::new();
    draw(&mut svg, points, picture).map_err(|error| io::Error::other(error.to_string()))?;
    output.write_all(svg.as_bytes())
}

fn draw(svg: &mut String, points: &[Point], picture: &Picture) -> Drawn {
    let mut methods: Vec<&str> = points.iter().map(|point| point.method.as_str()).collect();
    methods.dedup(); // points ascend by method
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = clean(&format!("{} against {}", picture.y, picture.x));
    let size = (1.7 * f64::from(WIDTH) / title.chars().count().max(1) as f64).min(15.0);
    let at = (WIDTH as i32 / 2, 20);
    root.draw(&Text::new(title, at, text(size, HPos::Center)))?;
    let longest = methods.iter().map(|method| width(method, 13)).max().unwrap_or(0);
    let plane = WIDTH as i32 - (50 + longest).clamp(140, WIDTH as i32 / 2);
    let (left, right) = root.margin(32, 8, 4, 0).split_horizontally(plane);
    let mut chart = axes(&left, points, picture)?;
    if picture.front {
        let mut front: Vec<&Point> = points.iter().filter(|point| point.on_front).collect();
        front.sort_by(|a, b| a.x.mean.total_cmp(&b.x.mean));
        chart.draw_series(LineSeries::new(front.into_iter().map(place), pale()))?;
    }
    for (number, method) in methods.iter().enumerate() {
        let own: Vec<&Point> = points.iter().filter(|point| point.method == *method).collect();
        series(&root, &mut chart, &own, number, picture.lines)?;
    }
    if !picture.lines {
        names(&root, &chart, points)?;
    }
    legend(&right, &methods, picture.front)?;
    root.present()
}

/// A plane with both axes, and nothing in it.
fn axes<'c, 's>(
    area: &'c Area<'s>,
    points: &[Point],
    picture: &Picture,
) -> Result<Chart<'c, 's>, DrawingAreaErrorKind<io::Error>> {
    let ends = points.iter().map(|p| (p.x.least, p.x.most));
    let x = if picture.log { Axis::by_factors(ends) } else { Axis::over(ends) };
    let y = Axis::over(points.iter().map(|p| (p.y.least, p.y.most)));
    let mut chart = ChartBuilder::on(area)
        .margin_right(20)
        .margin_top(6)
        .x_label_area_size(46)
        .y_label_area_size(68)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(INK.mix(0.15))
        .axis_style(INK.mix(0.5))
        .label_style(text(12.5, HPos::Center))
        .axis_desc_style(text(13.5, HPos::Center))
        .x_desc(clean(picture.x))
        .y_desc(clean(picture.y))
        .x_label_formatter(&|&value| x.tick(value))
        .y_label_formatter(&|&value| y.tick(value))
        .draw()?;
    Ok(chart)
}

/// The points of a method: a line or bars, and marks.
fn series(root: &Area, chart: &mut Chart, own: &[&Point], method: usize, lines: bool) -> Drawn {
    let colour = colour(method);
    if lines {
        let line = LineSeries::new(own.iter().copied().map(place), colour.stroke_width(2));
        chart.draw_series(line)?;
        if own.len() > MARKS {
            return Ok(());
        }
    }
    for &Point { x, y, .. } in own.iter().filter(|point| point.seeds > 1) {
        let bars = [[(x.least, y.mean), (x.most, y.mean)], [(x.mean, y.least), (x.mean, y.most)]];
        chart.draw_series(bars.map(|bar| PathElement::new(bar, colour.mix(0.7))))?;
    }
    own.iter().try_for_each(|point| mark(root, chart.backend_coord(&place(point)), method))
}

/// The names of points near their marks, where they cover no mark and no other name; a name that had to
/// move away is joined to its mark.
fn names(root: &Area, chart: &Chart, points: &[Point]) -> Drawn {
    let (across, down) = chart.plotting_area().get_pixel_range();
    let at = |point: &Point| chart.backend_coord(&place(point));
    let marks = points.iter().map(at);
    let mut taken: Vec<_> = marks.map(|(x, y)| (x - MARK..x + MARK, y - MARK..y + MARK)).collect();
    for point in points {
        let ((x, y), name) = (at(point), clean(&point.name));
        let (wide, high) = (width(&name, 11), 12);
        let places = (1..=8).flat_map(|far| {
            let (left, right) = (x - wide - MARK, x + MARK);
            let (above, below) = (y - MARK - high * far, y + MARK + high * (far - 1));
            [(right, below), (left, below), (left, above), (right, above)]
        });
        let boxes = places.map(|(left, top)| (left..left + wide, top..top + high));
        let covered = |(a, b): &(Range<i32>, Range<i32>)| -> i64 {
            let outside = i64::from(wide * high) - overlap(a, &across) * overlap(b, &down);
            outside + taken.iter().map(|(x, y)| overlap(a, x) * overlap(b, y)).sum::<i64>()
        };
        let Some(free) = boxes.min_by_key(covered) else { continue };
        let middle = free.1.start + high / 2;
        if (y - middle).abs() > MARK + high {
            let end = (x.clamp(free.0.start, free.0.end), y.clamp(free.1.start, free.1.end));
            root.draw(&PathElement::new([(x, y), end], INK.mix(0.4)))?;
        }
        root.draw(&Text::new(name, (free.0.start, middle), text(11.0, HPos::Left)))?;
        taken.push(free);
    }
    Ok(())
}

/// The marks of methods with their names.
fn legend(area: &Area, methods: &[&str], front: bool) -> Drawn {
    let height = |row: usize| 20 + 22 * row as i32;
    for (row, method) in methods.iter().enumerate() {
        let name = if method.is_empty() { "results".into() } else { clean(method) };
        mark(area, (12, height(row)), row)?;
        area.draw(&Text::new(name, (26, height(row)), text(13.0, HPos::Left)))?;
    }
    if front {
        let at = height(methods.len());
        area.draw(&PathElement::new([(2, at), (22, at)], pale()))?;
        area.draw(&Text::new("Pareto front", (26, at), text(13.0, HPos::Left)))?;
    }
    Ok(())
}

/// Methods differ by shape too, for readers who cannot tell the colours apart.
fn mark(area: &Area, (x, y): (i32, i32), method: usize) -> Drawn {
    let style = colour(method).filled();
    let corners: &[(i32, i32)] = match method % 4 {
        0 => return area.draw(&Circle::new((x, y), 5, style)),
        1 => &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
        2 => &[(0, -6), (6, 5), (-6, 5)],
        _ => &[(0, -6), (6, 0), (0, 6), (-6, 0)],
    };
    let corners: Vec<_> = corners.iter().map(|(right, down)| (x + right, y + down)).collect();
    area.draw(&Polygon::new(corners, style))
}

fn place(point: &Point) -> (f64, f64) {
    (point.x.mean, point.y.mean)
}

fn pale() -> ShapeStyle {
    INK.mix(0.2).stroke_width(7)
}

fn colour(method: usize) -> RGBColor {
    COLOURS[method % COLOURS.len()]
}

/// Pixels that two ranges share.
fn overlap(a: &Range<i32>, b: &Range<i32>) -> i64 {
    i64::from((a.end.min(b.end) - a.start.max(b.start)).max(0))
}

/// About how many pixels a text takes: its font is the reader's.
fn width(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * 0.58 * f64::from(size)).ceil() as i32
}

/// Without control characters, which XML forbids.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// A text of so many pixels, on whose middle line its place is; plotters writes sizes divided by 1.24.
fn text<'a>(size: f64, side: HPos) -> TextStyle<'a> {
    let style = ("sans-serif", 1.24 * size).into_text_style(&(WIDTH, HEIGHT));
    style.color(&INK).pos(Pos::new(side, VPos::Center))
}

#[cfg(test)]
mod tests {
    use super::{super::tradeoff::Spread, *};

    /// A point of two seeds that agree.
    fn point(method: &str, name: &str, x: f64, y: f64) -> Point {
        let at = |value| Spread { least: value, mean: value, most: value };
        Point {
            method: method.into(),
            name: name.into(),
            seeds: 2,
            x: at(x),
            y: at(y),
            columns: Vec::new(),
            on_front: true,
        }
    }

    fn drawn(points: &[Point], log: bool, lines: bool, front: bool) -> String {
        let picture = Picture { x: "cost <", y: "nDCG@10", log, lines, front };
        let mut bytes = Vec::new();
        plot(&mut bytes, points, &picture).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The numbers of an attribute, of each element of this kind.
    fn numbers(svg: &str, kind: &str, attribute: &str) -> Vec<i32> {
        let start = format!("<{kind} ");
        let elements = svg.split('\n').filter(|line| line.starts_with(&start));
        let value = |line: &str| {
            let (_, rest) = line.split_once(&format!(" {attribute}=\"")).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        elements.map(value).collect()
    }

    #[test]
    fn every_text_is_written_and_names_cannot_break_the_drawing() {
        let points = [point("l0", "a<b\u{1}", 1.0, 0.3), point("splade & co", "c", 2.0, 0.4)];
        let svg = drawn(&points, false, false, true);
        let texts = [
            "nDCG@10 against cost &lt;",
            "nDCG@10",
            "cost &lt;",
            "a&lt;b ",
            "c",
            "l0",
            "splade &amp; co",
            "Pareto front",
            "1.0",
            "2.0",
            "0.30",
            "0.40",
        ];
        for text in texts {
            assert_eq!(svg.matches(&format!(">\n{text}\n</text>")).count(), 1, "{text}");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        let svg = drawn(&points, true, true, false);
        assert!(!svg.contains("a&lt;b") && !svg.contains("Pareto") && svg.contains("\nl0\n"));
        assert!(drawn(&[point("", "a", 3.0, 3.0)], true, true, true).contains("\nresults\n"));
    }

    #[test]
    fn points_are_where_their_numbers_say() {
        let of = |x: f64, y: f64| point("l0", "p", x, y);
        for (log, points) in [
            (false, [of(1.0, 0.2), of(2.0, 0.3), of(3.0, 0.4)]),
            (true, [of(1.0, 0.2), of(10.0, 0.3), of(100.0, 0.4)]),
        ] {
            let svg = drawn(&points, log, true, false);
            let (x, y) = (numbers(&svg, "circle", "cx"), numbers(&svg, "circle", "cy"));
            // three points, and one mark of the legend
            let ([a, b, c, _], [d, e, f, _]) = (&x[..], &y[..]) else { panic!("{svg}") };
            assert!(a < b && (c - b - (b - a)).abs() <= 1, "{x:?}");
            assert!(d > e && (f - e - (e - d)).abs() <= 1, "{y:?}");
            let corners = format!("{a},{d} {b},{e} {c},{f} ");
            assert!(svg.contains(&format!("points=\"{corners}\"")), "{corners}\n{svg}");
        }
    }

    #[test]
    fn bars_span_the_seeds_and_long_curves_have_no_marks() {
        let mut apart = point("l0", "a", 2.0, 0.3);
        apart.x = Spread { least: 1.0, mean: 2.0, most: 3.0 };
        apart.y = Spread { least: 0.2, mean: 0.3, most: 0.4 };
        let svg = drawn(&[apart], false, false, false);
        let bars = svg.matches("opacity=\"0.7\"").count();
        assert_eq!((bars, svg.matches("<circle").count()), (2, 2));
        let long: Vec<Point> = (0..=30).map(|n| point("l0", "a", f64::from(n), 0.3)).collect();
        let marks = |points: &[Point]| drawn(points, false, true, false).matches("<circle").count();
        assert_eq!((marks(&long[..30]), marks(&long)), (31, 1));
    }

    #[test]
    fn names_of_points_in_one_place_do_not_collide() {
        let points: Vec<Point> =
            (0..12).map(|n| point("l0", &format!("name {n:02}"), 1.0, 0.3)).collect();
        let svg = drawn(&points, false, false, false);
        let lines: Vec<&str> = svg.lines().collect();
        let named = lines.windows(2).filter(|pair| pair[1].starts_with("name "));
        let texts: Vec<String> = named.map(|pair| format!("{}\n", pair[0])).collect();
        let places: Vec<(i32, i32)> = texts
            .iter()
            .map(|text| (numbers(text, "text", "x")[0], numbers(text, "text", "y")[0]))
            .collect();
        assert_eq!(places.len(), points.len());
        for (at, (x, y)) in places.iter().enumerate() {
            let apart = |(a, b): &(i32, i32)| (x - a).abs() >= 45 || (y - b).abs() >= 12;
            assert!(places[..at].iter().all(apart), "{places:?}");
        }
        assert_eq!(svg, drawn(&points, false, false, false));
    }
}
