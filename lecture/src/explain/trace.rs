//! A function as the graph of the operations that it applied, with values and derivatives at every node.
//!
//! Values are the library's, and so is every derivative: a node holds the operation's own pushforward and pullback
//! (`Op::linearize`), and what they give together is compared with `jvp` and `vjp` of the whole function.

use std::sync::{Arc, Mutex};

use cotangent::{
    Cost, Error, LinearMap, Mode, Observer, Op, Origin, Pass, Result, Tensor, jvp_many, observe, vjp_many,
};
use serde::Serialize;

use super::names::{formula, letters};

/// Directions or seeds that are followed one by one, at most.
pub const FOLLOWED: usize = 16;

/// Local Jacobians of more elements than this are not written out.
const WRITTEN: usize = 64;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A variable.
    Input,
    /// A number that is there already.
    Constant,
    /// The result of an operation.
    Step,
}

/// A value that the way back needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Its node's name, or what it is made of.
    pub name: String,
    /// Its size.
    pub bytes: usize,
}

/// The derivative of a node by one of the nodes that it reads.
#[derive(Clone, Debug, Serialize)]
pub struct Partial {
    /// The node that is read.
    pub of: usize,
    /// As a formula: `1/(2·c)`.
    pub text: String,
    /// The same for LaTeX.
    pub latex: String,
    /// Rows and columns, where the node has so many elements and the read one so many.
    pub shape: [usize; 2],
    /// Its elements in row-major order, where they are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Vec<f64>>,
}

/// One value of the computation.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its name: `x`, `a`, `f`.
    pub name: String,
    /// Variable, constant, or step.
    pub kind: Kind,
    /// The operation; empty for variables and constants.
    pub operation: String,
    /// As a formula over the names of what it reads: `y·a`.
    pub formula: String,
    /// The same for LaTeX.
    pub latex: String,
    /// The module it was computed in, such as `conv1`; empty outside any.
    pub path: String,
    /// The nodes it reads, each as often as it does.
    pub reads: Vec<usize>,
    /// Does it depend on a variable?
    pub varies: bool,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub value: Vec<f64>,
    /// Its size.
    pub bytes: usize,
    /// Forward mode: its derivative along each of [`Trace::directions`].
    pub tangents: Vec<Vec<f64>>,
    /// Reverse mode: the derivative of each of [`Trace::seeds`] by it.
    pub adjoints: Vec<Vec<f64>>,
    /// Its derivatives by what it reads.
    pub partials: Vec<Partial>,
    /// What its pullback needs.
    pub saved: Vec<Saved>,
    /// Nodes whose last reader in forward mode is this step: their memory is free afterwards.
    pub frees: Vec<usize>,
    /// Additions, multiplications and elementary functions.
    pub flops: u64,
}

/// One element of a variable or of the result: `∂/∂w[2]`.
#[derive(Clone, Debug, Serialize)]
pub struct Element {
    /// The node.
    pub node: usize,
    /// Which of its elements.
    pub element: usize,
    /// As people write it: `x`, or `w[2]`.
    pub name: String,
}

/// What the slides' slip `d√b/db = 1/√b` would have given (row C12).
#[derive(Clone, Debug, Serialize)]
pub struct Slip {
    /// The nodes that are square roots.
    pub roots: Vec<usize>,
    /// The wrong derivatives, node by node, as [`Node::tangents`].
    pub tangents: Vec<Vec<Vec<f64>>>,
    /// The wrong derivatives, node by node, as [`Node::adjoints`].
    pub adjoints: Vec<Vec<Vec<f64>>>,
}

/// A function at a point, step by step.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// What is explained: `y*ln(x) + sqrt(y*ln(x))`.
    pub title: String,
    /// Variables, then constants and steps in the order of the computation.
    pub nodes: Vec<Node>,
    /// The result.
    pub output: usize,
    /// What forward mode is started with, one pass each; at most [`FOLLOWED`].
    pub directions: Vec<Element>,
    /// How many passes forward mode needs: elements of all variables.
    pub passes_forward: usize,
    /// What reverse mode is started with, one pass each; at most [`FOLLOWED`].
    pub seeds: Vec<Element>,
    /// How many passes reverse mode needs: elements of the result.
    pub passes_reverse: usize,
    /// The largest difference, relative to 1 + |derivative|, between the nodes' derivatives and `jvp` and `vjp` of the
    /// whole function.
    pub agreement: f64,
    /// The slides' slip, when it was asked for and there is a square root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slip: Option<Slip>,
}

