//! Rows D1–D17: perceptrons, activations, softmax regression.

use cotangent::{
    DType, Param, Rng, Tensor, attempt, grad,
    laws::Draw,
    models::{Mlp, SoftmaxRegression},
    nn::{Call, Linear, ParametersExt, Summary},
    optim::Sgd,
    value_and_grad,
};

use super::{Argument, short};
use crate::{lab, problem::normal};

rows! {
    row(
        "D1",
        "perceptrons",
        "perceptrons",
        "logistic regression: one layer, σ(wᵀx)",
        "로지스틱 회귀: 한 층, σ(wᵀx)",
        d1,
    ),
    row(
        "D2",
        "perceptrons",
        "perceptrons",
        "two layers: O = W₂σ(W₁x), 25 parameters",
        "두 층: O = W₂σ(W₁x), 매개변수 25개",
        d2,
    ),
    row(
        "D3",
        "perceptrons",
        "perceptrons",
        "a deep network is a list of widths",
        "깊은 신경망은 폭의 목록이다",
        d3,
    ),
    row(
        "D4",
        "no-linear-depth",
        "perceptrons",
        "without σ depth is one matrix",
        "σ가 없으면 깊이는 행렬 하나다",
        d4,
    ),
    row("D5", "perceptrons", "perceptrons", "ReLU(z) = max(z, 0)", "ReLU(z) = max(z, 0)", d5),
    row("D6", "stable-formulas", "perceptrons", "the sigmoid at ±1000", "±1000에서의 시그모이드", d6),
    row("D7", "stable-formulas", "perceptrons", "tanh as written is ∞/∞", "쓰인 대로의 tanh는 ∞/∞이다", d7),
    row(
        "D8",
        "perceptrons",
        "perceptrons",
        "an MLP for two classes of CIFAR-10",
        "CIFAR-10 두 부류를 위한 MLP",
        d8,
    ),
    row(
        "D9",
        "softmax-is-argmax",
        "softmax",
        "softmax and its derivative diag(μ) − μμᵀ",
        "소프트맥스와 그 도함수 diag(μ) − μμᵀ",
        d9,
    ),
    row(
        "D10",
        "softmax-is-argmax",
        "softmax",
        "softmax gives probabilities",
        "소프트맥스는 확률을 준다",
        d10,
    ),
    row("D11", "softmax-is-argmax", "softmax", "it is an argmax, not a max", "max가 아니라 argmax다", d11),
    row("D12", "stable-formulas", "softmax", "the slide's three examples", "슬라이드의 세 예", d12),
    row(
        "D13",
        "softmax-regression",
        "softmax",
        "f(x) = μ(Wx + b), k(n + 1) parameters",
        "f(x) = μ(Wx + b), 매개변수 k(n + 1)개",
        d13,
    ),
    row(
        "D14",
        "softmax-regression",
        "softmax",
        "a label as a distribution lies in R^k (the slide writes R^n)",
        "분포로서의 레이블은 R^k에 있다(슬라이드는 R^n)",
        d14,
    ),
    row(
        "D15",
        "kl-is-cross-entropy",
        "softmax",
        "minimise Σ D_KL(P(y_i) ‖ f(x_i))",
        "Σ D_KL(P(y_i) ‖ f(x_i))를 최소화",
        d15,
    ),
    row(
        "D16",
        "kl-is-cross-entropy",
        "softmax",
        "which is the same as minimising cross entropy",
        "그것은 교차 엔트로피를 최소화하는 것과 같다",
        d16,
    ),
    row(
        "D17",
        "softmax-regression",
        "softmax",
        "a model of an unknown function is judged on held-out data",
        "미지 함수의 모형은 남겨 둔 데이터로 판정한다",
        d17,
    ),
}

