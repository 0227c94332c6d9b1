//! Maps of wafers: the same seed gives the same, and each class looks like its name.

use cotangent_data::wafer::{self, CLASSES, SHAPE, TEST, TRAIN};
use cotangent_data::{Set, Values};

/// What is measured of a map.
struct Look {
    /// Share of dies that failed: of all, within radius 0.4, from 0.4 to 0.7, and beyond 0.88.
    all: f64,
    centre: f64,
    middle: f64,
    edge: f64,
    /// `|mean of e^{iθ}|` over the dies that failed beyond 0.7: 1 where they lie together, 0 where they lie around.
    together: f64,
    /// Number of dies of the largest connected part, and the longer side of its box.
    part: (usize, usize),
    /// Distance of that part's centre from the wafer's.
    far: f64,
}

fn look(map: &[u8]) -> Look {
    let side = SHAPE[1];
    let place = |i: usize| {
        let of = |i: usize| (2.0 * i as f64 + 1.0) / side as f64 - 1.0;
        (of(i % side), of(i / side))
    };
    let share = |from: f64, to: f64| {
        let dies: Vec<usize> = (0..map.len())
            .filter(|i| map[*i] != 0 && (from..to).contains(&place(*i).0.hypot(place(*i).1)))
            .collect();
        dies.iter().filter(|i| map[**i] == 255).count() as f64 / dies.len() as f64
    };
    let outer: Vec<(f64, f64)> = (0..map.len())
        .filter(|i| map[*i] == 255)
        .map(place)
        .filter(|(x, y)| x.hypot(*y) > 0.7)
        .map(|(x, y)| (x / x.hypot(y), y / x.hypot(y)))
        .collect();
    let sum = outer.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
    let (mut seen, mut largest) = (vec![false; map.len()], Vec::new());
    for start in 0..map.len() {
        let (mut part, mut next) = (Vec::new(), vec![start]);
        while let Some(i) = next.pop() {
            if map[i] != 255 || std::mem::replace(&mut seen[i], true) {
                continue;
            }
            part.push(i);
            for dy in -1..=1 {
                for dx in -1..=1 {
                    let (y, x) = ((i / side) as i32 + dy, (i % side) as i32 + dx);
                    if (0..side as i32).contains(&y) && (0..side as i32).contains(&x) {
                        next.push(y as usize * side + x as usize);
                    }
                }
            }
        }
        if part.len() > largest.len() {
            largest = part;
        }
    }
    let extent = |of: &dyn Fn(usize) -> usize| {
        let all = || largest.iter().map(|i| of(*i));
        all().max().unwrap_or(0) + 1 - all().min().unwrap_or(0)
    };
    let n = largest.len().max(1) as f64;
    let middle = largest.iter().map(|i| place(*i)).fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    Look {
        all: share(0.0, 2.0),
        centre: share(0.0, 0.4),
        middle: share(0.4, 0.7),
        edge: share(0.88, 2.0),
        together: sum.0.hypot(sum.1) / outer.len().max(1) as f64,
        part: (largest.len(), extent(&|i| i / side).max(extent(&|i| i % side))),
        far: middle.0.hypot(middle.1),
    }
}

fn pixels(set: &Set) -> &[u8] {
    match &set.inputs {
        Values::U8(levels) => levels,
        Values::F32(_) => unreachable!("maps are levels"),
    }
}

#[test]
fn the_seed_decides() {
    let counts = [3; 9];
    assert_eq!(wafer::maps(1, &counts), wafer::maps(1, &counts));
    assert_ne!(wafer::maps(1, &counts).inputs, wafer::maps(2, &counts).inputs);
    assert_ne!(wafer::maps(1, &counts).labels, wafer::maps(2, &counts).labels);
}

#[test]
fn parts_are_unequal_and_apart() {
    let parts = wafer::read(0);
    let test = parts.test.unwrap();
    for (set, counts) in [(&parts.train, TRAIN), (&test, TEST)] {
        let found: Vec<usize> =
            (0..9).map(|class| set.labels.iter().filter(|l| **l == class).count()).collect();
        assert_eq!(found, counts);
        assert!(counts[8] > 20 * counts[5], "unbalanced on purpose");
    }
    let known: std::collections::HashSet<&[u8]> = pixels(&parts.train).chunks(784).collect();
    assert!(pixels(&test).chunks(784).all(|map| !known.contains(map)), "no test map is a training map");
    assert!(pixels(&test).iter().all(|level| wafer::LEVELS.contains(level)));
}

/// At least 95 of 100 maps of each class have its property, and at most 5 of 100 without defect have any of them.
#[test]
fn each_class_looks_like_its_name() {
    let set = wafer::maps(3, &[100; 9]);
    let fits = |class: &str, l: &Look| match class {
        "center" => l.centre > 0.25 && l.far < 0.2 && l.middle < 0.2 && l.edge < 0.2,
        "donut" => l.middle > 0.3 && l.far < 0.25 && l.middle > l.centre && l.edge < 0.2,
        "edge-loc" => l.edge > 0.1 && l.together > 0.5 && l.far > 0.6,
        "edge-ring" => l.edge > 0.6 && l.together < 0.3 && l.all < 0.5,
        "local" => l.far > 0.3 && l.far < 0.75 && l.part.0 > 6 && l.part.1 < 12 && l.edge < 0.2,
        "near-full" => l.all > 0.8,
        "random" => l.all > 0.18 && l.all < 0.6 && (l.centre - l.edge).abs() < 0.3,
        "scratch" => l.part.1 >= 8 && l.part.0 <= 4 * l.part.1 && l.all < 0.25,
        _ => l.all < 0.09 && l.part.0 <= 8,
    };
    let mut found = [0; 9];
    let mut taken_for_a_defect = 0;
    for (map, label) in pixels(&set).chunks(784).zip(&set.labels) {
        let (class, seen) = (CLASSES[*label as usize], look(map));
        found[*label as usize] += usize::from(fits(class, &seen));
        taken_for_a_defect +=
            usize::from(class == "none" && CLASSES[..8].iter().any(|defect| fits(defect, &seen)));
    }
    assert!(found.iter().all(|n| *n >= 95), "{found:?} of {CLASSES:?}");
    assert!(taken_for_a_defect <= 5, "{taken_for_a_defect}");
}
