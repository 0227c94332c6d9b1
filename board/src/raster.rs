//! SVG documents as PNG files, the same on every machine: the font is inside.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// DejaVu Sans, without most of its letters.
const FONT: &[u8] = include_bytes!("../fonts/DejaVuSans-subset.ttf");
/// Pixels for each of the document's.
const ZOOM: f32 = 2.0;

/// A picture of a document on white, two pixels for each of its own; nothing for what is no SVG, or too large.
///
/// ```
/// let svg = cotangent_board::plot::lines(&Default::default());
/// assert!(cotangent_board::raster::png(&svg).unwrap().starts_with(b"\x89PNG"));
/// assert!(cotangent_board::raster::png("<html>").is_none());
/// ```
#[must_use]
pub fn png(svg: &str) -> Option<Vec<u8>> {
    static FONTS: OnceLock<Arc<Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = Database::new();
        fonts.load_font_data(FONT.to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        Arc::new(fonts)
    });
    let options =
        Options { fontdb: Arc::clone(fonts), font_family: "DejaVu Sans".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).ok()?;
    let size = tree.size().to_int_size().scale_by(ZOOM)?;
    let mut pixels = Pixmap::new(size.width(), size.height())?;
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Chart, Line, confusion, lines};

    /// Height, width, and the darkness of every pixel.
    fn ink(svg: &str) -> (usize, usize, Vec<u8>) {
        let file = png(svg).unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let dark = pixels.chunks_exact(4).map(|p| 255 - p[0].min(p[1]).min(p[2])).collect();
        (info.height as usize, info.width as usize, dark)
    }

    #[test]
    fn text_is_there_in_every_alphabet_that_labels_use() {
        for word in ["loss", "Grösse", "σ²", "√α·x ≤ ∞", "–"] {
            let with = |name: &str| {
                let chart = Chart { title: name.into(), ..Chart::default() };
                ink(&lines(&chart)).2.iter().map(|x| u64::from(*x)).sum::<u64>()
            };
            assert!(with(word) > with("") + 1000, "{word} is drawn");
        }
    }

    #[test]
    fn lines_and_tables_are_drawn_in_their_colours_on_white() {
        let points = vec![(0.0, 0.0), (1.0, 1.0)];
        let line = Line { name: "a".into(), points, dashed: false, colour: 0 };
        let (height, width, dark) = ink(&lines(&Chart { lines: vec![line], ..Chart::default() }));
        assert_eq!((height, width), (600, 960));
        assert!(dark[0] == 0 && dark.iter().filter(|x| **x > 100).count() > 2000);
        let table = confusion(&["a".into(), "b".into()], &[vec![3, 1], vec![0, 4]]);
        assert!(ink(&table).2.iter().filter(|x| **x > 100).count() > 500);
    }
}
