//! Rows A1–A25: gradient descent, its stochastic relatives, and the order of the examples.

use std::time::Instant;

use cotangent::{
    Gradients, Param, Rng, Tensor,
    data::{
        Cyclic, Endless, Epochs, Generator, Iid, Loader, Sampler, Shuffled, TensorDataset, coverage,
        permutation,
    },
    device::cpu::threads,
    grad,
    laws::Draw,
    models::LeNet5,
    nn::{Call, Parameters},
    optim::{Sgd, Stepsize},
};

use super::{Argument, short};
use crate::{FiniteSum, lab, problem::normal};

rows! {
    row(
        "A1",
        "finite-sum",
        "gradient-descent",
        "minimise F(θ) = (1/N) Σ f_i(θ)",
        "F(θ) = (1/N) Σ f_i(θ)를 최소화한다",
        a1,
    ),
    row(
        "A2",
        "relu-at-zero",
        "gradient-descent",
        "the derivative of ReLU at 0 is a convention: 0",
        "0에서 ReLU의 도함수는 약속이다: 0",
        a2,
    ),
    row(
        "A3",
        "descent",
        "gradient-descent",
        "θ ← θ − α∇F(θ) shrinks the error by 1 − α",
        "θ ← θ − α∇F(θ)는 오차를 1 − α배로 줄인다",
        a3,
    ),
    row(
        "A4",
        "stepsizes",
        "gradient-descent",
        "step sizes α₀, α₁, … from anywhere",
        "보폭 α₀, α₁, …은 어디서든 온다",
        a4,
    ),
    row(
        "A5",
        "finite-sum",
        "gradient-descent",
        "∇F can be computed in parallel, to the same bits",
        "∇F는 병렬로, 같은 비트로 계산된다",
        a5,
    ),
    row(
        "A6",
        "descent",
        "gradient-descent",
        "F falls by α‖∇F‖² + O(α²)",
        "F는 α‖∇F‖² + O(α²)만큼 줄어든다",
        a6,
    ),
    row(
        "A7",
        "descent",
        "gradient-descent",
        "−∇F is the steepest direction; F falls iff α < 2‖g‖²/gᵀAg",
        "−∇F는 가장 가파른 방향이고, F는 α < 2‖g‖²/gᵀAg일 때만 줄어든다",
        a7,
    ),
    row(
        "A8",
        "sgd",
        "sgd",
        "SGD draws i(k) uniformly, with replacement",
        "SGD는 i(k)를 복원 추출로 균등하게 뽑는다",
        a8,
    ),
    row("A9", "unbiased", "sgd", "E ∇f_i = ∇F", "E ∇f_i = ∇F", a9),
    row(
        "A10",
        "descent",
        "sgd",
        "SGD descends in expectation; single steps may go up",
        "SGD는 기댓값으로 내려가며, 한 걸음은 오를 수 있다",
        a10,
    ),
    row(
        "A11",
        "sgd",
        "sgd",
        "a general expectation has no N and no epochs",
        "일반적인 기댓값에는 N도 에폭도 없다",
        a11,
    ),
    row(
        "A12",
        "unbiased",
        "sgd",
        "a mini-batch is unbiased, its variance falls as 1/B",
        "미니배치는 불편이고 분산은 1/B로 줄어든다",
        a12,
    ),
    row(
        "A13",
        "unbiased",
        "sgd",
        "B gradients add up to one batch, all at the same θ",
        "B개의 기울기는 같은 θ에서 더해야 배치가 된다",
        a13,
    ),
    row(
        "A14",
        "batch-size",
        "batch-size",
        "large batches when the noise is large",
        "잡음이 크면 배치를 크게",
        a14,
    ),
    row(
        "A15",
        "batch-size",
        "batch-size",
        "up to the memory limit, and what that buys",
        "메모리 한계까지, 그리고 그것으로 얻는 것",
        a15,
    ),
    row("A16", "cyclic", "cyclic", "cyclic: 1..N, 1..N, …", "순환: 1..N, 1..N, …", a16),
    row(
        "A17",
        "cyclic",
        "cyclic",
        "given the past, cyclic orders are not unbiased",
        "과거가 주어지면 순환 순서는 불편이 아니다",
        a17,
    ),
    row(
        "A18",
        "epoch",
        "sgd",
        "an epoch is the cost of one full gradient",
        "에폭은 전체 기울기 하나의 비용이다",
        a18,
    ),
    row(
        "A19",
        "cyclic",
        "cyclic",
        "cyclic orders use every example in an epoch, IID 63.2 %",
        "순환은 한 에폭에 모든 예제를, IID는 63.2 %를 쓴다",
        a19,
    ),
    row(
        "A20",
        "cyclic",
        "cyclic",
        "what a fixed order costs: drift, and anticipation if there is any",
        "고정된 순서의 대가: 표류, 그리고 예측(있다면)",
        a20,
    ),
    row(
        "A21",
        "shuffling",
        "cyclic",
        "each epoch a permutation, uniform, computable by itself",
        "에폭마다 균등한 순열, 따로 계산할 수 있다",
        a21,
    ),
    row(
        "A22",
        "shuffling",
        "cyclic",
        "the slide's loop must say σ(i), not σ(k)",
        "슬라이드의 반복문은 σ(k)가 아니라 σ(i)여야 한다",
        a22,
    ),
    row("A23", "shuffling", "cyclic", "is shuffling best? measured", "섞는 것이 가장 좋은가? 재어 본다", a23),
    row(
        "A24",
        "shuffling",
        "cyclic",
        "one option, a weaker theory (the slide's second \"advantage\" list)",
        "옵션 하나, 더 약한 이론(슬라이드의 두 번째 \"장점\" 목록)",
        a24,
    ),
    row("A25", "sgd", "sgd", "plain SGD is θ − αg to the bit", "기본 SGD는 비트까지 θ − αg다", a25),
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().item()
}

fn cells(row: &[&str]) -> Vec<String> {
    row.iter().map(|s| s.to_string()).collect()
}

fn a1(a: &mut Argument) {
    a.say(
        "F is a mean of N functions, here ½(x_iᵀθ − y_i)² with N = 50. Its value and its gradient are the means of theirs.",
        "F는 N개 함수의 평균이다. 여기서는 N = 50인 ½(x_iᵀθ − y_i)². 값도 기울기도 각각의 평균이다.",
    );
    let p = FiniteSum::least_squares(50, 3, 0.3, 1);
    let theta = Tensor::from([0.5, -1.0, 2.0]);
    let mean = (0..p.len()).map(|i| p.term(i, &theta)).sum::<f64>() / p.len() as f64;
    let f = a.number("F(θ)", p.value(&theta));
    a.number("(1/N) Σ f_i(θ)", mean);
    a.claim("F is the mean of the f_i, to 1e-12", "F는 f_i의 평균이다(1e-12까지)", (f - mean).abs() < 1e-12);
    let mut worst = 0f64;
    for seed in 0..20 {
        let p = FiniteSum::logistic(30, 4, false, seed);
        let theta = normal([4], &Rng::new(seed + 100));
        let each = p.per_example(&theta);
        let mean: Vec<f64> = (0..4).map(|j| each.iter().map(|g| g[j]).sum::<f64>() / 30.0).collect();
        worst = worst.max(apart(&p.gradient(&theta), &Tensor::from_vec(mean, [4])));
        let sum = (0..30).map(|i| p.term(i, &theta)).sum::<f64>() / 30.0;
        worst = worst.max((p.value(&theta) - sum).abs());
    }
    a.number("worst difference of 20 draws", worst);
    a.property(
        "values and gradients of 20 logistic problems",
        "로지스틱 문제 20개의 값과 기울기",
        worst < 1e-12,
    );
}

