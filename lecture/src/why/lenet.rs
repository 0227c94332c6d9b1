//! Rows H1–H12: LeNet-5, in 1998 and today.

use cotangent::{
    DType, Rng, Tensor, grad,
    laws::Draw,
    models::{C3_TABLE, LeNet5, LeNet1998, Rbf, Subsampling, scaled_tanh},
    nn::{Call, Linear, ParametersExt, Summary},
    ops::Conv,
    optim::Sgd,
};

use super::Argument;
use crate::{lab, problem::normal};

rows! {
    row(
        "H1",
        "lenet-1998",
        "lenet5",
        "C1 – S2 – C3 – S4 – C5 – F6 – 10",
        "C1 – S2 – C3 – S4 – C5 – F6 – 10",
        h1,
    ),
    row(
        "H2",
        "lenet-1998",
        "lenet5",
        "S2 and S4: a sum with trainable coefficient and bias",
        "S2와 S4: 학습되는 계수와 편향이 있는 합",
        h2,
    ),
    row(
        "H3",
        "lenet-1998",
        "lenet5",
        "S2→C3 is partial (the slide says C4: it is C3)",
        "S2→C3은 부분 연결(슬라이드의 C4는 C3이다)",
        h3,
    ),
    row("H4", "lenet-1998", "lenet5", "σ = 1.7159·tanh(2a/3)", "σ = 1.7159·tanh(2a/3)", h4),
    row(
        "H5",
        "lenet-1998",
        "lenet5",
        "the output: distances to fixed codes",
        "출력: 고정된 코드까지의 거리",
        h5,
    ),
    row(
        "H6",
        "lenet-1998",
        "lenet5",
        "60,000 parameters, 340,908 connections",
        "매개변수 60,000개, 연결 340,908개",
        h6,
    ),
    row(
        "H7",
        "lenet-modern",
        "lenet5",
        "today: ReLU, 61,706 parameters",
        "오늘날: ReLU, 매개변수 61,706개",
        h7,
    ),
    row(
        "H8",
        "lenet-modern",
        "lenet5",
        "max pooling instead of averages; both train",
        "평균 대신 최대 풀링; 둘 다 학습된다",
        h8,
    ),
    row("H9", "no-activation-after-pooling", "lenet5", "no σ after S2 and S4", "S2와 S4 뒤에는 σ가 없다", h9),
    row(
        "H10",
        "lenet-modern",
        "lenet5",
        "a linear last layer and cross entropy",
        "선형 마지막 층과 교차 엔트로피",
        h10,
    ),
    row("H11", "padding", "lenet5", "28×28 with p = 2 is 32×32", "p = 2인 28×28은 32×32다", h11),
    row(
        "H12",
        "lenet-modern",
        "lenet5",
        "it learns MNIST; the same seed gives the same bits",
        "MNIST를 배운다; 같은 시드는 같은 비트",
        h12,
    ),
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().item()
}

fn h1(a: &mut Argument) {
    a.say(
        "The network of 1998, layer by layer, for a 32×32 picture.",
        "1998년의 신경망을 32×32 그림에 대해 층마다 본다.",
    );
    let net = LeNet1998::new(&Rng::new(1));
    let Ok(s) = Summary::of(&net, &Tensor::zeros([1, 1, 32, 32]).spec()) else { return };
    let mut rows = vec![["layer", "what", "output", "parameters"].map(String::from).to_vec()];
    rows.extend(
        s.rows.iter().map(|r| {
            vec![r.path.clone(), r.layer.clone(), format!("{:?}", r.output), r.parameters.to_string()]
        }),
    );
    a.table(rows);
    let shapes: Vec<Vec<usize>> = s.rows.iter().map(|r| r.output[1..].to_vec()).collect();
    a.number("layers", shapes.len() as f64);
    a.claim(
        "6@28, 6@14, 16@10, 16@5, 120, 84, 10",
        "6@28, 6@14, 16@10, 16@5, 120, 84, 10",
        shapes
            == [
                vec![6, 28, 28],
                vec![6, 14, 14],
                vec![16, 10, 10],
                vec![16, 5, 5],
                vec![120, 1, 1],
                vec![84],
                vec![10],
            ],
    );
    let refused = cotangent::attempt(|| net.call(&Tensor::zeros([1, 1, 28, 28]))).is_err();
    a.counter(
        "it does not take 28×28: C5 would have nothing to see",
        "28×28은 받지 않는다: C5가 볼 것이 없다",
        refused,
    );
}