fn d1(a: &mut Argument) {
    a.say(
        "σ(wᵀx) without a bias, trained on two blobs. With two classes the softmax of (w₁ᵀx, w₂ᵀx) is the same thing for \
         w = w₁ − w₂, since only the difference of the logits matters.",
        "편향 없는 σ(wᵀx)를 두 덩어리에 학습한다. 두 부류의 소프트맥스 (w₁ᵀx, w₂ᵀx)는 w = w₁ − w₂와 같다. 로짓의 차이만 중요하기 때문이다.",
    );
    let n = 200;
    let rng = Rng::new(1);
    let label: Vec<i64> = (0..n as i64).map(|i| i % 2).collect();
    let sign = Tensor::from_vec(label.iter().map(|l| 2.0 * *l as f64 - 1.0).collect::<Vec<_>>(), [n, 1]);
    let x = normal([n, 2], &rng) + &sign * 1.5;
    let w = Param::new(Tensor::zeros([2]).cast(DType::F64).contiguous());
    let sgd = Sgd::new(0.5);
    for _ in 0..100 {
        let margin = x.matmul(&w.get()) * sign.squeeze(1);
        sgd.step(&w, &(-margin.sigmoid().ln()).mean().backward());
    }
    let right = (x.matmul(&w.value()) * sign.squeeze(1)).gt(0.0).sum().item() / n as f64;
    a.number("share of 200 points that are right", right);
    a.claim("above 95 %", "95 % 이상", right > 0.95);
    let mut worst = 0f64;
    for seed in 0..20 {
        let both = normal([2, 3], &Rng::new(seed));
        let z = normal([5, 3], &Rng::new(seed + 50));
        let soft = z.matmul(&both.t()).softmax(1).select(1, 0);
        let logistic = z.matmul(&(both.select(0, 0) - both.select(0, 1))).sigmoid();
        worst = worst.max((soft - logistic).abs().max().item());
    }
    a.number("|softmax of two − σ((w₁ − w₂)ᵀx)|, 20 draws", worst);
    a.property("equal to 1e-15", "1e-15까지 같다", worst < 1e-15);
    let layer = Linear::without_bias(2, 1, &rng);
    let at_zero = layer.call(&Tensor::zeros([1, 2])).sigmoid().item();
    a.number("without a bias, at x = 0", at_zero);
    a.counter(
        "without a bias x = 0 is always undecided: ½",
        "편향이 없으면 x = 0은 언제나 ½이다",
        at_zero == 0.5,
    );
}

fn d2(a: &mut Argument) {
    a.say(
        "W₁ is 5×4, W₂ is 1×5: 25 numbers. The forward pass by the library and by hand.",
        "W₁은 5×4, W₂는 1×5로 모두 25개. 라이브러리와 손으로 계산한 값을 견준다.",
    );
    let rng = Rng::new(2);
    let (one, two) = (Linear::without_bias(4, 5, &rng), Linear::without_bias(5, 1, &rng));
    let count = a.number("parameters", (one.parameter_count() + two.parameter_count()) as f64);
    let shapes = (one.weight.spec().shape.to_vec(), two.weight.spec().shape.to_vec());
    a.claim(
        "W₁ 5×4, W₂ 1×5, 25 in all",
        "W₁ 5×4, W₂ 1×5, 모두 25",
        count == 25.0 && shapes == (vec![5, 4], vec![1, 5]),
    );
    let mut worst = 0f64;
    for seed in 0..20 {
        let x = Tensor::randn([1, 4], &Rng::new(seed));
        let o = two.call(&one.call(&x).sigmoid()).item();
        let (w, v, x) =
            (one.weight.value().to_vec::<f64>(), two.weight.value().to_vec::<f64>(), x.to_vec::<f64>());
        let hand: f64 = (0..5)
            .map(|i| {
                let z: f64 = (0..4).map(|j| w[i * 4 + j] * x[j]).sum();
                v[i] / (1.0 + (-z).exp())
            })
            .sum();
        worst = worst.max((o - hand).abs());
    }
    a.number("|library − by hand|, 20 draws, f32", worst);
    a.property("equal to 1e-6", "1e-6까지 같다", worst < 1e-6);
    let wrong = attempt(|| two.call(&Tensor::zeros([1, 4]))).is_err();
    a.counter("W₂ does not take x: the sizes say so", "W₂는 x를 받지 못한다: 크기가 말한다", wrong);
}

fn d3(a: &mut Argument) {
    a.say(
        "N layers from one list of widths; Σ (n_{ℓ−1} + 1)·n_ℓ parameters.",
        "폭의 목록 하나로 N개의 층. 매개변수는 Σ (n_{ℓ−1} + 1)·n_ℓ개.",
    );
    let formula = |w: &[usize]| w.windows(2).map(|p| (p[0] + 1) * p[1]).sum::<usize>();
    let widths = [784, 512, 512, 10];
    let net = Mlp::new(&widths, &Rng::new(3));
    let n = a.number("784→512→512→10", net.parameter_count() as f64);
    a.claim(
        "669,706, as the formula says",
        "공식대로 669,706",
        n == 669_706.0 && formula(&widths) == 669_706,
    );
    if let Ok(s) = Summary::of(&net, &Tensor::zeros([1, 784]).spec()) {
        let mut rows = vec![["layer", "output", "parameters"].map(String::from).to_vec()];
        rows.extend(
            s.rows.iter().map(|r| vec![r.layer.clone(), format!("{:?}", r.output), r.parameters.to_string()]),
        );
        a.table(rows);
    }
    let mut d = Draw::new(3);
    let fine = (0..50).all(|_| {
        let w: Vec<usize> = (0..2 + d.size(0..5)).map(|_| d.size(1..20)).collect();
        Mlp::new(&w, &Rng::new(0)).parameter_count() == formula(&w)
    });
    a.property("50 random lists", "무작위 목록 50개", fine);
}

