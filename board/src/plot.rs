//! Pictures: line charts and a confusion matrix as SVG, tiles as PNG.
//!
//! SVG comes from `plotters`; this module is the only one that knows it. Two of its habits are mended here: it rounds
//! places to whole pixels, so everything is drawn on a canvas four times as large and scaled by the view box; and its
//! colours are fixed, so the ink becomes `currentColor`, which follows the page, dark or light.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// How much larger the canvas is than the picture.
const SCALE: u32 = 4;
/// Stands for the colour of text and axes until the picture is done.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_HEX: &str = "#010203";
/// Colours of lines, to be told apart on dark and on light, and by most who confuse red and green.
const COLOURS: [RGBColor; 6] = [
    RGBColor(59, 130, 246),
    RGBColor(224, 123, 57),
    RGBColor(43, 163, 122),
    RGBColor(194, 86, 155),
    RGBColor(138, 127, 209),
    RGBColor(176, 150, 42),
];
/// A line that is broken into dashes is one pixel of the canvas wider until the picture is done.
const DASHED: (&str, &str) = ("stroke-width=\"9\"", "stroke-width=\"8\" stroke-dasharray=\"24 16\"");
/// Said once for all of a picture's text.
const FONT: &str = " font-family=\"sans-serif\"";
const STYLE: &str = "<style>.ct-plot{color:#1b1b1f;background:#fff}\
@media screen and (prefers-color-scheme:dark){.ct-plot{color:#e6e6ea;background:#17171b}}</style>";

/// Pixels from one row of the legend to the next.
const ROW: i32 = 16;

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend; without one it is the outline of a band, and stands in no legend.
    pub name: String,
    /// Where it goes through; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Whether it is broken into dashes, to be told apart without colours.
    pub dashed: bool,
    /// Which of the colours; they repeat after six.
    pub colour: usize,
}

/// A chart of lines over a common axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What lies along the horizontal axis.
    pub x: String,
    /// What lies along the vertical axis.
    pub y: String,
    /// The lines, the first one lowest.
    pub lines: Vec<Line>,
    /// Whether equal factors are equally far apart on the vertical axis; where a value is not positive, it is not.
    pub logarithmic: bool,
}

/// The chart as an SVG document of 480 × 300, higher where its legend has several rows.
///
/// ```
/// use cotangent_board::plot::{Chart, Line, lines};
/// let loss = Line { name: "train".into(), points: vec![(1.0, 0.9), (2.0, 0.4)], dashed: false, colour: 0 };
/// let svg = lines(&Chart { title: "Loss".into(), lines: vec![loss], ..Chart::default() });
/// assert!(svg.starts_with("<svg") && svg.contains("Loss") && svg.contains("train"));
/// ```
#[must_use]
pub fn lines(chart: &Chart) -> String {
    // Logarithms are taken here and undone in the labels.
    let positive = || chart.lines.iter().flat_map(|l| &l.points).all(|(_, y)| !y.is_finite() || *y > 0.0);
    let logarithmic = chart.logarithmic && positive();
    let chart = &Chart {
        lines: chart
            .lines
            .iter()
            .map(|line| Line { points: drawable(&line.points, logarithmic), ..line.clone() })
            .collect(),
        logarithmic,
        ..chart.clone()
    };
    let all = || chart.lines.iter().flat_map(|l| &l.points);
    let range = |f: fn(&(f64, f64)) -> f64, room: f64| {
        let (low, high) =
            all().map(f).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let least = low.abs().max(high.abs()) * 1e-6;
        match (low <= high, high - low) {
            (false, _) => (0.0, 1.0),
            (true, width) if width > least => (low - room * width, high + room * width),
            (true, _) => (low - low.abs().max(1.0) * 0.1, high + high.abs().max(1.0) * 0.1),
        }
    };
    let (x, y) = (range(|p| p.0, 0.0), range(|p| p.1, 0.05));
    let label = if chart.title.is_empty() { &chart.y } else { &chart.title };
    // Rows of the legend beyond the first make the document higher, and leave the curves as they are.
    let more = ROW as u32 * (legend_rows(chart).len() as u32 - 1);
    svg([480, 300 + more], label, |root| {
        legend(root, chart)?;
        let place = font(14).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(chart.title.clone(), (8 * SCALE as i32, 14 * SCALE as i32), place))?;
        let root = root.margin((28 + more) * SCALE, 8 * SCALE, 8 * SCALE, 16 * SCALE);
        let mut builder = ChartBuilder::on(&root);
        builder.x_label_area_size(36 * SCALE).y_label_area_size(52 * SCALE);
        draw(chart, builder.build_cartesian_2d(x.0..x.1, y.0..y.1)?)
    })
}

