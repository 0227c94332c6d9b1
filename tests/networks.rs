//! Random networks: a recorded step, compiled into blocks, lanes and fused kernels, gives what eager operations give,
//! values and gradients; on any number of threads the same bits; and its plan says what was not put into blocks.

use cotangent::{
    DType, Param, Rng, Step, Tensor,
    ops::{Conv, Pool},
};

/// A stream of choices.
struct Choice(Rng, u64);

impl Choice {
    fn below(&mut self, n: usize) -> usize {
        self.1 += 1;
        (Rng::bits(self.1, 7, 3) % n as u64) as usize
    }
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
enum Layer {
    Conv {
        w: Param,
        b: Option<Param>,
        conv: Conv,
    },
    Linear {
        w: Param,
        b: Option<Param>,
    },
    Relu,
    Tanh,
    Sigmoid,
    Square,
    MaxPool(Pool),
    AvgPool(Pool),
    Norm {
        gamma: Param,
        beta: Param,
    },
    Dropout(Rng),
    /// `x + f(x)` through layers that keep the shape.
    Residual(Vec<Layer>),
    Flatten,
    /// A permutation of the axes behind the batch, and back.
    Turn,
    Softmax,
    Narrow(usize),
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Layer::Conv { w, b, conv } => x.conv2d(&w.get(), b.as_ref().map(Param::get).as_ref(), *conv),
            Layer::Linear { w, b } => {
                let y = x.matmul(&w.get().t());
                b.as_ref().map_or_else(|| y.clone(), |b| &y + b.get())
            }
            Layer::Relu => x.relu(),
            Layer::Tanh => x.tanh(),
            Layer::Sigmoid => x.sigmoid(),
            Layer::Square => x.square() * 0.5 + x,
            Layer::MaxPool(p) => x.max_pool2d(*p),
            Layer::AvgPool(p) => x.avg_pool2d(*p),
            Layer::Norm { gamma, beta } => x.batch_norm(&gamma.get(), &beta.get(), 1e-5).0,
            Layer::Dropout(rng) => x.dropout(0.3, rng),
            Layer::Residual(inner) => x + inner.iter().fold(x.clone(), |x, l| l.forward(&x)),
            Layer::Flatten => x.flatten(1),
            Layer::Turn => (x.permute([0, 2, 3, 1]) * 1.5).permute([0, 3, 1, 2]),
            Layer::Softmax => x.softmax(-1),
            Layer::Narrow(n) => x.narrow(1, 0, *n),
        }
    }
    fn parameters(&self, all: &mut Vec<Param>) {
        match self {
            Layer::Conv { w, b, .. } | Layer::Linear { w, b } => {
                all.push(w.clone());
                all.extend(b.clone());
            }
            Layer::Norm { gamma, beta } => all.extend([gamma.clone(), beta.clone()]),
            Layer::Residual(inner) => inner.iter().for_each(|l| l.parameters(all)),
            _ => {}
        }
    }
    /// The same in f64, with the parameters that `to` gives.
    fn exact(&self, to: &mut impl FnMut(&Param) -> Param) -> Layer {
        match self {
            Layer::Conv { w, b, conv } => Layer::Conv { w: to(w), b: b.as_ref().map(&mut *to), conv: *conv },
            Layer::Linear { w, b } => Layer::Linear { w: to(w), b: b.as_ref().map(to) },
            Layer::Norm { gamma, beta } => Layer::Norm { gamma: to(gamma), beta: to(beta) },
            Layer::Residual(inner) => Layer::Residual(inner.iter().map(|l| l.exact(to)).collect()),
            other => other.clone(),
        }
    }
    /// With generators of its own.
    fn deep(&self) -> Layer {
        match self {
            Layer::Dropout(rng) => Layer::Dropout(rng.deep_clone()),
            Layer::Residual(inner) => Layer::Residual(inner.iter().map(Layer::deep).collect()),
            other => other.clone(),
        }
    }
    fn name(&self) -> String {
        match self {
            Layer::Conv { w, conv, .. } => format!("conv {:?} {conv}", w.spec().shape),
            Layer::Linear { w, .. } => format!("linear {:?}", w.spec().shape),
            Layer::Relu => "relu".into(),
            Layer::Tanh => "tanh".into(),
            Layer::Sigmoid => "sigmoid".into(),
            Layer::Square => "square".into(),
            Layer::MaxPool(p) => format!("max_pool {:?}", p.kernel()),
            Layer::AvgPool(p) => format!("avg_pool {:?}", p.kernel()),
            Layer::Norm { .. } => "batch_norm".into(),
            Layer::Dropout(_) => "dropout".into(),
            Layer::Residual(inner) => {
                format!("residual({})", inner.iter().map(Layer::name).collect::<Vec<_>>().join(" "))
            }
            Layer::Flatten => "flatten".into(),
            Layer::Turn => "turn".into(),
            Layer::Softmax => "softmax".into(),
            Layer::Narrow(n) => format!("narrow {n}"),
        }
    }
}

