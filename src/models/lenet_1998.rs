//! LeNet-5 as it was in 1998 (rows H1–H6).
//!
//! LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", 1998, section II.B.

use crate::{
    DType, Param, Parameters, Rng, State, Tensor,
    nn::{Call, Conv2d, Linear, Module, Parameters, ParametersExt, Visitor},
    ops::{Conv, Pool},
};

/// `y = 1.7159·tanh(2x/3)`, with `f(±1) = ±1` to 1e-4 (row H4, the paper's appendix A).
///
/// ```
/// use cotangent::{models::scaled_tanh, Tensor};
/// assert!((scaled_tanh(&Tensor::from(1.0)).item() - 1.0).abs() < 1e-4);
/// ```
pub fn scaled_tanh(x: &Tensor) -> Tensor {
    (x * (2.0 / 3.0)).tanh() * 1.7159
}

/// `y_k = w_k·Σ x + b_k` over windows of 2×2, side by side: `[n, c, h, w]` → `[n, c, h/2, w/2]`; two numbers a map
/// (row H2).
///
/// ```
/// use cotangent::{models::Subsampling, nn::{Call, ParametersExt}, Rng, Tensor};
/// let s = Subsampling::new(6, &Rng::new(0));
/// assert_eq!(s.parameter_count(), 12);
/// assert_eq!(s.call(&Tensor::zeros([1, 6, 28, 28])).shape()[..], [1, 6, 14, 14]);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct Subsampling {
    /// `[c]`
    pub weight: Param,
    /// `[c]`
    pub bias: Param,
}

impl Subsampling {
    /// For so many maps; drawn from `U(−2.4/4, 2.4/4)`, the paper's rule for a fan-in of 4.
    pub fn new(maps: usize, rng: &Rng) -> Self {
        let draw = |n: usize| Param::new(Tensor::uniform(-0.6, 0.6, [n], rng));
        Subsampling { weight: draw(maps), bias: draw(maps) }
    }
}

impl Module for Subsampling {
    fn forward(&self, x: &Tensor) -> Tensor {
        let maps = self.weight.spec().shape[0];
        let over = |p: &Param| p.get().reshape([1, maps, 1, 1]);
        // A mean whose divisor is 1 is the sum.
        x.avg_pool2d(Pool::new(2).divisor(1)) * over(&self.weight) + over(&self.bias)
    }
    fn describe(&self) -> String {
        format!("Subsampling {} 2×2", self.weight.spec().shape[0])
    }
}

/// Which maps of S2 each of the sixteen maps of C3 sees: the paper's table I (row H3).
pub const C3_TABLE: [&[usize]; 16] = [
    &[0, 1, 2],
    &[1, 2, 3],
    &[2, 3, 4],
    &[3, 4, 5],
    &[0, 4, 5],
    &[0, 1, 5],
    &[0, 1, 2, 3],
    &[1, 2, 3, 4],
    &[2, 3, 4, 5],
    &[0, 3, 4, 5],
    &[0, 1, 4, 5],
    &[0, 1, 2, 5],
    &[0, 1, 3, 4],
    &[1, 2, 4, 5],
    &[0, 2, 3, 5],
    &[0, 1, 2, 3, 4, 5],
];

/// A convolution whose maps see some of the input's maps each: one F×F filter a link (row H3).
///
/// Links that are not there have no parameter: their weights are 0 before and after any training.
#[derive(Clone, Debug, Parameters)]
pub struct PartialConv2d {
    /// `[links, F, F]`
    pub weight: Param,
    /// `[out]`
    pub bias: Param,
    #[parameters(skip)]
    table: Vec<Vec<usize>>,
    #[parameters(skip)]
    inputs: usize,
}

impl PartialConv2d {
    /// From a table of the input maps that each output map sees; drawn from `U(−2.4/fan-in, 2.4/fan-in)`.
    ///
    /// # Panics
    /// When the table names a map that is not there.
    #[track_caller]
    pub fn new(inputs: usize, size: usize, table: &[&[usize]], rng: &Rng) -> Self {
        assert!(table.iter().all(|t| t.iter().all(|i| *i < inputs)), "the table names a map beyond {inputs}");
        let filters: Vec<Tensor> = table
            .iter()
            .flat_map(|seen| {
                let bound = 2.4 / (seen.len() * size * size) as f64;
                seen.iter().map(move |_| Tensor::uniform(-bound, bound, [1, size, size], rng))
            })
            .collect();
        let weight = Param::new(Tensor::cat(&filters.iter().collect::<Vec<_>>(), 0));
        let bias = Param::new(Tensor::zeros([table.len()]).contiguous());
        PartialConv2d { weight, bias, table: table.iter().map(|t| t.to_vec()).collect(), inputs }
    }