/// An applied operation, while the graph grows.
struct Applied {
    name: &'static str,
    attributes: String,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    wanted: Vec<bool>,
    push: Option<LinearMap>,
    pull: Option<LinearMap>,
    /// Values that the pullback was given, made when it was built.
    made: Vec<Tensor>,
    cost: Cost,
    path: String,
}

#[derive(Default)]
struct Growing {
    /// Values by node, and whether they depend on a variable.
    values: Vec<(Tensor, bool)>,
    steps: Vec<Applied>,
    /// Outputs of modules by their path.
    modules: Vec<(String, Tensor)>,
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shares_buffer(b) && a.dtype() == b.dtype() && a.shape() == b.shape() && {
        let (l, m) = (a.layout(), b.layout());
        l.strides() == m.strides() && (a.numel() == 0 || l.at(&vec![0; a.rank()]) == m.at(&vec![0; a.rank()]))
    }
}

impl Growing {
    fn find(&self, t: &Tensor) -> Option<usize> {
        self.values.iter().rposition(|(v, _)| same(v, t))
    }

    fn number(&mut self, t: &Tensor) -> usize {
        self.find(t).unwrap_or_else(|| {
            self.values.push((t.clone(), false));
            self.values.len() - 1
        })
    }
}

#[derive(Default)]
struct Watch(Mutex<Growing>);

/// Keeps what is made, and what is read.
#[derive(Default)]
struct Traffic(Mutex<(Vec<Tensor>, Vec<Tensor>)>);

impl Observer for Traffic {
    fn operation(&self, _: &dyn Op, inputs: &[Tensor], outputs: &[Tensor], _: &Origin) -> Result<()> {
        let mut seen = self.0.lock().unwrap_or_else(|e| e.into_inner());
        seen.0.extend(outputs.iter().cloned());
        seen.1.extend(inputs.iter().cloned());
        Ok(())
    }
}

fn traffic<T>(f: impl FnOnce() -> T) -> (T, Vec<Tensor>, Vec<Tensor>) {
    let watch = Arc::new(Traffic::default());
    let y = observe(watch.clone(), f);
    let (made, read) = std::mem::take(&mut *watch.0.lock().unwrap_or_else(|e| e.into_inner()));
    (y, made, read)
}

impl Observer for Watch {
    fn operation(&self, op: &dyn Op, inputs: &[Tensor], outputs: &[Tensor], origin: &Origin) -> Result<()> {
        if origin.pass != Pass::Forward {
            return Ok(());
        }
        let mut growing = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let from: Vec<usize> = inputs.iter().map(|x| growing.number(x)).collect();
        let wanted: Vec<bool> =
            from.iter().zip(inputs).map(|(i, x)| growing.values[*i].1 && x.dtype().is_float()).collect();
        let varies = wanted.contains(&true) && outputs.iter().any(|y| y.dtype().is_float());
        let to = outputs
            .iter()
            .map(|y| {
                growing.values.push((y.clone(), varies && y.dtype().is_float()));
                growing.values.len() - 1
            })
            .collect();
        let push = varies.then(|| op.linearize(inputs, outputs, Mode::Push, &wanted));
        let (pull, made, _) = traffic(|| varies.then(|| op.linearize(inputs, outputs, Mode::Pull, &wanted)));
        let specs = |t: &[Tensor]| t.iter().map(Tensor::spec).collect::<Vec<_>>();
        // What everybody expects goes without saying; a pool's stride is that of its kernel.
        let usual = "dilation [1, 1], padding [0, 0], padding [0, 0, 0, 0], groups 1, rounding floor, ceil false, \
                     smallest false";
        let plain =
            |a: &String| usual.contains(a.as_str()) || (op.name() == "conv2d" && a == "stride [1, 1]");
        let said = op.attributes().into_iter().map(|(k, v)| format!("{k} {v}")).filter(|a| !plain(a));
        let attributes = said.collect::<Vec<_>>().join(", ");
        growing.steps.push(Applied {
            name: op.name(),
            attributes,
            inputs: from,
            outputs: to,
            wanted,
            push,
            pull,
            made,
            cost: op.cost(&specs(inputs), &specs(outputs)),
            path: origin.path.to_string(),
        });
        Ok(())
    }

