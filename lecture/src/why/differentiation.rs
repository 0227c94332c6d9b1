//! Rows C1–C21: automatic differentiation.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use cotangent::{
    Cost, Device, Log, Observer, Op, Origin, Param, Pass, Result, Rng, Spec, Tensor, attempt, enable_grad,
    grad, hvp, is_grad_enabled, jacfwd, jacobian, jacrev, jvp,
    laws::{self, Draw},
    models::{LeNet5, LeNet1998, Mlp, ResNet18, SoftmaxRegression},
    nn::{BatchNorm2d, Call, Dropout, Module, ParametersExt, Summary},
    no_grad, observe, ops, vjp,
};

use super::{Argument, short};
use crate::{
    Chain,
    explain::{self, Expression, Trace, bindings},
    problem::normal,
};

rows! {
    row(
        "C1",
        "differentiation",
        "differentiation",
        "you only say how to compute the function",
        "함수를 계산하는 방법만 말하면 된다",
        c1,
    ),
    row(
        "C2",
        "cost",
        "differentiation",
        "a gradient costs at most about five values",
        "기울기의 비용은 함수값의 다섯 배쯤을 넘지 않는다",
        c2,
    ),
    row(
        "C3",
        "not-finite-differences",
        "differentiation",
        "it is not finite differencing",
        "유한 차분이 아니다",
        c3,
    ),
    row(
        "C4",
        "not-symbolic",
        "differentiation",
        "it is not symbolic differentiation",
        "기호 미분이 아니다",
        c4,
    ),
    row(
        "C5",
        "differentiation",
        "differentiation",
        "it is the chain rule: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩",
        "연쇄 법칙이다: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩",
        c5,
    ),
    row(
        "C6",
        "chain-rule",
        "differentiation",
        "the graph of y·ln x + √(y·ln x): four nodes",
        "y·ln x + √(y·ln x)의 그래프: 노드 네 개",
        c6,
    ),
    row(
        "C7",
        "chain-rule",
        "differentiation",
        "a derivative is a sum over paths",
        "도함수는 경로에 대한 합이다",
        c7,
    ),
    row(
        "C8",
        "chain-rule",
        "differentiation",
        "forward mode at x = 3, y = 2",
        "x = 3, y = 2에서의 순방향 모드",
        c8,
    ),
    row(
        "C9",
        "chain-rule",
        "differentiation",
        "each step reads few nodes; the rest is free",
        "각 단계는 몇 노드만 읽고 나머지는 해제된다",
        c9,
    ),
    row(
        "C10",
        "chain-rule",
        "differentiation",
        "reverse mode at x = 3, y = 2",
        "x = 3, y = 2에서의 역방향 모드",
        c10,
    ),
    row(
        "C11",
        "chain-rule",
        "differentiation",
        "the way back needs values of the way there",
        "되돌아오는 길에는 가는 길의 값이 필요하다",
        c11,
    ),
    row(
        "C12",
        "chain-rule",
        "differentiation",
        "the slides' slip: d√b/db is 1/(2√b)",
        "슬라이드의 오류: d√b/db는 1/(2√b)이다",
        c12,
    ),
    row("C13", "reverse-mode", "order", "∇g = Df₁·Df₂⋯Df_N", "∇g = Df₁·Df₂⋯Df_N", c13),
    row(
        "C14",
        "reverse-mode",
        "order",
        "forward mode multiplies from the right: Σ n_{i−1}n_i n_N",
        "순방향 모드는 오른쪽부터 곱한다: Σ n_{i−1}n_i n_N",
        c14,
    ),
    row(
        "C15",
        "reverse-mode",
        "order",
        "reverse mode multiplies from the left: n₀ Σ n_i n_{i+1}",
        "역방향 모드는 왼쪽부터 곱한다: n₀ Σ n_i n_{i+1}",
        c15,
    ),
    row(
        "C16",
        "reverse-mode",
        "order",
        "reverse is best if n₀ ≤ n₁ ≤ … ≤ n_N; less is not enough",
        "n₀ ≤ n₁ ≤ … ≤ n_N이면 역방향이 최적, 그보다 약한 조건은 부족하다",
        c16,
    ),
    row(
        "C17",
        "no-grad",
        "memory",
        "parameters are differentiated, inputs are not",
        "매개변수는 미분하고 입력은 하지 않는다",
        c17,
    ),
    row(
        "C18",
        "no-grad",
        "memory",
        "two steps: the loss, then backward()",
        "두 단계: 손실, 그다음 backward()",
        c18,
    ),
    row("C19", "no-grad", "memory", "intermediate values are stored", "중간값은 저장된다", c19),
    row(
        "C20",
        "no-grad",
        "memory",
        "a test loop needs no gradients",
        "시험 반복문에는 기울기가 필요 없다",
        c20,
    ),
    row(
        "C21",
        "no-grad",
        "memory",
        "no_grad: the same values, nothing stored",
        "no_grad: 값은 같고 저장하지 않는다",
        c21,
    ),
}

fn t(x: f64) -> Tensor {
    Tensor::from(x)
}

fn c1(a: &mut Argument) {
    a.say(
        "A closure of operations, with if and for as Rust has them, is all that is given. Forward and reverse mode are \
         the same engine: an operation's derivative is a linear map, pushed or pulled.",
        "연산으로 된 클로저 하나만 주면 된다. if와 for도 Rust 그대로다. 순방향과 역방향은 같은 엔진이다. 연산의 도함수는 밀거나 당기는 선형 사상이다.",
    );
    // Newton's square root, and a branch on the way.
    let f = |x: &Tensor| {
        let mut y = x.clone();
        for _ in 0..8 {
            y = if y.item() > 0.0 { (&y + x / &y) * 0.5 } else { y };
        }
        y
    };
    let x = t(2.0);
    let (y, forward) = jvp(|[x]| f(&x), [&x], [&t(1.0)]);
    let reverse = grad(|[x]| f(&x), [&x])[0].item();
    a.number("√2 by Newton's loop", y.item());
    a.number("its derivative, forward", forward.item());
    a.number("its derivative, reverse", reverse);
    let expected = 0.5 / 2f64.sqrt();
    a.claim(
        "1/(2√2) in both modes",
        "두 모드 모두 1/(2√2)",
        (reverse - expected).abs() < 1e-14 && (forward.item() - reverse).abs() < 1e-15,
    );
    let mut d = Draw::new(1);
    let fine = (0..50).all(|_| {
        let x = t(0.2 + 2.0 * d.number().abs());
        let (g, p) = (grad(|[x]| f(&x), [&x])[0].item(), jvp(|[x]| f(&x), [&x], [&t(1.0)]).1.item());
        (g - 0.5 / x.item().sqrt()).abs() < 1e-6 && (g - p).abs() < 1e-13
    });
    a.property("50 points", "점 50개", fine);
    let lost = grad(|[x]| &x * x.detach(), [&t(3.0)])[0].item();
    a.number("d(x·x)/dx at 3, one x detached", lost);
    a.counter(
        "what leaves the operations is not seen: 3 instead of 6",
        "연산을 벗어난 것은 보이지 않는다: 6이 아니라 3",
        lost == 3.0,
    );
}