fn h2(a: &mut Argument) {
    a.say("y = σ(w·Σ of four + b), one w and one b a map: 12 numbers for S2, 32 for S4. Their gradients against differences.", "y = σ(w·네 값의 합 + b), 맵마다 w와 b 하나씩: S2는 12개, S4는 32개. 기울기를 차분과 견준다.");
    let (s2, s4) = (Subsampling::new(6, &Rng::new(0)), Subsampling::new(16, &Rng::new(0)));
    let (n, m) = (a.number("S2", s2.parameter_count() as f64), a.number("S4", s4.parameter_count() as f64));
    a.claim("12 and 32", "12와 32", n == 12.0 && m == 32.0);
    let mut worst = 0f64;
    for seed in 0..10 {
        let r = Rng::new(seed);
        let (x, w, b) = (normal([1, 2, 4, 4], &r), normal([2], &r), normal([2], &r));
        let layer = Subsampling::new(2, &r);
        let f = |w: &Tensor, b: &Tensor| {
            layer.with(&[w.clone(), b.clone()], |l| scaled_tanh(&l.call(&x)).square().sum())
        };
        let [gw, gb] = grad(|[w, b]| f(&w, &b), [&w, &b]);
        let h = 1e-6;
        let step = Tensor::from([h, 0.0]);
        let dw = (f(&(&w + &step), &b).item() - f(&(&w - &step), &b).item()) / (2.0 * h);
        let db = (f(&w, &(&b + &step)).item() - f(&w, &(&b - &step)).item()) / (2.0 * h);
        worst = worst
            .max((dw - gw.to_vec::<f64>()[0]).abs() / (1.0 + dw.abs()))
            .max((db - gb.to_vec::<f64>()[0]).abs() / (1.0 + db.abs()));
    }
    a.number("worst relative difference, 10 draws", worst);
    a.property("coefficient and bias, to 1e-7", "계수와 편향, 1e-7까지", worst < 1e-7);
    let x = normal([1, 2, 4, 4], &Rng::new(2));
    let layer = Subsampling::new(2, &Rng::new(0));
    let fixed = layer
        .with(&[Tensor::full([2], 0.25).cast(DType::F64), Tensor::zeros([2]).cast(DType::F64)], |l| {
            l.call(&x)
        });
    a.counter(
        "with w = ¼ and b = 0 it is average pooling, and nothing is left to train",
        "w = ¼, b = 0이면 평균 풀링이고 학습할 것이 없다",
        apart(&fixed, &x.avg_pool2d(2)) < 1e-15,
    );
}