fn a2(a: &mut Argument) {
    a.say(
        "max(0, x) has slope 0 on the left of 0 and 1 on its right: it is not differentiable there. A program must give \
         some number, and this one gives 0, as PyTorch does. A finite difference at the kink sees ½, and is no judge.",
        "max(0, x)의 기울기는 0의 왼쪽에서 0, 오른쪽에서 1이므로 0에서는 미분할 수 없다. 프로그램은 어떤 수든 내야 하며, \
         PyTorch처럼 0을 낸다. 꺾인 점에서 유한 차분은 ½을 보므로 판정할 수 없다.",
    );
    let slope = |x: f64| grad(|[x]| x.relu(), [&Tensor::from(x)])[0].item();
    let at_zero = a.number("σ′(0)", slope(0.0));
    let (h, f) = (1e-6, |x: f64| Tensor::from(x).relu().item());
    let left = a.number("(σ(0) − σ(−h))/h", (f(0.0) - f(-h)) / h);
    let right = a.number("(σ(h) − σ(0))/h", (f(h) - f(0.0)) / h);
    let middle = a.number("(σ(h) − σ(−h))/2h", (f(h) - f(-h)) / (2.0 * h));
    a.claim("σ′(0) = 0", "σ′(0) = 0", at_zero == 0.0);
    a.counter(
        "both sides differ: there is a kink within h of x",
        "양쪽이 다르다: x에서 h 안에 꺾인 점이 있다",
        left == 0.0 && right == 1.0 && middle == 0.5,
    );
    let mut d = Draw::new(2);
    let fine = (0..1000).all(|_| {
        let x = d.number() * 3.0;
        x.abs() < 1e-5 || slope(x) == ((f(x + h) - f(x - h)) / (2.0 * h)).round()
    });
    a.property(
        "away from 0 the difference agrees, 1000 draws",
        "0에서 떨어진 1000개의 점에서는 차분과 같다",
        fine,
    );
}

fn a3(a: &mut Argument) {
    a.say(
        "On F(θ) = ½‖θ − c‖² the gradient is θ − c, so one step multiplies the error by 1 − α, exactly.",
        "F(θ) = ½‖θ − c‖²의 기울기는 θ − c이므로, 한 걸음마다 오차가 정확히 1 − α배가 된다.",
    );
    let c = Tensor::from([1.0, -2.0, 0.5]);
    let run = |alpha: f64, steps: i32| {
        let theta = Param::new(Tensor::from([4.0, 4.0, 4.0]));
        let sgd = Sgd::new(alpha);
        for _ in 0..steps {
            sgd.step(&theta, &((theta.get() - &c).square().sum() * 0.5).backward());
        }
        (theta.value(), &c + (Tensor::from([4.0, 4.0, 4.0]) - &c) * (1.0 - alpha).powi(steps))
    };
    let (theta, closed) = run(0.1, 100);
    a.number("‖θ¹⁰⁰ − c‖", (&theta - &c).norm().item());
    a.number("0.9¹⁰⁰·‖θ⁰ − c‖", (&closed - &c).norm().item());
    let worst = a.number("difference from the closed form", apart(&theta, &closed));
    a.claim("k = 100, α = 0.1: equal to 1e-12", "k = 100, α = 0.1: 1e-12까지 같다", worst < 1e-12);
    let (theta, _) = run(2.1, 40);
    a.counter(
        "α = 2.1 > 2: the error grows, |1 − α| = 1.1",
        "α = 2.1 > 2: 오차가 커진다, |1 − α| = 1.1",
        (theta - &c).norm().item() > 10.0,
    );
    let mut d = Draw::new(3);
    let fine = (0..20).all(|_| {
        let (alpha, k) = (1.0 + d.number() * 0.95, d.size(1..40) as i32);
        let (theta, closed) = run(alpha, k);
        apart(&theta, &closed) < 1e-12
    });
    a.property("20 draws of α in (0, 2) and k", "(0, 2)의 α와 k를 20번 뽑아도 같다", fine);
}

fn a4(a: &mut Argument) {
    a.say(
        "A step size may be a constant, a list, an iterator, or a function of (k, epoch). With α_k = 1/(k + 1) and \
         f_ω = ½(θ − ω)², θᵏ is the running mean of the samples.",
        "보폭은 상수, 목록, 반복자, (k, epoch)의 함수일 수 있다. α_k = 1/(k + 1)이고 f_ω = ½(θ − ω)²이면 θᵏ는 표본의 누적 평균이다.",
    );
    let k = 3;
    let mut all = [
        ("0.1", Stepsize::from(0.1)),
        ("[0.4, 0.3, 0.2, 0.1]", Stepsize::from([0.4, 0.3, 0.2, 0.1])),
        ("½ᵏ", Stepsize::iter((0..).map(|k| 0.5f64.powi(k)))),
        ("1/(k + 1)", Stepsize::from(|k: u64, _| 1.0 / (k as f64 + 1.0))),
    ];
    let mut found = Vec::new();
    for (name, s) in &mut all {
        found.push(a.number(&format!("α_3 of {name}"), s.at(k, 0).unwrap_or(f64::NAN)));
    }
    a.claim("all four give their α_3", "네 가지 모두 α_3을 낸다", found == [0.1, 0.1, 0.125, 0.25]);
    let (mut alpha, theta) =
        (Stepsize::from(|k: u64, _| 1.0 / (k as f64 + 1.0)), Param::new(Tensor::from(0.0)));
    let sgd = Sgd::new(1.0);
    let omega: Vec<f64> = normal([500], &Rng::new(4)).to_vec();
    let mut worst = 0f64;
    for (k, w) in omega.iter().enumerate() {
        sgd.set_rate(alpha.at(k as u64, 0).unwrap_or(f64::NAN));
        sgd.step(&theta, &((theta.get() - *w).square() * 0.5).backward());
        let mean = omega[..=k].iter().sum::<f64>() / (k + 1) as f64;
        worst = worst.max((theta.value().item() - mean).abs());
    }
    a.number("worst distance of θᵏ from the running mean, k < 500", worst);
    a.property("θᵏ is the running mean, 500 samples", "θᵏ는 누적 평균이다, 표본 500개", worst < 1e-13);
    let refused = |x: f64| Stepsize::from(move |_, _| x).at(0, 0).is_err();
    a.counter("NaN and ∞ are refused", "NaN과 ∞는 거절된다", refused(f64::NAN) && refused(f64::INFINITY));
}

