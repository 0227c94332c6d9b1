//! What an optimiser remembers of each parameter, made when it first meets it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use crate::{
    cell::{Param, State},
    error::{Error, Result},
    nn::{Parameters, ParametersExt},
    step::record::unrecorded,
    tensor::{DType, Spec, Tensor},
};

/// The kind of state that counts a parameter's steps; all others look like the parameter.
pub(super) const STEP: &str = "step";

/// Parameter's cell → its name and its state, one cell a kind.
type Made = BTreeMap<u64, (String, Vec<State>)>;

/// What is remembered, and what kinds of it; clones of an optimiser share it.
#[derive(Default)]
pub(super) struct Memory(Mutex<(Vec<&'static str>, Made)>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "state of {} parameters", self.lock().1.len())
    }
}

fn spec(kind: &str, p: &Param) -> Spec {
    let s = p.spec();
    if kind == STEP { s.with(()).of(DType::F64) } else { s }
}

fn full_name(kind: &str, name: &str) -> String {
    if name.is_empty() { kind.to_string() } else { format!("{kind}.{name}") }
}

impl Memory {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<&'static str>, Made)> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The state of a parameter; `first` when it is met for the first time, and no steps.
    #[track_caller]
    pub(super) fn of(&self, kinds: &[&'static str], first: f64, name: &str, p: &Param) -> Vec<State> {
        let mut memory = self.lock();
        let (known, all) = &mut *memory;
        if all.is_empty() {
            *known = kinds.to_vec();
        } else if known != kinds {
            let text = format!(
                "what is remembered is {}, and with these options it is {}",
                known.join(", "),
                kinds.join(", ")
            );
            drop(memory);
            Error::mistake(text)
                .verb("optimiser")
                .help("a clone shares its state: make a new optimiser for other options")
                .raise()
        }
        if let Some((_, made)) = all.get(&p.0.id) {
            return made.clone();
        }
        if all.values().any(|(other, _)| other == name) {
            drop(memory);
            Error::mistake(format!("a second parameter is called `{name}`: its state could not be told from the first one's"))
                .verb("optimiser")
                .help("an optimiser for each model; or give it both at once, `step(&(&a, &b), ..)`, which names them apart")
                .raise()
        }
        // Made for good also while a step is being recorded: it outlives the trace.
        let start = |kind: &&str| {
            State::new(Tensor::constant(&spec(kind, p), if *kind == STEP { 0.0 } else { first }))
        };
        let made: Vec<State> = unrecorded(|| kinds.iter().map(start).collect());
        all.insert(p.0.id, (name.to_string(), made.clone()));
        made
    }

    pub(super) fn list(&self, kinds: &[&'static str]) -> Vec<(String, Tensor)> {
        let made: Vec<(String, Vec<State>)> = self.lock().1.values().cloned().collect();
        made.iter()
            .flat_map(|(name, states)| {
                kinds.iter().zip(states).map(move |(k, s)| (full_name(k, name), s.value()))
            })
            .collect()
    }

    pub(super) fn load(
        &self,
        kinds: &[&'static str],
        model: &dyn Parameters,
        values: &HashMap<String, Tensor>,
    ) -> Result<()> {
        let mut loaded = BTreeMap::new();
        let mut used = 0;
        for (name, p) in model.parameters() {
            let names: Vec<String> = kinds.iter().map(|k| full_name(k, &name)).collect();
            let found = names.iter().filter(|n| values.contains_key(*n)).count();
            if found == 0 {
                continue;
            }
            let mut states = Vec::new();
            for (kind, full) in kinds.iter().zip(&names) {
                let Some(value) = values.get(full) else {
                    return Err(Error::other(format!("the optimiser's state lacks `{full}`")).help(
                        "the file must have been written by the same optimiser with the same options",
                    ));
                };
                let want = spec(kind, &p);
                if *value.shape() != want.shape {
                    let text =
                        format!("`{full}` has shape {:?}, and must have {:?}", value.shape(), want.shape);
                    return Err(Error::other(text).help("the file must come from the same network"));
                }
                states.push(value.detach().cast(want.dtype).to(&want.device));
            }
            used += found;
            loaded.insert(p.0.id, (name, states));
        }
        if used < values.len() {
            let known: Vec<String> =
                loaded.values().flat_map(|(name, _)| kinds.iter().map(move |k| full_name(k, name))).collect();
            let mut unknown: Vec<&str> =
                values.keys().filter(|k| !known.contains(k)).map(String::as_str).collect();
            unknown.sort_unstable();
            return Err(Error::other(format!("the optimiser has no place for {}", unknown.join(", ")))
                .help("the file must have been written by the same optimiser, with the same options, for the same network"));
        }
        let mut memory = self.lock();
        let (known, all) = &mut *memory;
        *known = kinds.to_vec();
        // A cell that is there already is kept: a recorded step may hold it.
        all.retain(|id, _| loaded.contains_key(id));
        for (id, (name, values)) in loaded {
            match all.get(&id) {
                Some((_, states)) => states.iter().zip(&values).for_each(|(s, v)| s.set(v)),
                None => drop(all.insert(id, (name, values.into_iter().map(State::new).collect()))),
            }
        }
        Ok(())
    }
}
