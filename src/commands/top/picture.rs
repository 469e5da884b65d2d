//! A drawn screen as an SVG picture, for the documentation: a grid of cells, runs of one look as one text each.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

const WIDE: u32 = 8;
const HIGH: u32 = 17;
const MARGIN: u32 = 12;

/// The whole buffer.
pub fn svg(buffer: &Buffer) -> String {
    let (columns, rows) = (u32::from(buffer.area.width), u32::from(buffer.area.height));
    let (width, height) = (columns * WIDE + 2 * MARGIN, rows * HIGH + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" xml:space=\"preserve\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#16191d\"/>\n"
    );
    for y in 0..buffer.area.height {
        let mut x = 0;
        while x < buffer.area.width {
            let first = &buffer[(x, y)];
            let begin = x;
            let mut text = String::new();
            while x < buffer.area.width && same_look(&buffer[(x, y)], first) {
                text.push_str(buffer[(x, y)].symbol());
                x += 1;
            }
            if !text.trim().is_empty() || is_reversed(first) {
                // Writing to a String cannot fail.
                let _ = run(&mut out, (begin, x - begin, y), &text, first);
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn same_look(a: &Cell, b: &Cell) -> bool {
    a.fg == b.fg && a.modifier == b.modifier
}

fn is_reversed(cell: &Cell) -> bool {
    cell.modifier.contains(Modifier::REVERSED)
}

fn run(out: &mut String, (x, columns, y): (u16, u16, u16), text: &str, look: &Cell) -> std::fmt::Result {
    let left = MARGIN + u32::from(x) * WIDE;
    let top = MARGIN + u32::from(y) * HIGH;
    let wide = u32::from(columns) * WIDE;
    let mut colour = colour(look.fg);
    if is_reversed(look) {
        writeln!(
            out,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{HIGH}\" fill=\"{colour}\"/>"
        )?;
        colour = "#16191d";
    }
    let mut more = String::new();
    if look.modifier.contains(Modifier::BOLD) {
        more.push_str(" font-weight=\"bold\"");
    }
    if look.modifier.contains(Modifier::DIM) {
        more.push_str(" opacity=\"0.65\"");
    }
    if look.modifier.contains(Modifier::UNDERLINED) {
        more.push_str(" text-decoration=\"underline\"");
    }
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace(' ', "\u{a0}");
    writeln!(
        out,
        "<text x=\"{left}\" y=\"{}\" textLength=\"{wide}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{colour}\"{more}>{text}</text>",
        top + HIGH - 4
    )
}

fn colour(of: Color) -> &'static str {
    match of {
        Color::Green => "#6cc070",
        Color::Yellow => "#e0b64a",
        Color::Red => "#f2777a",
        Color::Cyan => "#66bfcc",
        _ => "#d8dce2",
    }
}