fn d4(a: &mut Argument) {
    a.say(
        "With σ the identity, W₃(W₂(W₁x)) = (W₃W₂W₁)x: three layers are one matrix, and depth buys nothing. With ReLU no \
         matrix does it: f(x) + f(−x) would be 0.",
        "σ가 항등이면 W₃(W₂(W₁x)) = (W₃W₂W₁)x로 세 층이 행렬 하나와 같아 깊이가 쓸모없다. ReLU이면 어떤 행렬도 될 수 없다. 행렬이라면 f(x) + f(−x)가 0이어야 한다.",
    );
    let mut worst = 0f64;
    for seed in 0..20 {
        let rng = Rng::new(seed);
        let w: Vec<Tensor> = [[6usize, 4], [5, 6], [3, 5]].iter().map(|s| Tensor::randn(*s, &rng)).collect();
        let x = Tensor::randn([4], &rng);
        let deep = w.iter().fold(x.clone(), |y, w| w.matmul(&y));
        let one = w[2].matmul(&w[1]).matmul(&w[0]).matmul(&x);
        worst = worst.max(((&deep - &one).abs().max().item()) / (1.0 + one.abs().max().item()));
    }
    a.number("|three layers − one matrix|, relative, f32", worst);
    a.property("equal to 1e-6, 20 draws", "1e-6까지 같다, 20번", worst <= 1e-6);
    let rng = Rng::new(4);
    let net = |x: &Tensor| (Tensor::randn([6, 4], &Rng::new(4)).matmul(x)).relu().sum();
    let x = Tensor::randn([4], &rng);
    let both = a.number("f(x) + f(−x) with ReLU", (net(&x) + net(&-&x)).item());
    a.counter(
        "with ReLU it is no matrix: f(x) + f(−x) ≠ 0",
        "ReLU이면 행렬이 아니다: f(x) + f(−x) ≠ 0",
        both.abs() > 0.1,
    );
    let shapes = [vec![], vec![3], vec![2, 3], vec![2, 3, 4, 5]];
    a.claim(
        "σ keeps every shape",
        "σ는 모든 모양을 유지한다",
        shapes.iter().all(|s| Tensor::ones(s).sigmoid().shape()[..] == s[..]),
    );
    let z: Vec<f64> = (-32..=32).map(|i| f64::from(i) / 8.0).collect();
    let x = Tensor::from_vec(z.clone(), [z.len()]);
    let line = |y: Tensor| z.iter().copied().zip(y.to_vec::<f64>()).collect();
    let lines = [("ReLU", line(x.relu())), ("sigmoid", line(x.sigmoid())), ("tanh", line(x.tanh()))];
    a.plot(["z", "σ(z)"], &lines);
}

fn d5(a: &mut Argument) {
    a.say("Values, slopes, and what is neither.", "값과 기울기, 그리고 그 밖의 것.");
    let z = Tensor::from([-2.0, -0.0, 0.0, 0.5, 3.0]);
    let y = z.relu().to_vec::<f64>();
    let [g] = grad(|[z]| z.relu().sum(), [&z]);
    let mut rows = vec![["z", "ReLU(z)", "slope"].map(String::from).to_vec()];
    for ((z, y), g) in z.to_vec::<f64>().iter().zip(&y).zip(g.to_vec::<f64>()) {
        rows.push(vec![short(*z), short(*y), short(g)]);
    }
    a.table(rows);
    a.number("ReLU(3)", y[4]);
    a.number("σ′(0)", g.to_vec::<f64>()[2]);
    a.claim(
        "0 0 0 0.5 3, slopes 0 0 0 1 1",
        "0 0 0 0.5 3, 기울기 0 0 0 1 1",
        y == [0.0, 0.0, 0.0, 0.5, 3.0] && g.to_vec::<f64>() == [0.0, 0.0, 0.0, 1.0, 1.0],
    );
    a.counter(
        "NaN passes through: it is not hidden as 0",
        "NaN은 그대로 지나간다: 0으로 숨기지 않는다",
        Tensor::from(f64::NAN).relu().item().is_nan(),
    );
    let mut d = Draw::new(5);
    let fine = (0..1000).all(|_| {
        let z = 10.0 * d.number();
        Tensor::from(z).relu().item() == z.max(0.0)
    });
    a.property("1000 draws", "1000번", fine);
}