fn h3(a: &mut Argument) {
    a.say("Each map of C3 sees three, four or all six maps of S2, so that they must find different things. The slide's \"complete C4 connections\" means C3.", "C3의 맵마다 S2의 맵 셋, 넷, 또는 여섯 모두를 보므로 서로 다른 것을 찾게 된다. 슬라이드의 \"complete C4 connections\"는 C3을 뜻한다.");
    let mut rows = vec![["C3 map", "sees of S2"].map(String::from).to_vec()];
    rows.extend(C3_TABLE.iter().enumerate().map(|(i, t)| {
        vec![
            i.to_string(),
            (0..6).map(|m| if t.contains(&m) { "X " } else { ". " }).collect::<String>().trim().to_string(),
        ]
    }));
    a.table(rows);
    let net = LeNet1998::new(&Rng::new(3));
    let links = a.number("links", net.c3.links() as f64);
    let parameters = a.number("parameters of C3", net.c3.parameter_count() as f64);
    a.claim("60 links, 1516 parameters", "링크 60개, 매개변수 1516개", links == 60.0 && parameters == 1516.0);
    let of = |n: usize| C3_TABLE.iter().filter(|t| t.len() == n).count();
    a.claim(
        "6 maps see three, 9 see four, 1 sees all",
        "셋을 보는 맵 6개, 넷을 보는 맵 9개, 모두 보는 맵 1개",
        (of(3), of(4), of(6)) == (6, 9, 1),
    );
    let (x, y) = (Tensor::randn([8, 1, 32, 32], &Rng::new(4)), Tensor::randint(0, 10, [8], &Rng::new(5)));
    let sgd = Sgd::new(0.01);
    for _ in 0..3 {
        sgd.step(&net, &LeNet1998::loss(&net.call(&x), &y, 1.0).backward());
    }
    let w = net.c3.full_weight().reshape([96, 25]).square().sum_over([1], false).to_vec::<f64>();
    let zeros = w.iter().filter(|w| **w == 0.0).count();
    a.number("filters that are 0 after training, of 96", zeros as f64);
    a.property(
        "36 of 96 stay 0, exactly the missing ones",
        "96개 중 36개, 꼭 없는 것들이 0으로 남는다",
        zeros == 36
            && C3_TABLE
                .iter()
                .enumerate()
                .all(|(o, t)| (0..6).all(|i| (w[o * 6 + i] != 0.0) == t.contains(&i))),
    );
    a.counter(
        "the modern net has all 96, and 2416 parameters",
        "오늘날의 신경망에는 96개가 모두 있고 매개변수는 2416개다",
        LeNet5::new(&Rng::new(0)).parameters()[2].1.spec().shape.len() + 16 == 2416,
    );
}

fn h4(a: &mut Argument) {
    a.say("Scaled so that f(±1) = ±1 and the curvature is largest there: targets of ±1 lie where the slope is still useful.", "f(±1) = ±1이고 그곳에서 곡률이 가장 크도록 맞췄다. 목표 ±1이 기울기가 아직 쓸모 있는 곳에 놓인다.");
    let f = |x: f64| scaled_tanh(&Tensor::from(x)).item();
    let slope = |x: f64| grad(|[x]| scaled_tanh(&x), [&Tensor::from(x)])[0].item();
    let one = a.number("f(1)", f(1.0));
    a.number("f′(0)", slope(0.0));
    a.number("f′(1)", slope(1.0));
    a.claim("f(1) = 1 ± 1e-4", "f(1) = 1 ± 1e-4", (one - 1.0).abs() < 1e-4);
    let mut d = Draw::new(4);
    let fine = (0..100).all(|_| {
        let x = 3.0 * d.number();
        let t = (2.0 * x / 3.0).tanh();
        (slope(x) - 1.7159 * 2.0 / 3.0 * (1.0 - t * t)).abs() < 1e-14
    });
    a.property("f′ = 1.7159·⅔·(1 − tanh²), 100 points", "f′ = 1.7159·⅔·(1 − tanh²), 점 100개", fine);
    a.number("tanh′(1)/1, unscaled", grad(|[x]| x.tanh(), [&Tensor::from(1.0)])[0].item());
    a.counter(
        "plain tanh(1) is 0.76: ±1 is never reached",
        "보통 tanh(1)은 0.76이다: ±1에 닿지 않는다",
        Tensor::from(1.0).tanh().item() < 0.77,
    );
}