struct Network {
    layers: Vec<Layer>,
    heads: Vec<Vec<Layer>>,
    image: [usize; 3],
    batch: usize,
}

impl Network {
    fn random(c: &mut Choice) -> Self {
        let batch = match c.below(10) {
            0 => c.of(&[1, 2, 7, 15]),
            1 => 100 + c.below(158),
            _ => c.of(&[16, 17, 31, 32, 33, 48, 50, 64, 65]),
        };
        // Large batches see small images, so that a test run stays short.
        let side = if batch > 70 { 3 + c.below(5) } else { 4 + c.below(9) };
        let image = [c.of(&[1, 1, 2, 3, 5]), side, 3 + c.below(side)];
        let mut shape = image;
        let mut layers = Vec::new();
        for _ in 0..1 + c.below(4) {
            Self::grow(c, &mut layers, &mut shape, 40);
        }
        layers.push(Layer::Flatten);
        let mut width = shape.iter().product::<usize>();
        for _ in 0..c.below(2) {
            let next = 1 + c.below(40);
            layers.push(Self::linear(c, width, next));
            layers.push(c.of(&[0, 1, 2]).into());
            width = next;
        }
        let heads = (0..1 + c.below(2)).map(|_| vec![Self::linear(c, width, 3)]).collect();
        Network { layers, heads, image, batch }
    }

    fn weight(c: &mut Choice, shape: &[usize], fan: usize) -> Param {
        Param::new(Tensor::randn(shape, &c.0) * (1.0 / (fan as f64).sqrt()))
    }

    fn linear(c: &mut Choice, from: usize, to: usize) -> Layer {
        let b = c.chance(80).then(|| Self::weight(c, &[to], 4));
        Layer::Linear { w: Self::weight(c, &[to, from], from), b }
    }