/// The points that can be drawn: finite, and of a size that an axis can be labelled with.
fn drawable(points: &[(f64, f64)], logarithmic: bool) -> Vec<(f64, f64)> {
    let place = |(x, y): &(f64, f64)| (*x, if logarithmic { y.log10() } else { *y });
    let sane = |v: f64| v.is_finite() && v.abs() < 1e12;
    points.iter().map(place).filter(|(x, y)| sane(*x) && sane(*y)).collect()
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

type Axes<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw(chart: &Chart, mut built: Axes<'_>) -> Drawn {
    // Between powers of ten two digits say enough.
    let label = |y: &f64| match chart.logarithmic {
        true => number(format!("{:.1e}", 10_f64.powf(*y)).parse().unwrap_or_default()),
        false => number(*y),
    };
    built
        .configure_mesh()
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|v| number(*v))
        .y_label_formatter(&label)
        .label_style(font(13).color(&INK))
        .axis_desc_style(font(13).color(&INK))
        .axis_style(INK.mix(0.6).stroke_width(SCALE))
        .bold_line_style(INK.mix(0.14).stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for line in &chart.lines {
        let style = style(line);
        let points = || line.points.iter().copied();
        if line.name.is_empty() {
            let paint = COLOURS[line.colour % COLOURS.len()].mix(0.18).filled();
            built.draw_series([Polygon::new(line.points.clone(), paint)])?;
        } else if line.points.len() == 1 {
            // A line through one point is nothing to see.
            built.draw_series(points().map(|p| Circle::new(p, 3 * SCALE, style.filled())))?;
        } else {
            built.draw_series(LineSeries::new(points(), style))?;
        }
    }
    Ok(())
}

fn style(line: &Line) -> ShapeStyle {
    COLOURS[line.colour % COLOURS.len()].stroke_width(2 * SCALE + u32::from(line.dashed))
}

/// Pixels that a name takes in the legend, with its piece of line; letters of 12 pixels are about 7 wide.
fn legend_width(name: &str) -> i32 {
    name.chars().count().min(LONGEST) as i32 * 7 + 30
}

/// Letters of a name in the legend at most.
const LONGEST: usize = 40;

/// Which lines stand in which row of the legend: the first row leaves room for the title.
fn legend_rows(chart: &Chart) -> Vec<Vec<usize>> {
    let title = chart.title.chars().count() as i32 * 9 + 24;
    let (mut rows, mut room) = (vec![Vec::new()], 462 - title);
    for (i, line) in chart.lines.iter().enumerate().filter(|(_, line)| !line.name.is_empty()) {
        let width = legend_width(&line.name);
        if room < width {
            rows.push(Vec::new());
            room = 462;
        }
        // There is always a last row.
        rows.last_mut().into_iter().for_each(|row| row.push(i));
        room -= width + 14;
    }
    rows
}

/// The names of the lines, side by side from the right end, in as many rows as they need.
fn legend(root: &Area<'_>, chart: &Chart) -> Drawn {
    let unit = SCALE as i32;
    for (r, row) in legend_rows(chart).iter().enumerate() {
        let (mut right, y) = (470 * unit, (14 + ROW * r as i32) * unit);
        for line in row.iter().rev().map(|i| &chart.lines[*i]) {
            let shown: String = line.name.chars().take(LONGEST).collect();
            let left = right - legend_width(&line.name) * unit;
            root.draw(&PathElement::new(vec![(left, y), (left + 20 * unit, y)], style(line)))?;
            let middle = font(12).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(shown, (left + 25 * unit, y), middle))?;
            right = left - 14 * unit;
        }
    }
    Ok(())
}

