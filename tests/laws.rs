//! The laws, operation by operation.

#[path = "laws/entries.rs"]
mod entries;

use std::{collections::BTreeSet, fs, path::Path};

use cotangent::{
    Device,
    laws::{self, Draw},
};
use entries::ENTRIES;

/// C5: ⟨c, push t⟩ = ⟨pull c, t⟩ to 1e-10 for every operation; B8: its results live where its operands do.
#[test]
fn every_operation_obeys_the_laws() {
    let mut failed = Vec::new();
    for (name, draws, order, generate) in ENTRIES {
        let outcome = laws::check(name, *draws, *order, generate);
        if let Err(e) = outcome.and_then(|r| r.is_thorough().map_err(|e| format!("{name}: {e}"))) {
            failed.push(e);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn b3_transfers_obey_the_laws() {
    let gpu = Device::virtual_gpu();
    let f = |x: &[cotangent::Tensor]| vec![x[0].to(&gpu).square().to(&Device::cpu())];
    laws::derivatives(3, &f, &[Draw::new(1).real([3, 2])], 0).unwrap();
}

/// Operations with laws of their own, and why no generator fits them.
const ELSEWHERE: &[&str] = &[
    "Transfer",  // between devices: below, and in tests/devices.rs
    "Spreading", // two operations as one, in the tests of lanes
    "Winograd",  // what recorded steps put in a convolution's place, in tests/step.rs and its kernels' tests
];

#[test]
fn every_operation_has_its_laws_and_every_entry_its_operation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "rs"));
    let mut operations = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().filter_map(|l| l.split("Op for ").nth(1).filter(|_| l.starts_with("impl"))) {
            operations
                .insert(line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
        }
    }
    assert!(operations.len() > 30, "the index was not read: {operations:?}");
    let named: BTreeSet<String> =
        ENTRIES.iter().map(|e| e.0).chain(ELSEWHERE.iter().copied()).map(String::from).collect();
    let lawless: Vec<_> = operations.difference(&named).collect();
    let stale: Vec<_> = named.difference(&operations).collect();
    assert!(lawless.is_empty(), "operations without laws: {lawless:?}");
    assert!(stale.is_empty(), "entries that name no operation: {stale:?}");
    assert_eq!(ENTRIES.len() + ELSEWHERE.len(), named.len(), "an operation has one entry");
}