fn d6(a: &mut Argument) {
    a.say(
        "1/(1 + e⁻ˣ) as written overflows in e⁻ˣ for x = −1000 in f32 and f64, and its derivative becomes ∞/∞. The library \
         takes the side that does not.",
        "쓰인 대로의 1/(1 + e⁻ˣ)은 x = −1000에서 e⁻ˣ가 넘쳐 도함수가 ∞/∞이 된다. 라이브러리는 넘치지 않는 쪽을 쓴다.",
    );
    for x in [-1000.0, 0.0, 1000.0] {
        let (y, [g]) = value_and_grad(|[x]| x.sigmoid(), [&Tensor::from(x)]);
        a.number(&format!("σ({x})"), y.item());
        a.number(&format!("σ′({x})"), g.item());
    }
    let of = |x: f64| {
        let (y, [g]) = value_and_grad(|[x]| x.sigmoid(), [&Tensor::from(x)]);
        (y.item(), g.item())
    };
    a.claim(
        "0, ½, 1 and slopes 0, ¼, 0, exactly",
        "0, ½, 1과 기울기 0, ¼, 0이 정확하다",
        of(-1000.0) == (0.0, 0.0) && of(0.0) == (0.5, 0.25) && of(1000.0) == (1.0, 0.0),
    );
    let naive = |x: &Tensor| ((-x).exp() + 1.0).recip();
    let [g] = grad(
        |[x]| {
            let e = (-&x).exp();
            &e / (&e + 1.0).square() * &x
        },
        [&Tensor::from(-1000.0)],
    );
    a.number("e⁻ˣ/(1 + e⁻ˣ)² · x, differentiated as written, at −1000", g.item());
    a.counter("as written: NaN", "쓰인 대로는: NaN", g.item().is_nan());
    let mut d = Draw::new(6);
    let fine = (0..500).all(|_| {
        let x = Tensor::from(30.0 * d.number());
        (naive(&x) - x.sigmoid()).abs().item() < 1e-15
    });
    a.property("where both are finite they agree, 500 draws", "둘 다 유한한 곳에서는 같다, 500번", fine);
}

fn d7(a: &mut Argument) {
    a.say(
        "(1 − e^{−2x})/(1 + e^{−2x}) agrees near 0; at x = −400 it is ∞/∞, in f32 at −50 already.",
        "(1 − e^{−2x})/(1 + e^{−2x})는 0 근처에서 같지만, x = −400에서는 ∞/∞이고 f32에서는 −50에서 벌써 그렇다.",
    );
    let written = |x: &Tensor| {
        let e = (x * -2.0).exp();
        (1.0 - &e) / (1.0 + &e)
    };
    let wide = Tensor::from(-400.0);
    let narrow = wide.cast(DType::F32) / 8.0;
    a.number("tanh(−400)", wide.tanh().item());
    a.number("as written at −400, f64", written(&wide).item());
    a.number("tanh(−50), f32", narrow.tanh().item());
    a.number("as written at −50, f32", written(&narrow).item());
    a.claim(
        "the library gives −1",
        "라이브러리는 −1을 준다",
        wide.tanh().item() == -1.0 && narrow.tanh().item() == -1.0,
    );
    a.counter(
        "as written: NaN",
        "쓰인 대로는: NaN",
        written(&wide).item().is_nan() && written(&narrow).item().is_nan(),
    );
    let mut d = Draw::new(7);
    let fine = (0..500).all(|_| {
        let x = Tensor::from(5.0 * d.number());
        (written(&x) - x.tanh()).abs().item() < 2e-16 * 20.0
    });
    a.property("near 0 they agree, 500 draws", "0 근처에서는 같다, 500번", fine);
}

fn d8(a: &mut Argument) {
    a.say(
        "The figure with the widths is lost; ours are 3072→128→32→1, ReLU, logistic loss on labels ±1. Here on generated \
         pictures of CIFAR-10's shape whose class depends on two patches together. The original: \
         `cotangent data get cifar10 --out data`, then `cotangent lab binary --data data/cifar10`.",
        "폭을 보인 그림은 남아 있지 않다. 우리의 선택은 3072→128→32→1, ReLU, 레이블 ±1의 로지스틱 손실이다. 여기서는 두 부분을 함께 보아야 부류를 알 수 있는, CIFAR-10과 같은 모양의 생성된 그림을 쓴다. 원본 파일은 `cotangent data get cifar10 --out data`로 받아 `cotangent lab binary --data data/cifar10`으로 쓴다.",
    );
    let pictures = lab::patches(600, 8);
    let found = lab::binary(&pictures, &lab::WIDTHS, 6, 8);
    a.number("parameters of the MLP", found.parameters as f64);
    let mlp = a.number("MLP: share of held-out pictures that are right", found.mlp);
    let plain = a.number("logistic regression on the same split", found.logistic);
    a.claim("the MLP beats logistic regression", "MLP가 로지스틱 회귀를 이긴다", mlp > plain + 0.1);
    a.counter("no line tells these classes apart", "어떤 직선도 이 부류들을 가르지 못한다", plain < 0.7);
}