    fn module(&self, path: &str, _: &str, _: &Tensor, output: &Tensor) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).modules.push((path.to_string(), output.clone()));
    }
}

/// Trace a function of tensors at a point: any closure of the library's operations, such as that of a recorded step.
///
/// ```
/// use cotangent::Tensor;
/// use cotangent_lecture::explain::trace;
/// let t = trace(
///     |v| {
///         let b = &v[1] * v[0].ln();
///         b.sqrt() + &b
///     },
///     &[("x", Tensor::from(3.0)), ("y", Tensor::from(2.0))],
/// )?;
/// let names: Vec<&str> = t.steps().map(|n| n.name.as_str()).collect();
/// assert_eq!(names, ["a", "b", "c", "f"]);                            // row C6
/// assert!((t.gradient(0)[0] - 0.891541845).abs() < 5e-10);            // row C10
/// # Ok::<(), cotangent::Error>(())
/// ```
///
/// # Errors
/// A mistake of the function; a result that does not depend on a variable; a function whose derivative is not that of
/// the operations it applies, because it detaches a value.
pub fn trace(f: impl Fn(&[Tensor]) -> Tensor, at: &[(&str, Tensor)]) -> Result<Trace> {
    Tracer::new(at).run(&f, &Root::Output)
}

/// What is looked at.
pub(super) enum Root {
    /// What the function gives.
    Output,
    /// One element of what a module gave.
    Neuron { module: String, element: usize },
}

/// The variables of a trace.
pub(super) struct Tracer {
    names: Vec<String>,
    values: Vec<Tensor>,
}

impl Tracer {
    pub(super) fn new(at: &[(&str, Tensor)]) -> Self {
        let fresh = |t: &Tensor| Tensor::from_vec(t.to_vec::<f64>(), t.shape()).cast(t.dtype()).contiguous();
        Tracer {
            names: at.iter().map(|(n, _)| n.to_string()).collect(),
            values: at.iter().map(|(_, t)| fresh(t)).collect(),
        }
    }

    pub(super) fn run(&self, f: &dyn Fn(&[Tensor]) -> Tensor, root: &Root) -> Result<Trace> {
        let watch = Arc::new(Watch::default());
        let y = {
            let mut growing = watch.0.lock().unwrap_or_else(|e| e.into_inner());
            growing.values = self.values.iter().map(|v| (v.clone(), v.dtype().is_float())).collect();
            drop(growing);
            cotangent::attempt(|| observe(watch.clone(), || cotangent::no_grad(|| f(&self.values))))?
        };
        let growing = std::mem::take(&mut *watch.0.lock().unwrap_or_else(|e| e.into_inner()));
        let (output, chosen) = match root {
            Root::Output => (growing.find(&y.detach()), None),
            Root::Neuron { module, element } => {
                let Some((_, t)) = growing.modules.iter().rev().find(|(p, _)| p == module) else {
                    let there: Vec<&str> = growing.modules.iter().map(|(p, _)| p.as_str()).collect();
                    let there =
                        there.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(", ");
                    return Err(Error::other(format!("there is no layer `{module}`"))
                        .help(format!("the layers are {there}")));
                };
                if *element >= t.numel() {
                    let text = format!("`{module}` has {} neurons, and {element} was asked for", t.numel());
                    return Err(Error::other(text).help("they are counted from 0"));
                }
                (growing.find(t), Some(*element))
            }
        };
        let Some(output) = output.filter(|o| growing.values[*o].1) else {
            return Err(Error::other(
                "the result does not depend on a variable: there is nothing to differentiate",
            )
            .help("use one of the variables in the expression"));
        };
        let mut trace = self.build(growing, output, chosen)?;
        if chosen.is_none() {
            self.compare(f, &mut trace)?;
        }
        Ok(trace)
    }