/// A table of counts, row: the truth, column: what was predicted, as an SVG document. A cell is the darker the larger
/// its share of its row; the diagonal is blue, mistakes are orange.
///
/// ```
/// let names = ["cat".to_string(), "dog".into()];
/// let svg = cotangent_board::plot::confusion(&names, &[vec![9, 1], vec![0, 10]]);
/// assert!(svg.contains("cat") && svg.contains(">9<"));
/// ```
#[must_use]
pub fn confusion(classes: &[String], counts: &[Vec<u64>]) -> String {
    let n = counts.len().max(1) as i32;
    // Cells stay readable up to some thirty classes; beyond, the picture shows colours alone.
    let cell = (440 / n).clamp(4, 40);
    let (labels, numbers) = (cell >= 12, cell >= 26);
    let longest = classes.iter().map(|c| c.chars().count().min(16)).max().unwrap_or(0) as i32;
    let edge = if labels { longest * 7 + 34 } else { 34 };
    let (width, height) = (edge + n * cell + 12, 64 + n * cell + 12);
    let unit = SCALE as i32;
    svg([width as u32, height as u32], "Confusion matrix", |root| {
        let text = |words: &str, x: i32, y: i32, h: HPos, size: u32| {
            let style = font(size).color(&INK).pos(Pos::new(h, VPos::Center));
            root.draw(&Text::new(words.to_string(), (x * unit, y * unit), style))
        };
        text("predicted", edge + n * cell / 2, 14, HPos::Center, 13)?;
        let down = FontTransform::Rotate270;
        let style = font(13).color(&INK).transform(down).pos(Pos::new(HPos::Center, VPos::Center));
        root.draw(&Text::new("truth", (14 * unit, (48 + n * cell / 2) * unit), style))?;
        for (i, row) in counts.iter().enumerate() {
            let y = 48 + i as i32 * cell;
            let name: String = classes.get(i).map_or("", String::as_str).chars().take(16).collect();
            if labels {
                text(&name, edge - 6, y + cell / 2, HPos::Right, 12)?;
                let short: String = name.chars().take((cell / 7).max(1) as usize).collect();
                text(&short, edge + i as i32 * cell + cell / 2, 36, HPos::Center, 12)?;
            }
            let all = row.iter().sum::<u64>().max(1) as f64;
            for (j, count) in row.iter().enumerate() {
                let x = edge + j as i32 * cell;
                let colour = COLOURS[usize::from(i != j)];
                // Mistakes are few: their square root makes them visible.
                let share = (*count as f64 / all).sqrt();
                let share = if i == j { share * 0.75 } else { (share * 1.5).min(0.9) };
                let corners = [(x * unit, y * unit), ((x + cell - 1) * unit, (y + cell - 1) * unit)];
                let fill = if *count == 0 { INK.mix(0.05) } else { colour.mix(share.max(0.08)) };
                root.draw(&Rectangle::new(corners, fill.filled()))?;
                if numbers && *count > 0 {
                    text(&count.to_string(), x + cell / 2, y + cell / 2, HPos::Center, 11)?;
                }
            }
        }
        Ok(())
    })
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size * SCALE).into()
}

/// As short as it can be without saying something else: 0.001, 2500, 1e-6.
fn number(x: f64) -> String {
    let a = x.abs();
    if a == 0.0 || a < 1e-12 {
        "0".into()
    } else if (1e-3..1e5).contains(&a) {
        let digits = (3 - a.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{x:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        text.to_string()
    } else {
        format!("{x:.1e}").replace(".0e", "e")
    }
}

/// A document of this size with what `draw` puts on it.
fn svg([width, height]: [u32; 2], label: &str, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut drawn = String::new();
    {
        let root = SVGBackend::with_string(&mut drawn, (width * SCALE, height * SCALE)).into_drawing_area();
        // Text in memory has no errors of its own; what plotters cannot lay out stays blank.
        let _ = draw(&root).and_then(|()| Ok(root.present()?));
    }
    let body = drawn.find('>').map_or("", |end| &drawn[end + 1..]);
    let body = body
        .trim()
        .strip_suffix("</svg>")
        .unwrap_or(body.trim())
        .replace(INK_HEX, "currentColor")
        .replace(DASHED.0, DASHED.1)
        .replace(" opacity=\"1\"", "")
        .replace(FONT, "")
        .replace('\n', "");
    let (w, h) = (width * SCALE, height * SCALE);
    let label = maud::html! { (label) }.into_string();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ct-plot\" role=\"img\" aria-label=\"{label}\"{FONT} \
         width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {w} {h}\">{STYLE}{body}</svg>\n"
    )
}

/// A picture of bytes: grey with one channel, colours with three, one channel after another (`[c][h][w]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// 1 or 3.
    pub channels: usize,
    /// Its height.
    pub height: usize,
    /// Its width.
    pub width: usize,
    /// `channels · height · width` bytes.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// Numbers as grey or colours, from the least (black) to the greatest (white); `around_zero` makes 0 the middle
    /// grey, as for weights. Pictures of other than 1 or 3 channels show their first one.
    #[must_use]
    pub fn of(values: &[f64], [channels, height, width]: [usize; 3], around_zero: bool) -> Self {
        let shown = if channels == 3 { 3 } else { 1 };
        let values = &values[..values.len().min(shown * height * width)];
        let finite = || values.iter().copied().filter(|x| x.is_finite());
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        let most = low.abs().max(high.abs());
        let (low, high) = if around_zero { (-most, most) } else { (low, high) };
        let width_of = if high > low { high - low } else { 1.0 };
        let bytes = values.iter().map(|x| ((x - low) / width_of * 255.0).round().clamp(0.0, 255.0) as u8);
        Picture { channels: shown, height, width, bytes: bytes.collect() }
    }

    /// As a PNG file, every pixel `zoom` pixels wide and high.
    #[must_use]
    pub fn png(&self, zoom: usize) -> Vec<u8> {
        tiles(std::slice::from_ref(self), 1, zoom, 0)
    }
}

