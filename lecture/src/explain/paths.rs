//! The chain rule as a sum over paths, and what the orders of its products cost.

use serde::Serialize;

use super::trace::{Kind, Trace};
use crate::Chain;

/// Paths that are written out, at most.
const WRITTEN: u64 = 24;

/// The derivative by one variable, as a sum with one product a path (row C7).
#[derive(Clone, Debug, Serialize)]
pub struct Paths {
    /// The variable.
    pub variable: String,
    /// How many paths lead from it to the result.
    pub count: u64,
    /// The products, each with its value where all nodes are single numbers; empty where there are too many.
    pub terms: Vec<Product>,
    /// The sum with shared parts written once: `(1 + 1/(2·c))·y·1/x`.
    pub shared: String,
}

/// The product of the derivatives along one path.
#[derive(Clone, Debug, Serialize)]
pub struct Product {
    /// The nodes from the result to the variable.
    pub nodes: Vec<String>,
    /// `∂f/∂b·∂b/∂a·∂a/∂x`
    pub symbols: String,
    /// The same with formulas.
    pub factors: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// What forward and reverse mode multiply.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Multiplications of one pass over all local Jacobians, taken as full matrices.
    pub once: u64,
    /// Passes of forward mode: elements of all variables.
    pub forward_passes: u64,
    /// Passes of reverse mode: elements of the result.
    pub reverse_passes: u64,
    /// `once` times the passes.
    pub forward: u64,
    /// `once` times the passes.
    pub reverse: u64,
    /// The factors, where the graph is a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
}

impl Trace {
    /// The sum over paths for every variable.
    pub fn all_paths(&self) -> Vec<Paths> {
        let inputs = (0..self.nodes.len()).filter(|i| self.nodes[*i].kind == Kind::Input);
        inputs.filter(|i| self.nodes[*i].varies).map(|i| self.paths_of(i)).collect()
    }

    fn paths_of(&self, variable: usize) -> Paths {
        let count = self.paths(variable);
        let mut terms = Vec::new();
        if count <= WRITTEN {
            self.walk(variable, self.output, &mut vec![self.output], &mut Vec::new(), &mut terms);
        }
        let shared = if count > 0 && count <= 4 * WRITTEN { self.shared(variable) } else { String::new() };
        Paths { variable: self.nodes[variable].name.clone(), count, terms, shared }
    }

    fn walk(
        &self,
        variable: usize,
        at: usize,
        nodes: &mut Vec<usize>,
        edges: &mut Vec<(usize, usize)>,
        found: &mut Vec<Product>,
    ) {
        if at == variable {
            let names: Vec<String> = nodes.iter().map(|n| self.nodes[*n].name.clone()).collect();
            let symbols: Vec<String> = names.windows(2).map(|w| format!("∂{}/∂{}", w[0], w[1])).collect();
            let factor = |(n, p): &(usize, usize)| bracketed(&self.nodes[*n].partials[*p].text);
            let factors: Vec<String> = edges.iter().map(factor).collect();
            let value = edges
                .iter()
                .map(|(n, p)| match self.nodes[*n].partials[*p].value.as_deref() {
                    Some([x]) => Some(*x),
                    _ => None,
                })
                .try_fold(1.0, |product, x| x.map(|x| product * x));
            let text = if symbols.is_empty() { "1".to_string() } else { symbols.join("·") };
            found.push(Product { nodes: names, symbols: text, factors: factors.join("·"), value });
            return;
        }
        for (i, p) in self.nodes[at].partials.iter().enumerate() {
            nodes.push(p.of);
            edges.push((at, i));
            self.walk(variable, p.of, nodes, edges, found);
            nodes.pop();
            edges.pop();
        }
    }

    /// Adjoints as reverse mode adds them: `x̄ = (1 + 1/(2·c))·y·(1/x)`.
    fn shared(&self, variable: usize) -> String {
        let mut adjoint: Vec<Vec<String>> = vec![Vec::new(); self.nodes.len()];
        adjoint[self.output].push(String::new());
        // Nodes stand in the order of the computation: all readers of one come after it.
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|i| (self.nodes[*i].kind == Kind::Step, *i));
        for n in order.into_iter().rev() {
            if n == variable || adjoint[n].is_empty() || self.paths_between(variable, n) == 0 {
                continue;
            }
            let terms: Vec<String> =
                adjoint[n].iter().map(|t| if t.is_empty() { "1".into() } else { t.clone() }).collect();
            let own = match &terms[..] {
                [one] if one == "1" => String::new(),
                [one] => one.clone(),
                many => format!("({})", many.join(" + ")),
            };
            for p in &self.nodes[n].partials {
                if self.paths_between(variable, p.of) == 0 {
                    continue;
                }
                let local = bracketed(&p.text);
                let term = match (own.as_str(), local.as_str()) {
                    ("", l) => l.to_string(),
                    (o, "1") => o.to_string(),
                    (o, l) => format!("{o}·{l}"),
                };
                adjoint[p.of].push(if term == "1" { String::new() } else { term });
            }
        }
        let terms: Vec<String> = adjoint[variable]
            .iter()
            .map(|t| if t.is_empty() { "1".to_string() } else { t.clone() })
            .collect();
        terms.join(" + ")
    }

    /// Paths from one node to a later one.
    fn paths_between(&self, from: usize, to: usize) -> u64 {
        let mut count = vec![0u64; self.nodes.len()];
        count[to] = 1;
        for n in (0..self.nodes.len()).rev() {
            if count[n] > 0 && n != from {
                for p in &self.nodes[n].partials {
                    count[p.of] = count[p.of].saturating_add(count[n]);
                }
            }
        }
        count[from]
    }

    /// What the two modes multiply, and the chain where there is one.
    pub fn cost(&self) -> Cost {
        let sizes = self.nodes.iter().flat_map(|n| &n.partials).map(|p| p.shape);
        let once = sizes.fold(0u64, |sum, [r, c]| sum.saturating_add((r as u64).saturating_mul(c as u64)));
        let (f, r) = (self.passes_forward as u64, self.passes_reverse as u64);
        Cost {
            once,
            forward_passes: f,
            reverse_passes: r,
            forward: once.saturating_mul(f),
            reverse: once.saturating_mul(r),
            chain: self.chain(),
        }
    }

    /// The widths from the result to the only variable, where every node has one reader and one partial.
    fn chain(&self) -> Option<Chain> {
        let mut widths = vec![self.passes_reverse as u64];
        let mut at = self.output;
        while self.nodes[at].kind == Kind::Step {
            let [only] = &self.nodes[at].partials[..] else { return None };
            widths.push(only.shape[1] as u64);
            at = only.of;
        }
        let factors = widths.len() - 1;
        if factors < 2 || self.inputs().filter(|n| n.varies).count() != 1 {
            return None;
        }
        Chain::new(&widths).ok()
    }

    /// Leave out variables that the result does not depend on.
    pub(super) fn unused(&mut self) {
        let keep: Vec<bool> =
            (0..self.nodes.len()).map(|i| self.nodes[i].kind != Kind::Input || self.paths(i) > 0).collect();
        let dropped: usize =
            self.nodes.iter().zip(&keep).filter(|(_, k)| !**k).map(|(n, _)| n.value.len()).sum();
        self.passes_forward -= dropped;
        self.keep(&keep);
        self.slip = None;
    }
}

/// In brackets, where a product needs them.
fn bracketed(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '²' | '_' | '[' | ']'));
    let closed = text.starts_with('[') && text.ends_with(']');
    if plain || closed { text.to_string() } else { format!("({text})") }
}