fn h5(a: &mut Argument) {
    a.say(
        "y_i = Σ_j (x_j − w_ij)² to ten fixed codes, pictures of the digits on 7×12 cells of ±1; the smallest wins. The \
         loss adds ln(e^{−j} + Σe^{−y_i}), which pushes the other distances up; without it all x could fall onto one \
         point. Our drawing of the 3:",
        "고정된 코드 열 개까지의 y_i = Σ_j (x_j − w_ij)². 코드는 ±1로 된 7×12칸의 숫자 그림이고 가장 작은 것이 이긴다. 손실에는 다른 거리를 밀어 올리는 ln(e^{−j} + Σe^{−y_i})를 더한다. 없으면 모든 x가 한 점으로 모일 수 있다. 우리가 그린 3:",
    );
    let rbf = Rbf::default();
    let codes = rbf.codes.value();
    let three = codes.select(0, 3).to_vec::<f64>();
    let mut rows = vec![vec!["3".to_string()]];
    rows.extend(
        three
            .chunks(7)
            .take(10)
            .map(|r| vec![r.iter().map(|c| if *c > 0.0 { "#" } else { "." }).collect::<String>()]),
    );
    a.table(rows);
    a.number("codes", codes.size(0) as f64);
    a.number("cells of a code", codes.size(1) as f64);
    let d = rbf.call(&codes);
    let won = (-&d).argmax(1).to_vec::<i64>();
    a.claim(
        "each code is nearest to itself",
        "각 코드는 자신에게 가장 가깝다",
        won == (0..10).collect::<Vec<i64>>(),
    );
    a.claim(
        "10×84 of ±1, not trained",
        "10×84, ±1, 학습하지 않는다",
        codes.to_vec::<f64>().iter().all(|c| c.abs() == 1.0) && rbf.parameter_count() == 0,
    );
    let mut worst = 0f64;
    for seed in 0..10 {
        let x = normal([1, 84], &Rng::new(seed));
        let hand: f64 = x.to_vec::<f64>().iter().zip(&three).map(|(x, w)| (x - w) * (x - w)).sum();
        worst = worst.max((rbf.call(&x).to_vec::<f64>()[3] - hand).abs());
    }
    a.property("the distance is the sum of squares, 10 draws", "거리는 제곱의 합이다, 10번", worst < 1e-10);
    let distances = Tensor::from([[1.0, 1.0, 9.0]]);
    let [g] = grad(|[d]| LeNet1998::loss(&d, &Tensor::from([0i64]), 1.0), [&distances]);
    let g = g.to_vec::<f64>();
    a.number("slope by the right distance", g[0]);
    a.number("slope by an equally near wrong one", g[1]);
    a.counter(
        "the wrong one is pushed away, the right one drawn in",
        "틀린 것은 밀려나고 맞는 것은 당겨진다",
        g[0] > 0.0 && g[1] < 0.0,
    );
}

fn h6(a: &mut Argument) {
    a.say("Counted by the program from its own layers. A weight that is used at a hundred places is a hundred connections.", "프로그램이 자기 층에서 센다. 백 군데에서 쓰이는 가중치는 연결 백 개다.");
    let net = LeNet1998::new(&Rng::new(6));
    let parts: [(&str, usize); 6] = [
        ("C1", net.c1.parameter_count()),
        ("S2", net.s2.parameter_count()),
        ("C3", net.c3.parameter_count()),
        ("S4", net.s4.parameter_count()),
        ("C5", net.c5.parameter_count()),
        ("F6", net.f6.parameter_count()),
    ];
    for (name, n) in parts {
        a.number(name, n as f64);
    }
    let total = a.number("parameters", net.parameter_count() as f64);
    let connections = a.number("connections", net.connections() as f64);
    a.claim(
        "156 + 12 + 1516 + 32 + 48,120 + 10,164 = 60,000",
        "156 + 12 + 1516 + 32 + 48,120 + 10,164 = 60,000",
        parts.map(|p| p.1) == [156, 12, 1516, 32, 48_120, 10_164] && total == 60_000.0,
    );
    a.claim("340,908", "340,908", connections == 340_908.0);
    // Independently: multiply-adds of the layers plus their biases, place by place.
    let by_hand = 26 * 4704 + 5 * 1176 + 1516 * 100 + 5 * 400 + 48_120 + 10_164 + 840;
    a.property("the same by hand, layer by layer", "손으로 층마다 세어도 같다", by_hand == 340_908);
    a.counter(
        "without the ten codes it would be 840 fewer",
        "코드 열 개를 빼면 840개 적다",
        by_hand - 840 == 340_068,
    );
}