fn d9(a: &mut Argument) {
    a.say(
        "μ(z) = e^z/Σe^z, shifted by the largest entry so that nothing overflows. Its Jacobian is diag(μ) − μμᵀ.",
        "μ(z) = e^z/Σe^z. 넘치지 않도록 가장 큰 값만큼 옮긴다. 야코비안은 diag(μ) − μμᵀ다.",
    );
    let mut worst = 0f64;
    for seed in 0..20 {
        let z = normal([5], &Rng::new(seed)) * 3.0;
        let j = cotangent::jacobian(|z| z.softmax(0), &z);
        let mu = z.softmax(0);
        let formula = Tensor::eye(5).cast(DType::F64) * &mu - mu.reshape([5, 1]).matmul(&mu.reshape([1, 5]));
        worst = worst.max((j - formula).abs().max().item());
    }
    a.number("|Jacobian − (diag(μ) − μμᵀ)|, 20 draws", worst);
    a.property("equal to 1e-15", "1e-15까지 같다", worst < 1e-15);
    let x = normal([2, 3, 4], &Rng::new(9));
    let every = (0..3).all(|axis| (x.softmax(axis).sum_over([axis], false) - 1.0).abs().max().item() < 1e-15);
    a.claim("along any axis of any rank", "모든 축에서", every);
    let naive = |z: &Tensor| {
        let e = z.exp();
        &e / e.sum()
    };
    let big = Tensor::from([1000.0, 0.0]);
    a.number("naive μ(1000, 0)₁", naive(&big).to_vec::<f64>()[0]);
    a.counter(
        "without the shift: NaN",
        "옮기지 않으면: NaN",
        naive(&big).to_vec::<f64>()[0].is_nan() && big.softmax(0).to_vec::<f64>() == [1.0, 0.0],
    );
}

fn d10(a: &mut Argument) {
    a.say(
        "Not negative, and the sum is 1, also for huge entries and −∞.",
        "음수가 아니고 합은 1이다. 아주 큰 수와 −∞에서도.",
    );
    let hard = [vec![1e30, -1e30, 0.0], vec![f64::NEG_INFINITY, 0.0, 1.0], vec![700.0; 7]];
    let fine = |z: &Tensor| {
        let v = z.softmax(0).to_vec::<f64>();
        v.iter().all(|x| *x >= 0.0) && (v.iter().sum::<f64>() - 1.0).abs() < 1e-6
    };
    a.claim(
        "huge entries, −∞, ties",
        "큰 수, −∞, 같은 수",
        hard.iter().all(|z| fine(&Tensor::from_vec(z.clone(), [z.len()]))),
    );
    let sum = Tensor::from([f64::NEG_INFINITY, 0.0, 1.0]).softmax(0).sum().item();
    a.number("Σ μ(−∞, 0, 1)", sum);
    let mut d = Draw::new(10);
    let all = (0..500).all(|_| {
        let n = d.size(1..30);
        fine(&(normal([n], &Rng::new(d.size(0..1000) as u64)) * 10f64.powi(d.size(0..8) as i32)))
    });
    a.property("500 draws of up to 30 entries", "항이 30개까지인 500번", all);
    let none = Tensor::from([f64::NEG_INFINITY, f64::NEG_INFINITY]).softmax(0).to_vec::<f64>();
    a.counter("all −∞ is no distribution: NaN", "모두 −∞이면 분포가 아니다: NaN", none[0].is_nan());
}