    fn build(&self, growing: Growing, output: usize, chosen: Option<usize>) -> Result<Trace> {
        let n = growing.values.len();
        // What the result does not need is left out; variables stay.
        let mut needed = vec![false; n];
        needed[output] = true;
        for step in growing.steps.iter().rev() {
            if step.outputs.iter().any(|o| needed[*o]) {
                step.inputs.iter().for_each(|i| needed[*i] = true);
                step.outputs.iter().for_each(|o| needed[*o] = true);
            }
        }
        (0..self.names.len()).for_each(|i| needed[i] = true);
        let steps: Vec<&Applied> =
            growing.steps.iter().filter(|s| s.outputs.iter().any(|o| needed[*o])).collect();
        let kept: Vec<usize> = (0..n).filter(|i| needed[*i]).collect();
        let mut place = vec![usize::MAX; n];
        kept.iter().enumerate().for_each(|(new, old)| place[*old] = new);

        let values: Vec<&Tensor> = kept.iter().map(|i| &growing.values[*i].0).collect();
        let directions = elements(&self.names, &self.values);
        let out = values[place[output]];
        let seeds: Vec<(String, usize)> = match (chosen, out.numel()) {
            (Some(e), _) => vec![("f".into(), e)],
            (None, 1) => vec![("f".into(), 0)],
            (None, m) => (0..m).map(|e| (format!("f[{e}]"), e)).collect(),
        };
        let passes_reverse = seeds.len();
        let real = self.values.iter().filter(|v| v.dtype().is_float());
        let total: usize = real.map(Tensor::numel).sum();
        let followed = directions.len();
        let maps: Vec<Maps<'_>> = steps
            .iter()
            .map(|s| Maps {
                inputs: s.inputs.iter().map(|i| place[*i]).collect(),
                outputs: s.outputs.iter().map(|i| place[*i]).collect(),
                push: s.push.clone(),
                pull: s.pull.clone(),
                name: s.name,
            })
            .collect();
        let seeds: Vec<Element> = seeds
            .into_iter()
            .take(FOLLOWED)
            .map(|(name, element)| Element { node: place[output], element, name })
            .collect();
        let tangents = forward(&maps, &values, &directions[..followed]);
        let adjoints = reverse(&maps, &values, &seeds);

        let mut nodes: Vec<Node> = kept
            .iter()
            .zip(&values)
            .enumerate()
            .map(|(i, (old, v))| Node {
                name: self.names.get(*old).cloned().unwrap_or_default(),
                kind: if *old < self.names.len() { Kind::Input } else { Kind::Constant },
                operation: String::new(),
                formula: String::new(),
                latex: String::new(),
                path: String::new(),
                reads: Vec::new(),
                varies: growing.values[*old].1,
                shape: v.shape().to_vec(),
                value: v.to_vec::<f64>(),
                bytes: v.spec().bytes(),
                tangents: tangents[i].clone(),
                adjoints: adjoints[i].clone(),
                partials: Vec::new(),
                saved: Vec::new(),
                frees: Vec::new(),
                flops: 0,
            })
            .collect();
        // A change of shape alone is no step: it stands for what it reads.
        let mut stands: Vec<usize> = (0..n).collect();
        for s in steps.iter().filter(|s| s.name == "reshape") {
            stands[s.outputs[0]] = stands[s.inputs[0]];
        }
        let result = place[stands[output]];
        nodes[result].shape = out.shape().to_vec();
        let shown: Vec<&Applied> = steps.iter().filter(|s| s.name != "reshape").copied().collect();
        // Nor is a second result that nobody reads, such as the places of maxima.
        let read = |i: usize| steps.iter().any(|s| s.inputs.contains(&i));
        let second = |i: usize| steps.iter().any(|s| s.outputs[1..].contains(&i));
        let gone: Vec<bool> =
            kept.iter().map(|i| stands[*i] != *i || (*i != output && second(*i) && !read(*i))).collect();
        let place_of: Vec<usize> =
            (0..n).map(|i| if needed[i] { place[stands[i]] } else { usize::MAX }).collect();
        name(&mut nodes, &shown, &place_of, result, &gone);
        for step in &shown {
            describe(&mut nodes, step, &growing, &place_of);
        }
        let order: Vec<usize> = shown.iter().map(|s| place_of[s.outputs[0]]).collect();
        for i in 0..nodes.len() {
            let last = order.iter().rev().find(|o| nodes[**o].reads.contains(&i));
            if let Some(last) = last
                && nodes[i].kind != Kind::Constant
                && i != result
            {
                nodes[*last].frees.push(i);
            }
        }
        let slip = slip(&maps, &values, &nodes, &directions[..followed], &seeds);
        let mut trace = Trace {
            title: String::new(),
            nodes,
            output: result,
            directions: directions.into_iter().take(followed).collect(),
            passes_forward: total,
            seeds,
            passes_reverse,
            agreement: 0.0,
            slip,
        };
        trace.seeds.iter_mut().for_each(|s| s.node = result);
        trace.keep(&gone.iter().map(|g| !g).collect::<Vec<_>>());
        Ok(trace)
    }