    /// Links from an input map to an output map.
    pub fn links(&self) -> usize {
        self.table.iter().map(Vec::len).sum()
    }

    /// The weight of the full convolution that it is: `[out, in, F, F]`, with zeros where there is no link.
    pub fn full_weight(&self) -> Tensor {
        let size = self.weight.spec().shape[1];
        let mut place = vec![self.links() as i64; self.table.len() * self.inputs];
        let pairs = self.table.iter().enumerate().flat_map(|(o, seen)| seen.iter().map(move |i| (o, *i)));
        for (link, (o, i)) in pairs.enumerate() {
            place[o * self.inputs + i] = link as i64;
        }
        let weight = self.weight.get();
        // One filter of zeros behind the last stands for every link that is not there.
        let zeros = weight.detach().narrow(0, 0, 1) * 0.0;
        let n = place.len();
        let index = Tensor::from_vec(place, [n]).to(&weight.device());
        let all = Tensor::cat(&[&weight, &zeros], 0).index_select(0, &index);
        all.reshape([self.table.len(), self.inputs, size, size])
    }
}

impl Module for PartialConv2d {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d(&self.full_weight(), Some(&self.bias.get()), Conv::default())
    }
    fn describe(&self) -> String {
        let size = self.weight.spec().shape[1];
        format!("PartialConv2d {}→{} {size}×{size}, {} links", self.inputs, self.table.len(), self.links())
    }
}

/// The digits on 7×12 cells; `#` is +1, everything else −1. Our drawing: the paper's figure 3 has the like.
const DIGITS: [[&str; 12]; 10] = [
    [
        ".#####.", "##...##", "##...##", "##...##", "##...##", "##...##", "##...##", "##...##", "##...##",
        ".#####.", ".......", ".......",
    ],
    [
        "...##..", "..###..", ".####..", "...##..", "...##..", "...##..", "...##..", "...##..", "...##..",
        ".######", ".......", ".......",
    ],
    [
        ".#####.", "##...##", ".....##", "....##.", "...##..", "..##...", ".##....", "##.....", "##.....",
        "#######", ".......", ".......",
    ],
    [
        ".#####.", "##...##", ".....##", ".....##", "..####.", ".....##", ".....##", ".....##", "##...##",
        ".#####.", ".......", ".......",
    ],
    [
        ".....#.", "....##.", "...###.", "..#.##.", ".#..##.", "#...##.", "#######", "....##.", "....##.",
        "....##.", ".......", ".......",
    ],
    [
        "#######", "##.....", "##.....", "##.....", "######.", ".....##", ".....##", ".....##", "##...##",
        ".#####.", ".......", ".......",
    ],
    [
        "..####.", ".##....", "##.....", "##.....", "######.", "##...##", "##...##", "##...##", "##...##",
        ".#####.", ".......", ".......",
    ],
    [
        "#######", ".....##", ".....##", "....##.", "....##.", "...##..", "...##..", "..##...", "..##...",
        "..##...", ".......", ".......",
    ],
    [
        ".#####.", "##...##", "##...##", "##...##", ".#####.", "##...##", "##...##", "##...##", "##...##",
        ".#####.", ".......", ".......",
    ],
    [
        ".#####.", "##...##", "##...##", "##...##", "##...##", ".######", ".....##", ".....##", "....##.",
        ".####..", ".......", ".......",
    ],
];

/// `y_i = Σ_j (x_j − w_ij)²` with fixed codes `w` of ±1: `[n, 84]` → `[n, 10]`; the smallest wins (row H5).
#[derive(Clone, Debug)]
pub struct Rbf {
    /// `[10, 84]`, not trained.
    pub codes: State,
}

impl Default for Rbf {
    fn default() -> Self {
        let cells: Vec<f32> = DIGITS
            .iter()
            .flat_map(|digit| {
                digit.iter().flat_map(|row| row.bytes().map(|c| if c == b'#' { 1.0 } else { -1.0 }))
            })
            .collect();
        Rbf { codes: State::new(Tensor::from_vec(cells, [10, 84])) }
    }
}

impl Parameters for Rbf {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.child("codes", &self.codes);
    }
}