fn d11(a: &mut Argument) {
    a.say(
        "As t grows, μ(tz) becomes the one-hot vector of the largest entry: softmax approximates argmax. What \
         approximates max is log-sum-exp. A tie is shared.",
        "t가 커지면 μ(tz)는 가장 큰 항의 원-핫 벡터가 된다. softmax가 근사하는 것은 argmax다. max를 근사하는 것은 log-sum-exp다. 같으면 나눈다.",
    );
    let z = Tensor::from([1.0, 3.0, 2.0]);
    let mut rows = vec![["t", "μ₁", "μ₂", "μ₃", "ln Σe^{tz}/t"].map(String::from).to_vec()];
    for t in [1.0, 4.0, 16.0, 64.0] {
        let v = (&z * t).softmax(0).to_vec::<f64>();
        rows.push(vec![
            short(t),
            short(v[0]),
            short(v[1]),
            short(v[2]),
            short((&z * t).logsumexp(0, false).item() / t),
        ]);
    }
    a.table(rows);
    let far = (&z * 1000.0).softmax(0).to_vec::<f64>();
    a.number("μ(1000 z)₂", far[1]);
    a.claim("one-hot of the largest", "가장 큰 것의 원-핫", far == [0.0, 1.0, 0.0]);
    let tie = (Tensor::from([2.0, 1.0, 2.0]) * 1000.0).softmax(0).to_vec::<f64>();
    a.number("a tie: μ₁", tie[0]);
    a.claim("a tie is shared equally", "같으면 똑같이 나눈다", tie == [0.5, 0.0, 0.5]);
    a.counter(
        "it is no max: μ₂ → 1, not 3",
        "max가 아니다: μ₂ → 3이 아니라 1",
        far[1] == 1.0 && z.max().item() == 3.0,
    );
    let mut d = Draw::new(11);
    let fine = (0..100).all(|_| {
        let n = 2 + d.size(1..8);
        let z = d.real([n]).contiguous();
        let v = (&z * 1e4).softmax(0);
        v.argmax(0).item() == z.argmax(0).item() && v.max().item() > 1.0 - 1e-12
    });
    a.property("100 draws", "100번", fine);
}

fn d12(a: &mut Argument) {
    a.say(
        "The slide's examples, exact. Computed as written in f32, the second one is NaN.",
        "슬라이드의 예를 정확히. f32로 쓰인 대로 계산하면 둘째는 NaN이다.",
    );
    let mu = Tensor::from([1.0, 2.0, 3.0]).softmax(0).to_vec::<f64>();
    a.number("μ(1,2,3)₁", mu[0]);
    a.number("μ(1,2,3)₂", mu[1]);
    a.number("μ(1,2,3)₃", mu[2]);
    let far = Tensor::from([999.0, 0.0, -2.0]).softmax(0).to_vec::<f64>();
    a.claim("μ(999, 0, −2) = (1, 0, 0)", "μ(999, 0, −2) = (1, 0, 0)", far == [1.0, 0.0, 0.0]);
    let tie = Tensor::from([-2.0, -2.0, -99.0]).softmax(0).to_vec::<f64>();
    a.number("μ(−2,−2,−99)₁", tie[0]);
    a.number("μ(−2,−2,−99)₃ · 10⁴³", tie[2] * 1e43);
    a.claim("½, ½, 3.7e-43", "½, ½, 3.7e-43", tie[0] == 0.5 && (tie[2] * 1e43 - 3.7).abs() < 0.05);
    let x = Tensor::from([999f32, 0.0, -2.0]).exp();
    let naive = (&x / x.sum()).to_vec::<f32>();
    a.counter(
        "as written in f32: NaN, 0, 0",
        "f32로 쓰인 대로: NaN, 0, 0",
        naive[0].is_nan() && naive[1..] == [0.0, 0.0],
    );
    let mut d = Draw::new(12);
    let fine = (0..100).all(|_| {
        let z = d.real([4]).contiguous();
        let c = 50.0 * d.number();
        (z.softmax(0) - (z + c).softmax(0)).abs().max().item() < 1e-14
    });
    a.property("adding a constant changes nothing, 100 draws", "상수를 더해도 바뀌지 않는다, 100번", fine);
}

fn d13(a: &mut Argument) {
    a.say(
        "A linear layer and cross entropy: k·n weights and k biases. The slide counts labels from 1, the loss from 0; one \
         too many is refused, with the reason.",
        "선형층과 교차 엔트로피: 가중치 k·n개와 편향 k개. 슬라이드는 레이블을 1부터, 손실은 0부터 센다. 하나 넘치면 이유와 함께 거절된다.",
    );
    let net = SoftmaxRegression::new(784, 10, &Rng::new(13));
    let n = a.number("parameters for MNIST", net.parameter_count() as f64);
    a.claim("10·(784 + 1) = 7850", "10·(784 + 1) = 7850", n == 7850.0);
    let logits = Tensor::zeros([3, 3]);
    let words = attempt(|| logits.cross_entropy(&Tensor::from([1i64, 2, 3])))
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    let first =
        words.lines().next().unwrap_or_default().split("      at ").next().unwrap_or_default().to_string();
    a.quote(&first);
    a.counter(
        "labels 1..3 of 3 classes: position, value and range are named",
        "3부류의 레이블 1..3: 자리, 값, 범위를 말한다",
        words.contains('3') && words.contains("2"),
    );
    let mut d = Draw::new(13);
    let fine = (0..30).all(|_| {
        let (n, k) = (d.size(1..20), d.size(1..10));
        SoftmaxRegression::new(n, k, &Rng::new(0)).parameter_count() == k * (n + 1)
    });
    a.property("k(n + 1) for 30 draws", "30번 뽑아도 k(n + 1)", fine);
}