    fn grow(c: &mut Choice, layers: &mut Vec<Layer>, shape: &mut [usize; 3], widest: usize) {
        let [channels, h, w] = *shape;
        match c.below(12) {
            0..=4 => {
                let groups = if c.chance(25) { channels } else { 1 };
                let per = if groups > 1 { 1 + c.below(2) } else { 1 + c.below(widest) };
                let out = if groups > 1 { groups * per } else { per };
                let (kh, kw) = (1 + c.below(h.min(5)), 1 + c.below(w.min(5)));
                let conv = Conv::default().groups(groups).stride(1 + c.below(2)).padding([
                    [c.below(kh.min(3)), c.below(kh.min(3))],
                    [c.below(kw.min(3)), c.below(kw.min(3))],
                ]);
                let conv = if c.chance(15) { conv.dilation([2, 1]) } else { conv };
                let Ok([oh, ow]) = conv.output_size([h, w], [kh, kw]) else { return };
                let fan = channels / groups * kh * kw;
                let b = c.chance(70).then(|| Self::weight(c, &[out], 4));
                layers.push(Layer::Conv {
                    w: Self::weight(c, &[out, channels / groups, kh, kw], fan),
                    b,
                    conv,
                });
                *shape = [out, oh, ow];
                if c.chance(60) {
                    layers.push(Layer::Relu);
                }
                if c.chance(50) && oh > 1 && ow > 1 {
                    layers.push(Layer::MaxPool(Pool::new(2)));
                    *shape = [out, oh / 2, ow / 2];
                }
            }
            5 => {
                let k = [1 + c.below(h.min(3)), 1 + c.below(w.min(3))];
                let pool = Pool::new(k).stride([1 + c.below(2), 1 + c.below(2)]);
                let Ok([oh, ow]) = pool.output_size([h, w]) else { return };
                layers.push(if c.chance(50) { Layer::MaxPool(pool) } else { Layer::AvgPool(pool) });
                *shape = [channels, oh, ow];
            }
            6 => layers.push(Layer::Norm {
                gamma: Param::new(Tensor::rand([channels], &c.0) + 0.5),
                beta: Self::weight(c, &[channels], 4),
            }),
            7 => layers.push(Layer::Dropout(Rng::new(c.below(1000) as u64))),
            8 => {
                let (mut inner, mut same) = (Vec::new(), *shape);
                let w = Self::weight(c, &[channels, channels, 3, 3], channels * 9);
                inner.push(Layer::Conv { w, b: None, conv: Conv::default().padding(1) });
                if c.chance(50) {
                    inner.push(Layer::Relu);
                }
                // The same layer twice: a shared weight.
                if c.chance(30) {
                    inner.push(inner[0].clone());
                }
                layers.push(Layer::Residual(inner));
                std::mem::swap(shape, &mut same);
            }
            9 => layers.push(Layer::Turn),
            10 if channels > 1 => {
                let n = 1 + c.below(channels - 1);
                layers.push(Layer::Narrow(n));
                *shape = [n, h, w];
            }
            10 => layers.push(Layer::Softmax),
            _ => layers.push(c.below(4).into()),
        }
    }

    fn parameters(&self) -> Vec<Param> {
        let mut all = Vec::new();
        self.layers.iter().chain(self.heads.iter().flatten()).for_each(|l| l.parameters(&mut all));
        let mut distinct: Vec<Param> = Vec::new();
        all.into_iter().for_each(|p| {
            if !distinct.iter().any(|d| d.is(&p)) {
                distinct.push(p);
            }
        });
        distinct
    }

    /// The same network in f64.
    fn exact(&self) -> Network {
        let mut known: Vec<(Param, Param)> = Vec::new();
        let mut to = |p: &Param| {
            if let Some((_, q)) = known.iter().find(|k| k.0.is(p)) {
                return q.clone();
            }
            known.push((p.clone(), Param::new(p.value().cast(DType::F64))));
            known[known.len() - 1].1.clone()
        };
        let layers = self.layers.iter().map(|l| l.exact(&mut to)).collect();
        let heads = self.heads.iter().map(|h| h.iter().map(|l| l.exact(&mut to)).collect()).collect();
        Network { layers, heads, image: self.image, batch: self.batch }
    }

    /// Loss, logits, and the gradient of every parameter.
    fn body(&self) -> impl Fn([Tensor; 2]) -> Vec<Tensor> + Send + Sync + 'static {
        let layers: Vec<Layer> = self.layers.iter().map(Layer::deep).collect();
        let (heads, parameters) = (self.heads.clone(), self.parameters());
        move |[x, y]| {
            let features = layers.iter().fold(x, |x, l| l.forward(&x));
            let logits: Vec<Tensor> =
                heads.iter().map(|h| h.iter().fold(features.clone(), |x, l| l.forward(&x))).collect();
            let mut loss = logits[0].cross_entropy(&y);
            for more in &logits[1..] {
                loss = &loss + (more - 0.5).square().mean();
            }
            let g = loss.backward();
            let gradients = parameters.iter().filter_map(|p| p.gradient(&g).cloned());
            [loss.detach(), logits[0].detach()].into_iter().chain(gradients).collect()
        }
    }

    fn name(&self) -> String {
        let names: Vec<String> = self.layers.iter().map(Layer::name).collect();
        format!("batch {} of {:?}: {}; {} heads", self.batch, self.image, names.join(", "), self.heads.len())
    }
}