fn a5(a: &mut Argument) {
    a.say(
        "The sum over examples is cut by its length alone and added in a fixed tree, so threads change the time, not one bit.",
        "예제에 대한 합은 길이에 따라서만 나뉘고 정해진 나무 순서로 더해진다. 스레드 수는 시간만 바꾸고 비트는 바꾸지 않는다.",
    );
    let net = LeNet5::new(&Rng::new(5));
    let rng = Rng::new(6);
    let (x, y) = (Tensor::randn([128, 1, 28, 28], &rng), Tensor::randint(0, 10, [128], &rng));
    let gradient = || {
        let g = net.call(&x).cross_entropy(&y).backward();
        cotangent::nn::ParametersExt::gradients(&net, &g)
            .iter()
            .map(Tensor::to_vec::<f32>)
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let mut times = Vec::new();
    for count in [1, 2, 4] {
        let measured = threads::with(count, || {
            let bits = gradient();
            let time = |_| {
                let begin = Instant::now();
                gradient();
                begin.elapsed().as_secs_f64()
            };
            (bits, (0..3).map(time).fold(f64::INFINITY, f64::min))
        });
        let Ok((bits, seconds)) = measured else { continue };
        found.push(bits);
        times.push(seconds);
        a.number(&format!("seconds on {count} threads"), seconds);
    }
    a.number("speed-up of 2 threads (measured now)", times[0] / times[1]);
    let bits = |g: &Vec<Vec<f32>>| g.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    let same = found.len() == 3 && found.iter().all(|g| bits(g) == bits(&found[0]));
    a.claim(
        "61,706 gradients of LeNet-5, the same bits on 1, 2 and 4 threads",
        "LeNet-5의 기울기 61,706개가 1, 2, 4 스레드에서 같은 비트다",
        same,
    );
    let v: Vec<f32> = (0..1000).map(|i| 1.0 / (i + 1) as f32).collect();
    let (up, down) = (v.iter().sum::<f32>(), v.iter().rev().sum::<f32>());
    a.number("a sum of 1000 f32 forwards − backwards", f64::from(up - down));
    a.counter(
        "the order of a sum does change its bits, so it must be fixed",
        "합의 순서는 비트를 바꾸므로 고정해야 한다",
        up != down,
    );
}

fn a6(a: &mut Argument) {
    a.say(
        "Taylor: F(θ − α∇F) = F − α‖∇F‖² + O(α²). What is left over divided by α² tends to a constant, so halving α \
         divides what is left over by four.",
        "테일러 전개: F(θ − α∇F) = F − α‖∇F‖² + O(α²). 나머지를 α²으로 나누면 상수로 간다. 따라서 α를 반으로 줄이면 나머지는 1/4이 된다.",
    );
    let study = |p: &FiniteSum, theta: &Tensor, from: i32| {
        let (f, g) = (p.value(theta), p.gradient(theta));
        let square = g.square().sum().item();
        (from..from + 5)
            .map(|i| {
                let alpha = 0.5f64.powi(i);
                let fall = f - p.value(&(theta - &g * alpha));
                (alpha, fall, alpha * square, fall - alpha * square)
            })
            .collect::<Vec<_>>()
    };
    let p = FiniteSum::logistic(40, 3, false, 6);
    let found = study(&p, &Tensor::from([1.0, -1.0, 0.5]), 4);
    let mut rows = vec![cells(&["α", "F − F(θ − αg)", "α‖g‖²", "residual", "residual/α²"])];
    for (alpha, fall, predicted, rest) in &found {
        rows.push(vec![
            short(*alpha),
            short(*fall),
            short(*predicted),
            format!("{rest:.6e}"),
            short(rest / (alpha * alpha)),
        ]);
    }
    a.table(rows);
    let ratio = a.number("ratio of the last two residuals", found[3].3 / found[4].3);
    a.claim("the ratio is 4.0 ± 0.1", "비는 4.0 ± 0.1이다", (ratio - 4.0).abs() < 0.1);
    let fine = (0..20).all(|seed| {
        let p = FiniteSum::least_squares(20, 3, 0.2, seed);
        let v = study(&p, &normal([3], &Rng::new(seed + 50)), 6);
        (v[3].3 / v[4].3 - 4.0).abs() < 0.1
    });
    a.property("20 random least squares", "무작위 최소제곱 20개", fine);
    // |θ| has no second derivative at 0: across the kink the rest is not O(α²).
    let fall = |alpha: f64| 0.01 - (0.01 - alpha).abs() - alpha;
    let ratio = a.number("the same ratio for F = |θ| at 0.01, α = 0.5 and 0.25", fall(0.5) / fall(0.25));
    a.counter(
        "across a kink the residual is not O(α²)",
        "꺾인 점을 건너면 나머지는 O(α²)이 아니다",
        (ratio - 4.0).abs() > 1.0,
    );
}

/// A symmetric positive definite matrix with these eigenvalues, and its eigenvectors as columns.
fn spectrum(values: &[f64], seed: u64) -> (Tensor, Tensor) {
    let n = values.len();
    let u = normal([n], &Rng::new(seed));
    let u = (&u / u.norm()).reshape([n, 1]);
    // Householder's reflection is orthogonal.
    let v = Tensor::eye(n).cast(cotangent::DType::F64) - u.matmul(&u.t()) * 2.0;
    let d = Tensor::from_vec(values.to_vec(), [n]);
    ((&v * d).matmul(&v.t()), v)
}

fn a7(a: &mut Argument) {
    a.say(
        "Among unit directions d the slope ∇Fᵀd is least for d = −∇F/‖∇F‖, by Cauchy and Schwarz. How far one may go is \
         another matter: on ½xᵀAx a step changes F by −α‖g‖² + ½α²gᵀAg, so F falls iff α < 2‖g‖²/gᵀAg. That bound \
         depends on g. 2/L, with L the largest eigenvalue, is its worst case: below it F always falls; above it F need \
         not rise.",
        "단위 방향 d 중에서 기울기 ∇Fᵀd는 코시–슈바르츠에 의해 d = −∇F/‖∇F‖에서 가장 작다. 얼마나 갈 수 있는지는 다른 \
         문제다. ½xᵀAx에서 한 걸음은 F를 −α‖g‖² + ½α²gᵀAg만큼 바꾸므로, F는 α < 2‖g‖²/gᵀAg일 때 그리고 그때만 준다. 이 \
         한계는 g에 따라 다르다. L이 가장 큰 고윳값일 때 2/L은 최악의 경우다. 그보다 작으면 항상 줄고, 크다고 해서 반드시 커지지는 않는다.",
    );
    let g = normal([10], &Rng::new(7));
    let norm = g.norm().item();
    let rng = Rng::new(8);
    let d = normal([10_000, 10], &rng);
    let d = &d / d.square().sum_over([1], true).sqrt();
    let least = a.number("least slope of 10,000 directions", d.matmul(&g).min().item());
    a.number("slope of −∇F/‖∇F‖", -norm);
    a.property("no direction is steeper", "더 가파른 방향은 없다", least >= -norm);
    let (m, v) = spectrum(&[10.0, 3.0, 1.0, 0.5], 9);
    let f = |x: &Tensor| (x * m.matmul(x)).sum().item() * 0.5;
    let falls = |x: &Tensor, alpha: f64| f(&(x - m.matmul(x) * alpha)) < f(x);
    let limit = |x: &Tensor| {
        let g = m.matmul(x);
        2.0 * g.square().sum().item() / (&g * m.matmul(&g)).sum().item()
    };
    let worst_case = a.number("2/L", 0.2);
    let mut exact = true;
    let mut smallest = f64::INFINITY;
    for seed in 0..300 {
        let x = normal([4], &Rng::new(1000 + seed));
        let l = limit(&x);
        smallest = smallest.min(l);
        exact &= falls(&x, 0.999 * l) && !falls(&x, 1.001 * l) && falls(&x, 0.999 * worst_case);
    }
    a.number("smallest bound 2‖g‖²/gᵀAg of 300 points", smallest);
    a.property(
        "F falls just below the bound and rises just above it, 300 points; it falls below 2/L at all of them",
        "300개의 점에서 한계 바로 아래에서는 줄고 바로 위에서는 커진다. 2/L 아래에서는 모두 준다",
        exact && smallest >= worst_case - 1e-12,
    );
    let top = v.select(1, 0).contiguous();
    a.number("the bound along the top eigenvector", limit(&top));
    a.claim(
        "along the top eigenvector the bound is 2/L",
        "가장 큰 고유벡터 방향에서는 한계가 2/L이다",
        (limit(&top) - 0.2).abs() < 1e-12 && !falls(&top, 0.2002),
    );
    let low = v.select(1, 3).contiguous();
    a.number("the bound along the lowest eigenvector", limit(&low));
    a.counter(
        "α = 1 > 2/L = 0.2, and F still falls there",
        "α = 1 > 2/L = 0.2인데도 거기서는 F가 준다",
        falls(&low, 1.0),
    );
}

fn a8(a: &mut Argument) {
    a.say(
        "SGD draws each index from all N, whatever was drawn before. In N draws a given example is missed with \
         probability (1 − 1/N)^N → 1/e, so 63.2 % of them are seen.",
        "SGD는 앞서 무엇을 뽑았든 N개 전체에서 뽑는다. N번 뽑을 때 어떤 예제가 빠질 확률은 (1 − 1/N)^N → 1/e이므로 63.2 %를 본다.",
    );
    let n = 10_000;
    let expected = a.number("1 − (1 − 1/N)^N, N = 10,000", 1.0 - (1.0 - 1.0 / n as f64).powi(n as i32));
    let measured: f64 =
        (0..10).map(|e| Iid::new(n, 8).epoch(e).map_or(0.0, |i| coverage(i, n))).sum::<f64>() / 10.0;
    a.number("share seen in an epoch, mean of 10", measured);
    a.claim("63.2 % ± 0.5 %", "63.2 % ± 0.5 %", (measured - expected).abs() < 0.005);
    let chi_of = |seed: u64| -> f64 {
        let mut counts = [0f64; 50];
        Iid::new(50, seed).stream(0).take(10_000).for_each(|i| counts[i] += 1.0);
        counts.iter().map(|c| (c - 200.0) * (c - 200.0) / 200.0).sum()
    };
    let name = "χ² of 20 × 10,000 draws over 50 (980 degrees of freedom)";
    let chi = a.number(name, (0..20).map(chi_of).sum());
    // The 0.1 % and 99.9 % quantiles of χ² with 980 degrees of freedom.
    a.property(
        "uniform: χ² between 849 and 1122",
        "균등하다: χ²이 849와 1122 사이",
        (849.0..1122.0).contains(&chi),
    );
    let cyclic = Cyclic::new(n).epoch(0).map_or(0.0, |i| coverage(i, n));
    a.counter(
        "the cyclic order is no such draw: it sees 100 %",
        "순환 순서는 그런 추출이 아니다: 100 %를 본다",
        cyclic == 1.0,
    );
}

fn a9(a: &mut Argument) {
    a.say(
        "Each example comes with probability 1/N, so the mean of its gradient is (1/N)Σ∇f_i = ∇F: once by taking all N, \
         once by drawing.",
        "각 예제는 확률 1/N로 나오므로 기울기의 평균은 (1/N)Σ∇f_i = ∇F다. 한 번은 N개를 모두 더해서, 한 번은 뽑아서 본다.",
    );
    let p = FiniteSum::logistic(60, 3, false, 9);
    let theta = Tensor::from([0.3, -0.2, 0.8]);
    let (whole, each) = (p.gradient(&theta).to_vec::<f64>(), p.per_example(&theta));
    let mean = |j: usize| each.iter().map(|g| g[j]).sum::<f64>() / each.len() as f64;
    let worst = (0..3).map(|j| (mean(j) - whole[j]).abs()).fold(0.0, f64::max);
    a.number("enumeration: |E∇f_i − ∇F|", worst);
    a.claim("equal to 1e-12", "1e-12까지 같다", worst < 1e-12);
    let draws = 20_000;
    let mut rows = vec![cells(&["", "∇F", "mean of 20,000 draws", "±95 %"])];
    let mut inside = 0;
    for j in 0..3 {
        let x: Vec<f64> = Iid::new(60, 99).stream(0).take(draws).map(|i| each[i][j]).collect();
        let m = x.iter().sum::<f64>() / draws as f64;
        let sd = (x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (draws - 1) as f64).sqrt();
        let half = 1.96 * sd / (draws as f64).sqrt();
        inside += usize::from((m - whole[j]).abs() < 1.5 * half);
        rows.push(vec![format!("∂/∂θ{}", j + 1), short(whole[j]), short(m), short(half)]);
    }
    a.table(rows);
    a.property(
        "every mean lies within one and a half of its interval",
        "모든 평균이 구간의 1.5배 안에 있다",
        inside == 3,
    );
    // Weights 1..N instead of uniform.
    let total = (each.len() * (each.len() + 1) / 2) as f64;
    let skewed: f64 = each.iter().enumerate().map(|(i, g)| g[0] * (i + 1) as f64 / total).sum();
    a.number("mean with probabilities ∝ i", skewed);
    a.counter(
        "draws that are not uniform are biased",
        "균등하지 않게 뽑으면 치우친다",
        (skewed - whole[0]).abs() > 1e-3,
    );
}

fn a10(a: &mut Argument) {
    a.say(
        "The mean over all i of F(θ − α∇f_i) is F − α‖∇F‖² + O(α²): on average a step goes down. A single one may go up.",
        "모든 i에 대한 F(θ − α∇f_i)의 평균은 F − α‖∇F‖² + O(α²)이다. 평균으로는 내려가지만 한 걸음은 올라갈 수 있다.",
    );
    let p = FiniteSum::least_squares(12, 2, 1.0, 10);
    let theta = Tensor::from([0.2, -0.1]);
    let (f, each) = (p.value(&theta), p.per_example(&theta));
    let square = p.gradient(&theta).square().sum().item();
    let after = |alpha: f64, i: usize| p.value(&(&theta - Tensor::from_vec(each[i].clone(), [2]) * alpha));
    let mut rows = vec![cells(&["α", "E F after", "residual/α²", "steps that go up"])];
    let mut rests = Vec::new();
    let mut ups = 0;
    for i in 5..10 {
        let alpha = 0.5f64.powi(i);
        let all: Vec<f64> = (0..12).map(|i| after(alpha, i)).collect();
        let mean = all.iter().sum::<f64>() / 12.0;
        ups = all.iter().filter(|x| **x > f).count();
        rests.push((mean - f + alpha * square) / (alpha * alpha));
        rows.push(vec![short(alpha), short(mean), short(rests[rests.len() - 1]), ups.to_string()]);
        if i == 9 {
            a.number("F − E F after, α = 2⁻⁹", f - mean);
            a.claim("down in expectation", "기댓값으로는 내려간다", mean < f);
        }
    }
    a.table(rows);
    a.number("steps of 12 that go up, α = 2⁻⁹", ups as f64);
    a.property(
        "residual/α² settles to 1 %",
        "나머지/α²이 1 % 안으로 수렴한다",
        (rests[4] / rests[3] - 1.0).abs() < 0.01,
    );
    a.counter(
        "some single steps go up, however small α is",
        "α가 아무리 작아도 올라가는 걸음이 있다",
        ups > 0,
    );
}

fn a11(a: &mut Argument) {
    a.say(
        "min E_ω f_ω(θ) asks for draws of ω, not for a list: ω may come from a model. There is no N to count an epoch by. \
         A generative adversarial network is such a problem for two players: its generator makes the ω.",
        "min E_ω f_ω(θ)에는 목록이 아니라 ω의 추출이 필요하다. ω는 모형에서 나올 수 있고, 에폭을 셀 N이 없다. \
         GAN은 두 참가자의 그런 문제로, 생성기가 ω를 만든다.",
    );
    let omega = Generator::new(7, |rng| vec![normal((), rng) + 3.0]);
    let theta = Param::new(Tensor::from(0.0));
    let sgd = Sgd::new(1.0);
    let batches = Loader::new(omega, 1).stream(0).take(1000);
    for (k, batch) in batches.enumerate() {
        let Ok(batch) = batch else { continue };
        let [w] = batch.into_array();
        sgd.set_rate(1.0 / (k as f64 + 1.0));
        sgd.step(&theta, &((theta.get() - w).square().mean() * 0.5).backward());
    }
    let reached = a.number("θ¹⁰⁰⁰, ω ~ N(3, 1)", theta.value().item());
    a.claim("within 0.1 of 3", "3에서 0.1 안", (reached - 3.0).abs() < 0.1);
    let found = lab::gan(1, 400);
    a.number("a GAN's data mean", found.data);
    a.number("its generator's mean at the start", found.before);
    let after = a.number("its generator's mean after 400 steps", found.after);
    a.property(
        "the generator's mean moves to the data's, ±0.35",
        "생성기의 평균이 데이터의 평균으로 옮겨 간다, ±0.35",
        (after - found.data).abs() < 0.35,
    );
    let refused = Endless.epoch(0).err().map(|e| e.to_string()).unwrap_or_default();
    a.counter(
        "an epoch of it is refused: there is no N",
        "에폭은 거절된다: N이 없다",
        refused.contains("no N"),
    );
}

fn a12(a: &mut Argument) {
    a.say(
        "All N^B batches of B independent draws: their mean gradient is ∇F, so a mini-batch is SGD too. Independent \
         draws make the variance fall as 1/B.",
        "B번 독립으로 뽑은 N^B개의 배치를 모두 본다. 그 기울기의 평균은 ∇F이므로 미니배치도 SGD다. 독립이므로 분산은 1/B로 준다.",
    );
    let p = FiniteSum::least_squares(4, 3, 0.5, 12);
    let theta = Tensor::from([0.1, 0.2, -0.3]);
    let mut sum = vec![0f64; 3];
    for i in 0..4 {
        for j in 0..4 {
            let g = p.batch_gradient(&theta, &[i, j]).to_vec::<f64>();
            sum.iter_mut().zip(g).for_each(|(s, g)| *s += g / 16.0);
        }
    }
    let worst = apart(&Tensor::from_vec(sum, [3]), &p.gradient(&theta));
    a.number("N = 4, B = 2: |mean of 16 batches − ∇F|", worst);
    a.claim("equal to 1e-12", "1e-12까지 같다", worst < 1e-12);
    let p = FiniteSum::least_squares(64, 2, 1.0, 13);
    let each: Vec<f64> = p.per_example(&Tensor::from([0.0, 0.0])).iter().map(|g| g[0]).collect();
    let mut draws = Iid::new(64, 12).stream(0);
    let (mut points, mut rows) = (Vec::new(), vec![cells(&["B", "variance", "variance·B"])]);
    for b in [1usize, 2, 4, 8, 16, 32] {
        let means: Vec<f64> =
            (0..4000).map(|_| draws.by_ref().take(b).map(|i| each[i]).sum::<f64>() / b as f64).collect();
        let m = means.iter().sum::<f64>() / 4000.0;
        let var = means.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / 3999.0;
        points.push(((b as f64).ln(), var.ln()));
        rows.push(vec![b.to_string(), short(var), short(var * b as f64)]);
    }
    a.table(rows);
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>()
        / points.iter().map(|p| (p.0 - mx) * (p.0 - mx)).sum::<f64>();
    a.number("slope of ln variance over ln B", slope);
    a.property("−1 ± 0.05, 4000 batches each", "−1 ± 0.05, 배치 4000개씩", (slope + 1.0).abs() < 0.05);
    let whole = coverage(0..64, 64);
    a.counter(
        "without replacement B = N has no variance at all: not 1/B",
        "비복원이면 B = N에서 분산이 0이다: 1/B이 아니다",
        whole == 1.0,
    );
}

fn a13(a: &mut Argument) {
    a.say(
        "g = 0; B times g += (1/B)∇f_i(θᵏ); then θ −= αg. The slide leaves out the argument θᵏ: all B gradients belong \
         to the same θ. Moving θ in between is another method.",
        "g = 0에서 시작하여 B번 g += (1/B)∇f_i(θᵏ), 그다음 θ −= αg. 슬라이드에는 인수 θᵏ가 빠져 있다. B개의 기울기는 모두 같은 θ의 것이다. 중간에 θ를 움직이면 다른 방법이 된다.",
    );
    let mut d = Draw::new(13);
    let mut worst = 0f64;
    for seed in 0..10 {
        let b = 2 + d.size(0..12);
        let x = Tensor::randn([b, 4], &Rng::new(seed));
        let w = Param::new(Tensor::randn([4], &Rng::new(seed + 77)));
        let loss = |x: &Tensor| x.matmul(&w.get()).square().mean();
        let mut g = Gradients::default();
        for i in 0..b {
            g.accumulate((loss(&x.narrow(0, i, 1)) / b as f64).backward());
        }
        let whole = loss(&x).backward();
        let both = w.gradient(&g).zip(w.gradient(&whole));
        worst = worst.max(both.map_or(f64::INFINITY, |(p, q)| apart(p, q) / (1.0 + q.abs().max().item())));
    }
    a.number("worst relative difference, f32, 10 draws", worst);
    a.property("accumulated = batch, to 1e-6", "누적한 것 = 배치, 1e-6까지", worst <= 1e-6);
    let p = FiniteSum::least_squares(4, 2, 1.0, 13);
    let (mut moving, fixed) = (Tensor::from([0.0, 0.0]), Tensor::from([0.0, 0.0]));
    for i in 0..4 {
        moving = &moving - p.batch_gradient(&moving, &[i]) * (0.4 / 4.0);
    }
    let together = &fixed - p.gradient(&fixed) * 0.4;
    let gap = a.number("distance if θ moves in between", apart(&moving, &together));
    a.counter(
        "θ moved in between is not the batch step",
        "중간에 θ를 움직이면 배치 걸음이 아니다",
        gap > 1e-3,
    );
}

fn a14(a: &mut Argument) {
    a.say(
        "The noise scale tr(Cov)/‖∇F‖² says how many examples a gradient needs before its noise is below itself. Far \
         from the minimum it is small, and single examples are best; near it ‖∇F‖ vanishes, the noise does not, and \
         large batches win. Squared error of θ at equal gradient evaluations, α = 0.1, 100 seeds:",
        "잡음 크기 tr(Cov)/‖∇F‖²은 기울기의 잡음이 기울기보다 작아지려면 예제가 몇 개 필요한지 말한다. 최소점에서 멀면 작아서 예제 하나가 가장 좋고, 가까우면 ‖∇F‖은 사라져도 잡음은 남아 큰 배치가 이긴다. 같은 기울기 계산 횟수에서 θ의 제곱 오차, α = 0.1, 시드 100개:",
    );
    let rng = Rng::new(14);
    let omega: Vec<f64> = normal([256], &rng).to_vec();
    let mean = omega.iter().sum::<f64>() / 256.0;
    let noise = omega.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() / 256.0;
    let mut rows = vec![cells(&["evaluations", "B = 1", "B = 16", "tr(Cov)/‖∇F‖² for B = 1"])];
    let mut better = Vec::new();
    let mut lines = [("B = 1", Vec::new()), ("B = 16", Vec::new())];
    for evaluations in [16usize, 64, 256, 1024] {
        let error = |b: usize| -> (f64, f64) {
            let mut sum = (0.0, 0.0);
            for seed in 0..100 {
                let mut theta = 5.0f64;
                let mut i = Iid::new(256, seed).stream(0);
                for _ in 0..evaluations / b {
                    let g = i.by_ref().take(b).map(|i| theta - omega[i]).sum::<f64>() / b as f64;
                    theta -= 0.1 * g;
                }
                sum = (
                    sum.0 + (theta - mean) * (theta - mean),
                    sum.1 + noise / ((theta - mean) * (theta - mean)),
                );
            }
            (sum.0 / 100.0, noise / (sum.0 / 100.0))
        };
        let (one, many) = (error(1), error(16));
        better.push(one.0 < many.0);
        lines[0].1.push(((evaluations as f64).log2(), one.0));
        lines[1].1.push(((evaluations as f64).log2(), many.0));
        rows.push(vec![evaluations.to_string(), short(one.0), short(many.0), short(one.1)]);
    }
    a.table(rows);
    a.plot(["log₂ of evaluations", "squared error of θ"], &lines);
    a.claim(
        "B = 1 wins first, B = 16 last: they cross",
        "처음에는 B = 1, 나중에는 B = 16이 이긴다: 둘은 엇갈린다",
        better[0] && !better[3],
    );
    let p = FiniteSum::logistic(100, 3, false, 14);
    let mut theta = Tensor::from([3.0, -3.0, 3.0]);
    let mut rows = vec![cells(&["epoch", "F", "tr(Cov)/‖∇F‖²"])];
    let mut scales = Vec::new();
    for epoch in 0..6 {
        let scale = lab::noise_scale(&p, &theta);
        scales.push(scale);
        rows.push(vec![epoch.to_string(), short(p.value(&theta)), short(scale)]);
        for _ in 0..10 {
            theta = &theta - p.gradient(&theta) * 0.5;
        }
    }
    a.table(rows);
    a.number("noise scale at the start", scales[0]);
    a.number("noise scale after 50 steps", scales[5]);
    a.property(
        "on a logistic problem the noise scale grows as training goes on",
        "로지스틱 문제에서도 학습이 진행될수록 잡음 크기가 커진다",
        scales[5] > 4.0 * scales[0],
    );
    let same = FiniteSum::new(10, 1, |t, i| (t - 1.0).square() * (i.cast(cotangent::DType::F64) * 0.0 + 1.0));
    a.counter(
        "equal examples have no noise: one is enough at every size",
        "예제가 모두 같으면 잡음이 없다: 하나면 충분하다",
        lab::noise_scale(&same, &Tensor::from([3.0])) == 0.0,
    );
}

fn a15(a: &mut Argument) {
    a.say(
        "The memory of a step is a fixed part and a part per example; two plans, of batches of 64 and 128, tell both \
         without computing anything, and so the largest batch for a limit. Throughput grows with B and levels off; what \
         counts is the time to a goal, and larger batches take fewer but not proportionally fewer steps.",
        "한 걸음의 메모리는 고정된 부분과 예제마다 드는 부분이다. 배치 64와 128의 계획 두 개만으로 계산 없이 둘 다 알 수 있고, 따라서 한계에 맞는 가장 큰 배치도 안다. 처리량은 B와 함께 늘다가 멈춘다. 중요한 것은 목표까지의 시간이며, 배치가 커져도 걸음 수는 비례해서 줄지 않는다.",
    );
    let limit = 4 << 20;
    let found = lab::largest_batch(limit);
    a.number("limit, bytes", limit as f64);
    a.number("bytes an example, LeNet-5 forward and backward", found.per_example as f64);
    a.number("largest B", found.batch as f64);
    a.number("predicted peak, bytes", found.predicted as f64);
    a.number("measured peak on the virtual GPU, bytes", found.measured as f64);
    let off = a.number("measured/predicted", found.measured as f64 / found.predicted as f64);
    a.claim("within 10 %", "10 % 안", (off - 1.0).abs() < 0.1);
    a.counter(
        "one example more would not fit",
        "예제 하나를 더하면 들어가지 않는다",
        found.predicted + found.per_example > limit,
    );
    let found = lab::batch_sizes(&[16, 64, 512], 1000, 0.5);
    let mut rows = vec![cells(&["B", "examples/s", "steps to loss 0.5", "examples to it", "seconds to it"])];
    for f in &found {
        rows.push(vec![
            f.batch.to_string(),
            format!("{:.0}", f.throughput),
            f.steps.to_string(),
            (f.steps * f.batch).to_string(),
            format!("{:.3}", f.seconds),
        ]);
    }
    a.table(rows);
    let (first, last) = (&found[0], &found[2]);
    a.property("larger batches need fewer steps and more examples (softmax regression, 1,000 images, best of three rates each)", "배치가 크면 걸음은 줄고 예제는 더 든다(소프트맥스 회귀, 그림 1,000장, 각각 세 학습률 중 최선)", last.steps < first.steps && last.steps * last.batch > first.steps * first.batch);
    match a.training {
        true => a15_train(a),
        false => a.say(
            "`cotangent why A15 --train` trains LeNet-5 to 98.5 % of MNIST's test images, by batch size.",
            "`cotangent why A15 --train`은 배치 크기마다 LeNet-5를 MNIST 시험 정확도 98.5 %까지 학습한다.",
        ),
    }
}

fn a15_train(a: &mut Argument) {
    a.say(
        "LeNet-5 on all of MNIST until 98.5 % of the test images are right, for five epochs at most; Adam with the rate \
         0.002·√(B/64), at most 0.008. Seconds are those of training:",
        "시험 그림의 98.5 %를 맞힐 때까지, 많아야 5에폭 동안 MNIST 전체로 LeNet-5를 학습한다. Adam, 학습률은 0.002·√(B/64), 0.008 이하. 초는 학습에 든 시간이다:",
    );
    let found = lab::to_accuracy(&[16, 64, 256, 1024, 4096], 60_000, 0.985, 5);
    a.table(lab::reached(&found));
    let reached = || found.iter().filter(|f| f.reached);
    let fastest = reached().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let least = a.number("least time to 98.5 %, seconds", fastest.map_or(f64::NAN, |f| f.seconds));
    a.claim("98.5 % is reached", "98.5 %에 이른다", least.is_finite());
    a.property(
        "every batch size that reaches it spends fewer steps than the smaller ones",
        "배치가 클수록 그때까지의 걸음 수는 적다",
        reached().is_sorted_by(|a, b| a.steps > b.steps),
    );
    let quickest = found.iter().max_by(|a, b| a.throughput.total_cmp(&b.throughput));
    let (best, most) = (fastest.map_or(0, |f| f.batch), quickest.map_or(0, |f| f.batch));
    match best == most {
        true => a.say(
            "Here the batch size of the highest throughput is also the one that is there first.",
            "여기서는 처리량이 가장 큰 배치가 가장 먼저 이르기도 한다.",
        ),
        false => a.say(
            &format!("Here B = {most} has the highest throughput, and B = {best} is there first: throughput alone decides nothing."),
            &format!("여기서 처리량은 B = {most}이 가장 크지만 가장 먼저 이르는 것은 B = {best}이다. 처리량만으로는 정할 수 없다."),
        ),
    }
}

fn a16(a: &mut Argument) {
    a.say(
        "mod(k, N) + 1 counts 1..N and begins again. With batches the last one is shorter, unless it is dropped.",
        "mod(k, N) + 1은 1..N을 세고 다시 시작한다. 배치로 나누면 마지막이 짧아지거나 버려진다.",
    );
    let order: Vec<usize> = Cyclic::new(3).stream(0).take(7).collect();
    a.table(vec![
        vec!["k".into(), "0".into(), "1".into(), "2".into(), "3".into(), "4".into(), "5".into(), "6".into()],
        ["i".to_string()].into_iter().chain(order.iter().map(|i| (i + 1).to_string())).collect(),
    ]);
    a.claim("N = 3: 1 2 3 1 2 3 1", "N = 3: 1 2 3 1 2 3 1", order == [0, 1, 2, 0, 1, 2, 0]);
    let sizes = |drop: bool| -> Vec<usize> {
        let Ok(data) = TensorDataset::new([Tensor::arange(0, 10)]) else { return Vec::new() };
        let loader = Loader::new(data, 4).drop_last(drop);
        loader.epoch(0).map_or(Vec::new(), |b| {
            b.filter_map(Result::ok).map(|b| b.into_array::<1>()[0].numel()).collect()
        })
    };
    a.number("batches of 4 from 10, drop_last off", sizes(false).len() as f64);
    a.number("batches of 4 from 10, drop_last on", sizes(true).len() as f64);
    a.claim("4 4 2, or 4 4", "4 4 2, 또는 4 4", sizes(false) == [4, 4, 2] && sizes(true) == [4, 4]);
    let mut d = Draw::new(16);
    let fine = (0..200).all(|_| {
        let (n, from) = (d.size(1..20), d.size(0..100) as u64);
        Cyclic::new(n).stream(from).take(40).eq((0..40).map(|k| ((from + k) % n as u64) as usize))
    });
    a.property("200 draws of N and of where to begin", "N과 시작점을 200번 뽑아도 그렇다", fine);
}

fn a17(a: &mut Argument) {
    a.say(
        "Unbiased means: given what came before, the next gradient has mean ∇F. Take all 24 permutations of N = 4. At \
         fixed θ the gradient in each position has mean ∇F: without looking back it is unbiased. But once three are \
         known the fourth is certain; given the past it is not.",
        "불편이란 지금까지의 것이 주어졌을 때 다음 기울기의 평균이 ∇F라는 뜻이다. N = 4의 순열 24개를 모두 본다. θ를 고정하면 각 자리의 기울기 평균은 ∇F다. 돌아보지 않으면 불편이다. 그러나 셋을 알면 넷째는 정해져 있다. 과거가 주어지면 불편이 아니다.",
    );
    let p = FiniteSum::least_squares(4, 1, 1.0, 17);
    let theta = Tensor::from([0.5]);
    let each: Vec<f64> = p.per_example(&theta).iter().map(|g| g[0]).collect();
    let whole = a.number("∇F", p.gradient(&theta).to_vec::<f64>()[0]);
    let mut all = Vec::new();
    for i in 0..256usize {
        let p = [i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6];
        if (0..4).all(|v| p.contains(&v)) {
            all.push(p);
        }
    }
    let mut worst = 0f64;
    for position in 0..4 {
        let mean = all.iter().map(|p| each[p[position]]).sum::<f64>() / 24.0;
        a.number(&format!("mean in position {} over 24 permutations", position + 1), mean);
        worst = worst.max((mean - whole).abs());
    }
    a.property("at fixed θ every position is unbiased", "θ를 고정하면 모든 자리가 불편이다", worst < 1e-12);
    let fourth: Vec<f64> = all.iter().filter(|p| p[..3] == [0, 1, 2]).map(|p| each[p[3]]).collect();
    a.number("mean of the fourth, given 1, 2, 3", fourth[0]);
    a.counter(
        "given the past, the fourth is certain and not ∇F",
        "과거가 주어지면 넷째는 정해져 있고 ∇F가 아니다",
        fourth.len() == 1 && (fourth[0] - whole).abs() > 1e-3,
    );
    let says =
        (Iid::new(4, 0).is_unbiased(), Cyclic::new(4).is_unbiased(), Shuffled::new(4, 0).is_unbiased());
    a.claim(
        "is_unbiased(): IID true, cyclic false, shuffled false",
        "is_unbiased(): IID 참, 순환 거짓, 섞기 거짓",
        says == (true, false, false),
    );
}

fn a18(a: &mut Argument) {
    a.say(
        "Gradients of single examples are what is counted. N of them are one epoch, however they were grouped.",
        "세는 것은 예제 하나의 기울기다. 어떻게 묶든 N개가 한 에폭이다.",
    );
    let n = 60_000;
    let epochs = |batch: usize, steps: usize| {
        let mut e = Epochs::new(n);
        (0..steps).for_each(|_| e.add(batch));
        e.count()
    };
    let gd = a.number("gradient descent, 1 step", epochs(n, 1));
    let sgd = a.number("SGD, 60,000 steps", epochs(1, n));
    let mini = a.number("B = 64: steps in an epoch", 1.0 / epochs(64, 1));
    a.claim(
        "1, 1, and 937.5 steps",
        "1, 1, 그리고 937.5걸음",
        gd == 1.0 && sgd == 1.0 && (mini - 937.5).abs() < 1e-9,
    );
    let mut d = Draw::new(18);
    let fine = (0..100).all(|_| {
        let (n, b, k) = (d.size(1..1000), d.size(1..50), d.size(1..50));
        let mut e = Epochs::new(n);
        (0..k).for_each(|_| e.add(b));
        e.evaluations() == (b * k) as u64 && (e.count() - (b * k) as f64 / n as f64).abs() < 1e-12
    });
    a.property("100 draws of N, B and steps", "N, B, 걸음 수를 100번 뽑아도 그렇다", fine);
    a.counter(
        "937 whole batches are not an epoch: 32 examples are left",
        "온전한 배치 937개는 에폭이 아니다: 예제 32개가 남는다",
        n - 937 * 64 == 32,
    );
}

fn a19(a: &mut Argument) {
    a.say(
        "One epoch of each order, and what it has seen of N = 5,000.",
        "순서마다 한 에폭 동안 N = 5,000 중 얼마를 보았는가.",
    );
    let n = 5000;
    let share = |s: &dyn Sampler| s.epoch(0).map_or(0.0, |i| 100.0 * coverage(i, n));
    let cyclic = a.number("cyclic, %", share(&Cyclic::new(n)));
    let iid = a.number("IID, %", share(&Iid::new(n, 19)));
    let shuffled = a.number("shuffled, %", share(&Shuffled::new(n, 19)));
    a.claim(
        "100, 100, and about 63.2",
        "100, 100, 그리고 약 63.2",
        cyclic == 100.0 && shuffled == 100.0 && (iid - 63.2).abs() < 1.5,
    );
    let fine = (0..20).all(|e| Shuffled::new(100, e).epoch(e).is_ok_and(|i| coverage(i, 100) == 1.0));
    a.property("20 seeds: every shuffled epoch sees all", "시드 20개: 섞은 에폭은 모두 본다", fine);
    a.counter("IID leaves out about a third of an epoch", "IID는 한 에폭에 3분의 1쯤을 빠뜨린다", iid < 70.0);
}

fn a20(a: &mut Argument) {
    a.say(
        "Three things are easily mixed up. Sorted by label, a cyclic order drifts: it learns one class, then forgets it \
         for the other; that is no anticipation. One fixed random order, seen over and over, is where a network could \
         learn to anticipate. A new order each epoch is the control. A perceptron 2→8→1 on two blobs, one step size, \
         the mean of F over the last epoch's steps, over 5 seeds:",
        "세 가지를 혼동하기 쉽다. 레이블 순서로 정렬한 순환은 표류한다. 한 부류를 배우고 다른 부류 때문에 잊는다. 이것은 예측이 아니다. 고정된 무작위 순서를 되풀이하는 것이 신경망이 예측을 배울 수 있는 경우다. 에폭마다 새 순서가 대조군이다. 두 덩어리 자료의 퍼셉트론 2→8→1, 하나의 보폭, 시드 5개에 대한 마지막 에폭의 F 평균:",
    );
    let found = lab::orders(5, 8);
    let mut rows = vec![cells(&["order", "F, mean", "± over seeds", "swing in the last epoch"])];
    for o in &found {
        rows.push(vec![o.name.to_string(), short(o.mean), short(o.spread), short(o.swing)]);
    }
    a.table(rows);
    let (sorted, fixed, fresh) = (&found[0], &found[1], &found[2]);
    a.number("drift: sorted − reshuffled", sorted.mean - fresh.mean);
    let difference = a.number("anticipation: fixed random − reshuffled", fixed.mean - fresh.mean);
    a.claim(
        "sorted by label drifts, in every seed",
        "레이블 순서는 모든 시드에서 표류한다",
        sorted.mean > fresh.mean + 2.0 * (sorted.spread + fresh.spread) && sorted.swing > 2.0 * fresh.swing,
    );
    let noise = fixed.spread.max(fresh.spread);
    a.number("spread over seeds", noise);
    match difference.abs() > 2.0 * noise {
        true => a.say(
            "Here the fixed order differs from the reshuffled one by more than the seeds do.",
            "여기서 고정된 순서는 섞은 순서와 시드의 차이보다 더 다르다.",
        ),
        false => a.say(
            "Here the fixed order does no harm that the seeds do not do as well: nothing was anticipated.",
            "여기서 고정된 순서의 해는 시드의 차이보다 크지 않다. 예측은 보이지 않았다.",
        ),
    }
}

fn a21(a: &mut Argument) {
    a.say(
        "Fisher and Yates's shuffle, driven by (seed, epoch, place): uniform over all N! orders, the same everywhere, \
         and epoch e needs no earlier one.",
        "(시드, 에폭, 자리)로 움직이는 피셔–예이츠 섞기: N!개의 순서에 대해 균등하고, 어디서나 같으며, 에폭 e에는 이전 에폭이 필요 없다.",
    );
    let mut counts = std::collections::BTreeMap::new();
    let draws = 24_000;
    for e in 0..draws {
        *counts.entry(permutation(4, 21, e)).or_insert(0u32) += 1;
    }
    let expected = draws as f64 / 24.0;
    let chi = a.number(
        "χ² over the 24 orders of N = 4 (23 degrees of freedom)",
        counts.values().map(|c| (f64::from(*c) - expected).powi(2) / expected).sum(),
    );
    a.number("orders that came", counts.len() as f64);
    a.property(
        "uniform: χ² below 49.73 (99.9 %)",
        "균등하다: χ²이 49.73(99.9 %) 아래",
        counts.len() == 24 && chi < 49.73,
    );
    let s = Shuffled::new(50, 7);
    let (one, two): (Vec<usize>, Vec<usize>) =
        (s.stream(0).take(50).collect(), s.stream(50).take(50).collect());
    a.claim("two epochs differ", "두 에폭은 다르다", one != two);
    let far: Vec<usize> = s.epoch(1_000_000).map_or(Vec::new(), |i| i.collect());
    a.claim(
        "epoch 1,000,000 is there at once, and the same by its own formula",
        "에폭 1,000,000도 바로 나오고 공식과 같다",
        far == permutation(50, 7, 1_000_000),
    );
    // Swapping each place with any other one is the well-known mistake: 4⁴ outcomes do not divide by 24.
    let mut naive = std::collections::BTreeMap::new();
    for i in 0..256usize {
        let mut p = [0, 1, 2, 3];
        (0..4).for_each(|k| p.swap(k, i >> (2 * k) & 3));
        *naive.entry(p).or_insert(0) += 1;
    }
    let (least, most) =
        (naive.values().min().copied().unwrap_or(0), naive.values().max().copied().unwrap_or(0));
    a.number("naive shuffle: rarest order of 256", f64::from(least));
    a.number("naive shuffle: commonest order of 256", f64::from(most));
    a.counter(
        "swapping every place with any is not uniform",
        "모든 자리를 아무 자리와 바꾸면 균등하지 않다",
        least < most,
    );
}

fn a22(a: &mut Argument) {
    a.say(
        "The slide: for e, draw σ; for i = 1..N: θ −= α_k∇f_{σ(k)}, k = k + 1. k runs on over all epochs, so σ(k) leaves \
         1..N in the second one. It must be σ(i); then both forms of the slide agree.",
        "슬라이드: e마다 σ를 뽑고 i = 1..N에 대해 θ −= α_k∇f_{σ(k)}, k = k + 1. k는 에폭을 넘어 계속 커지므로 둘째 에폭에서 σ(k)는 1..N을 벗어난다. σ(i)여야 하고, 그러면 슬라이드의 두 형태가 일치한다.",
    );
    let (n, seed) = (5, 22);
    let mut by_loop = Vec::new();
    let (mut k, mut out) = (0, None);
    for e in 0..3 {
        let sigma = permutation(n, seed, e);
        for s in &sigma {
            by_loop.push(*s);
            if sigma.get(k).is_none() && out.is_none() {
                out = Some((e, k));
            }
            k += 1;
        }
    }
    let closed: Vec<usize> = (0..3 * n).map(|k| permutation(n, seed, (k / n) as u64)[k % n]).collect();
    let stream: Vec<usize> = Shuffled::new(n, seed).stream(0).take(3 * n).collect();
    a.claim(
        "σ(i): loop, closed form and sampler agree for 3 epochs",
        "σ(i): 반복문, 닫힌 식, 추출기가 3에폭 동안 같다",
        by_loop == closed && closed == stream,
    );
    let (e, k) = out.unwrap_or((0, 0));
    a.number("σ(k) leaves its range in epoch", e as f64 + 1.0);
    a.number("at k (counted from 1)", k as f64 + 1.0);
    a.counter(
        "σ(k) is out of range from k = N + 1 on",
        "σ(k)는 k = N + 1부터 범위를 벗어난다",
        (e, k) == (1, n),
    );
}

fn a23(a: &mut Argument) {
    a.say(
        "Five ways to the same minimum, at the same number of gradient evaluations: F − F* after 6 epochs of a least \
         squares problem with 64 examples, mean and spread over 5 seeds. The slide predicts that shuffling is best; \
         this is what was measured.",
        "같은 최소점으로 가는 다섯 가지 방법을 같은 기울기 계산 횟수에서 견준다. 예제 64개의 최소제곱, 6에폭 뒤의 F − F*, 시드 5개의 평균과 흩어짐. 슬라이드는 섞기가 가장 좋다고 예측한다. 아래는 잰 값이다.",
    );
    let study = lab::Study {
        problem: lab::Problem::Quadratic,
        examples: 64,
        epochs: 6,
        seeds: 5,
        batch: 8,
        ..lab::Study::default()
    };
    let arms = lab::compare(&study);
    let mut rows = vec![cells(&["arm", "F − F*", "± over seeds", "evaluations"])];
    for arm in &arms {
        rows.push(vec![
            arm.name.to_string(),
            format!("{:.6e}", arm.mean),
            format!("{:.1e}", arm.spread),
            arm.evaluations.to_string(),
        ]);
    }
    a.table(rows);
    let place = |name: &str| {
        let mut sorted: Vec<&lab::Arm> = arms.iter().collect();
        sorted.sort_by(|a, b| a.mean.total_cmp(&b.mean));
        sorted.iter().position(|a| a.name == name).map_or(0.0, |i| i as f64 + 1.0)
    };
    a.number("place of shuffled", place("shuffled"));
    a.number("place of SGD with IID draws", place("sgd-iid"));
    a.claim(
        "all arms have spent the same evaluations",
        "모든 방법의 계산 횟수는 같다",
        arms.iter().all(|a| a.evaluations == arms[0].evaluations),
    );
    a.property(
        "all five arms went down, in every seed",
        "다섯 방법 모두 모든 시드에서 내려갔다",
        arms.iter().all(|a| a.worst < a.start),
    );
}

fn a24(a: &mut Argument) {
    a.say(
        "The slide's second list is headed \"advantage\" and holds disadvantages: not as simple (here it is one option), \
         and its theory is not as strong, because given the past its gradients are biased (A17).",
        "슬라이드의 두 번째 목록은 \"장점\"이라는 제목이지만 단점을 담고 있다. 덜 단순하고(여기서는 옵션 하나), 과거가 주어지면 기울기가 치우치므로(A17) 이론이 덜 강하다.",
    );
    let order = |shuffle: Option<u64>| -> Vec<i64> {
        let Ok(data) = TensorDataset::new([Tensor::arange(0, 8)]) else { return Vec::new() };
        let loader = Loader::new(data, 4);
        let loader = shuffle.map_or(loader.clone(), |seed| loader.clone().shuffle(seed));
        loader.epoch(0).map_or(Vec::new(), |b| {
            b.filter_map(Result::ok).flat_map(|b| b.into_array::<1>()[0].to_vec::<i64>()).collect()
        })
    };
    let plain = order(None);
    let mixed = order(Some(1));
    let mut sorted = mixed.clone();
    sorted.sort();
    a.claim(
        ".shuffle(seed) is all there is to write",
        ".shuffle(seed)만 쓰면 된다",
        plain != mixed && plain == sorted,
    );
    a.property(
        "the same seed gives the same order",
        "같은 시드는 같은 순서를 준다",
        (0..20).all(|s| order(Some(s)) == order(Some(s))),
    );
    a.counter(
        "its gradients are not unbiased given the past",
        "과거가 주어지면 불편이 아니다",
        !Shuffled::new(8, 1).is_unbiased(),
    );
}

fn a25(a: &mut Argument) {
    a.say(
        "Nothing hidden: no momentum, no decay, no clipping unless asked. One step equals the hand formula bit for bit.",
        "숨은 것이 없다. 청하지 않으면 모멘텀도 감쇠도 자르기도 없다. 한 걸음은 손으로 쓴 식과 비트까지 같다.",
    );
    let mut same = true;
    for seed in 0..50 {
        let theta = normal([7], &Rng::new(seed));
        let g = normal([7], &Rng::new(seed + 1000));
        let alpha = 0.01 + 0.37 * seed as f64;
        let p = Param::new(theta.clone());
        Sgd::new(alpha).step(&p, &(p.get() * &g).sum().backward());
        let by_hand: Vec<u64> = theta
            .to_vec::<f64>()
            .iter()
            .zip(g.to_vec::<f64>())
            .map(|(t, g)| (t - alpha * g).to_bits())
            .collect();
        let bits: Vec<u64> = p.value().to_vec::<f64>().iter().map(|x| x.to_bits()).collect();
        same &= bits == by_hand;
    }
    a.property("50 draws, to the bit", "50번 뽑아도 비트까지 같다", same);
    let p = Param::new(Tensor::from([1.0, 2.0]));
    let sgd = Sgd::new(0.1);
    let g = (p.get() * 3.0).sum().backward();
    sgd.step(&p, &g);
    let first = p.value();
    sgd.step(&p, &g);
    let moved = a.number(
        "second step with the same gradient",
        (first.to_vec::<f64>()[0] - p.value().to_vec::<f64>()[0]).abs(),
    );
    a.claim(
        "it remembers nothing: the second step is as long as the first",
        "기억하지 않는다: 둘째 걸음도 첫째와 같은 길이다",
        (moved - 0.3).abs() < 1e-15,
    );
    let q = Param::new(Tensor::from([1.0, 2.0]));
    let with = Sgd::new(0.1).momentum(0.9);
    let g = (q.get() * 3.0).sum().backward();
    with.step(&q, &g);
    with.step(&q, &g);
    a.counter(
        "with momentum, when asked, it is another method",
        "청하면 모멘텀이 붙고, 그것은 다른 방법이다",
        apart(&p.value(), &q.value()) > 0.1,
    );
    let _: &dyn Parameters = &q;
}