    /// The same by `jvp` and `vjp` of the whole function.
    fn compare(&self, f: &dyn Fn(&[Tensor]) -> Tensor, trace: &mut Trace) -> Result<()> {
        let real: Vec<usize> =
            (0..self.values.len()).filter(|i| self.values[*i].dtype().is_float()).collect();
        let at: Vec<Tensor> = real.iter().map(|i| self.values[*i].clone()).collect();
        let g = |v: &[Tensor]| {
            let mut all = self.values.clone();
            real.iter().zip(v).for_each(|(i, v)| all[*i] = v.clone());
            vec![f(&all)]
        };
        let mut worst = 0f64;
        // Where a value is lost, 0·NaN stands beside no path at all: then finite derivatives alone are compared.
        let lost = trace.not_finite().is_some();
        let mut apart = |a: f64, b: f64| {
            let same = a == b || (a.is_nan() && b.is_nan()) || (lost && !(a - b).is_finite());
            let d = if same { 0.0 } else { (a - b).abs() / (1.0 + b.abs()) };
            worst = if d.is_nan() { f64::INFINITY } else { worst.max(d) };
        };
        let (y, pull) = vjp_many(g, &at);
        for (s, seed) in trace.seeds.iter().enumerate() {
            for (i, g) in real.iter().zip(pull(&[one_hot(&y[0], seed.element)])) {
                let own = &trace.nodes[*i].adjoints[s];
                g.to_vec::<f64>().iter().zip(own).for_each(|(g, own)| apart(*own, *g));
            }
        }
        for (d, direction) in trace.directions.iter().enumerate() {
            let along: Vec<Tensor> = real
                .iter()
                .map(|i| match *i == direction.node {
                    true => one_hot(&self.values[*i], direction.element),
                    false => self.values[*i].zeros_like(),
                })
                .collect();
            let (_, dy) = jvp_many(g, &at, &along);
            let own = &trace.nodes[trace.output].tangents[d];
            dy[0].to_vec::<f64>().iter().zip(own).for_each(|(g, own)| apart(*own, *g));
        }
        trace.agreement = worst;
        let narrow = at.iter().any(|t| t.dtype() != cotangent::DType::F64);
        if worst > if narrow { 1e-3 } else { 1e-10 } {
            return Err(Error::other(format!(
                "the derivatives of the steps do not make up that of the function: they differ by {worst:.1e}"
            ))
            .help("the function detaches a value, or differentiates inside; trace the part that does not"));
        }
        Ok(())
    }
}

/// The elements of all real variables.
fn elements(names: &[String], values: &[Tensor]) -> Vec<Element> {
    let mut found = Vec::new();
    for (node, (name, v)) in names.iter().zip(values).enumerate().filter(|(_, (_, v))| v.dtype().is_float()) {
        // Those that are not followed need no name.
        for element in 0..v.numel().min(FOLLOWED.saturating_sub(found.len())) {
            let name = place_name(name, v.shape(), element);
            found.push(Element { node, element, name });
        }
    }
    found
}

