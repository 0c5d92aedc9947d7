//! A plot as an SVG file: some lines over sizes, both axes logarithmic.
//!
//! Must never say more than its points do: each is drawn, and nothing between the sizes is smoothed.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 6] = [
    "#0b6e4f", "#c1292e", "#235789", "#f1a208", "#6a4c93", "#444444",
];

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points; those that are not above zero are left out.
    pub points: Vec<(f64, f64)>,
}

/// A whole plot.
pub fn plot(title: &str, across: &str, lines: &[Line]) -> String {
    let points = || {
        let all = lines.iter().flat_map(|line| line.points.iter().copied());
        all.filter(|(x, y)| *x > 0.0 && *y > 0.0)
    };
    let (left, right) = decades(points().map(|(x, _)| x));
    let (low, high) = decades(points().map(|(_, y)| y));
    let x = |value: f64| LEFT + (value.log10() - left) / (right - left) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| {
        HEIGHT - BOTTOM - (value.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    };
    let mut svg = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>",
        escaped(title)
    );
    for decade in left as i32..=right as i32 {
        let at = x(10f64.powi(decade));
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            short(decade)
        );
    }
    for decade in low as i32..=high as i32 {
        let at = y(10f64.powi(decade));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(decade)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        escaped(across)
    );
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).unwrap_or(&"black");
        let drawn = line.points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        let drawn: Vec<(f64, f64)> = drawn.map(|(px, py)| (x(*px), y(*py))).collect();
        let path: Vec<String> = drawn
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in drawn {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT + 10.0,
            TOP + 14.0 + 18.0 * number as f64,
            escaped(&line.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The powers of ten around some values, never the same one twice.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    for value in values {
        least = least.min(value.log10().floor());
        most = most.max(value.log10().ceil());
    }
    if least > most {
        return (0.0, 1.0);
    }
    (least, most.max(least + 1.0))
}

fn short(decade: i32) -> String {
    match decade {
        6.. => format!("{}M", 10f64.powi(decade - 6)),
        3..6 => format!("{}k", 10f64.powi(decade - 3)),
        _ => format!("{}", 10f64.powi(decade)),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_draws_each_point_and_no_others() {
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.into(),
            points: points.to_vec(),
        };
        let lines = [
            line("a<b", &[(3.0, 5.0), (30.0, 0.0), (300.0, 7.0)]),
            line("none", &[]),
        ];
        let svg = plot("what", "servers", &lines);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a&lt;b") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(!plot("nothing", "servers", &[]).contains("NaN"));
    }
}