impl Module for Rbf {
    fn forward(&self, x: &Tensor) -> Tensor {
        let codes = self.codes.value().cast(x.dtype());
        let (n, k) = (codes.size(0), codes.size(1));
        (x.unsqueeze(1) - codes.reshape([1, n, k])).square().sum_over([2], false)
    }
    fn describe(&self) -> String {
        "Rbf 84→10".into()
    }
}

/// LeNet-5 of 1998: `[n, 1, 32, 32]` → distances `[n, 10]`, of which the smallest wins; 60,000 parameters (row H6).
///
/// C1 6@28×28, S2 6@14×14 with trainable coefficient and bias, C3 16@10×10 on the paper's table, S4 16@5×5, C5 120,
/// F6 84 with the scaled tanh, ten Gaussian connections to fixed codes.
///
/// ```
/// use cotangent::{models::LeNet1998, nn::{Call, ParametersExt}, Rng, Tensor};
/// let net = LeNet1998::new(&Rng::new(0));
/// assert_eq!(net.parameter_count(), 60_000);
/// assert_eq!(net.connections(), 340_908);
/// assert_eq!(net.call(&Tensor::zeros([2, 1, 32, 32])).shape()[..], [2, 10]);
/// ```
#[derive(Clone, Debug, Parameters)]
pub struct LeNet1998 {
    /// Six maps of 28×28.
    pub c1: Conv2d,
    /// Six maps of 14×14.
    pub s2: Subsampling,
    /// Sixteen maps of 10×10.
    pub c3: PartialConv2d,
    /// Sixteen maps of 5×5.
    pub s4: Subsampling,
    /// 120 maps of 1×1.
    pub c5: Conv2d,
    /// 84 numbers, as many as a code has cells.
    pub f6: Linear,
    /// The distances to ten codes.
    pub output: Rbf,
}

impl LeNet1998 {
    /// Drawn from `U(−2.4/fan-in, 2.4/fan-in)`, as the paper's.
    pub fn new(rng: &Rng) -> Self {
        let net = LeNet1998 {
            c1: Conv2d::new(1, 6, 5, rng),
            s2: Subsampling::new(6, rng),
            c3: PartialConv2d::new(6, 5, &C3_TABLE, rng),
            s4: Subsampling::new(16, rng),
            c5: Conv2d::new(16, 120, 5, rng),
            f6: Linear::new(120, 84, rng),
            output: Rbf::default(),
        };
        for (inputs, layer) in
            [(25, net.c1.parameters()), (400, net.c5.parameters()), (120, net.f6.parameters())]
        {
            let bound = 2.4 / f64::from(inputs);
            layer.iter().for_each(|(_, p)| p.set(&Tensor::uniform(-bound, bound, p.spec().shape, rng)));
        }
        net
    }

    /// A 28×28 image in the middle of a 32×32 one, with this value around it.
    pub fn padded(x: &Tensor, background: f64) -> Tensor {
        x.pad(&[(0, 0), (0, 0), (2, 2), (2, 2)], background)
    }

    /// Connections as the paper counts them: a weight or bias once for each place where it is used, those of the output
    /// too (row H6).
    pub fn connections(&self) -> usize {
        let area = |side: usize| side * side;
        let links = self.c3.links() * 25 + 16;
        let s = |maps: usize, side: usize| maps * 5 * area(side);
        26 * 6 * area(28)
            + s(6, 14)
            + links * area(10)
            + s(16, 5)
            + self.c5.parameter_count()
            + self.f6.parameter_count()
            + self.output.codes.spec().shape.len()
    }

    /// The paper's loss (its equation 9), the mean over the batch: `y_d + ln(e^{−j} + Σ_i e^{−y_i})`. The second term
    /// pushes the wrong distances up, up to about `j`, so that the codes compete (row H5).
    pub fn loss(distances: &Tensor, labels: &Tensor, j: f64) -> Tensor {
        let right = distances.gather(1, &labels.cast(DType::I64).unsqueeze(1)).squeeze(1);
        let rubbish = (distances.detach().narrow(1, 0, 1) * 0.0) - j;
        let all = Tensor::cat(&[&-distances, &rubbish], 1);
        (right + all.logsumexp(1, false)).mean()
    }
}

