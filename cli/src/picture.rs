//! Pictures as people have them, made into what a network was trained on: grey, its size, light ink on dark.

use crate::flags::Invert;

/// Grey levels from 0 (black) to 255 (white), row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    /// Columns.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// `height · width` levels.
    pub(crate) levels: Vec<f32>,
}

/// How a picture of another size is brought to the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The whole picture, scaled to lie inside, centred.
    Whole,
    /// As MNIST was made: the ink alone, scaled into a box of 20/28 of the size, its centre of mass in the centre.
    Digit,
}

impl Picture {
    /// The grey levels of a picture: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    pub(crate) fn grey(picture: &cotangent_data::Picture) -> Self {
        let (width, height, levels) = (picture.width, picture.height, picture.planes());
        let n = width * height;
        let levels = match picture.channels {
            3 => (0..n)
                .map(|i| 0.299 * levels[i] + 0.587 * levels[n + i] + 0.114 * levels[2 * n + i])
                .collect(),
            _ => levels,
        };
        Picture { width, height, levels }
    }

    /// The picture as a network with inputs of `height` × `width` wants it, in 0..=255, and what was done to it.
    pub(crate) fn prepare(
        &self,
        height: usize,
        width: usize,
        fit: Fit,
        invert: Invert,
    ) -> (Vec<u8>, Vec<String>) {
        let is_inverted = match invert {
            Invert::Never => false,
            Invert::Always => true,
            Invert::Auto => self.border() > 127.5,
        };
        let picture = if is_inverted { self.inverted() } else { self.clone() };
        let mut done: Vec<String> =
            is_inverted.then(|| "dark and light swapped".to_string()).into_iter().collect();
        let (h, w) = (self.height, self.width);
        let placed = match fit {
            // Of the right size already: as it is, like the pictures of the data set itself.
            _ if (h, w) == (height, width) => picture,
            Fit::Whole => {
                done.push(format!("{h}×{w} scaled to {height}×{width}"));
                picture.centred(height, width, (height, width), Centre::Middle)
            }
            Fit::Digit => {
                let ink = picture.ink();
                let (inner_height, inner_width) = (height * 20 / 28, width * 20 / 28);
                done.push(format!(
                    "ink of {}×{} out of {h}×{w} scaled into {inner_height}×{inner_width}, its centre of mass in the middle",
                    ink.height, ink.width
                ));
                ink.centred(height, width, (inner_height, inner_width), Centre::Mass)
            }
        };
        (placed.levels.iter().map(|x| x.round().clamp(0.0, 255.0) as u8).collect(), done)
    }

    fn at(&self, row: usize, column: usize) -> f32 {
        self.levels[row * self.width + column]
    }

    fn inverted(&self) -> Self {
        Picture { levels: self.levels.iter().map(|x| 255.0 - x).collect(), ..*self }
    }

    /// The mean level of the outermost pixels.
    fn border(&self) -> f32 {
        let (h, w) = (self.height, self.width);
        let is_edge = |i: usize, n: usize| i == 0 || i + 1 == n;
        let on_border = |i: usize| is_edge(i / w, h) || is_edge(i % w, w);
        let levels = self.levels.iter().enumerate().filter(|(i, _)| on_border(*i));
        let (sum, count) = levels.fold((0.0, 0.0), |(sum, count), (_, x)| (sum + x, count + 1.0_f32));
        sum / count.max(1.0)
    }

    /// The smallest rectangle around everything that is clearly lighter than the ground; all of it if nothing is.
    fn ink(&self) -> Self {
        let fold = |f: fn(f32, f32) -> f32, start| self.levels.iter().copied().fold(start, f);
        let (low, high) = (fold(f32::min, 255.0), fold(f32::max, 0.0));
        // Faint dirt on the paper is no ink.
        let threshold = low + (high - low) * 0.2;
        let inked = |row: usize, column: usize| self.at(row, column) > threshold;
        let rows: Vec<usize> = (0..self.height).filter(|r| (0..self.width).any(|c| inked(*r, c))).collect();
        let columns: Vec<usize> =
            (0..self.width).filter(|c| (0..self.height).any(|r| inked(r, *c))).collect();
        let (Some(top), Some(bottom)) = (rows.first(), rows.last()) else { return self.clone() };
        let (Some(left), Some(right)) = (columns.first(), columns.last()) else { return self.clone() };
        // What the ground adds is taken away, so that the margins around the ink are truly dark.
        let clean = |x: f32| if x > threshold { x } else { 0.0 };
        let rows = (*top..=*bottom).flat_map(|r| (*left..=*right).map(move |c| (r, c)));
        let levels = rows.map(|(r, c)| clean(self.at(r, c))).collect();
        Picture { width: right - left + 1, height: bottom - top + 1, levels }
    }

    /// Scaled to lie inside `inner`, in its proportions, on a dark ground of `height` × `width`.
    fn centred(&self, height: usize, width: usize, inner: (usize, usize), centre: Centre) -> Self {
        let scale = (inner.0 as f64 / self.height as f64).min(inner.1 as f64 / self.width as f64);
        let scaled = |n: usize, most: usize| ((n as f64 * scale).round() as usize).clamp(1, most.max(1));
        let small = self.resized(scaled(self.height, inner.0), scaled(self.width, inner.1));
        let (row, column) = match centre {
            Centre::Middle => (small.height as f64 / 2.0, small.width as f64 / 2.0),
            Centre::Mass => small.mass(),
        };
        let place = |n: usize, inside: usize, mid: f64| {
            let first = (n as f64 / 2.0 - mid).round();
            (first.max(0.0) as usize).min(n.saturating_sub(inside))
        };
        let (top, left) = (place(height, small.height, row), place(width, small.width, column));
        let mut placed = Picture { width, height, levels: vec![0.0; width * height] };
        for r in 0..small.height.min(height) {
            for c in 0..small.width.min(width) {
                placed.levels[(top + r) * width + left + c] = small.at(r, c);
            }
        }
        placed
    }

    /// Where the light is, in pixels from the upper left corner.
    fn mass(&self) -> (f64, f64) {
        let (mut sum, mut row, mut column) = (0.0, 0.0, 0.0);
        for (i, x) in self.levels.iter().enumerate() {
            let x = f64::from(*x);
            sum += x;
            row += x * ((i / self.width) as f64 + 0.5);
            column += x * ((i % self.width) as f64 + 0.5);
        }
        if sum > 0.0 {
            (row / sum, column / sum)
        } else {
            (self.height as f64 / 2.0, self.width as f64 / 2.0)
        }
    }

    /// Another size; each new pixel is the mean of the area that it covers.
    fn resized(&self, height: usize, width: usize) -> Self {
        let rows = covers(self.height, height);
        let columns = covers(self.width, width);
        let mut levels = Vec::with_capacity(height * width);
        for row in &rows {
            for column in &columns {
                let (mut sum, mut area) = (0.0, 0.0);
                for (r, a) in row {
                    for (c, b) in column {
                        sum += self.at(*r, *c) * a * b;
                        area += a * b;
                    }
                }
                levels.push(sum / area);
            }
        }
        Picture { width, height, levels }
    }
}

