//! Rows G1–G15: convolution and pooling.

use cotangent::{
    DType, Param, Rng, Tensor, attempt, grad,
    laws::Draw,
    nn::{Call, Conv2d, Linear, Module, ParametersExt},
    ops::{Conv, Padding, Pool, Rounding},
    optim::Sgd,
};

use super::Argument;
use crate::problem::normal;

rows! {
    row(
        "G1",
        "shift-invariance",
        "convolution",
        "a shifted cat is still a cat",
        "옮긴 고양이도 고양이다",
        g1,
    ),
    row(
        "G2",
        "shift-invariance",
        "convolution",
        "slide and dot: w·X[:, i:i+5, j:j+5] + b",
        "밀면서 내적: w·X[:, i:i+5, j:j+5] + b",
        g2,
    ),
    row("G3", "padding", "convolution", "zero padding keeps the size", "0 패딩은 크기를 유지한다", g3),
    row("G4", "sizes", "convolution", "a stride of 2 halves", "보폭 2는 반으로 줄인다", g4),
    row(
        "G5",
        "sizes",
        "convolution",
        "a layer: K filters, F×F, stride S, padding P",
        "층: 필터 K개, F×F, 보폭 S, 패딩 P",
        g5,
    ),
    row(
        "G6",
        "sizes",
        "convolution",
        "W₂ = (W₁ − F + 2P)/S + 1, D₂ = K",
        "W₂ = (W₁ − F + 2P)/S + 1, D₂ = K",
        g6,
    ),
    row("G7", "sizes", "convolution", "which should be a whole number", "그것은 정수여야 한다", g7),
    row("G8", "sizes", "convolution", "F²·D₁·K + K parameters", "매개변수 F²·D₁·K + K개", g8),
    row("G9", "pooling", "pooling", "pooling works on each map by itself", "풀링은 맵마다 따로 한다", g9),
    row("G10", "pooling", "pooling", "max pooling 2×2: 6 8 / 3 4", "최대 풀링 2×2: 6 8 / 3 4", g10),
    row("G11", "pooling", "pooling", "max pooling is no convolution", "최대 풀링은 합성곱이 아니다", g11),
    row("G12", "pooling", "pooling", "average pooling: 3.25 5.25 / 2 2", "평균 풀링: 3.25 5.25 / 2 2", g12),
    row("G13", "pooling", "pooling", "its effect is subsampling", "그 효과는 다운샘플링이다", g13),
    row(
        "G14",
        "pooling",
        "pooling",
        "average pooling is a convolution with fixed weights",
        "평균 풀링은 가중치가 고정된 합성곱이다",
        g14,
    ),
    row(
        "G15",
        "pooling",
        "pooling",
        "the options of MaxPool2d and AvgPool2d",
        "MaxPool2d와 AvgPool2d의 옵션",
        g15,
    ),
}