fn h7(a: &mut Argument) {
    a.say(
        "Today's form: ReLU, max pooling, full C3, a linear output.",
        "오늘날의 형태: ReLU, 최대 풀링, 완전한 C3, 선형 출력.",
    );
    let net = LeNet5::new(&Rng::new(7));
    let mut sums = std::collections::BTreeMap::new();
    for (name, p) in net.parameters() {
        *sums.entry(name.split('.').next().unwrap_or_default().to_string()).or_insert(0) +=
            p.spec().shape.len();
    }
    for (name, n) in &sums {
        a.number(name, *n as f64);
    }
    let n = a.number("parameters", net.parameter_count() as f64);
    a.claim(
        "156 + 2416 + 48,120 + 10,164 + 850 = 61,706",
        "156 + 2416 + 48,120 + 10,164 + 850 = 61,706",
        n == 61_706.0 && sums.values().copied().collect::<Vec<_>>() == [156, 2416, 48_120, 10_164, 850],
    );
    a.counter(
        "that is 1706 more than in 1998",
        "1998년보다 1706개 많다",
        n as usize - LeNet1998::new(&Rng::new(0)).parameter_count() == 1706,
    );
    a.property(
        "the count does not depend on the seed",
        "개수는 시드와 무관하다",
        (0..5).all(|s| LeNet5::new(&Rng::new(s)).parameter_count() == 61_706),
    );
}

fn pooled(average: bool, steps: usize) -> (f64, f64) {
    let Ok((x, y)) = lab::images(256) else { return (0.0, 0.0) };
    let r = Rng::new(8);
    let (c1, c2, fc) = (
        cotangent::nn::Conv2d::new(1, 6, 5, &r).padding(2),
        cotangent::nn::Conv2d::new(6, 16, 5, &r),
        Linear::new(400, 10, &r),
    );
    let all = (c1, c2, fc);
    let pool = |t: &Tensor| if average { t.avg_pool2d(2) } else { t.max_pool2d(2) };
    let sgd = Sgd::new(0.05).momentum(0.9);
    let (mut first, mut last) = (0.0, 0.0);
    for k in 0..steps {
        let at = k * 64 % 256;
        let h = pool(&all.0.call(&x.narrow(0, at, 64)).relu());
        let h = pool(&all.1.call(&h).relu());
        let loss = all.2.call(&h.flatten(1)).cross_entropy(&y.narrow(0, at, 64));
        last = loss.item();
        if k == 0 {
            first = last;
        }
        sgd.step(&all, &loss.backward());
    }
    (first, last)
}

fn h8(a: &mut Argument) {
    a.say(
        "The same two convolutions with one or the other pooling, 24 steps on 256 images.",
        "같은 두 합성곱에 두 가지 풀링, 그림 256장으로 24걸음.",
    );
    for (average, name) in [(false, "max"), (true, "average")] {
        let (first, last) = pooled(average, 24);
        a.number(&format!("{name}: first loss"), first);
        a.number(&format!("{name}: last loss"), last);
        a.property(
            &format!("with {name} pooling the loss halves"),
            &format!("{name} 풀링으로 손실이 반이 된다"),
            last < first / 2.0,
        );
    }
    let x = normal([1, 1, 4, 4], &Rng::new(0));
    a.counter(
        "they are not the same function",
        "둘은 같은 함수가 아니다",
        apart(&x.max_pool2d(2), &x.avg_pool2d(2)) > 0.0,
    );
}