impl Module for LeNet1998 {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = scaled_tanh(&self.c1.call(x)); //  [n,  6, 28, 28]
        let x = scaled_tanh(&self.s2.call(&x)); // [n,  6, 14, 14]
        let x = scaled_tanh(&self.c3.call(&x)); // [n, 16, 10, 10]
        let x = scaled_tanh(&self.s4.call(&x)); // [n, 16,  5,  5]
        let x = scaled_tanh(&self.c5.call(&x)); // [n, 120, 1,  1]
        let x = scaled_tanh(&self.f6.call(&x.flatten(1)));
        self.output.call(&x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{laws, optim::Sgd};

    #[test]
    fn h6_the_program_counts_60_000_parameters_and_340_908_connections() {
        let net = LeNet1998::new(&Rng::new(0));
        let counts: Vec<usize> = [
            net.c1.parameter_count(),
            net.s2.parameter_count(),
            net.c3.parameter_count(),
            net.s4.parameter_count(),
            net.c5.parameter_count(),
            net.f6.parameter_count(),
            net.output.parameter_count(),
        ]
        .to_vec();
        assert_eq!(counts, [156, 12, 1516, 32, 48_120, 10_164, 0]);
        assert_eq!(net.parameter_count(), 60_000);
        assert_eq!(net.connections(), 340_908);
    }

    #[test]
    fn h3_links_that_are_not_there_stay_zero_when_trained() {
        assert_eq!(
            C3_TABLE.iter().map(|t| t.len()).collect::<Vec<_>>(),
            [3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 6]
        );
        let net = LeNet1998::new(&Rng::new(1));
        assert_eq!(net.c3.links(), 60);
        let before = net.c3.full_weight().to_vec::<f32>();
        let x = Tensor::randn([4, 1, 32, 32], &Rng::new(2));
        let y = Tensor::from([0i64, 1, 2, 3]);
        let sgd = Sgd::new(0.01);
        for _ in 0..3 {
            sgd.step(&net, &LeNet1998::loss(&net.call(&x), &y, 1.0).backward());
        }
        let after = net.c3.full_weight().to_vec::<f32>();
        for (o, seen) in C3_TABLE.iter().enumerate() {
            for i in 0..6 {
                let cells = (o * 6 + i) * 25..(o * 6 + i + 1) * 25;
                let moved = after[cells.clone()] != before[cells.clone()];
                assert_eq!(moved, seen.contains(&i), "map {o} and map {i}");
                assert_eq!(after[cells].iter().any(|w| *w != 0.0), seen.contains(&i));
            }
        }
    }

    #[test]
    fn h2_h5_every_derivative_of_subsampling_output_and_loss() {
        let rng = Rng::new(3);
        let wide = |shape: &[usize]| Tensor::randn(shape, &rng).cast(DType::F64);
        let s = Subsampling::new(2, &rng);
        let at = [wide(&[1, 2, 4, 4]), wide(&[2]), wide(&[2])];
        let f = |v: &[Tensor]| vec![s.with(&v[1..], |s| scaled_tanh(&s.call(&v[0])))];
        assert_eq!(laws::derivatives(2, &f, &at, 1), Ok(()));
        let rbf = Rbf::default();
        let y = Tensor::from([3i64, 7]);
        // Distances of 84 squares are large, and e⁻¹⁰⁰ has no slope to see: smaller ones.
        let f = |v: &[Tensor]| vec![LeNet1998::loss(&(rbf.call(&v[0]) * 0.02), &y, 1.0)];
        assert_eq!(laws::derivatives(2, &f, &[wide(&[2, 84])], 2), Ok(()));
        // By hand: y = (1, 2), d = 0, j = 1.
        let loss = LeNet1998::loss(&Tensor::from([[1.0, 2.0]]), &Tensor::from([0i64]), 1.0).item();
        let e = |x: f64| (-x).exp();
        assert!((loss - (1.0 + (e(1.0) + e(1.0) + e(2.0)).ln())).abs() < 1e-14);
    }

    #[test]
    fn h5_the_codes_are_plus_and_minus_one_and_apart() {
        let codes = Rbf::default().codes.value();
        assert_eq!(codes.shape()[..], [10, 84]);
        assert!(codes.to_vec::<f32>().iter().all(|c| c.abs() == 1.0));
        let d = Rbf::default().call(&codes);
        for i in 0..10 {
            for j in 0..10 {
                let apart = d.to_vec::<f32>()[i * 10 + j];
                assert_eq!(apart == 0.0, i == j, "{i} {j}");
                assert!(i == j || apart >= 16.0, "codes {i} and {j} differ in {} cells", apart / 4.0);
            }
        }
    }
}