/// `x`, `w[2]`, `A[0,1]`.
fn place_name(name: &str, shape: &[usize], element: usize) -> String {
    if shape.is_empty() {
        return name.to_string();
    }
    let (mut rest, mut index) = (element, vec![0; shape.len()]);
    for (i, n) in shape.iter().enumerate().rev() {
        index[i] = rest % n;
        rest /= n;
    }
    let index: Vec<String> = index.iter().map(usize::to_string).collect();
    format!("{name}[{}]", index.join(","))
}

fn one_hot(like: &Tensor, element: usize) -> Tensor {
    let mut v = vec![0f64; like.numel()];
    v[element] = 1.0;
    Tensor::from_vec(v, like.shape()).cast(like.dtype())
}

struct Maps<'a> {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    push: Option<LinearMap>,
    pull: Option<LinearMap>,
    name: &'a str,
}

type Numbers = Vec<Vec<Vec<f64>>>;

/// Tangents of every node along every direction; nothing for what does not vary.
fn forward(maps: &[Maps<'_>], values: &[&Tensor], directions: &[Element]) -> Numbers {
    let mut found: Numbers = vec![Vec::new(); values.len()];
    for d in directions {
        let mut t: Vec<Option<Tensor>> = vec![None; values.len()];
        t[d.node] = Some(one_hot(values[d.node], d.element));
        for m in maps {
            if let Some(push) = &m.push {
                let given: Vec<Option<Tensor>> = m.inputs.iter().map(|i| t[*i].clone()).collect();
                for (o, dy) in m.outputs.iter().zip(push.apply(&given)) {
                    t[*o] = dy;
                }
            }
        }
        put(&mut found, t, values);
    }
    found
}

/// Adjoints of every node for every seed.
fn reverse(maps: &[Maps<'_>], values: &[&Tensor], seeds: &[Element]) -> Numbers {
    let mut found: Numbers = vec![Vec::new(); values.len()];
    for s in seeds {
        let mut c: Vec<Option<Tensor>> = vec![None; values.len()];
        c[s.node] = Some(one_hot(values[s.node], s.element));
        for m in maps.iter().rev() {
            if let Some(pull) = &m.pull
                && m.outputs.iter().any(|o| c[*o].is_some())
            {
                let given: Vec<Option<Tensor>> = m.outputs.iter().map(|o| c[*o].clone()).collect();
                for (i, g) in m.inputs.iter().zip(pull.apply(&given)) {
                    let Some(g) = g else { continue };
                    c[*i] = Some(match c[*i].take() {
                        Some(sum) => sum + g,
                        None => g,
                    });
                }
            }
        }
        put(&mut found, c, values);
    }
    found
}

fn put(found: &mut Numbers, t: Vec<Option<Tensor>>, values: &[&Tensor]) {
    for ((row, t), v) in found.iter_mut().zip(t).zip(values) {
        row.push(match t {
            Some(t) => t.to_vec::<f64>(),
            None => vec![0.0; v.numel()],
        });
    }
}

/// The slides' derivatives: those of square roots twice as large.
fn slip(
    maps: &[Maps<'_>],
    values: &[&Tensor],
    nodes: &[Node],
    directions: &[Element],
    seeds: &[Element],
) -> Option<Slip> {
    let roots: Vec<usize> =
        maps.iter().filter(|m| m.name == "sqrt" && m.push.is_some()).map(|m| m.outputs[0]).collect();
    if roots.is_empty() || nodes.is_empty() {
        return None;
    }
    let twice = |map: &Option<LinearMap>, name: &str| {
        let map = map.clone();
        if name != "sqrt" {
            return map;
        }
        map.map(|map| LinearMap::new(move |t| map.apply(t).into_iter().map(|t| t.map(|t| t * 2.0)).collect()))
    };
    let wrong: Vec<Maps<'_>> = maps
        .iter()
        .map(|m| Maps {
            inputs: m.inputs.clone(),
            outputs: m.outputs.clone(),
            push: twice(&m.push, m.name),
            pull: twice(&m.pull, m.name),
            name: m.name,
        })
        .collect();
    let tangents = forward(&wrong, values, directions);
    Some(Slip { roots, tangents, adjoints: reverse(&wrong, values, seeds) })
}

/// Names for the steps: letters, or numbers where there are many.
fn name(nodes: &mut [Node], steps: &[&Applied], place: &[usize], output: usize, gone: &[bool]) {
    let taken: Vec<String> = nodes.iter().map(|n| n.name.clone()).filter(|n| !n.is_empty()).collect();
    let all = steps.iter().flat_map(|s| s.outputs.iter().map(|o| place[*o]));
    let places: Vec<usize> = all.filter(|p| !gone[*p]).collect();
    let mut names = letters(places.len(), &taken);
    for p in places {
        nodes[p].kind = Kind::Step;
        if p == output && !taken.iter().any(|t| t == "f") {
            nodes[p].name = "f".into();
        } else {
            nodes[p].name = names.next().unwrap_or_default();
        }
    }
    for s in steps {
        for (which, o) in s.outputs.iter().enumerate().filter(|(_, o)| gone[place[**o]]) {
            nodes[place[*o]].kind = Kind::Step;
            nodes[place[*o]].name = format!("{}.{which}", nodes[place[s.outputs[0]]].name);
        }
    }
    let mut constants = 0;
    for (node, _) in nodes.iter_mut().zip(gone).filter(|(n, gone)| n.kind == Kind::Constant && !**gone) {
        node.name = match (&node.value[..], node.shape.len()) {
            ([x], _) => plain(*x),
            (v, _) if v.len() > 1 && v.iter().all(|x| x == &v[0]) => plain(v[0]),
            _ => {
                constants += 1;
                format!("k{constants}")
            }
        };
    }
}

/// A number as people write it.
fn plain(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e15 { format!("{x:.0}") } else { format!("{x:?}") }
}

/// What a step is, what it reads, saves, and its derivatives.
fn describe(nodes: &mut [Node], step: &Applied, growing: &Growing, place: &[usize]) {
    let reads: Vec<usize> = step.inputs.iter().map(|i| place[*i]).collect();
    let operands: Vec<String> = reads.iter().map(|i| nodes[*i].name.clone()).collect();
    let (inputs, outputs): (Vec<&Tensor>, Vec<&Tensor>) = (
        step.inputs.iter().map(|i| &growing.values[*i].0).collect(),
        step.outputs.iter().map(|i| &growing.values[*i].0).collect(),
    );
    let own: Vec<String> = step.outputs.iter().map(|o| nodes[place[*o]].name.clone()).collect();
    let saved = saved(step, &inputs, &outputs, &operands, &own);
    for (which, (old, y)) in step.outputs.iter().zip(&outputs).enumerate() {
        let f = formula(step.name, &step.attributes, &operands, &own[which]);
        let partials = (0..reads.len())
            .filter(|i| step.wanted[*i] && y.dtype().is_float())
            .map(|i| Partial {
                of: reads[i],
                text: f.partials.get(i).map_or(String::new(), |p| p.0.clone()),
                latex: f.partials.get(i).map_or(String::new(), |p| p.1.clone()),
                shape: [y.numel(), inputs[i].numel()],
                value: jacobian(step, which, i, &inputs, &outputs),
            })
            .collect();
        let node = &mut nodes[place[*old]];
        node.operation = step.name.to_string();
        node.formula = f.text;
        node.latex = f.latex;
        node.path = step.path.clone();
        node.reads = reads.clone();
        node.partials = partials;
        if which == 0 {
            node.saved = saved.clone();
            node.flops = step.cost.flops();
        }
    }
}

/// The local Jacobian, where it is small: by the pullback of each unit cotangent.
fn jacobian(step: &Applied, output: usize, input: usize, x: &[&Tensor], y: &[&Tensor]) -> Option<Vec<f64>> {
    if x[input].numel() * y[output].numel() > WRITTEN {
        return None;
    }
    let pull = step.pull.as_ref()?;
    let mut rows = Vec::new();
    for e in 0..y[output].numel() {
        let mut c: Vec<Option<Tensor>> = vec![None; y.len()];
        c[output] = Some(one_hot(y[output], e));
        match pull.apply(&c).swap_remove(input) {
            Some(g) => rows.extend(g.to_vec::<f64>()),
            None => rows.extend(vec![0.0; x[input].numel()]),
        }
    }
    Some(rows)
}

/// What the pullback reads beside the cotangent: found by watching it work.
fn saved(step: &Applied, x: &[&Tensor], y: &[&Tensor], operands: &[String], own: &[String]) -> Vec<Saved> {
    let Some(pull) = &step.pull else { return Vec::new() };
    let seeds: Vec<Option<Tensor>> = y.iter().map(|y| y.dtype().is_float().then(|| y.ones_like())).collect();
    let (_, _, read) = traffic(|| pull.apply(&seeds));
    let mut found: Vec<(String, &Tensor)> = Vec::new();
    for r in &read {
        let known = x.iter().zip(operands).chain(y.iter().zip(own));
        // A transposed or expanded view keeps the same memory.
        let known = known.map(|(t, n)| (n.clone(), *t)).find(|(_, t)| t.shares_buffer(r));
        let made = || {
            let t = step.made.iter().find(|m| m.shares_buffer(r))?;
            Some((format!("{}′ {:?}", step.name, t.shape()), t))
        };
        if let Some((name, t)) = known.or_else(made)
            && !found.iter().any(|(_, f)| f.shares_buffer(t))
        {
            found.push((name, t));
        }
    }
    found.into_iter().map(|(name, t)| Saved { name, bytes: t.spec().bytes() }).collect()
}

impl Trace {
    /// The same under this title.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Only these nodes, none of which reads another one.
    pub(super) fn keep(&mut self, keep: &[bool]) {
        let mut place = vec![usize::MAX; keep.len()];
        let kept = (0..keep.len()).filter(|i| keep[*i]);
        kept.enumerate().for_each(|(new, old)| place[old] = new);
        fn retain<T>(list: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            list.retain(|_| keep.next().copied().unwrap_or(true));
        }
        retain(&mut self.nodes, keep);
        for n in &mut self.nodes {
            n.reads.iter_mut().chain(&mut n.frees).for_each(|i| *i = place[*i]);
            n.frees.retain(|i| *i != usize::MAX);
            n.partials.iter_mut().for_each(|p| p.of = place[p.of]);
        }
        if let Some(slip) = &mut self.slip {
            retain(&mut slip.tangents, keep);
            retain(&mut slip.adjoints, keep);
            slip.roots.iter_mut().for_each(|r| *r = place[*r]);
        }
        self.output = place[self.output];
        self.seeds.iter_mut().for_each(|e| e.node = place[e.node]);
        // Directions of what is gone go with their columns.
        let stays: Vec<bool> = self.directions.iter().map(|d| keep[d.node]).collect();
        self.nodes.iter_mut().for_each(|n| retain(&mut n.tangents, &stays));
        retain(&mut self.directions, &stays);
        self.directions.iter_mut().for_each(|d| d.node = place[d.node]);
    }

    /// Without the slides' slip.
    #[must_use]
    pub fn without_slip(mut self) -> Self {
        self.slip = None;
        self
    }

    /// The variables.
    pub fn inputs(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.kind == Kind::Input)
    }

    /// The steps, in the order of the computation.
    pub fn steps(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|n| n.kind == Kind::Step)
    }

    /// The node called so.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The derivative of the (first) result by variable `i`.
    pub fn gradient(&self, i: usize) -> &[f64] {
        &self.nodes[i].adjoints[0]
    }

    /// Bytes stored for the way back, each value once.
    pub fn saved_bytes(&self) -> usize {
        let mut seen: Vec<&str> = Vec::new();
        let mut bytes = 0;
        for s in self.steps().flat_map(|n| &n.saved) {
            if !seen.contains(&s.name.as_str()) {
                seen.push(&s.name);
                bytes += s.bytes;
            }
        }
        bytes
    }

    /// The first node, in order, with a value that is not finite.
    pub fn not_finite(&self) -> Option<&Node> {
        self.nodes.iter().find(|n| n.value.iter().any(|x| !x.is_finite()))
    }

    /// The numbers of paths from variable `i` to the result; saturates.
    pub fn paths(&self, i: usize) -> u64 {
        let mut count = vec![0u64; self.nodes.len()];
        count[self.output] = 1;
        for n in (0..self.nodes.len()).rev() {
            for p in &self.nodes[n].partials {
                count[p.of] = count[p.of].saturating_add(count[n]);
            }
        }
        count[i]
    }
}