impl From<usize> for Layer {
    fn from(i: usize) -> Self {
        match i {
            0 => Layer::Relu,
            1 => Layer::Tanh,
            2 => Layer::Sigmoid,
            _ => Layer::Square,
        }
    }
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum::<f64>().sqrt()
}

/// `‖a − b‖/‖b‖`; a value that is nothing beside the network's others, such as the gradient of a shift in front of
/// batch norm, is measured by a hundredth of the largest.
fn distance(a: &Tensor, b: &Tensor, largest: f64) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let (a, b) = (a.to_vec::<f64>(), b.to_vec::<f64>());
    norm(a.iter().zip(&b).map(|(a, b)| a - b)) / norm(b.iter().copied()).max(largest / 100.0)
}

fn networks(seeds: std::ops::Range<u64>) {
    let pools: Vec<rayon::ThreadPool> =
        [1, 3].iter().map(|n| rayon::ThreadPoolBuilder::new().num_threads(*n).build().unwrap()).collect();
    let mut blocked = 0;
    for seed in seeds.clone() {
        let mut c = Choice(Rng::new(seed), seed << 20);
        let network = Network::random(&mut c);
        let [channels, h, w] = network.image;
        let batches: Vec<(Tensor, Tensor)> = (0..2)
            .map(|_| {
                let x = Tensor::randn([network.batch, channels, h, w], &c.0);
                (x, Tensor::randint(0, 3, [network.batch], &c.0))
            })
            .collect();
        let eager = network.body();
        let mut steps: Vec<Step<2, Vec<Tensor>>> = (0..3).map(|_| Step::record(network.body())).collect();
        steps.push(Step::record(network.body()).plain());
        let text = steps[0].plan([&batches[0].0, &batches[0].1]).to_string();
        blocked += usize::from(text.contains("blocks of"));
        assert!(text.contains("blocks of") || text.contains("not in blocks"), "{}\n{text}", network.name());
        let exact = network.exact().body();
        for (x, y) in &batches {
            let want = eager([x.clone(), y.clone()]);
            let truth = exact([x.cast(DType::F64), y.clone()]);
            let got = steps[0].run([x, y]).unwrap();
            // As near to the truth as eager values of this network are: where terms cancel, little is left of any.
            let largest = truth.iter().map(|t| norm(t.to_vec::<f64>().into_iter())).fold(0.0, f64::max);
            let eager_off = want.iter().zip(&truth).map(|(b, t)| distance(b, t, largest)).fold(0.0, f64::max);
            for (k, a) in got.iter().enumerate() {
                let d = distance(a, &truth[k], largest);
                let what = format!("value {k} {:?} is off by {d:e}, eager ones by {eager_off:e}", a.shape());
                assert!(d < 1e-5_f64.max(3.0 * eager_off), "seed {seed}, {what}\n{}\n{text}", network.name());
            }
            for (step, pool) in (1..).zip(&pools) {
                let again = pool.install(|| steps[step].run([x, y]).unwrap());
                let same = got.iter().zip(&again).all(|(a, b)| a.to_vec::<f32>() == b.to_vec::<f32>());
                assert!(same, "seed {seed}: other bits on other threads\n{}", network.name());
            }
            let plain = steps[3].run([x, y]).unwrap();
            let same = want.iter().zip(&plain).all(|(a, b)| a.to_vec::<f32>() == b.to_vec::<f32>());
            assert!(same, "seed {seed}: a plain replay is not eager\n{}", network.name());
        }
    }
    let all = (seeds.end - seeds.start) as usize;
    assert!(blocked * 2 > all, "only {blocked} of {all} networks ran in blocks");
}

#[test]
fn recorded_is_eager_for_networks_a() {
    networks(0..125)
}
#[test]
fn recorded_is_eager_for_networks_b() {
    networks(125..250)
}
#[test]
fn recorded_is_eager_for_networks_c() {
    networks(250..375)
}
#[test]
fn recorded_is_eager_for_networks_d() {
    networks(375..500)
}