fn slide() -> Tensor {
    Tensor::from([[1.0, 1.0, 2.0, 4.0], [5.0, 6.0, 7.0, 8.0], [3.0, 2.0, 1.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
        .reshape([1, 1, 4, 4])
}

fn bits(x: &Tensor) -> Vec<u64> {
    x.to_vec::<f64>().iter().map(|x| x.to_bits()).collect()
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().item()
}

/// Everything one column to the right; zeros come in.
fn shifted(x: &Tensor) -> Tensor {
    let w = x.size(-1);
    x.pad(&[(0, 0), (0, 0), (0, 0), (1, 0)], 0.0).narrow(3, 0, w)
}

fn g1(a: &mut Argument) {
    a.say(
        "A convolution of a shifted picture is the shifted convolution, bit for bit away from the border: the same dot \
         products in other places. A fully connected layer has a weight for each place and knows nothing of shifts. With \
         the largest value over the picture taken after the convolution, the logits do not change at all.",
        "옮긴 그림의 합성곱은 합성곱을 옮긴 것이다. 경계에서 떨어진 곳에서는 비트까지 같다. 같은 내적이 다른 자리에 있을 뿐이다. 완전 연결층은 자리마다 가중치가 있어 이동을 모른다. 합성곱 뒤에 그림 전체의 최댓값을 취하면 로짓은 전혀 바뀌지 않는다.",
    );
    let mut same = true;
    let mut dense = f64::INFINITY;
    let mut logits = 0f64;
    for seed in 0..20 {
        let r = Rng::new(seed);
        // A picture with room around it.
        let x = normal([1, 3, 6, 6], &r).pad(&[(0, 0), (0, 0), (4, 4), (4, 4)], 0.0);
        let w = normal([5, 3, 3, 3], &r);
        let conv = |x: &Tensor| x.conv2d(&w, None, Conv::default().padding(1));
        let (there, moved) = (shifted(&conv(&x)), conv(&shifted(&x)));
        let inner = |t: &Tensor| t.narrow(3, 2, 10).contiguous();
        same &= bits(&inner(&there)) == bits(&inner(&moved));
        let m = normal([10, 3 * 14 * 14], &r);
        let full = |x: &Tensor| m.matmul(&x.reshape([3 * 14 * 14]));
        dense = dense.min(apart(&full(&x), &full(&shifted(&x))));
        let net = |x: &Tensor| conv(x).flatten(2).max_over(2, false).0;
        logits = logits.max(apart(&net(&x), &net(&shifted(&x))));
    }
    a.property(
        "conv(shift x) = shift conv(x) to the bit, 20 draws",
        "conv(옮긴 x) = 옮긴 conv(x), 비트까지, 20번",
        same,
    );
    a.number("fully connected: least change of the output, 20 draws", dense);
    a.counter("the fully connected layer changes", "완전 연결층은 바뀐다", dense > 0.1);
    a.number("convolution and global max: change of the logits", logits);
    a.claim("no change at all", "전혀 바뀌지 않는다", logits == 0.0);
}

fn g2(a: &mut Argument) {
    a.say(
        "One 3×5×5 filter over a 3×32×32 picture: at each place w.reshape(-1).T @ X[:,i:i+5,j:j+5].reshape(-1) + b. The \
         filter is not flipped: it is a cross-correlation.",
        "3×32×32 그림 위의 3×5×5 필터 하나: 자리마다 w.reshape(-1).T @ X[:,i:i+5,j:j+5].reshape(-1) + b. 필터를 뒤집지 않으므로 상호 상관이다.",
    );
    let r = Rng::new(2);
    let (x, w) = (normal([1, 3, 32, 32], &r), normal([1, 3, 5, 5], &r));
    let b = Tensor::from([0.5]);
    let y = x.conv2d(&w, Some(&b), Conv::default());
    let flat = w.reshape([75]);
    let mut hand = Vec::new();
    for i in 0..28 {
        for j in 0..28 {
            let window = x.narrow(2, i, 5).narrow(3, j, 5).reshape([75]);
            hand.push((flat.matmul(&window) + 0.5).sum().item());
        }
    }
    let hand = Tensor::from_vec(hand, [1, 1, 28, 28]);
    let wide = a.number("|conv2d − loop|, f64", apart(&y, &hand));
    let narrow = x.cast(DType::F32).conv2d(&w.cast(DType::F32), Some(&b.cast(DType::F32)), Conv::default());
    let single = a.number("|conv2d − loop|, f32", apart(&narrow.cast(DType::F64), &hand));
    a.number("output height", y.size(2) as f64);
    a.claim(
        "1×28×28; to 1e-12 in f64",
        "1×28×28; f64에서 1e-12까지",
        y.shape()[..] == [1, 1, 28, 28] && wide < 1e-12,
    );
    a.property("784 places; to 1e-5 in f32", "784자리; f32에서 1e-5까지", single < 2e-5);
    let flipped = Tensor::from_vec(w.to_vec::<f64>().into_iter().rev().collect::<Vec<_>>(), [1, 3, 5, 5]);
    a.counter(
        "with the filter flipped it is another thing",
        "필터를 뒤집으면 다른 것이 된다",
        apart(&x.conv2d(&flipped, Some(&b), Conv::default()), &hand) > 0.1,
    );
}

fn g3(a: &mut Argument) {
    a.say(
        "A 5×5 filter takes 2 off on each side; two rows of zeros around give them back.",
        "5×5 필터는 양쪽에서 2씩 줄인다. 0을 두 줄 두르면 되돌아온다.",
    );
    let size = |c: Conv| c.output_size([32, 32], [5, 5]).map_or(0, |s| s[0]);
    let none = a.number("P = 0", size(Conv::default()) as f64);
    let two = a.number("P = 2", size(Conv::default().padding(2)) as f64);
    a.number("same", size(Conv::default().padding(Padding::Same)) as f64);
    a.claim(
        "28, 32, 32",
        "28, 32, 32",
        none == 28.0 && two == 32.0 && size(Conv::default().padding(Padding::Same)) == 32,
    );
    let mut worst = true;
    for seed in 0..10 {
        let r = Rng::new(seed);
        let (x, w) = (normal([1, 2, 7, 7], &r), normal([3, 2, 3, 3], &r));
        let padded = x.pad(&[(0, 0), (0, 0), (1, 2), (0, 1)], 0.0);
        worst &= apart(
            &x.conv2d(&w, None, Conv::default().padding([[1, 2], [0, 1]])),
            &padded.conv2d(&w, None, Conv::default()),
        ) < 1e-14;
    }
    a.property(
        "asymmetric padding is a padded picture, 10 draws",
        "비대칭 패딩은 패딩한 그림과 같다, 10번",
        worst,
    );
    let x = Tensor::ones([1, 1, 3, 3]);
    let corner = x.conv2d(&Tensor::ones([1, 1, 3, 3]), None, Conv::default().padding(1)).to_vec::<f64>();
    a.number("a corner of nine ones summed 3×3", corner[0]);
    a.counter(
        "the border is darker: zeros are not the picture",
        "가장자리는 어둡다: 0은 그림이 아니다",
        corner[0] == 4.0 && corner[4] == 9.0,
    );
}

fn g4(a: &mut Argument) {
    a.say(
        "A 3×3 filter on 7×7: every place, or every second one.",
        "7×7 위의 3×3 필터: 모든 자리, 또는 하나 걸러.",
    );
    let size = |s: usize| Conv::default().stride(s).output_size([7, 7], [3, 3]).map_or(0, |s| s[0]);
    let one = a.number("stride 1", size(1) as f64);
    let two = a.number("stride 2", size(2) as f64);
    a.claim("5×5 and 3×3", "5×5와 3×3", one == 5.0 && two == 3.0);
    let r = Rng::new(4);
    let (x, w) = (normal([1, 1, 7, 7], &r), normal([1, 1, 3, 3], &r));
    let (all, some) = (x.conv2d(&w, None, Conv::default()), x.conv2d(&w, None, Conv::default().stride(2)));
    let every = Tensor::stack(
        &[0, 2, 4]
            .map(|i| {
                Tensor::stack(
                    &[0, 2, 4].map(|j| all.select(3, j).select(2, i).squeeze(0)).iter().collect::<Vec<_>>(),
                    1,
                )
            })
            .iter()
            .collect::<Vec<_>>(),
        1,
    );
    a.property(
        "stride 2 is every second place of stride 1",
        "보폭 2는 보폭 1의 하나 걸러 한 자리다",
        apart(&every.reshape([1, 1, 3, 3]), &some) < 1e-15,
    );
    let each = x.conv2d(&w, None, Conv::default().stride([1, 2]));
    a.claim("one for each axis: 5×3", "축마다 따로: 5×3", each.shape()[2..] == [5, 3]);
    a.counter(
        "stride 3 does not fit 7 − 3: G7",
        "보폭 3은 7 − 3에 맞지 않는다: G7",
        Conv::default().stride(3).rounding(Rounding::Strict).output_size([7, 7], [3, 3]).is_err(),
    );
}

fn g5(a: &mut Argument) {
    a.say("The four numbers of a layer, and how it shows them.", "층의 네 수, 그리고 보이는 모습.");
    let layer = Conv2d::new(3, 6, 5, &Rng::new(5)).stride(2).padding(1);
    let shown = layer.describe();
    a.quote(&shown);
    a.claim(
        "3→6, 5×5, s2, p1",
        "3→6, 5×5, s2, p1",
        shown.contains("3→6") && shown.contains("5×5") && shown.contains("s2") && shown.contains("p1"),
    );
    let y = layer.call(&Tensor::zeros([1, 3, 33, 33]));
    a.number("W₂ for W₁ = 33", y.size(3) as f64);
    a.number("D₂", y.size(1) as f64);
    a.property("6×16×16", "6×16×16", y.shape()[1..] == [6, 16, 16]);
    a.counter(
        "another depth than D₁ is refused",
        "D₁과 다른 깊이는 거절된다",
        attempt(|| layer.call(&Tensor::zeros([1, 4, 33, 33]))).is_err(),
    );
}

fn g6(a: &mut Argument) {
    a.say("The slide writes the output as D₁×W₂×H₂; its depth is D₂ = K. The formula against 100,000 real outputs, with padding, stride and dilation.", "슬라이드는 출력을 D₁×W₂×H₂로 썼지만 깊이는 D₂ = K다. 공식을 패딩, 보폭, 팽창을 바꾼 실제 출력 100,000개와 견준다.");
    let mut d = Draw::new(6);
    let (mut fine, mut refused) = (0, 0);
    let total = 100_000;
    for _ in 0..total {
        let (w, f, p, s, e) = (d.size(1..13), d.size(1..6), d.size(0..4), d.size(1..5), d.size(1..3));
        let c = Conv::default().stride(s).padding(p).dilation(e);
        let (field, whole) = (e * (f - 1) + 1, w + 2 * p);
        // An output is computed wherever the program does not refuse.
        match c.output_size([w, w], [f, f]) {
            Ok(_) => {
                let y = Tensor::zeros([1, 1, w, w]).conv2d(&Tensor::zeros([2, 1, f, f]), None, c);
                let side = whole.saturating_sub(field) / s + 1;
                fine += usize::from(field <= whole && y.shape()[..] == [1, 2, side, side]);
            }
            Err(_) => {
                fine += usize::from(field > whole);
                refused += 1;
            }
        }
    }
    a.number("settings that agree, of 100,000", fine as f64);
    a.number("of them refused, the filter being larger than the picture", refused as f64);
    a.property("all of them", "전부", fine == total);
    let y = Tensor::zeros([1, 3, 32, 32]).conv2d(&Tensor::zeros([6, 3, 5, 5]), None, Conv::default());
    a.number("D₂ of 3→6", y.size(1) as f64);
    a.counter("D₂ is K, not D₁", "D₂는 D₁이 아니라 K다", y.size(1) == 6);
}

fn g7(a: &mut Argument) {
    a.say("When it is not whole, one may refuse, leave the rest out (PyTorch), or let the last window run over the edge.", "정수가 아니면 거절하거나, 나머지를 버리거나(PyTorch), 마지막 창이 가장자리를 넘게 할 수 있다.");
    let of = |r: Rounding| Conv::default().stride(3).rounding(r).output_size([7, 7], [3, 3]);
    let words = of(Rounding::Strict).err().map(|e| e.to_string()).unwrap_or_default();
    a.quote(&words);
    a.claim(
        "strict: the formula with the numbers, and settings that fit",
        "엄격: 수를 넣은 공식과 맞는 설정",
        words.contains("2.33") && words.contains("stride") && words.contains("padding"),
    );
    a.number("floor", of(Rounding::Floor).map_or(0, |s| s[0]) as f64);
    a.number("ceil", of(Rounding::Ceil).map_or(0, |s| s[0]) as f64);
    a.property(
        "2 and 3",
        "2와 3",
        of(Rounding::Floor).is_ok_and(|s| s == [2, 2]) && of(Rounding::Ceil).is_ok_and(|s| s == [3, 3]),
    );
    let large = Conv::default().output_size([3, 3], [5, 5]).err().map(|e| e.to_string()).unwrap_or_default();
    a.counter(
        "F > W + 2P is an error, not a huge number",
        "F > W + 2P는 거대한 수가 아니라 오류다",
        !large.is_empty(),
    );
}

fn g8(a: &mut Argument) {
    a.say("Each of K filters has F·F·D₁ weights and a bias.", "필터 K개마다 가중치 F·F·D₁개와 편향 하나.");
    let count = |d: usize, k: usize, f: usize| Conv2d::new(d, k, f, &Rng::new(0)).parameter_count();
    let c1 = a.number("C1 of LeNet-5: 1→6, 5×5", count(1, 6, 5) as f64);
    let other = a.number("3→6, 5×5", count(3, 6, 5) as f64);
    a.claim("156 and 456", "156과 456", c1 == 156.0 && other == 456.0);
    let mut d = Draw::new(8);
    a.property(
        "50 draws",
        "50번",
        (0..50).all(|_| {
            let (i, k, f) = (d.size(1..6), d.size(1..6), d.size(1..6));
            count(i, k, f) == f * f * i * k + k
        }),
    );
    let dense = Linear::new(784, 6 * 28 * 28, &Rng::new(0)).parameter_count();
    a.number("a fully connected layer to the same output", dense as f64);
    a.counter(
        "fully connected: 3.7 million for the same output",
        "완전 연결이면 같은 출력에 370만 개",
        dense == 785 * 4704,
    );
}

fn g9(a: &mut Argument) {
    a.say(
        "Maps do not mix: permuting channels permutes results.",
        "맵은 섞이지 않는다. 채널을 바꾸면 결과도 그대로 바뀐다.",
    );
    let mut fine = true;
    for seed in 0..20 {
        let x = normal([1, 3, 6, 6], &Rng::new(seed));
        let order = Tensor::from([2i64, 0, 1]);
        let mixed = x.index_select(1, &order);
        fine &= bits(&mixed.max_pool2d(2)) == bits(&x.max_pool2d(2).index_select(1, &order));
        fine &= bits(&mixed.avg_pool2d(2)) == bits(&x.avg_pool2d(2).index_select(1, &order));
    }
    a.property("max and average, 20 draws, to the bit", "최대와 평균, 20번, 비트까지", fine);
    let y = Tensor::zeros([1, 3, 6, 6]).max_pool2d(2);
    a.number("depth after pooling 3 maps", y.size(1) as f64);
    a.claim(
        "three maps stay three, 6×6 becomes 3×3",
        "세 맵은 셋으로, 6×6은 3×3으로",
        y.shape()[..] == [1, 3, 3, 3],
    );
    let x = normal([1, 3, 6, 6], &Rng::new(9));
    let w = normal([3, 3, 2, 2], &Rng::new(1));
    let (plain, mixed) = (
        x.conv2d(&w, None, Conv::default().stride(2)),
        x.index_select(1, &Tensor::from([2i64, 0, 1])).conv2d(&w, None, Conv::default().stride(2)),
    );
    a.counter(
        "a convolution mixes them",
        "합성곱은 섞는다",
        apart(&plain.index_select(1, &Tensor::from([2i64, 0, 1])), &mixed) > 0.1,
    );
}

fn g10(a: &mut Argument) {
    a.say("The slide's 4×4 picture. Backwards, a window's gradient goes to its largest entry alone; at a tie to the first in row-major order. Overlapping windows add up.", "슬라이드의 4×4 그림. 되돌아올 때 창의 기울기는 가장 큰 항에만 간다. 같으면 행 순서로 첫 번째에 간다. 겹치는 창의 기울기는 더해진다.");
    let y = slide().max_pool2d(2).to_vec::<f64>();
    for (i, v) in y.iter().enumerate() {
        a.number(&format!("y[{},{}]", i / 2, i % 2), *v);
    }
    a.claim("6 8 / 3 4", "6 8 / 3 4", y == [6.0, 8.0, 3.0, 4.0]);
    let [g] = grad(|[x]| x.max_pool2d(2).sum(), [&slide()]);
    let g = g.to_vec::<f64>();
    a.claim(
        "four ones, where 6, 8, 3, 4 stand",
        "6, 8, 3, 4의 자리에 1이 넷",
        g.iter().sum::<f64>() == 4.0 && [5, 7, 8, 15].iter().all(|i| g[*i] == 1.0),
    );
    let [tie] = grad(|[x]| x.max_pool2d(2).sum(), [&Tensor::ones([1, 1, 2, 2]).cast(DType::F64)]);
    a.claim("a tie: the first one", "같으면 첫 번째", tie.to_vec::<f64>() == [1.0, 0.0, 0.0, 0.0]);
    let centre = Tensor::from([0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0]).reshape([1, 1, 3, 3]);
    let [over] = grad(|[x]| x.max_pool2d(Pool::new(2).stride(1)).sum(), [&centre]);
    let sum = a.number("gradient of a peak under four overlapping windows", over.to_vec::<f64>()[4]);
    a.property("overlaps add up", "겹치면 더해진다", sum == 4.0);
    a.counter(
        "nothing flows to the others",
        "나머지로는 아무것도 흐르지 않는다",
        g.iter().filter(|g| **g == 0.0).count() == 12,
    );
}

fn g11(a: &mut Argument) {
    a.say("A convolution is linear: f(x) + f(−x) = 0. For a maximum it is not: a window's largest minus its smallest.", "합성곱은 선형이므로 f(x) + f(−x) = 0이다. 최댓값은 그렇지 않다. 창의 최댓값 빼기 최솟값이 남는다.");
    let x = slide();
    let witness = (x.max_pool2d(2) + (-&x).max_pool2d(2)).to_vec::<f64>();
    for (i, v) in witness.iter().enumerate() {
        a.number(&format!("maxpool(x) + maxpool(−x) [{},{}]", i / 2, i % 2), *v);
    }
    a.counter("it is not 0", "0이 아니다", witness.iter().any(|v| *v != 0.0));
    let linear = (0..20).all(|s| {
        let r = Rng::new(s);
        let (x, w) = (normal([1, 2, 5, 5], &r), normal([2, 2, 2, 2], &r));
        apart(&x.conv2d(&w, None, Conv::default()), &-(-&x).conv2d(&w, None, Conv::default())) == 0.0
    });
    a.property("for convolutions it is 0, 20 draws", "합성곱에서는 0이다, 20번", linear);
    let spread = (0..20).all(|s| {
        let x = normal([1, 1, 4, 4], &Rng::new(s));
        (x.max_pool2d(2) + (-&x).max_pool2d(2)).min().item() > 0.0
    });
    a.claim("and positive for every random picture", "무작위 그림에서는 언제나 양수다", spread);
}

fn g12(a: &mut Argument) {
    a.say("The same picture, averaged; and what may be chosen.", "같은 그림의 평균, 그리고 고를 수 있는 것.");
    let y = slide().avg_pool2d(2).to_vec::<f64>();
    for (i, v) in y.iter().enumerate() {
        a.number(&format!("y[{},{}]", i / 2, i % 2), *v);
    }
    a.claim("3.25 5.25 / 2 2", "3.25 5.25 / 2 2", y == [3.25, 5.25, 2.0, 2.0]);
    let one = Tensor::ones([1, 1, 2, 2]);
    let corner = |p: Pool| one.avg_pool2d(p).to_vec::<f64>()[0];
    let with = a.number("a corner of ones, padding counted", corner(Pool::new(2).stride(1).padding(1)));
    let without =
        a.number("padding not counted", corner(Pool::new(2).stride(1).padding(1).count_include_pad(false)));
    let divisor = a.number("divisor_override = 1", corner(Pool::new(2).divisor(1)));
    a.counter(
        "count_include_pad changes the border: ¼ or 1",
        "count_include_pad는 가장자리를 바꾼다: ¼ 또는 1",
        with == 0.25 && without == 1.0 && divisor == 4.0,
    );
    let long = Tensor::ones([1, 1, 5, 5]);
    let ceil = long.avg_pool2d(Pool::new(2).rounding(Rounding::Ceil));
    a.property(
        "ceil_mode keeps the last column: 3×3, floor 2×2",
        "ceil_mode는 마지막 열을 남긴다: 3×3, floor이면 2×2",
        ceil.shape()[2..] == [3, 3] && long.avg_pool2d(2).shape()[2..] == [2, 2],
    );
}

fn g13(a: &mut Argument) {
    a.say(
        "2×2 average pooling is what resizing a picture to half by area does.",
        "2×2 평균 풀링은 넓이로 그림을 반으로 줄이는 것과 같다.",
    );
    let mut worst = 0f64;
    for seed in 0..10 {
        let x = normal([1, 1, 8, 6], &Rng::new(seed));
        let by_area = x.reshape([1, 1, 4, 2, 3, 2]).mean_over([3, 5], false);
        worst = worst.max(apart(&x.avg_pool2d(2), &by_area));
    }
    a.number("|average pooling − area resize|, 10 pictures", worst);
    a.property("equal", "같다", worst < 1e-15);
    let mut picture = vec![0.0; 64];
    (0..8).for_each(|i| picture[i * 9] = 1.0);
    let x = Tensor::from_vec(picture, [1, 1, 8, 8]);
    let y = x.avg_pool2d(2);
    let draw = |t: &Tensor| {
        let n = t.size(-1);
        t.to_vec::<f64>()
            .chunks(n)
            .map(|r| vec![r.iter().map(|v| if *v > 0.0 { "#" } else { "." }).collect::<String>()])
            .collect::<Vec<_>>()
    };
    let (before, after) = (draw(&x), draw(&y));
    let mut rows = vec![vec!["8×8".to_string(), "4×4".into()]];
    rows.extend(
        (0..8).map(|i| vec![before[i][0].clone(), after.get(i).map_or(String::new(), |r| r[0].clone())]),
    );
    a.table(rows);
    a.claim(
        "a diagonal stays a diagonal",
        "대각선은 대각선으로 남는다",
        after == [["#..."], [".#.."], ["..#."], ["...#"]],
    );
    a.counter(
        "half the numbers along each axis are gone for good",
        "축마다 절반의 수는 되찾을 수 없다",
        y.numel() * 4 == x.numel(),
    );
}

fn g14(a: &mut Argument) {
    a.say(
        "Take the filter W[o, i] = ¼ for o = i and 0 else, 2×2, stride 2: each output map averages its own input map. \
         Frozen, it is never trained. For C = 2 it is:",
        "o = i이면 W[o, i] = ¼, 아니면 0인 2×2 필터를 보폭 2로 쓴다. 출력 맵마다 자기 입력 맵을 평균한다. 고정하면 학습되지 않는다. C = 2이면:",
    );
    let kernel = |c: usize| {
        let mut w = vec![0.0; c * c * 4];
        (0..c).for_each(|o| (0..4).for_each(|k| w[(o * c + o) * 4 + k] = 0.25));
        Tensor::from_vec(w, [c, c, 2, 2])
    };
    let mut rows = vec![["", "from map 1", "from map 2"].map(String::from).to_vec()];
    for o in 0..2 {
        let part = |i: usize| if i == o { "¼ ¼ / ¼ ¼" } else { "0 0 / 0 0" };
        rows.push(vec![format!("to map {}", o + 1), part(0).into(), part(1).into()]);
    }
    a.table(rows);
    let (mut full, mut grouped) = (0f64, 0f64);
    for seed in 0..20 {
        let c = 1 + seed as usize % 4;
        let x = normal([2, c, 6, 8], &Rng::new(seed));
        full = full.max(apart(&x.conv2d(&kernel(c), None, Conv::default().stride(2)), &x.avg_pool2d(2)));
        let w = Tensor::full([c, 1, 2, 2], 0.25).cast(DType::F64);
        grouped =
            grouped.max(apart(&x.conv2d(&w, None, Conv::default().stride(2).groups(c)), &x.avg_pool2d(2)));
    }
    a.number("|convolution with zeros − pooling|, 20 draws", full);
    a.number("|convolution in groups − pooling|, 20 draws", grouped);
    a.property("equal to 1e-6", "1e-6까지 같다", full < 1e-6 && grouped < 1e-6);
    let w = Param::new(kernel(2));
    w.freeze(true);
    let before = bits(&w.value());
    let scale = Param::new(Tensor::from(1.0));
    let loss = (normal([1, 2, 4, 4], &Rng::new(0)).conv2d(&w.get(), None, Conv::default().stride(2))
        * scale.get())
    .square()
    .sum();
    Sgd::new(0.1).step(&(&w, &scale), &loss.backward());
    a.claim(
        "frozen weights get no update",
        "고정된 가중치는 갱신되지 않는다",
        bits(&w.value()) == before && scale.value().item() != 1.0,
    );
    let x = normal([1, 2, 4, 4], &Rng::new(3));
    a.counter(
        "no such filter makes a maximum (G11)",
        "어떤 필터도 최댓값을 만들지 못한다(G11)",
        apart(&x.conv2d(&kernel(2), None, Conv::default().stride(2)), &x.max_pool2d(2)) > 0.1,
    );
}

fn g15(a: &mut Argument) {
    a.say("The slide writes MaxPool2D and AvgPool2D; they are called MaxPool2d and AvgPool2d. Their options, and numbers that PyTorch gives.", "슬라이드는 MaxPool2D, AvgPool2D로 썼지만 이름은 MaxPool2d, AvgPool2d다. 옵션과 PyTorch가 주는 수를 견준다.");
    let x = slide();
    let (y, i) = x.max_pool2d_with_indices(2);
    a.number("index of the 8", i.to_vec::<i64>()[1] as f64);
    a.claim(
        "indices 5 7 / 8 15",
        "위치 5 7 / 8 15",
        i.to_vec::<i64>() == [5, 7, 8, 15] && y.to_vec::<f64>() == [6.0, 8.0, 3.0, 4.0],
    );
    let shape = |p: Pool| x.max_pool2d(p).shape()[2..].to_vec();
    let mut rows = vec![["options", "output"].map(String::from).to_vec()];
    let all = [
        ("kernel 2, stride = kernel", Pool::new(2)),
        ("kernel 2, stride 1", Pool::new(2).stride(1)),
        ("kernel 3, padding 1", Pool::new(3).padding(1)),
        ("kernel 2, dilation 2, stride 1", Pool::new(2).stride(1).dilation(2)),
        ("kernel 3, ceil_mode", Pool::new(3).rounding(Rounding::Ceil)),
    ];
    let found: Vec<Vec<usize>> = all.iter().map(|(_, p)| shape(*p)).collect();
    rows.extend(all.iter().zip(&found).map(|((n, _), s)| vec![n.to_string(), format!("{}×{}", s[0], s[1])]));
    a.table(rows);
    a.property(
        "2×2, 3×3, 2×2, 2×2, 2×2, as PyTorch's",
        "PyTorch처럼 2×2, 3×3, 2×2, 2×2, 2×2",
        found == [[2, 2], [3, 3], [2, 2], [2, 2], [2, 2]],
    );
    let refused = attempt(|| x.max_pool2d(Pool::new(2).padding(2))).is_err();
    a.counter("padding above half the kernel is refused", "커널의 절반을 넘는 패딩은 거절된다", refused);
}
