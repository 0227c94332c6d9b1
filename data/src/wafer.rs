//! Maps of wafers with typical defects, drawn by a seed: pictures for trying out what real ones need, such as class
//! weights and figures by class, because the classes are as unequal as in a factory.

use std::f64::consts::TAU;

use crate::set::{Parts, Set};

/// `[channels, height, width]` of a map.
pub const SHAPE: [usize; 3] = [1, 28, 28];
/// The names of the classes in their order.
pub const CLASSES: [&str; 9] =
    ["center", "donut", "edge-loc", "edge-ring", "local", "near-full", "random", "scratch", "none"];
/// Maps to train on, by class.
pub const TRAIN: [usize; 9] = [128, 48, 144, 192, 112, 32, 64, 96, 784];
/// Maps to test on, by class: a quarter of those to train on.
pub const TEST: [usize; 9] = [32, 12, 36, 48, 28, 8, 16, 24, 196];
/// Outside of the wafer, a good die, and one that failed.
pub const LEVELS: [u8; 3] = [0, 127, 255];

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform between two numbers.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fisher and Yates.
    fn shuffle<T>(&mut self, all: &mut [T]) {
        for i in (1..all.len()).rev() {
            let j = self.next() % (i as u64 + 1);
            all.swap(i, j as usize);
        }
    }
}

/// Centre of die `(row, column)` on the wafer, whose radius is 1.
fn place(row: usize, column: usize) -> (f64, f64) {
    let of = |i: usize| (2.0 * i as f64 + 1.0) / SHAPE[1] as f64 - 1.0;
    (of(column), of(row))
}

/// What a defect looks like: how likely the die at `(x, y)` fails, by nothing but this defect.
enum Defect {
    /// Within `radius` of `(x, y)`.
    Disc { x: f64, y: f64, radius: f64 },
    /// From radius `from` to `to` around `(x, y)`, where the angle is at most `half` from `angle`.
    Ring { x: f64, y: f64, from: f64, to: f64, angle: f64, half: f64 },
    /// Everywhere.
    Everywhere(f64),
    /// Along a line that was drawn.
    Line(Vec<(f64, f64)>),
    /// Nowhere.
    None,
}

impl Defect {
    fn draw(class: usize, random: &mut Random) -> Self {
        let angle = random.between(0.0, TAU);
        let near = random.between(0.0, 0.1);
        let (x, y) = (near * angle.cos(), near * angle.sin());
        match CLASSES[class] {
            "center" => Defect::Disc { x, y, radius: random.between(0.2, 0.38) },
            "donut" => {
                let (middle, half) = (random.between(0.42, 0.56), random.between(0.11, 0.15));
                Defect::Ring { x, y, from: middle - half, to: middle + half, angle, half: TAU }
            }
            "edge-loc" => {
                let (from, half) = (random.between(0.72, 0.84), random.between(0.35, 0.8));
                Defect::Ring { x: 0.0, y: 0.0, from, to: 1.1, angle, half }
            }
            "edge-ring" => {
                let from = random.between(0.8, 0.88);
                Defect::Ring { x: 0.0, y: 0.0, from, to: 1.1, angle, half: TAU }
            }
            "local" => {
                let far = random.between(0.4, 0.6);
                Defect::Disc {
                    x: far * angle.cos(),
                    y: far * angle.sin(),
                    radius: random.between(0.13, 0.22),
                }
            }
            "near-full" => Defect::Everywhere(random.between(0.88, 0.97)),
            "random" => Defect::Everywhere(random.between(0.25, 0.45)),
            "scratch" => {
                let (far, bend) = (random.between(0.3, 0.8), random.between(-1.0, 1.0));
                let steps = (random.between(1.0, 1.6) * 28.0) as usize;
                let (mut x, mut y) = (far * angle.cos(), far * angle.sin());
                // Inwards, more or less.
                let mut heading = angle + TAU / 2.0 + random.between(-0.6, 0.6);
                let mut line = Vec::new();
                for _ in 0..steps {
                    // It ends where it would leave the wafer.
                    if x.hypot(y) > 0.93 {
                        break;
                    }
                    line.push((x, y));
                    heading += bend / 28.0;
                    x += heading.cos() / 28.0;
                    y += heading.sin() / 28.0;
                }
                Defect::Line(line)
            }
            _ => Defect::None,
        }
    }

    fn chance(&self, x: f64, y: f64) -> f64 {
        match self {
            Defect::Disc { x: cx, y: cy, radius } => {
                if (x - cx).hypot(y - cy) <= *radius {
                    0.9
                } else {
                    0.0
                }
            }
            Defect::Ring { x: cx, y: cy, from, to, angle, half } => {
                let (dx, dy) = (x - cx, y - cy);
                let apart = (dy.atan2(dx) - angle).rem_euclid(TAU);
                let inside = (*from..=*to).contains(&dx.hypot(dy)) && apart.min(TAU - apart) <= *half;
                if inside { 0.85 } else { 0.0 }
            }
            Defect::Everywhere(chance) => *chance,
            Defect::Line(line) => {
                let near = line.iter().any(|(lx, ly)| (x - lx).abs().max((y - ly).abs()) <= 1.0 / 28.0);
                if near { 0.95 } else { 0.0 }
            }
            Defect::None => 0.0,
        }
    }
}

/// One map: `P(die fails) = 1 − (1 − noise)(1 − defect)`, with 1 to 5 % of noise.
fn map(class: usize, random: &mut Random) -> Vec<u8> {
    let defect = Defect::draw(class, random);
    let noise = random.between(0.01, 0.05);
    let mut levels = Vec::with_capacity(SHAPE[1] * SHAPE[2]);
    for row in 0..SHAPE[1] {
        for column in 0..SHAPE[2] {
            let (x, y) = place(row, column);
            let fails = random.between(0.0, 1.0) > (1.0 - noise) * (1.0 - defect.chance(x, y));
            levels.push(match (x.hypot(y) <= 1.0, fails) {
                (false, _) => LEVELS[0],
                (true, false) => LEVELS[1],
                (true, true) => LEVELS[2],
            });
        }
    }
    levels
}

/// Maps of 28×28 dies, `counts[class]` of each class, in an order that the seed draws.
///
/// ```
/// use cotangent_data::wafer;
/// let maps = wafer::maps(7, &[2; 9]);
/// assert_eq!((maps.len(), &maps.shape[..]), (18, &[1, 28, 28][..]));
/// assert_eq!(maps, wafer::maps(7, &[2; 9]));
/// ```
pub fn maps(seed: u64, counts: &[usize; 9]) -> Set {
    let mut random = Random(seed);
    let mut labels: Vec<usize> =
        counts.iter().enumerate().flat_map(|(class, n)| std::iter::repeat_n(class, *n)).collect();
    random.shuffle(&mut labels);
    let pixels = labels.iter().flat_map(|class| map(*class, &mut random)).collect();
    Set::pictures(pixels, SHAPE, labels.into_iter().map(|class| class as i64).collect(), &CLASSES)
}

/// [`TRAIN`] maps to train on and [`TEST`] others to test on.
pub fn read(seed: u64) -> Parts {
    let (first, second) = (seed.wrapping_mul(2), seed.wrapping_mul(2).wrapping_add(1));
    Parts { train: maps(first, &TRAIN), val: None, test: Some(maps(second, &TEST)) }
}