/// What operations cost, by pass.
#[derive(Default)]
struct Bill(Mutex<Vec<(&'static str, Pass, Weight)>>);

#[derive(Clone, Copy, Default, Debug)]
struct Weight {
    arithmetic: f64,
    moved: f64,
}

/// The weight of an elementary function, in additions or multiplications; documented in the chapter.
const ELEMENTARY: f64 = 8.0;

impl Observer for Bill {
    fn operation(&self, op: &dyn Op, x: &[Tensor], y: &[Tensor], origin: &Origin) -> Result<()> {
        let specs = |t: &[Tensor]| t.iter().map(Tensor::spec).collect::<Vec<Spec>>();
        let c: Cost = op.cost(&specs(x), &specs(y));
        let arithmetic = (c.additions + c.multiplications) as f64 + ELEMENTARY * c.elementary as f64;
        let weight = Weight { arithmetic, moved: c.bytes as f64 };
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push((origin.verb, origin.pass, weight));
        Ok(())
    }
}

/// (forward + backward)/forward of a program, and of each kind of operation above five.
fn ratio(f: &dyn Fn() -> Tensor) -> (f64, f64, Vec<(String, f64)>) {
    let bill = Arc::new(Bill::default());
    let seen = || bill.0.lock().unwrap_or_else(|e| e.into_inner());
    let loss = observe(bill.clone(), f);
    // What comes later belongs to the way back, also the sums over those who read a value.
    let way = seen().len();
    observe(bill.clone(), || drop(loss.backward()));
    let (mut arithmetic, mut moved) = ([0.0; 2], [0.0; 2]);
    let mut kinds: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    // What only moves numbers (a copy, a view, an expansion) has no arithmetic of its own: it goes with its consumer.
    for (i, (verb, _, w)) in seen().iter().enumerate() {
        let back = usize::from(i >= way);
        kinds.entry(verb).or_default()[back] += w.arithmetic;
        arithmetic[back] += w.arithmetic;
        moved[back] += w.moved;
    }
    let of = |[there, back]: [f64; 2]| (there + back) / there;
    let above = kinds.iter().filter(|(_, w)| w[0] > 0.0 && of(**w) > 5.0);
    (of(arithmetic), of(moved), above.map(|(k, w)| (k.to_string(), of(*w))).collect())
}

fn c2(a: &mut Argument) {
    a.say(
        "Baur and Strassen: for a whole program of + − × ÷ the function and its gradient together cost at most five \
         times the function. The bound is for whole programs of elementary arithmetic, not for each operation. So that \
         it can be counted, an elementary function is weighed as 8 operations, and moving data counts with whoever \
         consumes it. Networks are mostly matrix products, whose pull is two products: about three.",
        "바우어–슈트라센: + − × ÷로 된 프로그램 전체에서 함수와 기울기를 함께 구하는 비용은 함수의 다섯 배 이하다. 이 한계는 기본 산술로 된 프로그램 전체의 것이지 연산 하나하나의 것이 아니다. 세기 위해 초등 함수는 연산 8개로 치고, 데이터 이동은 쓰는 쪽에 포함한다. 신경망은 대부분 행렬 곱이고 그 되당김은 곱 두 개이므로 약 세 배다.",
    );
    let rng = Rng::new(2);
    let y = Tensor::randint(0, 10, [8], &rng);
    let mnist = Tensor::randn([8, 1, 28, 28], &rng);
    let nets: [(&str, Box<dyn Module>, Tensor); 5] = [
        ("LeNet-5", Box::new(LeNet5::new(&rng)), mnist.clone()),
        ("LeNet-5 of 1998", Box::new(LeNet1998::new(&rng)), LeNet1998::padded(&mnist, 0.0)),
        ("MLP 784→512→512→10", Box::new(Mlp::new(&[784, 512, 512, 10], &rng)), mnist.clone()),
        ("softmax regression", Box::new(SoftmaxRegression::new(784, 10, &rng)), mnist),
        ("ResNet-18", Box::new(ResNet18::new(10, &rng)), Tensor::randn([8, 3, 8, 8], &rng)),
    ];
    let mut rows = vec![vec![
        "network".to_string(),
        "both/forward".into(),
        "of bytes".into(),
        "operations above 5".into(),
    ]];
    let mut worst = 0f64;
    let mut lenet = 0.0;
    for (name, net, x) in &nets {
        let (r, moved, above) = ratio(&|| match name.ends_with("1998") {
            true => LeNet1998::loss(&net.call(x), &y, 1.0),
            false => net.call(x).cross_entropy(&y),
        });
        let list: Vec<String> = above.iter().map(|(k, r)| format!("{k} {r:.1}")).collect();
        let list = if list.is_empty() { "–".into() } else { list.join(", ") };
        rows.push(vec![name.to_string(), short(r), short(moved), list]);
        worst = worst.max(r);
        if *name == "LeNet-5" {
            lenet = r;
        }
    }
    a.table(rows);
    a.number("LeNet-5, counted", lenet);
    a.number("largest of the shipped networks, counted", worst);
    a.claim("≤ 5 for every shipped network", "제공되는 모든 신경망에서 5 이하", worst <= 5.0);
    let net = LeNet5::new(&Rng::new(0));
    let x = Tensor::randn([64, 1, 28, 28], &Rng::new(3));
    let y = Tensor::randint(0, 10, [64], &Rng::new(4));
    let least = |f: &dyn Fn()| {
        f();
        (0..5)
            .map(|_| {
                let begin = Instant::now();
                f();
                begin.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min)
    };
    let there = least(&|| drop(no_grad(|| net.call(&x).cross_entropy(&y))));
    let both = least(&|| drop(net.call(&x).cross_entropy(&y).backward()));
    a.number("LeNet-5, measured now (seconds of both)/(seconds of forward)", both / there);
    // A program of + − × ÷ alone, drawn at random.
    let mut d = Draw::new(22);
    let mut most = 0f64;
    for _ in 0..30 {
        let at: Vec<Tensor> = (0..3).map(|_| t(1.5 + d.number()).tracked()).collect();
        let picks: Vec<(usize, usize, usize)> =
            (0..12).map(|k| (d.size(0..4), d.size(0..3 + k), d.size(0..3 + k))).collect();
        let (r, ..) = ratio(&|| {
            let mut v = at.clone();
            for (op, i, j) in &picks {
                let y = match op {
                    0 => &v[*i] + &v[*j],
                    1 => &v[*i] - &v[*j],
                    2 => &v[*i] * &v[*j],
                    _ => &v[*i] / &v[*j],
                };
                v.push(y);
            }
            // The product of all, so that nothing is left out.
            v.iter().skip(1).fold(v[0].clone(), |s, x| s * x)
        });
        most = most.max(r);
    }
    a.number("largest of 30 random programs of + − × ÷", most);
    a.property("≤ 5 for 30 random programs", "무작위 프로그램 30개에서 5 이하", most <= 5.0);
    // Each costs one division there, and back a division, a product, a sign, and the sum over those who read x or y.
    let (x, y) = (t(3.0).tracked(), t(2.0).tracked());
    let (quotients, ..) = ratio(&|| (0..50).fold(x.clone(), |v, _| &v / &y / &x));
    a.number("100 quotients x/y/x/…", quotients);
    a.claim("quotients alone: below 5", "몫만 있어도 5 아래", quotients < 5.0);
    let spent = |f: &dyn Fn() -> Tensor| {
        let bill = Arc::new(Bill::default());
        observe(bill.clone(), f);
        bill.0.lock().unwrap_or_else(|e| e.into_inner()).iter().map(|(.., w)| w.arithmetic).sum::<f64>()
    };
    let x = Draw::new(2).real([10]);
    let all = spent(&|| jacrev(|x| x.square(), &x)) / spent(&|| x.square());
    a.number("ten squares: Jacobian/values", all);
    a.counter(
        "the bound is for one result: ten results take ten ways back",
        "결과가 하나일 때의 한계다: 결과가 열이면 되돌아오는 길도 열이다",
        all > 10.0,
    );
}

fn c3(a: &mut Argument) {
    a.say(
        "A central difference has an error of h² from the curve and of ε/h from rounding; the best h leaves about 1e-10. \
         Differentiation of the program has no h. f(x) = sin x·eˣ at x = 1; the reference has fifty digits.",
        "중심 차분의 오차는 곡선에서 h², 반올림에서 ε/h다. 가장 좋은 h에서도 1e-10쯤 남는다. 프로그램의 미분에는 h가 없다. f(x) = sin x·eˣ, x = 1. 기준값은 50자리다.",
    );
    // e·(sin 1 + cos 1), to fifty digits: 3.7560492270947...
    let reference: f64 = "3.75604922709472817634398284943104034893398085389562".parse().unwrap_or(f64::NAN);
    let f = |x: &Tensor| x.sin() * x.exp();
    let ours = grad(|[x]| f(&x), [&t(1.0)])[0].item();
    let error = a.number("automatic: relative error", (ours / reference - 1.0).abs());
    let mut rows = vec![vec!["h".to_string(), "relative error of the central difference".into()]];
    let mut best = f64::INFINITY;
    let mut lines = [("central difference", Vec::new()), ("automatic", Vec::new())];
    for i in 1..=12 {
        let h = 10f64.powi(-i);
        let d = (f(&t(1.0 + h)).item() - f(&t(1.0 - h)).item()) / (2.0 * h);
        let e = (d / reference - 1.0).abs();
        best = best.min(e);
        lines[0].1.push((-f64::from(i), e));
        lines[1].1.push((-f64::from(i), error.max(f64::EPSILON)));
        rows.push(vec![format!("1e-{i}"), format!("{e:.2e}")]);
    }
    a.table(rows);
    a.plot(["log₁₀ h", "relative error"], &lines);
    a.number("best difference: relative error", best);
    a.claim("automatic ≤ 1e-15", "자동 미분은 1e-15 이하", error <= 1e-15);
    a.counter(
        "no h of the difference comes near: best ≥ 1e-12",
        "어떤 h도 가까이 가지 못한다: 최선이 1e-12 이상",
        best > 1e-12,
    );
    let mut d = Draw::new(3);
    let fine = (0..100).all(|_| {
        let x = 0.1 + 1.3 * d.number().abs();
        let exact = x.exp() * (x.sin() + x.cos());
        (grad(|[x]| f(&x), [&t(x)])[0].item() / exact - 1.0).abs() < 1e-14
    });
    a.property("100 points, to 1e-14", "점 100개, 1e-14까지", fine);
}

fn c4(a: &mut Argument) {
    a.say(
        "Written out, the derivative of x ← x·sin x, fifty times, doubles with every turn: the product rule copies its \
         factors. The tape notes two operations a turn and shares them.",
        "x ← x·sin x를 50번 한 것의 도함수를 써 내려가면 곱의 법칙이 인수를 복사하므로 매번 두 배가 된다. 테이프는 한 번에 연산 두 개를 적고 공유한다.",
    );
    let nested = |n: usize| {
        let log = Arc::new(Log::default());
        let x = t(1.1).tracked();
        let y = observe(log.clone(), || (0..n).fold(x.clone(), |y, _| &y * y.sin()));
        (log.entries().len(), y.backward().get(&x).map_or(f64::NAN, Tensor::item))
    };
    let (mut value, mut slope) = (1.1f64, 1.0f64);
    for _ in 0..50 {
        slope *= value.sin() + value * value.cos();
        value *= value.sin();
    }
    let (nodes, ours) = nested(50);
    a.number("nodes of the tape, 50 turns", nodes as f64);
    a.number("terms of the written-out derivative, 50 turns", 2f64.powi(50));
    a.number("derivative", ours);
    a.claim(
        "100 nodes, and the derivative by its own recurrence",
        "노드 100개, 도함수는 점화식과 같다",
        nodes == 100 && (ours - slope).abs() <= 1e-12 * slope.abs().max(1e-300),
    );
    let linear = (1..=50).all(|n| nested(n).0 == 2 * n);
    a.property("2n nodes for n = 1 … 50", "n = 1 … 50에서 노드 2n개", linear);
    a.counter(
        "the written-out form has 2⁵⁰ ≈ 10¹⁵ terms",
        "써 내려간 식은 2⁵⁰ ≈ 10¹⁵항이다",
        2f64.powi(50) > 1e15,
    );
}

fn c5(a: &mut Argument) {
    a.say(
        "A derivative at a point is a linear map J. Forward mode pushes v to Jv, reverse mode pulls u to Jᵀu, and both \
         are the same J: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩. The laws check it for every operation, to second order and more; here for some.",
        "한 점에서의 도함수는 선형 사상 J다. 순방향은 v를 Jv로 밀고, 역방향은 u를 Jᵀu로 당기며, 둘은 같은 J다: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩. 법칙 검사는 모든 연산에서 2계 이상까지 확인한다. 여기서는 몇 가지를 본다.",
    );
    let checks: [(&str, std::result::Result<(), String>); 5] = [
        (
            "matmul",
            laws::check("matmul", 8, 2, |d| {
                let (m, k, n) = (d.size(1..4), d.size(1..4), d.size(1..4));
                laws::Case::new(ops::MatMul, vec![d.real([m, k]), d.real([k, n])])
            })
            .map(drop),
        ),
        (
            "tanh",
            laws::check("tanh", 8, 3, |d| {
                let n = d.size(0..5);
                laws::Case::new(ops::Elementwise::Tanh, vec![d.real([n])])
            })
            .map(drop),
        ),
        (
            "divide",
            laws::check("div", 8, 2, |d| {
                let n = d.size(1..5);
                laws::Case::new(ops::Arithmetic::Div, vec![d.real([n]), d.between(0.5, 2.0, [n])])
            })
            .map(drop),
        ),
        (
            "softmax",
            laws::check("softmax", 8, 2, |d| {
                let n = d.size(1..5);
                laws::Case::new(ops::Softmax { log: false }, vec![d.real([2, n])])
            })
            .map(drop),
        ),
        (
            "sum",
            laws::check("sum", 8, 1, |d| {
                let n = d.size(1..5);
                laws::Case::new(ops::Sum { axes: vec![0] }, vec![d.real([n, 2])])
            })
            .map(drop),
        ),
    ];
    for (name, found) in &checks {
        a.property(
            &format!("{name}: push = difference, ⟨u, Jv⟩ = ⟨Jᵀu, v⟩"),
            &format!("{name}: 밀기 = 차분, ⟨u, Jv⟩ = ⟨Jᵀu, v⟩"),
            found.is_ok(),
        );
    }
    let f = |x: Tensor| (x.square().matmul(&Tensor::from([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]]))).sin();
    let (x, v, u) =
        (Tensor::from([0.3, -0.7, 1.1]), Tensor::from([1.0, 2.0, -1.0]), Tensor::from([0.5, -2.0]));
    let pushed = (jvp(|[x]| f(x), [&x], [&v]).1 * &u).sum().item();
    let (_, pull) = vjp(|[x]| f(x), [&x]);
    let pulled = (&pull(&u)[0] * &v).sum().item();
    a.number("⟨u, Jv⟩", pushed);
    a.number("⟨Jᵀu, v⟩", pulled);
    a.claim(
        "equal to 1e-10 relative",
        "상대 오차 1e-10까지 같다",
        (pushed - pulled).abs() <= 1e-10 * pushed.abs(),
    );
}

fn slide() -> Trace {
    let f = Expression::parse("y*ln(x) + sqrt(y*ln(x))").expect("it is written right");
    explain::expression(&f, &bindings("x=3,y=2").expect("so is this")).expect("and it has a derivative")
}

fn c6(a: &mut Argument) {
    a.say(
        "y·ln x stands there twice and is computed once: a = ln x, b = y·a, c = √b, f = b + c.",
        "y·ln x는 두 번 쓰여 있지만 한 번만 계산한다: a = ln x, b = y·a, c = √b, f = b + c.",
    );
    let trace = slide();
    let steps = a.number("nodes", trace.steps().count() as f64);
    let edges = a.number("edges", trace.nodes.iter().map(|n| n.reads.len()).sum::<usize>() as f64);
    let b = trace.nodes.iter().position(|n| n.name == "b");
    let uses = trace.nodes.iter().flat_map(|n| &n.reads).filter(|r| Some(**r) == b).count();
    a.number("readers of b", uses as f64);
    a.claim(
        "4 nodes, 6 edges, b read twice",
        "노드 4개, 간선 6개, b는 두 번 읽힌다",
        (steps, edges, uses) == (4.0, 6.0, 2),
    );
    let log = Arc::new(Log::default());
    observe(log.clone(), || {
        let (x, y) = (t(3.0), t(2.0));
        &y * x.ln() + (&y * x.ln()).sqrt()
    });
    let unshared = a.number("nodes when it is computed as it is written", log.entries().len() as f64);
    a.counter(
        "as written, without a name for b, there are six",
        "b에 이름을 주지 않고 쓰인 대로 하면 여섯이다",
        unshared == 6.0,
    );
}

fn c7(a: &mut Argument) {
    a.say(
        "Each path from f down to x contributes the product of the derivatives along it. x has two, through b → c → f \
         and b → f. Their common part is computed once: that is all that reverse mode does.",
        "f에서 x로 내려가는 경로마다 그 위의 도함수들의 곱을 더한다. x에는 b → c → f와 b → f의 두 경로가 있다. 공통 부분은 한 번만 계산한다. 역방향 모드가 하는 일은 그것뿐이다.",
    );
    let trace = slide();
    let mut fine = true;
    for (i, p) in trace.all_paths().iter().enumerate() {
        for (k, term) in p.terms.iter().enumerate() {
            a.number(
                &format!("∂f/∂{}, path {}: {}", p.variable, k + 1, term.symbols),
                term.value.unwrap_or(f64::NAN),
            );
        }
        let sum: f64 = p.terms.iter().filter_map(|t| t.value).sum();
        fine &= p.count == 2 && (sum - trace.gradient(i)[0]).abs() < 1e-15;
        a.number(&format!("∂f/∂{} = {}", p.variable, p.shared), sum);
    }
    a.claim("two paths each, and they add up to the gradient", "경로가 둘씩이고, 더하면 기울기다", fine);
    let ladder = explain::trace(|v| (0..30).fold(v[0].clone(), |x, _| &x + &x), &[("x", t(1.0))]);
    let paths = ladder.map_or(0, |t| t.paths(0));
    a.number("paths of thirty doublings x ← x + x", paths as f64);
    a.counter(
        "paths may be 2³⁰ where nodes are 30: nobody adds them one by one",
        "노드 30개에 경로가 2³⁰개일 수 있다: 하나씩 더하지 않는다",
        paths == 1 << 30,
    );
    let mut d = Draw::new(7);
    let all = (0..20).all(|_| {
        let (x, y) = (t(1.5 + d.number()).detach(), t(2.5 + d.number()));
        explain::trace(
            |v| {
                let b = &v[1] * v[0].exp();
                b.sqrt() + b.sin() * &v[0]
            },
            &[("x", x), ("y", y)],
        )
        .is_ok_and(|t| {
            t.all_paths().iter().enumerate().all(|(i, p)| {
                (p.terms.iter().filter_map(|t| t.value).sum::<f64>() - t.gradient(i)[0]).abs() < 1e-10
            })
        })
    });
    a.property("another function at 20 points", "다른 함수의 점 20개", all);
}

fn c8(a: &mut Argument) {
    a.say(
        "Values and both tangents go forward together, seeded with (1, 0) and (0, 1).",
        "값과 두 접선이 (1, 0)과 (0, 1)에서 출발하여 함께 앞으로 간다.",
    );
    let trace = slide();
    let mut sum = 0.0;
    for n in trace.steps() {
        a.number(&n.name, n.value[0]);
        sum += a.number(&format!("∂{}/∂x", n.name), n.tangents[0][0]);
        sum += a.number(&format!("∂{}/∂y", n.name), n.tangents[1][0]);
    }
    a.claim(
        "they are those of jvp of the whole function",
        "전체 함수의 jvp와 같다",
        trace.agreement < 1e-15 && sum.is_finite(),
    );
    let f = |[x, y]: [Tensor; 2]| {
        let b = y * x.ln();
        &b + b.sqrt()
    };
    let mut d = Draw::new(8);
    let fine = (0..50).all(|_| {
        let (x, y) = (2.0 + d.number() * 0.9, 2.0 + d.number());
        let b = y * x.ln();
        let dx = y / x * (1.0 + 0.5 / b.sqrt());
        (jvp(f, [&t(x), &t(y)], [&t(1.0), &t(0.0)]).1.item() - dx).abs() < 1e-13
    });
    a.property("50 points against the formula", "점 50개를 공식과 비교", fine);
}

fn c9(a: &mut Argument) {
    a.say(
        "Step 2 reads y and a and not x; step 3 only b; step 4 b and c. So forward mode may forget a value when its last \
         reader is done: never more than three values are alive here.",
        "2단계는 x가 아니라 y와 a를, 3단계는 b만, 4단계는 b와 c를 읽는다. 그래서 순방향 모드는 마지막으로 읽힌 값을 잊어도 된다. 여기서 살아 있는 값은 셋을 넘지 않는다.",
    );
    let trace = slide();
    let names =
        |list: &[usize]| list.iter().map(|i| trace.nodes[*i].name.as_str()).collect::<Vec<_>>().join(", ");
    let mut rows = vec![["step", "reads", "frees"].map(String::from).to_vec()];
    let (mut live, mut most) = (2usize, 2usize);
    for n in trace.steps() {
        rows.push(vec![format!("{} = {}", n.name, n.formula), names(&n.reads), names(&n.frees)]);
        live += 1;
        most = most.max(live);
        live -= n.frees.len();
    }
    a.table(rows);
    a.number("values alive at most", most as f64);
    let reads = |name: &str| trace.node(name).map_or(String::new(), |n| names(&n.reads));
    a.claim(
        "b reads y, a; c reads b; f reads b, c",
        "b는 y, a를, c는 b를, f는 b, c를 읽는다",
        reads("b") == "y, a" && reads("c") == "b" && reads("f") == "b, c",
    );
    a.claim("three alive at most, of six", "여섯 중 많아야 셋이 살아 있다", most == 3);
    let chain = explain::trace(|v| (0..40).fold(v[0].clone(), |x, _| x.sin()), &[("x", t(1.0))]);
    a.property(
        "a chain of 40: every step frees the one before",
        "40단계의 사슬: 단계마다 앞의 것을 해제한다",
        chain.is_ok_and(|t| t.steps().all(|n| n.frees.len() == 1)),
    );
    a.counter(
        "reverse mode may not: it needs them on the way back (C11)",
        "역방향 모드는 그럴 수 없다: 되돌아올 때 필요하다(C11)",
        trace.saved_bytes() == 32,
    );
}

fn c10(a: &mut Argument) {
    a.say(
        "Values first; then the derivative of f by each node, from f backwards. One pass gives all variables.",
        "먼저 값을 계산하고, 그다음 f에서 거꾸로 각 노드에 대한 f의 도함수를 계산한다. 한 번에 모든 변수를 얻는다.",
    );
    let trace = slide();
    for name in ["f", "c", "b", "a", "x", "y"] {
        if let Some(n) = trace.node(name) {
            a.number(&format!("∂f/∂{name}"), n.adjoints[0][0]);
        }
    }
    let same =
        (0..2).all(|i| (trace.gradient(i)[0] - trace.nodes[trace.output].tangents[i][0]).abs() <= 1e-15);
    a.claim("equal to forward mode (C8) to 1e-15", "순방향 모드(C8)와 1e-15까지 같다", same);
    let mut d = Draw::new(10);
    let fine = (0..30).all(|_| {
        let x = d.between(0.5, 2.0, [4]).contiguous();
        let f = |x: Tensor| (x.ln() * &x).sqrt().abs().sum() + (x.square().sum()).sin() * 3.0;
        let f = |x: Tensor| f(x + 1.0);
        let (g, j) = (grad(|[x]| f(x), [&x])[0].clone(), jacfwd(f, &x));
        (g - j).abs().max().item() < 1e-11
    });
    a.property("another function of four variables, 30 points", "네 변수의 다른 함수, 점 30개", fine);
}

fn c11(a: &mut Argument) {
    a.say(
        "What a pull reads, it must have kept: found by watching each pullback work. ln keeps its operand, a product both \
         of its factors, √ its result, a sum nothing.",
        "되당길 때 읽는 것은 저장해 두어야 한다. 각 되당김이 일하는 것을 지켜보아 알아냈다. ln은 피연산자를, 곱은 두 인수를, √는 결과를 저장하고, 합은 아무것도 저장하지 않는다.",
    );
    let trace = slide();
    let mut rows = vec![["step", "keeps", "bytes"].map(String::from).to_vec()];
    for n in trace.steps() {
        let names: Vec<&str> = n.saved.iter().map(|s| s.name.as_str()).collect();
        rows.push(vec![
            format!("{} = {}", n.name, n.formula),
            names.join(", "),
            n.saved.iter().map(|s| s.bytes).sum::<usize>().to_string(),
        ]);
    }
    a.table(rows);
    let kept = |name: &str| {
        let mut v: Vec<&str> =
            trace.node(name).map_or(Vec::new(), |n| n.saved.iter().map(|s| s.name.as_str()).collect());
        v.sort();
        v.join(" ")
    };
    a.number("bytes in all", trace.saved_bytes() as f64);
    a.claim(
        "a keeps x; b keeps a, y; c keeps c; f nothing",
        "a는 x를, b는 a와 y를, c는 c를 저장하고 f는 저장하지 않는다",
        kept("a") == "x" && kept("b") == "a y" && kept("c") == "c" && kept("f").is_empty(),
    );
    let frozen = explain::trace(|v| (&v[0] * 3.0).sum(), &[("x", Tensor::from([1.0, 2.0]))]);
    let bytes =
        frozen.map_or(usize::MAX, |t| t.steps().flat_map(|n| &n.saved).filter(|s| s.name == "x").count());
    a.counter(
        "with the other factor fixed, x itself is not kept",
        "다른 인수가 고정되면 x는 저장하지 않는다",
        bytes == 0,
    );
}

fn c12(a: &mut Argument) {
    a.say(
        "The slides write d√b/db = 1/√b in steps 3 and 4 and 2′ to 4′. It is 1/(2√b). Here are the slides' numbers, planted \
         into the library's own maps, beside the right ones; a difference quotient is the judge.",
        "슬라이드는 3, 4단계와 2′–4′단계에서 d√b/db = 1/√b로 썼지만 1/(2√b)가 맞다. 라이브러리의 사상에 슬라이드의 오류를 심어 얻은 수를 올바른 수와 나란히 둔다. 판정은 차분이 한다.",
    );
    let trace = slide();
    let right = [a.number("∂f/∂x", trace.gradient(0)[0]), a.number("∂f/∂y", trace.gradient(1)[0])];
    let slip = trace.slip.as_ref().map_or([f64::NAN; 2], |s| [s.adjoints[0][0][0], s.adjoints[1][0][0]]);
    a.number("slide ∂f/∂x", slip[0]);
    a.number("slide ∂f/∂y", slip[1]);
    let f = |x: f64, y: f64| y * x.ln() + (y * x.ln()).sqrt();
    let h = 1e-5;
    let judge =
        [(f(3.0 + h, 2.0) - f(3.0 - h, 2.0)) / (2.0 * h), (f(3.0, 2.0 + h) - f(3.0, 2.0 - h)) / (2.0 * h)];
    a.number("central difference ∂f/∂x", judge[0]);
    a.number("central difference ∂f/∂y", judge[1]);
    a.claim(
        "the difference agrees with the library",
        "차분은 라이브러리와 일치한다",
        right.iter().zip(judge).all(|(r, j)| (r - j).abs() < 1e-7),
    );
    a.counter(
        "and not with the slides",
        "슬라이드와는 일치하지 않는다",
        slip.iter().zip(judge).all(|(s, j)| (s - j).abs() > 0.2),
    );
    let mut d = Draw::new(12);
    let fine = (0..50).all(|_| {
        let b = 2.5 + 2.0 * d.number();
        (grad(|[b]| b.sqrt(), [&t(b)])[0].item() - 0.5 / b.sqrt()).abs() < 1e-15
    });
    a.property("d√b/db = 1/(2√b) at 50 points", "점 50개에서 d√b/db = 1/(2√b)", fine);
}

/// `tanh(M·x)` for each matrix, the last one first; and the matrices.
fn factors(widths: &[usize], seed: u64) -> Vec<Tensor> {
    widths
        .windows(2)
        .enumerate()
        .map(|(i, w)| normal([w[0], w[1]], &Rng::new(seed + i as u64)) * 0.5)
        .collect()
}

fn c13(a: &mut Argument) {
    a.say(
        "g = f₁∘f₂∘f₃ with f_i(x) = tanh(M_i x): the Jacobian of the whole is the product of the three, each taken where \
         the ones inside it end.",
        "g = f₁∘f₂∘f₃, f_i(x) = tanh(M_i x). 전체의 야코비안은 셋의 곱이며, 각각은 안쪽 함수의 끝점에서 구한다.",
    );
    let widths = [2, 4, 3, 5];
    let m = factors(&widths, 13);
    let x = Tensor::from([0.1, -0.2, 0.3, 0.4, -0.5]);
    let whole = jacobian(|x| m.iter().rev().fold(x, |x, m| m.matmul(&x).tanh()), &x);
    let mut at = x.clone();
    let mut parts = Vec::new();
    for m in m.iter().rev() {
        parts.push(jacobian(|x| m.matmul(&x).tanh(), &at));
        at = m.matmul(&at).tanh();
    }
    for (i, p) in parts.iter().rev().enumerate() {
        a.number(&format!("rows of Df{}", i + 1), p.size(0) as f64);
        a.number(&format!("columns of Df{}", i + 1), p.size(1) as f64);
    }
    let product = parts[2].matmul(&parts[1]).matmul(&parts[0]);
    let worst = a.number("|product − Jacobian of the whole|", (&product - &whole).abs().max().item());
    a.claim(
        "n₀×n_N = 2×5, equal to 1e-14",
        "n₀×n_N = 2×5, 1e-14까지 같다",
        whole.shape()[..] == [2, 5] && worst < 1e-14,
    );
    let wrong = attempt(|| parts[0].matmul(&parts[1]).matmul(&parts[2])).is_err();
    a.counter("in the other order the factors do not even fit", "반대 순서로는 크기도 맞지 않는다", wrong);
    let fine = (0..10).all(|seed| {
        let (f, r) = (
            jacfwd(|x| m[2].matmul(&x).sin(), &normal([5], &Rng::new(seed))),
            jacrev(|x| m[2].matmul(&x).sin(), &normal([5], &Rng::new(seed))),
        );
        (f - r).abs().max().item() < 1e-14
    });
    a.property(
        "forward and reverse give one Jacobian, 10 draws",
        "순방향과 역방향은 같은 야코비안을 준다, 10번",
        fine,
    );
}

/// Multiplications of matrix products, as the library's own cost function counts them.
#[derive(Default)]
struct Products(Mutex<u64>);

impl Observer for Products {
    fn operation(&self, op: &dyn Op, x: &[Tensor], y: &[Tensor], _: &Origin) -> Result<()> {
        if op.name() == "matmul" {
            let specs = |t: &[Tensor]| t.iter().map(Tensor::spec).collect::<Vec<Spec>>();
            *self.0.lock().unwrap_or_else(|e| e.into_inner()) +=
                op.cost(&specs(x), &specs(y)).multiplications;
        }
        Ok(())
    }
}

fn counted(f: impl FnOnce()) -> u64 {
    let seen = Arc::new(Products::default());
    observe(seen.clone(), f);
    std::mem::take(&mut *seen.0.lock().unwrap_or_else(|e| e.into_inner()))
}

fn both(widths: &[usize]) -> (u64, u64) {
    let m = factors(widths, 5);
    let forward = counted(|| drop(m.iter().rev().cloned().reduce(|product, m| m.matmul(&product))));
    let reverse = counted(|| drop(m.iter().cloned().reduce(|product, m| product.matmul(&m))));
    (forward, reverse)
}

fn c14(a: &mut Argument) {
    a.say(
        "Df₁(Df₂(⋯Df_N)) carries n_N columns all the way: Σ n_{i−1}n_i n_N multiplications. Counted while the products are \
         made, and by the formula.",
        "Df₁(Df₂(⋯Df_N))은 끝까지 n_N개의 열을 나른다. 곱셈은 Σ n_{i−1}n_i n_N번이다. 곱하면서 센 것과 공식을 견준다.",
    );
    let widths = [1usize, 20, 30, 40];
    let chain = Chain::new(&widths.map(|w| w as u64)).expect("they are widths");
    let (forward, _) = both(&widths);
    a.number("counted, widths 1, 20, 30, 40", forward as f64);
    a.number("Σ n_{i−1}n_i n_N", chain.forward() as f64);
    a.claim("equal", "같다", forward == chain.forward());
    let mut d = Draw::new(14);
    let fine = (0..30).all(|_| {
        let w: Vec<usize> = (0..2 + d.size(1..5)).map(|_| d.size(1..12)).collect();
        Chain::new(&w.iter().map(|w| *w as u64).collect::<Vec<_>>()).is_ok_and(|c| c.forward() == both(&w).0)
    });
    a.property("30 random chains", "무작위 사슬 30개", fine);
    let f = |x: Tensor| x.square().sum();
    let passes = |n: usize| {
        let log = Arc::new(Log::default());
        observe(log.clone(), || jacfwd(f, &Tensor::ones([n]).cast(cotangent::DType::F64)));
        log.entries().iter().filter(|(l, _)| l.starts_with("square")).count()
    };
    a.number("passes of jacfwd for 7 inputs", passes(7) as f64);
    a.claim("one pass an input", "입력마다 한 번", passes(7) >= 7);
}

fn c15(a: &mut Argument) {
    a.say(
        "((Df₁Df₂)Df₃)⋯Df_N carries n₀ rows all the way: n₀ Σ n_i n_{i+1}. With n₀ = 1, a loss, they are row vectors.",
        "((Df₁Df₂)Df₃)⋯Df_N은 끝까지 n₀개의 행을 나른다: n₀ Σ n_i n_{i+1}. 손실처럼 n₀ = 1이면 행벡터다.",
    );
    let widths = [1usize, 20, 30, 40];
    let chain = Chain::new(&widths.map(|w| w as u64)).expect("they are widths");
    let (_, reverse) = both(&widths);
    a.number("counted, widths 1, 20, 30, 40", reverse as f64);
    a.number("n₀ Σ n_i n_{i+1}", chain.reverse() as f64);
    a.number("forward mode, for comparison", chain.forward() as f64);
    a.claim("equal", "같다", reverse == chain.reverse());
    let mut d = Draw::new(15);
    let fine = (0..30).all(|_| {
        let w: Vec<usize> = (0..2 + d.size(1..5)).map(|_| d.size(1..12)).collect();
        Chain::new(&w.iter().map(|w| *w as u64).collect::<Vec<_>>()).is_ok_and(|c| c.reverse() == both(&w).1)
    });
    a.property("30 random chains", "무작위 사슬 30개", fine);
    let tall = Chain::new(&[40, 30, 20, 1]).expect("they are widths");
    a.number("widths 40, 30, 20, 1: reverse", tall.reverse() as f64);
    a.number("widths 40, 30, 20, 1: forward", tall.forward() as f64);
    a.counter(
        "for many results of one variable it is the dearer one",
        "변수 하나에 결과가 많으면 더 비싸다",
        tall.reverse() > tall.forward(),
    );
}

fn c16(a: &mut Argument) {
    a.say(
        "Dynamic programming finds the best order of any chain. For widths that never fall, reverse mode is it. The \
         slide's condition is about all widths: n₀ being the least of them is not enough.",
        "동적 계획법은 어떤 사슬이든 최선의 순서를 찾는다. 폭이 줄지 않으면 역방향이 최선이다. 슬라이드의 조건은 모든 폭에 대한 것이다. n₀이 가장 작다는 것만으로는 부족하다.",
    );
    let of = |w: &[u64]| Chain::new(w).expect("they are widths");
    let mut rows = vec![["widths", "forward", "reverse", "best", "order"].map(String::from).to_vec()];
    for w in [&[10u64, 10, 1000, 10][..], &[10, 20, 1, 20, 10], &[1, 100, 100, 100, 100], &[10, 8, 5, 2]] {
        let c = of(w);
        rows.push(vec![
            format!("{w:?}"),
            c.forward().to_string(),
            c.reverse().to_string(),
            c.best().to_string(),
            c.order(),
        ]);
    }
    a.table(rows);
    let first = of(&[10, 10, 1000, 10]);
    a.number("(10,10,1000,10): reverse", first.reverse() as f64);
    a.number("(10,10,1000,10): best", first.best() as f64);
    a.counter(
        "n₀ is the least width, and reverse mode is not best",
        "n₀이 가장 작은데도 역방향이 최선이 아니다",
        (first.reverse(), first.best()) == (200_000, 101_000),
    );
    let second = of(&[10, 20, 1, 20, 10]);
    a.number("(10,20,1,20,10): forward", second.forward() as f64);
    a.number("(10,20,1,20,10): reverse", second.reverse() as f64);
    a.number("(10,20,1,20,10): best", second.best() as f64);
    a.counter(
        "a mixed order beats both modes",
        "섞인 순서가 두 모드를 모두 이긴다",
        (second.forward(), second.reverse(), second.best()) == (2400, 2400, 500),
    );
    let mut d = Draw::new(16);
    let (mut rising, mut falling) = (0, 0);
    let total = 20_000;
    for _ in 0..total {
        let mut w: Vec<u64> = (0..3 + d.size(0..6)).map(|_| d.size(1..60) as u64).collect();
        w.sort();
        let c = of(&w);
        rising += usize::from(c.reverse() == c.best());
        w.reverse();
        let c = of(&w);
        falling += usize::from(c.forward() == c.best());
    }
    a.number("random rising chains where reverse is best, of 20,000", rising as f64);
    a.number("random falling chains where forward is best, of 20,000", falling as f64);
    a.property("all 20,000, both ways", "양쪽 모두 20,000개 전부", rising == total && falling == total);
    a.say("The table of dynamic programming for (10,20,1,20,10):", "(10,20,1,20,10)의 동적 계획표:");
    a.table(programming(&second));
}

/// The least cost of each part of a chain.
fn programming(chain: &Chain) -> Vec<Vec<String>> {
    let head = [String::new()].into_iter().chain((1..=chain.factors()).map(|j| format!("to D{j}")));
    let line = |(i, line): (usize, &Vec<u64>)| {
        let costs = line.iter().enumerate().map(|(j, c)| if j < i { String::new() } else { c.to_string() });
        [format!("from D{}", i + 1)].into_iter().chain(costs).collect()
    };
    [head.collect()].into_iter().chain(chain.table().iter().enumerate().map(line)).collect()
}

/// Row C16 for any widths: every order with its cost where there are few, and the table of dynamic programming.
pub(super) fn chain(a: &mut Argument, chain: &Chain) {
    let (forward, reverse, best) = (chain.forward(), chain.reverse(), chain.best());
    a.number("forward", forward as f64);
    a.number("reverse", reverse as f64);
    a.number("best", best as f64);
    let all = chain.all();
    if all.len() > 1 {
        let head = vec!["order".to_string(), "multiplications".into()];
        a.table([head].into_iter().chain(all.iter().map(|(o, c)| vec![o.clone(), c.to_string()])).collect());
        let least = all.iter().map(|(_, c)| *c).min();
        a.claim(
            "the least of all orders is that of dynamic programming",
            "모든 순서 중 가장 적은 것이 동적 계획법의 것이다",
            least == Some(best),
        );
    }
    match chain.widths().is_sorted() {
        true => a.claim(
            "the widths never fall, so reverse mode is best",
            "폭이 줄지 않으므로 역방향이 최선이다",
            reverse == best,
        ),
        false => a.say(
            "The widths fall somewhere, so that reverse mode is best is not promised.",
            "폭이 어디선가 줄므로 역방향이 최선이라는 보장은 없다.",
        ),
    }
    if (2..=12).contains(&chain.factors()) {
        a.say("The table of dynamic programming:", "동적 계획표:");
        a.table(programming(chain));
    }
}

fn c17(a: &mut Argument) {
    a.say(
        "A parameter is a cell that is differentiated; an input is a plain tensor that is not. So the first layer pulls \
         nothing back to the image, and keeps nothing for it.",
        "매개변수는 미분되는 셀이고, 입력은 미분되지 않는 보통 텐서다. 그래서 첫 층은 그림으로 아무것도 되당기지 않고, 그것을 위해 저장하지도 않는다.",
    );
    let net = LeNet5::new(&Rng::new(17));
    let x = Tensor::randn([4, 1, 28, 28], &Rng::new(1));
    let flops = |x: &Tensor| {
        let bill = Arc::new(Bill::default());
        let gradients = observe(bill.clone(), || net.call(x).square().sum().backward());
        let seen = std::mem::take(&mut *bill.0.lock().unwrap_or_else(|e| e.into_inner()));
        let back: f64 = seen.iter().filter(|(.., p, _)| *p == Pass::Pull).map(|(.., w)| w.arithmetic).sum();
        (back, gradients.len())
    };
    let (plain, leaves) = flops(&x);
    let (tracked, more) = flops(&x.tracked());
    a.number("operations of the backward pass, image not differentiated", plain);
    a.number("operations of the backward pass, image differentiated", tracked);
    a.number("leaves with a gradient", leaves as f64);
    a.claim(
        "ten gradients, and fewer operations than with the image",
        "기울기 열 개, 그림까지 할 때보다 적은 연산",
        leaves == 10 && more == 11 && plain < tracked,
    );
    let frozen = Param::new(Tensor::from([2.0]));
    frozen.freeze(true);
    let w = Param::new(Tensor::from([3.0]));
    let g = (frozen.get() * w.get()).sum().backward();
    a.counter(
        "a frozen parameter gets none",
        "고정한 매개변수는 기울기를 받지 않는다",
        frozen.gradient(&g).is_none() && w.gradient(&g).is_some(),
    );
}

fn c18(a: &mut Argument) {
    a.say(
        "The loss, then backward(). It needs a single number, and consumes what was stored; each mistake is said with its repair.",
        "손실을 구하고 backward()를 부른다. 수 하나여야 하고, 저장된 것을 써 버린다. 실수마다 고치는 법을 말한다.",
    );
    let x = Tensor::from([1.0, 2.0]).tracked();
    let loss = x.square().sum();
    let g = loss.backward();
    a.number("∂/∂x₂ of Σx² at (1, 2)", g.get(&x).map_or(f64::NAN, |g| g.to_vec::<f64>()[1]));
    a.claim("(2, 4)", "(2, 4)", g.get(&x).is_some_and(|g| g.to_vec::<f64>() == [2.0, 4.0]));
    let words = |f: &dyn Fn()| attempt(f).err().map(|e| e.to_string()).unwrap_or_default();
    let twice = words(&|| drop(loss.backward()));
    let vector = words(&|| drop(x.square().backward()));
    let nothing = words(&|| drop(t(1.0).backward()));
    a.counter(
        "twice: what was stored was consumed; backward_keep()",
        "두 번: 저장된 것이 없어졌다; backward_keep()",
        twice.contains("consumed") && twice.contains("backward_keep"),
    );
    a.counter(
        "of a vector: reduce it first",
        "벡터에: 먼저 줄여라",
        vector.contains("single number") && vector.contains("help"),
    );
    a.counter(
        "of a constant: nothing was tracked",
        "상수에: 추적된 것이 없다",
        nothing.contains("nothing here was computed from tracked"),
    );
    let mut d = Draw::new(18);
    let fine = (0..20).all(|_| {
        let x = d.real([3]).tracked();
        x.square().sum().backward().get(&x).is_some_and(|g| (g - x.detach() * 2.0).abs().max().item() == 0.0)
    });
    a.property("∇Σx² = 2x for 20 draws", "20번 뽑아도 ∇Σx² = 2x", fine);
}

fn c19(a: &mut Argument) {
    a.say(
        "What each layer of LeNet-5 keeps for the way back, for a batch of 64; computed from shapes alone.",
        "배치 64일 때 LeNet-5의 각 층이 되돌아오는 길을 위해 저장하는 양. 모양만으로 계산했다.",
    );
    let Ok(s) = Summary::of(&LeNet5::new(&Rng::new(0)), &Tensor::zeros([64, 1, 28, 28]).spec()) else {
        return;
    };
    let mut rows = vec![["layer", "output", "bytes stored"].map(String::from).to_vec()];
    for r in &s.rows {
        rows.push(vec![r.path.clone(), format!("{:?}", r.output), r.saved.to_string()]);
    }
    a.table(rows);
    let total = a.number("bytes in all, B = 64", s.saved as f64);
    a.claim(
        "the first convolution keeps its input, 64·28·28 numbers",
        "첫 합성곱은 입력 64·28·28개를 저장한다",
        s.rows[0].saved >= 64 * 28 * 28 * 4,
    );
    let of = |n: usize| {
        Summary::of(&LeNet5::new(&Rng::new(0)), &Tensor::zeros([n, 1, 28, 28]).spec()).map_or(0, |s| s.saved)
    };
    let (one, two) = (of(1), of(2));
    let linear = (3..10).all(|n| of(n) == one + (n as u64 - 1) * (two - one));
    a.property(
        "bytes grow linearly with the batch, B = 3 … 9",
        "배치에 대해 선형으로 는다, B = 3 … 9",
        linear && total > 0.0,
    );
}

fn c20(a: &mut Argument) {
    a.say(
        "Two switches, often confused. train()/eval() says how layers behave: dropout drops, running statistics move; \
         grad/no_grad says whether the way back is stored. Evaluating needs both.",
        "자주 혼동하는 두 스위치. train()/eval()은 드롭아웃과 이동 통계 같은 층의 동작을, grad/no_grad는 되돌아오는 길을 저장할지를 정한다. 평가에는 둘 다 필요하다.",
    );
    let (layer, norm) = (Dropout::new(0.5, &Rng::new(20)), BatchNorm2d::new(1));
    let x = Tensor::ones([1000]).tracked();
    let zeros = |y: &Tensor| y.detach().eq(0.0).sum().item();
    let mean = || norm.running_mean.value().item();
    let mut rows = vec![["", "zeros of 1000", "running mean", "stored"].map(String::from).to_vec()];
    let mut found = Vec::new();
    for (train, paused) in [(true, false), (true, true), (false, false), (false, true)] {
        for module in [&layer as &dyn Module, &norm] {
            if train { module.train() } else { module.eval() }
        }
        let before = mean();
        let call = || layer.call(&(norm.call(&x.reshape([10, 1, 10, 10])).flatten(0) + &x));
        let y = if paused { no_grad(call) } else { call() };
        let name = format!(
            "{}, {}",
            if train { "train()" } else { "eval()" },
            if paused { "no_grad" } else { "grad" }
        );
        rows.push(vec![
            name,
            short(zeros(&y)),
            format!("{before:.2} → {:.2}", mean()),
            y.is_tracked().to_string(),
        ]);
        found.push((zeros(&y) > 0.0 && before != mean(), y.is_tracked()));
    }
    a.table(rows);
    a.claim(
        "the four combinations are four things",
        "네 조합은 네 가지다",
        found == [(true, true), (true, false), (false, true), (false, false)],
    );
    a.counter(
        "no_grad alone still drops and moves, eval() alone still stores",
        "no_grad만으로는 여전히 떨어뜨리고 움직이며, eval()만으로는 여전히 저장한다",
        found[1].0 && found[2].1,
    );
}

fn c21(a: &mut Argument) {
    a.say(
        "In no_grad the same operations give the same bits, and nothing is kept. A test loop that adds up what comes out \
         keeps every forward pass without it: the peak of LeNet-5 falls. It nests, and ends when its closure does, also \
         by a mistake.",
        "no_grad 안에서도 같은 연산이 같은 비트를 주고 아무것도 저장하지 않는다. 결과를 더해 가는 시험 반복문은 no_grad가 없으면 모든 순방향을 붙들고 있으므로, LeNet-5의 최대 메모리가 줄어든다. 겹칠 수 있고, 실수로 끝나도 클로저와 함께 끝난다.",
    );
    let memory = |net: &dyn Module, shape: &[usize], passes: usize, paused: bool| {
        let device = Device::virtual_gpu();
        net.to_device(&device);
        let x = Tensor::ones(shape).contiguous().to(&device);
        let sum = || (1..passes).fold(net.call(&x), |sum, _| sum + net.call(&x));
        let call = || observe(Arc::new(Waiting(device.clone())), sum);
        let before = device.as_virtual_gpu().map_or(0, |g| g.memory().0);
        let y = if paused { no_grad(call) } else { call() };
        let (after, peak) = device.as_virtual_gpu().map_or((0, 0), |g| g.memory());
        let bits: Vec<u32> = y.to(&Device::cpu()).to_vec::<f32>().iter().map(|x| x.to_bits()).collect();
        (after - before, peak - before, bits)
    };
    let (net, shape) = (LeNet5::new(&Rng::new(21)), [64, 1, 28, 28]);
    let (with, _, bits) = memory(&net, &shape, 1, false);
    let (without, _, same) = memory(&net, &shape, 1, true);
    a.number("LeNet-5, bytes alive after the forward pass", with as f64);
    a.number("LeNet-5, bytes alive after it in no_grad", without as f64);
    a.claim(
        "only the result is left, the same bits",
        "결과만 남고 비트는 같다",
        without == 64 * 10 * 4 && with > 100 * without && bits == same,
    );
    let (_, with, _) = memory(&net, &shape, 4, false);
    let (_, without, _) = memory(&net, &shape, 4, true);
    a.number("LeNet-5, its peak while four batches are summed up", with as f64);
    a.number("its peak in no_grad", without as f64);
    let lower = 2 * without < with;
    let deep = Mlp::new(&[100; 12], &Rng::new(21));
    let (_, with, _) = memory(&deep, &[64, 100], 1, false);
    let (_, without, _) = memory(&deep, &[64, 100], 1, true);
    a.number("an MLP of 11 layers, its peak in one forward pass", with as f64);
    a.number("the same in no_grad", without as f64);
    a.claim("both peaks are lower by half", "두 최대 메모리 모두 절반 아래다", lower && 2 * without < with);
    let x = t(2.0).tracked();
    let nested = no_grad(|| {
        let inner = enable_grad(|| x.square().is_tracked());
        (is_grad_enabled(), inner)
    });
    let _ = attempt(|| no_grad(|| Tensor::zeros([2]) + Tensor::zeros([3])));
    a.property(
        "it nests, and a mistake inside ends it",
        "겹칠 수 있고, 안에서 실수해도 끝난다",
        nested == (false, true) && is_grad_enabled(),
    );
    let inner = no_grad(|| hvp(|x| x.square() * x, &t(3.0), &t(1.0)).item());
    a.number("d²x³/dx² at 3, inside no_grad", inner);
    a.counter(
        "transforms work inside: it pauses the tape alone",
        "변환은 안에서도 된다: 테이프만 멈춘다",
        inner == 18.0,
    );
}

/// Waits for a device after every operation, so that what is counted is what is needed.
struct Waiting(Device);

impl Observer for Waiting {
    fn operation(&self, _: &dyn Op, _: &[Tensor], _: &[Tensor], _: &Origin) -> Result<()> {
        self.0.synchronize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C2: what is added up on the way back counts there: 3 products forward, 6 and 3 sums back.
    #[test]
    fn c2_sums_on_the_way_back_belong_to_it() {
        let (x, y) = (t(1.5).tracked(), t(2.5).tracked());
        assert_eq!(ratio(&|| &x * &y).0, 3.0);
        assert_eq!(ratio(&|| &x * &x * &x * &x).0, 4.0);
        assert_eq!(ratio(&|| &x + &y).0, 1.0);
    }
}