fn h9(a: &mut Argument) {
    a.say(
        "A maximum commutes with every monotone σ, and ReLU twice is ReLU. So relu(maxpool(relu x)) = maxpool(relu x) = \
         relu(maxpool x), bit for bit: a σ after the pool changes nothing, and the cheap order is to pool first, for a \
         quarter of the ReLUs.",
        "최댓값은 단조로운 σ와 순서를 바꿀 수 있고 ReLU를 두 번 해도 ReLU다. 그래서 relu(maxpool(relu x)) = maxpool(relu x) = relu(maxpool x)가 비트까지 같다. 풀링 뒤의 σ는 아무것도 바꾸지 않으며, 먼저 풀링하면 ReLU가 4분의 1로 준다.",
    );
    let bits = |x: &Tensor| x.to_vec::<f64>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let fine = (0..50).all(|s| {
        let x = normal([1, 3, 6, 6], &Rng::new(s));
        let pooled = x.relu().max_pool2d(2);
        bits(&pooled.relu()) == bits(&pooled) && bits(&x.max_pool2d(2).relu()) == bits(&pooled)
    });
    a.property("50 pictures, to the bit", "그림 50장, 비트까지", fine);
    let x = normal([1, 6, 28, 28], &Rng::new(1));
    let (before, after) = (
        a.number("ReLUs before pooling, C1", x.numel() as f64),
        a.number("ReLUs after pooling", x.max_pool2d(2).numel() as f64),
    );
    a.claim("a quarter", "4분의 1", before == 4.0 * after);
    let grown = |f: &dyn Fn(&Tensor) -> Tensor| apart(&f(&x.max_pool2d(2)), &f(&x).max_pool2d(2));
    a.number("with tanh: |σ(pool) − pool(σ)|", grown(&|x| x.tanh()));
    a.claim(
        "any monotone σ commutes with the maximum",
        "단조로운 σ는 모두 최댓값과 순서를 바꿀 수 있다",
        grown(&|x| x.tanh()) == 0.0 && grown(&|x| x.exp()) == 0.0,
    );
    let average = (x.relu().avg_pool2d(2) - x.avg_pool2d(2).relu()).abs().max().item();
    a.number("with average pooling: largest difference", average);
    a.counter(
        "an average does not commute, nor does σ = x² commute with a maximum",
        "평균은 그렇지 않고, σ = x²도 최댓값과 바꿀 수 없다",
        average > 0.1 && grown(&|x| x.square()) > 0.1,
    );
}

fn h10(a: &mut Argument) {
    a.say("No codes: 84 → 10 by a matrix, then cross entropy. Its gradient is μ − onehot, whatever the code of a digit would look like.", "코드 없이 84 → 10을 행렬로 하고 교차 엔트로피를 쓴다. 숫자의 코드가 어떻게 생겼든 기울기는 μ − 원-핫이다.");
    let net = LeNet5::new(&Rng::new(10));
    let last: Vec<(String, usize)> = net
        .parameters()
        .iter()
        .filter(|(n, _)| n.starts_with("fc3"))
        .map(|(n, p)| (n.clone(), p.spec().shape.len()))
        .collect();
    a.number("weights of the last layer", last[0].1 as f64);
    a.number("its biases", last[1].1 as f64);
    a.claim("84·10 and 10", "84·10과 10", last[0].1 == 840 && last[1].1 == 10);
    let x = normal([3, 10], &Rng::new(1));
    let y = Tensor::from([1i64, 5, 9]);
    let [g] = grad(|[x]| x.cross_entropy(&y), [&x]);
    a.property(
        "the gradient is (μ − onehot)/N",
        "기울기는 (μ − 원-핫)/N",
        apart(&(g * 3.0), &(x.softmax(1) - y.one_hot(10).cast(DType::F64))) < 1e-15,
    );
    let names: Vec<String> = net.state_dict().into_iter().map(|(n, _)| n).collect();
    a.counter("there are no codes in it", "그 안에 코드는 없다", !names.iter().any(|n| n.contains("codes")));
}

