//! Which examples are held out: at random, with each class its share, or group by group.

use std::collections::BTreeMap;

use cotangent::data::{permutation, split, split_stratified};
use cotangent_data::Set;

use crate::diagnostic::{Diagnostic, Exit};

/// The number of examples that a split means, of `n`.
pub(crate) fn count(key: &str, split: f64, n: usize) -> Result<usize, Diagnostic> {
    if split == 0.0 {
        return Ok(0);
    }
    let count = if split < 1.0 { (split * n as f64).round() } else { split };
    if count >= 1.0 && count < n as f64 {
        return Ok(count as usize);
    }
    let (does, help) = match key {
        "data.fraction" => {
            ("keeps", "at least one must be kept, and at least one be left out; 1.0 keeps all")
        }
        _ => ("holds out", "at least one must be held out, and at least one be left"),
    };
    // 1e300 has 301 digits.
    let shown = |x: f64| if x.abs() < 1e15 { x.to_string() } else { format!("{x:e}") };
    let title = format!("`{key}` {} {does} {} of {n} training examples", shown(split), shown(count));
    Err(Diagnostic::new(Exit::Usage, title).help(help))
}

/// How many of `n` training examples `data.fraction` leaves to fit: all where it says nothing.
pub(crate) fn kept(fraction: Option<f64>, n: usize) -> Result<usize, Diagnostic> {
    match fraction {
        Some(share) if share < 1.0 || (share > 1.0 && share < n as f64) => count("data.fraction", share, n),
        _ => Ok(n),
    }
}

/// `among` in two parts: those that stay, and about `count` that are held out. Groups are never torn apart.
pub(crate) fn hold_out(
    set: &Set,
    among: &[usize],
    count: usize,
    stratified: bool,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), Diagnostic> {
    if count == 0 {
        return Ok((among.to_vec(), Vec::new()));
    }
    if let Some(groups) = &set.groups {
        return by_group(groups, among, count, seed);
    }
    let found = match stratified {
        true => {
            let labels: Vec<i64> = among.iter().map(|i| set.labels[*i]).collect();
            split_stratified(&labels, count, seed)
        }
        false => split(among.len(), count, seed),
    };
    let (stay, held) = found.map_err(|e| Diagnostic::from(e).exiting(Exit::Usage))?;
    let these = |places: Vec<usize>| places.into_iter().map(|p| among[p]).collect();
    Ok((these(stay), these(held)))
}

/// Whole groups in an order of the seed's, until as many are held out as is nearest to `count`.
fn by_group(
    groups: &[String],
    among: &[usize],
    count: usize,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), Diagnostic> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    among.iter().for_each(|i| members.entry(&groups[*i]).or_default().push(*i));
    if members.len() < 2 {
        let title = format!("`data.split.by` finds {} group among {} examples", members.len(), among.len());
        return Err(Diagnostic::new(Exit::Usage, title)
            .help("a group is never torn apart, so at least one is needed for each part of the data"));
    }
    let groups: Vec<Vec<usize>> = members.into_values().collect();
    let mut held: Vec<usize> = Vec::new();
    let mut is_held = vec![false; groups.len()];
    let mut left = groups.len();
    for g in permutation(groups.len(), seed, 0) {
        let (now, then) = (held.len().abs_diff(count), (held.len() + groups[g].len()).abs_diff(count));
        let better = held.is_empty() || then < now;
        if better && left > 1 {
            held.extend(&groups[g]);
            (is_held[g], left) = (true, left - 1);
        }
    }
    let mut stay: Vec<usize> =
        groups.into_iter().zip(is_held).filter(|(_, held)| !held).flat_map(|(members, _)| members).collect();
    stay.sort_unstable();
    held.sort_unstable();
    Ok((stay, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cotangent_data::{Origins, Values};

    fn set(groups: Option<Vec<String>>) -> Set {
        let n = 120;
        Set {
            inputs: Values::F32(vec![0.0; n]),
            shape: vec![1],
            labels: (0..n as i64).map(|i| i64::from(i % 10 == 0)).collect(),
            classes: vec!["a".into(), "b".into()],
            features: Vec::new(),
            groups,
            origins: Origins::Rows,
            remarks: Vec::new(),
            scale: 1.0,
        }
    }

    #[test]
    fn no_group_stands_on_both_sides() {
        let lots: Vec<String> = (0..120).map(|i| format!("L{}", i * i % 17)).collect();
        let all: Vec<usize> = (0..120).collect();
        let set = set(Some(lots.clone()));
        for seed in 0..20 {
            let (stay, held) = hold_out(&set, &all, 24, false, seed).unwrap();
            assert_eq!(stay.len() + held.len(), 120);
            assert!(held.len().abs_diff(24) < 10, "{}", held.len());
            assert!(!held.iter().any(|h| stay.iter().any(|s| lots[*s] == lots[*h])));
        }
        assert_ne!(hold_out(&set, &all, 24, false, 1).unwrap(), hold_out(&set, &all, 24, false, 2).unwrap());
        let one = super::tests::set(Some(vec!["L".into(); 120]));
        assert_eq!(hold_out(&one, &all, 24, false, 1).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn each_class_has_its_share() {
        let among: Vec<usize> = (0..120).filter(|i| i % 3 != 1).collect();
        let set = set(None);
        let (stay, held) = hold_out(&set, &among, 16, true, 3).unwrap();
        let rare = |part: &[usize]| part.iter().filter(|i| set.labels[**i] == 1).count();
        assert_eq!((stay.len(), held.len(), rare(&stay), rare(&held)), (64, 16, 6, 2));
        assert!(stay.iter().chain(&held).all(|i| i % 3 != 1));
    }
}