/// Pictures of one size side by side, so many in a row, each pixel `zoom` pixels wide, `gap` pixels apart, as a PNG
/// file. The gaps are transparent. What does not have the first one's size is left blank.
///
/// ```
/// use cotangent_board::plot::{Picture, tiles};
/// let dot = Picture { channels: 1, height: 1, width: 2, bytes: vec![0, 255] };
/// assert!(tiles(&[dot.clone(), dot], 2, 3, 1).starts_with(b"\x89PNG"));
/// ```
#[must_use]
pub fn tiles(pictures: &[Picture], columns: usize, zoom: usize, gap: usize) -> Vec<u8> {
    let (columns, zoom) = (columns.max(1).min(pictures.len().max(1)), zoom.max(1));
    let (h, w) = pictures.first().map_or((1, 1), |p| (p.height.max(1), p.width.max(1)));
    let rows = pictures.len().div_ceil(columns).max(1);
    let (cell_h, cell_w) = (h * zoom + gap, w * zoom + gap);
    let (height, width) = (rows * cell_h + gap, columns * cell_w + gap);
    let coloured = pictures.iter().any(|p| p.channels == 3);
    let colours = if coloured { 3 } else { 1 };
    // The gaps are transparent: any grey could be a part of a picture.
    let depth = colours + usize::from(gap > 0);
    let mut canvas = vec![0_u8; height * width * depth];
    for (i, p) in pictures.iter().enumerate() {
        if p.height != h || p.width != w || p.bytes.len() != p.channels * h * w {
            continue;
        }
        let (top, left) = (gap + i / columns * cell_h, gap + i % columns * cell_w);
        for y in 0..h * zoom {
            for x in 0..w * zoom {
                let at = ((top + y) * width + left + x) * depth;
                if gap > 0 {
                    canvas[at + colours] = 255;
                }
                for d in 0..colours {
                    let channel = if p.channels == 3 { d } else { 0 };
                    canvas[at + d] = p.bytes[(channel * h + y / zoom) * w + x / zoom];
                }
            }
        }
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(match depth {
        1 => png::ColorType::Grayscale,
        2 => png::ColorType::GrayscaleAlpha,
        3 => png::ColorType::Rgb,
        _ => png::ColorType::Rgba,
    });
    // A vector takes every byte, and the sizes fit by construction.
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&canvas));
    debug_assert!(written.is_ok());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, dashed: false, colour: 0 }
    }

    #[test]
    fn a_band_lies_below_and_stands_in_no_legend() {
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.into(),
            points: points.to_vec(),
            dashed: false,
            colour: 0,
        };
        let band = line("", &[(0.0, 2.0), (1.0, 3.0), (1.0, 1.0), (0.0, 1.0)]);
        let chart = Chart { lines: vec![band, line("mean", &[(0.0, 1.5), (1.0, 2.0)])], ..Chart::default() };
        let svg = lines(&chart);
        assert!(svg.find("<polygon").unwrap() < svg.rfind("<polyline").unwrap(), "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 1);
        assert_eq!(legend_rows(&chart), [[1]]);
    }

    #[test]
    fn places_are_finer_than_pixels_and_ink_follows_the_page() {
        let points = (0..200).map(|i| (i as f64, (i as f64 / 30.0).sin())).collect();
        let text =
            lines(&Chart { y: "sine <&>".into(), lines: vec![line("a<b", points)], ..Chart::default() });
        assert!(text.contains("viewBox=\"0 0 1920 1200\"") && text.contains("width=\"480\""), "{text}");
        assert!(text.contains("currentColor") && !text.contains(INK_HEX));
        assert!(text.contains("a&lt;b") && !text.contains("a<b") && !text.contains("sine <&>"), "{text}");
        assert_eq!(text.matches("<svg").count(), 1);
        assert_eq!(text.matches("</svg>").count(), 1);
    }

    #[test]
    fn long_names_stand_in_rows_inside_the_picture() {
        let name = |i: usize| format!("a-run-with-a-rather-long-name-{i:03}");
        let lines_of = |n: usize| (0..n).map(|i| line(&name(i), vec![(0.0, 1.0), (1.0, 2.0)])).collect();
        let chart = |n| Chart { title: "Test accuracy".into(), lines: lines_of(n), ..Chart::default() };
        assert_eq!(legend_rows(&chart(4)), [vec![0], vec![1], vec![2], vec![3]]);
        let short = Chart { lines: vec![line("train", Vec::new()), line("test", Vec::new())], ..chart(0) };
        assert_eq!(legend_rows(&short), [vec![0, 1]]);
        let text = lines(&chart(4));
        assert!(text.contains("height=\"348\"") && (0..4).all(|i| text.contains(&name(i))), "{text}");
        let lefts =
            text.split("<text x=\"").skip(1).map(|t| t.split('"').next().unwrap().parse::<i32>().unwrap());
        assert!(lefts.into_iter().all(|x| x >= 0));
        assert!(lines(&short).contains("height=\"300\""));
    }

    #[test]
    fn nothing_that_a_run_can_produce_stops_a_chart() {
        let odd = [
            vec![],
            vec![(1.0, 0.5)],
            vec![(1.0, f64::NAN), (2.0, f64::INFINITY)],
            vec![(1.0, 0.0), (2.0, 0.0)],
            vec![(0.0, 1e-300), (1.0, 1e300)],
            vec![(5.0, -1e308), (5.0, 1e308)],
        ];
        for points in odd {
            for logarithmic in [false, true] {
                let chart = Chart {
                    title: "t".into(),
                    logarithmic,
                    lines: vec![line("x", points.clone())],
                    ..Chart::default()
                };
                assert!(lines(&chart).ends_with("</svg>\n"), "{points:?}");
            }
        }
        assert!(lines(&Chart::default()).contains("</svg>"));
    }

    #[test]
    fn a_table_shows_its_counts_and_names() {
        let names: Vec<String> = ["zero", "<one>"].map(String::from).to_vec();
        let text = confusion(&names, &[vec![980, 3], vec![0, 7]]);
        for words in [">980<", ">3<", ">7<", "&lt;one&gt;", "predicted", "truth"] {
            assert!(text.contains(words), "{words} {text}");
        }
        assert!(!text.contains(">0<"));
        assert!(confusion(&[], &[]).contains("</svg>"));
        let many = vec![vec![1; 200]; 200];
        assert!(!confusion(&vec!["c".into(); 200], &many).contains(">1<"));
    }

    #[test]
    fn tiles_stand_where_they_belong() {
        let (dark, light) = (vec![0, 10, 20, 30], vec![200, 210, 220, 230]);
        let picture = |bytes| Picture { channels: 1, height: 2, width: 2, bytes };
        let file = tiles(&[picture(dark), picture(light)], 2, 2, 1);
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (11, 6));
        let at = |x: usize, y: usize| [pixels[2 * (y * 11 + x)], pixels[2 * (y * 11 + x) + 1]];
        assert_eq!(
            [at(0, 0), at(1, 1), at(2, 2), at(4, 4), at(5, 1), at(6, 1), at(9, 4)],
            [[0, 0], [0, 255], [0, 255], [30, 255], [0, 0], [200, 255], [230, 255]]
        );
    }

    #[test]
    fn weights_of_nothing_are_middle_grey() {
        assert_eq!(Picture::of(&[-1.0, 0.0, 1.0, f64::NAN], [1, 2, 2], true).bytes, [0, 128, 255, 0]);
        assert_eq!(Picture::of(&[3.0; 4], [1, 2, 2], false).bytes, [0; 4]);
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.001, 0.025, 1.5, 2500.0, 1e-6, 1.2e7, 123456.0];
        assert_eq!(all.map(number), ["0", "0.001", "0.025", "1.5", "2500", "1e-6", "1.2e7", "1.2e5"]);
    }
}