fn d14(a: &mut Argument) {
    a.say(
        "P(y) has one entry a class: k of them. The slide writes R^n, the space of x.",
        "P(y)에는 부류마다 항이 하나씩, 모두 k개다. 슬라이드는 x의 공간인 R^n으로 썼다.",
    );
    let y = Tensor::from([2i64, 0, 1, 2]);
    let p = y.one_hot(3);
    a.number("rows N", p.size(0) as f64);
    a.number("columns k", p.size(1) as f64);
    a.claim(
        "N×k, one 1 a row, where the label says",
        "N×k, 행마다 레이블 자리에 1 하나",
        p.to_vec::<i64>() == [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1],
    );
    let mut d = Draw::new(14);
    let fine = (0..50).all(|_| {
        let k = d.size(1..9);
        let n = d.size(1..9);
        let y = d.whole(0..k as i64, [n]).contiguous();
        y.one_hot(k).argmax(1).to_vec::<i64>() == y.to_vec::<i64>()
    });
    a.property("argmax takes it back, 50 draws", "argmax가 되돌린다, 50번", fine);
    let outside = attempt(|| Tensor::from([3i64]).one_hot(3)).is_err();
    a.counter("a label outside the classes is refused", "부류 밖의 레이블은 거절된다", outside);
}

/// `Σ p·(ln p − ln q)`, a row each, with 0·ln 0 = 0; `ln q` is given.
fn kl(p: &Tensor, log_q: &Tensor) -> Tensor {
    let positive = p.gt(0.0);
    let safe = p.where_(&positive, &p.ones_like());
    (p * (safe.ln() - log_q)).sum_over([1], false)
}

fn d15(a: &mut Argument) {
    a.say(
        "D_KL(p‖q) = Σ p ln(p/q), where 0·ln 0 = 0. It is never negative, and 0 only for p = q. For a one-hot p it is \
         −ln q of the label.",
        "D_KL(p‖q) = Σ p ln(p/q), 여기서 0·ln 0 = 0. 음수가 아니고 p = q일 때만 0이다. p가 원-핫이면 레이블의 −ln q다.",
    );
    let p = Tensor::from([[0.0, 0.25, 0.75]]);
    let q = Tensor::from([[0.2, 0.3, 0.5]]);
    let by_hand = 0.25 * (0.25f64 / 0.3).ln() + 0.75 * (0.75f64 / 0.5).ln();
    let d = a.number("D_KL((0, ¼, ¾) ‖ (0.2, 0.3, 0.5))", kl(&p, &q.ln()).item());
    a.claim("0·ln 0 counts as 0", "0·ln 0은 0으로 센다", (d - by_hand).abs() < 1e-15);
    a.number("D_KL(q ‖ q)", kl(&q, &q.ln()).item());
    let naive = (&p * (p.ln() - q.ln())).sum().item();
    a.counter("as written, 0·ln 0 is NaN", "쓰인 대로의 0·ln 0은 NaN이다", naive.is_nan());
    let least = (0..100)
        .map(|s| {
            let r = Rng::new(s);
            let p = (normal([1, 5], &r)).softmax(1);
            let q = normal([1, 5], &r);
            kl(&p, &q.log_softmax(1)).item()
        })
        .fold(f64::INFINITY, f64::min);
    a.number("least of 100 draws", least);
    a.property("never negative", "음수가 아니다", least >= -1e-15);
}