fn h11(a: &mut Argument) {
    a.say(
        "Padding in the convolution, or zeros around the picture: the same bits.",
        "합성곱의 패딩이든 그림 둘레의 0이든 비트까지 같다.",
    );
    let bits = |x: &Tensor| x.to_vec::<f32>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let mut same = true;
    for seed in 0..10 {
        let r = Rng::new(seed);
        let (x, w) = (Tensor::randn([2, 1, 28, 28], &r), Tensor::randn([6, 1, 5, 5], &r));
        let inside = x.conv2d(&w, None, Conv::default().padding(2));
        let outside = LeNet1998::padded(&x, 0.0).conv2d(&w, None, Conv::default());
        same &= bits(&inside) == bits(&outside) && inside.shape()[2..] == [28, 28];
    }
    a.property(
        "P = 2 on 28×28 = P = 0 on 32×32, 10 draws, to the bit",
        "28×28의 P = 2 = 32×32의 P = 0, 10번, 비트까지",
        same,
    );
    a.number(
        "size of a 28×28 image with p = 2",
        LeNet1998::padded(&Tensor::zeros([1, 1, 28, 28]), 0.0).size(3) as f64,
    );
    let twice =
        Tensor::zeros([1, 1, 32, 32]).conv2d(&Tensor::zeros([6, 1, 5, 5]), None, Conv::default().padding(2));
    a.number("padding both: C1 of 32×32 with p = 2", twice.size(3) as f64);
    a.counter(
        "both together would be 32×32 maps: one or the other",
        "둘 다 하면 32×32 맵이 된다: 하나만 해야 한다",
        twice.size(3) == 32,
    );
}

fn h12(a: &mut Argument) {
    a.say(
        "One command trains it: `cotangent train`, 98.5 % after a few epochs and 99 % in the full run. Here, while you \
         wait, 60 steps on 1,000 images, judged on 500 others; and the network of 1998 beside it. \
         `cotangent why H12 --train` trains both on all of MNIST.",
        "명령 하나로 학습한다: `cotangent train`, 몇 에폭이면 98.5 %, 끝까지 하면 99 %. 기다리는 동안 그림 1,000장으로 60걸음을 학습하고 다른 500장으로 판정한다. 1998년의 신경망도 나란히 본다. `cotangent why H12 --train`은 둘을 MNIST 전체로 학습한다.",
    );
    let modern = lab::lenets(1000, 500, 3, 12);
    for net in &modern {
        a.number(&format!("{}: parameters", net.name), net.parameters as f64);
        a.number(&format!("{}: accuracy", net.name), net.accuracy);
        a.number(&format!("{}: seconds", net.name), net.seconds);
    }
    a.claim(
        "both learn: well above one in ten",
        "둘 다 배운다: 열에 하나를 훨씬 넘는다",
        modern.iter().all(|n| n.accuracy > 0.5),
    );
    if a.training {
        a.say(
            "All of MNIST, three epochs in batches of 50, judged on all 10,000 test images:",
            "MNIST 전체를 50장씩 3에폭 학습하고 시험 그림 10,000장 모두로 판정한다:",
        );
        let whole = lab::lenets(60_000, 10_000, 3, 12);
        for net in &whole {
            a.number(&format!("all of MNIST, {}: accuracy", net.name), net.accuracy);
            a.number(&format!("all of MNIST, {}: seconds", net.name), net.seconds);
        }
        a.claim(
            "today's reaches 98.5 %, that of 1998 at least 97 %",
            "오늘날의 것은 98.5 %에, 1998년의 것은 적어도 97 %에 이른다",
            whole[0].accuracy >= 0.985 && whole[1].accuracy >= 0.97,
        );
    }
    let again = lab::lenets(200, 100, 1, 12);
    let once_more = lab::lenets(200, 100, 1, 12);
    a.property(
        "the same seed, the same weights to the bit",
        "같은 시드는 비트까지 같은 가중치",
        again.iter().zip(&once_more).all(|(a, b)| a.checksum == b.checksum),
    );
    let other = lab::lenets(200, 100, 1, 13);
    a.counter(
        "another seed, other weights",
        "다른 시드는 다른 가중치",
        again[0].checksum != other[0].checksum,
    );
}