#[derive(Clone, Copy)]
enum Centre {
    Middle,
    Mass,
}

/// For each of `to` cells over a line of `from` cells: which it covers, and how much of each.
fn covers(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let scale = from as f64 / to as f64;
    let cell = |i: usize| {
        let (start, end) = (i as f64 * scale, (i + 1) as f64 * scale);
        let last = (end.ceil() as usize).min(from);
        let part = |c: usize| (end.min(c as f64 + 1.0) - start.max(c as f64)) as f32;
        let parts: Vec<_> =
            (start.floor() as usize..last).map(|c| (c, part(c))).filter(|(_, p)| *p > 1e-6).collect();
        parts
    };
    (0..to).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cotangent_data::picture::Levels;

    #[test]
    fn colours_become_grey() {
        let levels = Levels::U8(vec![255, 0, 0, 9, 9, 9]);
        let colour = cotangent_data::Picture { width: 2, height: 1, channels: 3, levels, done: Vec::new() };
        let picture = Picture::grey(&colour);
        assert_eq!((picture.width, picture.height), (2, 1));
        assert!((picture.levels[0] - 76.245).abs() < 1e-3 && (picture.levels[1] - 9.0).abs() < 1e-3);
    }

    #[test]
    fn a_picture_of_the_right_size_stays_as_it_is() {
        let levels: Vec<u8> = (0..=255).cycle().take(28 * 28).collect();
        let mut levels = levels;
        for i in 0..28 {
            (levels[i], levels[27 * 28 + i], levels[i * 28], levels[i * 28 + 27]) = (0, 0, 0, 0);
        }
        let picture =
            Picture { width: 28, height: 28, levels: levels.iter().map(|x| f32::from(*x)).collect() };
        for fit in [Fit::Whole, Fit::Digit] {
            assert_eq!(picture.prepare(28, 28, fit, Invert::Auto), (levels.clone(), vec![]));
        }
        let inverted: Vec<u8> = levels.iter().map(|x| 255 - x).collect();
        let (pixels, done) = picture.prepare(28, 28, Fit::Whole, Invert::Always);
        assert_eq!((pixels, done), (inverted, vec!["dark and light swapped".to_string()]));
    }

    #[test]
    fn dark_ink_in_a_corner_of_white_paper_becomes_a_light_digit_in_the_middle() {
        let (width, height) = (300, 200);
        let mut picture = Picture { width, height, levels: vec![250.0; width * height] };
        // A bar of 10 × 80 with a foot, near the upper left corner.
        for (rows, columns) in [(20..100, 30..40), (90..100, 30..60)] {
            for r in rows {
                for c in columns.clone() {
                    picture.levels[r * width + c] = 10.0;
                }
            }
        }
        let (digit, done) = picture.prepare(28, 28, Fit::Digit, Invert::Auto);
        assert_eq!(done[0], "dark and light swapped");
        assert!(done[1].starts_with("ink of 80×30 out of 200×300"), "{done:?}");
        let digit = Picture { width: 28, height: 28, levels: digit.iter().map(|x| f32::from(*x)).collect() };
        let (row, column) = digit.mass();
        assert!((row - 14.0).abs() <= 0.6 && (column - 14.0).abs() <= 0.6, "{row} {column}");
        assert_eq!(digit.border(), 0.0);
        let ink = digit.ink();
        assert_eq!(ink.height, 20);
        assert!(digit.levels.iter().copied().fold(0.0, f32::max) > 240.0);
    }

    #[test]
    fn resizing_keeps_the_mean() {
        let levels = (0..35).map(|i| ((i * 37) % 256) as f32).collect();
        let picture = Picture { width: 7, height: 5, levels };
        let mean = |p: &Picture| p.levels.iter().sum::<f32>() / p.levels.len() as f32;
        for (h, w) in [(1, 1), (2, 3), (5, 7), (10, 14), (13, 4)] {
            let other = picture.resized(h, w);
            assert_eq!(other.levels.len(), h * w);
            assert!((mean(&other) - mean(&picture)).abs() < 1e-2, "{h} {w}");
        }
        assert_eq!(picture.resized(5, 7), picture);
    }

    #[test]
    fn odd_shapes_and_blank_paper_fit_too() {
        for (w, h) in [(1, 1), (1, 1000), (1000, 1), (3, 27)] {
            for level in [0.0, 255.0, 100.0] {
                let picture = Picture { width: w, height: h, levels: vec![level; w * h] };
                for fit in [Fit::Whole, Fit::Digit] {
                    assert_eq!(picture.prepare(28, 28, fit, Invert::Auto).0.len(), 784);
                }
            }
        }
    }
}