fn d16(a: &mut Argument) {
    a.say(
        "H(p, q) = D_KL(p‖q) + H(p), and H(p) does not depend on θ: both have one gradient. For a one-hot p even the \
         values agree, because H(p) = 0.",
        "H(p, q) = D_KL(p‖q) + H(p)이고 H(p)는 θ에 의존하지 않으므로 기울기가 같다. p가 원-핫이면 H(p) = 0이어서 값도 같다.",
    );
    let z = normal([4, 3], &Rng::new(16));
    let y = Tensor::from([2i64, 0, 1, 1]);
    let one_hot = y.one_hot(3).cast(DType::F64);
    let (ce, [g]) = value_and_grad(|[z]| z.cross_entropy(&y), [&z]);
    let (d, [h]) = value_and_grad(|[z]| kl(&one_hot, &z.log_softmax(1)).mean(), [&z]);
    a.number("one-hot: CE", ce.item());
    a.number("one-hot: KL", d.item());
    a.claim(
        "equal to 1e-7, gradients too",
        "값도 기울기도 1e-7까지 같다",
        (ce.item() - d.item()).abs() < 1e-7 && (g - h).abs().max().item() < 1e-15,
    );
    let mut worst = (0f64, 0f64);
    for seed in 0..50 {
        let r = Rng::new(seed);
        let (p, z) = (normal([4, 3], &r).softmax(1), normal([4, 3], &r));
        let entropy = -(&p * p.ln()).sum().item() / 4.0;
        let (ce, [g]) = value_and_grad(|[z]| z.cross_entropy(&p), [&z]);
        let (d, [h]) = value_and_grad(|[z]| kl(&p, &z.log_softmax(1)).mean(), [&z]);
        worst =
            (worst.0.max((ce.item() - d.item() - entropy).abs()), worst.1.max((g - h).abs().max().item()));
        if seed == 0 {
            a.number("soft labels: CE − KL", ce.item() - d.item());
            a.number("soft labels: H(p)", entropy);
        }
    }
    a.property(
        "CE − KL = H(p), equal gradients, 50 draws",
        "CE − KL = H(p), 기울기는 같다, 50번",
        worst.0 < 1e-14 && worst.1 < 1e-14,
    );
    let p = Tensor::from([[0.5, 0.5]]);
    let gap = p.cross_entropy(&p).item() - kl(&p, &p.log_softmax(1)).item();
    a.counter(
        "for soft labels the values differ: by ln 2 for (½, ½)",
        "부드러운 레이블에서는 값이 다르다: (½, ½)이면 ln 2만큼",
        (gap - 2f64.ln()).abs() < 1e-12,
    );
}

fn d17(a: &mut Argument) {
    a.say(
        "The data come from some unknown f: R^n → P; a model is chosen, fitted on one part, and judged on another: \
         accuracy, likelihood, and calibration, that is, whether what is said with 80 % comes 80 times of 100. Softmax \
         regression on 1,500 images of MNIST, judged on 500 others.",
        "데이터는 미지의 f: R^n → P에서 온다. 모형을 골라 한 부분에 맞추고 다른 부분으로 판정한다. 정확도, 우도, 그리고 80 %라고 한 것이 100번에 80번 맞는지 보는 보정을 본다. MNIST 1,500장의 소프트맥스 회귀를 다른 500장으로 판정한다.",
    );
    let Ok((x, y)) = lab::images(2000) else { return };
    let net = SoftmaxRegression::new(784, 10, &Rng::new(17));
    let sgd = Sgd::new(0.05);
    for epoch in 0..4 {
        for part in cotangent::data::permutation(1500, 17, epoch).chunks(50) {
            let i = Tensor::from_vec(part.iter().map(|i| *i as i64).collect::<Vec<_>>(), [part.len()]);
            sgd.step(
                &net,
                &net.call(&x.index_select(0, &i)).cross_entropy(&y.index_select(0, &i)).backward(),
            );
        }
    }
    let judge = |from: usize, n: usize| {
        let logits = cotangent::no_grad(|| net.call(&x.narrow(0, from, n)));
        let labels = y.narrow(0, from, n);
        let p = logits.softmax(1);
        let (best, _) = p.max_over(1, false);
        let right = p.argmax(1).eq(&labels).to_vec::<i64>();
        (logits.cross_entropy(&labels).item(), best.to_vec::<f64>(), right)
    };
    let (fitted, _, right_fitted) = judge(0, 1500);
    let (loss, best, right) = judge(1500, 500);
    let share = |r: &[i64]| r.iter().sum::<i64>() as f64 / r.len() as f64;
    a.number("accuracy, fitted", share(&right_fitted));
    let accuracy = a.number("accuracy, held out", share(&right));
    a.number("mean −ln likelihood, fitted", fitted);
    a.number("mean −ln likelihood, held out", loss);
    let mut rows = vec![["said", "pictures", "mean said", "right"].map(String::from).to_vec()];
    let mut error = 0.0;
    for (low, high) in [(0.0, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.01)] {
        let inside: Vec<usize> = (0..500).filter(|i| (low..high).contains(&best[*i])).collect();
        if !inside.is_empty() {
            let n = inside.len() as f64;
            let said = inside.iter().map(|i| best[*i]).sum::<f64>() / n;
            let came = inside.iter().map(|i| right[*i] as f64).sum::<f64>() / n;
            error += (said - came).abs() * n / 500.0;
            rows.push(vec![
                format!("{low}–{}", high.min(1.0f64)),
                inside.len().to_string(),
                short(said),
                short(came),
            ]);
        }
    }
    a.table(rows);
    a.number("expected calibration error", error);
    a.claim("most held-out pictures are right", "남겨 둔 그림의 대부분을 맞힌다", accuracy > 0.8);
    a.counter("the fitted part flatters", "맞춘 부분은 실제보다 좋게 보인다", fitted < loss);
}
