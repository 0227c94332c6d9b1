//! Rows E1–E12: the page of `CrossEntropyLoss`.

use cotangent::{
    DType, Rng, Tensor, attempt,
    laws::Draw,
    ops::{CrossEntropyOptions, Reduction},
    raw_scores, value_and_grad,
};

use super::Argument;
use crate::problem::normal;

rows! {
    row(
        "E1",
        "cross-entropy",
        "cross-entropy",
        "log-softmax and negative log likelihood in one",
        "log-softmax와 음의 로그 우도를 하나로",
        e1,
    ),
    row("E2", "cross-entropy", "cross-entropy", "weight: one number a class", "weight: 부류마다 수 하나", e2),
    row(
        "E3",
        "cross-entropy",
        "cross-entropy",
        "it takes raw scores, not probabilities",
        "확률이 아니라 날것의 점수를 받는다",
        e3,
    ),
    row(
        "E4",
        "cross-entropy",
        "cross-entropy",
        "scores (N, C), (N, C, d₁, …), or (C)",
        "점수는 (N, C), (N, C, d₁, …), 또는 (C)",
        e4,
    ),
    row("E5", "cross-entropy", "cross-entropy", "labels from 0 to C − 1", "레이블은 0부터 C − 1까지", e5),
    row("E6", "cross-entropy", "cross-entropy", "ignore_index = −100", "ignore_index = −100", e6),
    row(
        "E7",
        "stable-formulas",
        "cross-entropy",
        "loss = −x[c] + ln Σ e^{x[j]}",
        "loss = −x[c] + ln Σ e^{x[j]}",
        e7,
    ),
    row(
        "E8",
        "cross-entropy-averages",
        "cross-entropy",
        "weighted: weight[c]·(−x[c] + ln Σ e^{x[j]})",
        "가중: weight[c]·(−x[c] + ln Σ e^{x[j]})",
        e8,
    ),
    row(
        "E9",
        "cross-entropy-averages",
        "cross-entropy",
        "the mean divides by Σ weights, not by N",
        "평균은 N이 아니라 Σ 가중치로 나눈다",
        e9,
    ),
    row(
        "E10",
        "cross-entropy-averages",
        "cross-entropy",
        "size_average and reduce, deprecated",
        "폐기된 size_average와 reduce",
        e10,
    ),
    row(
        "E11",
        "cross-entropy-averages",
        "cross-entropy",
        "reduction: mean, sum, none",
        "reduction: mean, sum, none",
        e11,
    ),
    row(
        "E12",
        "cross-entropy-averages",
        "cross-entropy",
        "images: the loss of all pixels",
        "그림: 모든 화소의 손실",
        e12,
    ),
}

fn options(reduction: Reduction) -> CrossEntropyOptions {
    CrossEntropyOptions { reduction, ..Default::default() }
}

fn words(f: impl FnOnce()) -> String {
    attempt(f).err().map(|e| e.to_string()).unwrap_or_default()
}

fn e1(a: &mut Argument) {
    a.say(
        "Two steps in one operation: the logarithm of a softmax that underflows to 0 never has to be taken.",
        "두 단계를 한 연산으로. 0으로 내려간 소프트맥스의 로그를 구할 일이 없다.",
    );
    let mut worst = 0f64;
    for seed in 0..30 {
        let r = Rng::new(seed);
        let x = normal([6, 5], &r) * 4.0;
        let y = Tensor::randint(0, 5, [6], &r);
        let composed = -(x.log_softmax(1).gather(1, &y.unsqueeze(1))).mean().item();
        worst = worst.max((x.cross_entropy(&y).item() - composed).abs());
    }
    a.number("|one operation − two|, 30 draws", worst);
    a.property("equal to 1e-6", "1e-6까지 같다", worst <= 1e-6);
    let hard = Tensor::from([[1e4, -1e4]]);
    let l = a.number("loss of (10⁴, −10⁴) for class 1", hard.cross_entropy(&Tensor::from([1i64])).item());
    a.claim("finite at ±10⁴", "±10⁴에서 유한하다", l == 2e4);
    let naive = -hard.softmax(1).ln().select(1, 1).item();
    a.number("−ln(softmax) there", naive);
    a.counter("softmax, then ln: ∞", "소프트맥스 다음에 ln: ∞", naive.is_infinite());
}

fn e2(a: &mut Argument) {
    a.say(
        "A weight per class, for unbalanced classes: rare ones count more. Its length is checked; zero and negative \
         weights are allowed, as PyTorch's.",
        "불균형한 부류를 위한 부류별 가중치. 드문 것이 더 세게 센다. 길이는 검사하며, 0과 음수는 PyTorch처럼 허용한다.",
    );
    let x = normal([4, 3], &Rng::new(2));
    let y = Tensor::from([0i64, 1, 2, 1]);
    let with = |w: Tensor| {
        x.cross_entropy_with(&y, &CrossEntropyOptions { weight: Some(w), ..options(Reduction::Sum) })
    };
    let equal = a.number(
        "weights 2, 2, 2: loss/plain loss",
        with(Tensor::from([2.0, 2.0, 2.0])).item()
            / x.cross_entropy_with(&y, &options(Reduction::Sum)).item(),
    );
    a.claim("equal weights scale the sum", "같은 가중치는 합을 그만큼 키운다", (equal - 2.0).abs() < 1e-14);
    let message = words(|| drop(with(Tensor::from([1.0, 2.0]))));
    a.counter(
        "two weights for three classes: both numbers are named",
        "세 부류에 가중치 두 개: 두 수를 모두 말한다",
        message.contains('3') && message.contains('2'),
    );
    a.claim(
        "zero and negative weights are taken",
        "0과 음수 가중치도 받는다",
        with(Tensor::from([0.0, -1.0, 1.0])).item().is_finite(),
    );
    let mut d = Draw::new(2);
    let fine = (0..30).all(|_| {
        let w = d.between(0.1, 3.0, [3]).contiguous();
        let each = x.cross_entropy_with(&y, &options(Reduction::None)).to_vec::<f64>();
        let v = w.to_vec::<f64>();
        let sum: f64 = each.iter().zip([0, 1, 2, 1]).map(|(l, c)| l * v[c]).sum();
        (with(w).item() - sum).abs() < 1e-13
    });
    a.property("Σ w[c]·ℓ for 30 draws of w", "w를 30번 뽑아도 Σ w[c]·ℓ", fine);
}

fn e3(a: &mut Argument) {
    a.say(
        "Raw scores, of any size. Given probabilities by mistake, it takes the softmax of a softmax: everything looks \
         nearly uniform, and learning is slow without any error. raw_scores(|| …) looks for this mistake.",
        "크기에 제한이 없는 날것의 점수를 받는다. 실수로 확률을 주면 소프트맥스의 소프트맥스가 되어 거의 균등해 보이고, 오류 없이 학습만 느려진다. raw_scores(|| …)가 이 실수를 찾는다.",
    );
    let x = Tensor::from([[8.0, 0.0, -3.0]]);
    let y = Tensor::from([0i64]);
    let (right, wrong) = (x.cross_entropy(&y).item(), x.softmax(1).cross_entropy(&y).item());
    a.number("loss of the scores", right);
    a.number("loss of the probabilities, by mistake", wrong);
    a.number("least it can be for three classes, by mistake", (1.0f64 + 2.0 * (-1.0f64).exp()).ln());
    a.claim("scores: near 0 when it is right", "점수: 맞으면 0에 가깝다", right < 1e-3);
    a.counter("probabilities: never below 0.55", "확률: 0.55 아래로 갈 수 없다", wrong > 0.55);
    let quiet = raw_scores(|| x.cross_entropy(&y)).is_ok();
    let found =
        raw_scores(|| x.softmax(1).cross_entropy(&y)).err().map(|e| e.to_string()).unwrap_or_default();
    // Where in the source it was is of no use here.
    let (head, tail) = (found.split(" at ").next().unwrap_or_default(), found.find(" is given"));
    a.quote(&format!("{head}{}", tail.map_or("", |i| &found[i..])));
    a.claim(
        "raw_scores: nothing to say of scores, an error for probabilities",
        "raw_scores: 점수에는 말이 없고, 확률에는 오류",
        quiet && head == "cross_entropy" && tail.is_some(),
    );
    let mut d = Draw::new(3);
    let fine = (0..100).all(|_| {
        let x = d.real([2, 3]).contiguous();
        let y = Tensor::from([0i64, 2]);
        let c = 100.0 * d.number();
        (x.cross_entropy(&y).item() - (&x + c).cross_entropy(&y).item()).abs() < 1e-12
    });
    a.property(
        "adding a constant to the scores changes nothing, 100 draws",
        "점수에 상수를 더해도 바뀌지 않는다, 100번",
        fine,
    );
}

fn e4(a: &mut Argument) {
    a.say(
        "A batch of scores, of images of scores, or one set of scores.",
        "점수의 배치, 점수로 된 그림의 배치, 또는 점수 한 벌.",
    );
    let r = Rng::new(4);
    let flat = normal([2, 3], &r).cross_entropy(&Tensor::from([0i64, 2]));
    let image = normal([2, 3, 4, 5], &r).cross_entropy(&Tensor::randint(0, 3, [2, 4, 5], &r));
    let one = normal([3], &r).cross_entropy(&Tensor::from(1i64));
    a.number("(2, 3)", flat.item());
    a.number("(2, 3, 4, 5)", image.item());
    a.number("(3)", one.item());
    a.claim(
        "each gives a single number",
        "모두 수 하나를 준다",
        [&flat, &image, &one].iter().all(|l| l.rank() == 0),
    );
    let message = words(|| drop(normal([2, 3], &r).cross_entropy(&Tensor::from([0i64, 1, 2]))));
    a.counter("two rows and three labels are refused", "행 둘에 레이블 셋은 거절된다", !message.is_empty());
    let x = normal([1, 3], &r);
    a.property(
        "one set is a batch of one",
        "한 벌은 크기 1의 배치와 같다",
        (x.cross_entropy(&Tensor::from([2i64])).item()
            - x.select(0, 0).cross_entropy(&Tensor::from(2i64)).item())
        .abs()
            < 1e-15,
    );
}

fn e5(a: &mut Argument) {
    a.say(
        "A label is a class index from 0. One outside is an error, not a guess.",
        "레이블은 0부터 세는 부류 번호다. 벗어나면 짐작하지 않고 오류를 낸다.",
    );
    let x = Tensor::zeros([3, 3]);
    let message = words(|| drop(x.cross_entropy(&Tensor::from([1i64, 2, 3]))));
    let first =
        message.lines().next().unwrap_or_default().split("      at ").next().unwrap_or_default().to_string();
    a.quote(&first);
    a.counter(
        "label 3 of 3 classes: position 2, value 3, the range",
        "3부류의 레이블 3: 자리 2, 값 3, 범위",
        message.contains("position 2") && message.contains('3'),
    );
    let low = words(|| drop(x.cross_entropy(&Tensor::from([0i64, -1, 2]))));
    a.counter("−1 is refused too", "−1도 거절된다", low.contains("-1"));
    let l = a.number("labels 0, 1, 2 of equal scores", x.cross_entropy(&Tensor::from([0i64, 1, 2])).item());
    a.claim("ln 3", "ln 3", (l - 3f64.ln()).abs() < 1e-6);
    let fine = (0..10).all(|c| {
        let x = normal([1, 10], &Rng::new(c));
        (x.cross_entropy(&Tensor::from([c as i64])).item() + x.log_softmax(1).to_vec::<f64>()[c as usize])
            .abs()
            < 1e-14
    });
    a.property("each of ten labels picks its own entry", "열 레이블이 저마다의 항을 고른다", fine);
}

fn e6(a: &mut Argument) {
    a.say(
        "Rows with the label −100 do not count: no loss, no gradient, not in the denominator. If all are ignored, the \
         mean is 0/0 = NaN, as PyTorch's.",
        "레이블이 −100인 행은 세지 않는다: 손실도 기울기도 없고 분모에도 없다. 모두 무시되면 평균은 PyTorch처럼 0/0 = NaN이다.",
    );
    let x = normal([3, 4], &Rng::new(6));
    let (l, [g]) = value_and_grad(|[x]| x.cross_entropy(&Tensor::from([1i64, -100, 2])), [&x]);
    let kept = Tensor::cat(&[&x.narrow(0, 0, 1), &x.narrow(0, 2, 1)], 0)
        .cross_entropy(&Tensor::from([1i64, 2]))
        .item();
    a.number("with one row of three ignored", l.item());
    a.number("of the other two alone", kept);
    a.claim(
        "equal, and the ignored row has gradient 0",
        "같고, 무시한 행의 기울기는 0",
        (l.item() - kept).abs() < 1e-15 && g.select(0, 1).abs().max().item() == 0.0,
    );
    let none = x.cross_entropy(&Tensor::from([-100i64, -100, -100])).item();
    a.number("all ignored", none);
    a.counter("all ignored: NaN", "모두 무시: NaN", none.is_nan());
    let other = words(|| drop(x.cross_entropy(&Tensor::from([1i64, -5, 2]))));
    a.counter("other negative labels are refused", "다른 음수 레이블은 거절된다", other.contains("-5"));
    let own = CrossEntropyOptions { ignore_index: 3, ..Default::default() };
    a.property(
        "another ignore_index is taken",
        "다른 ignore_index도 받는다",
        x.cross_entropy_with(&Tensor::from([1i64, 3, 2]), &own).item() == l.item(),
    );
}

fn e7(a: &mut Argument) {
    a.say(
        "−ln(e^{x[c]}/Σe^{x[j]}) = −x[c] + ln Σ e^{x[j]}. The gradient is μ − onehot.",
        "−ln(e^{x[c]}/Σe^{x[j]}) = −x[c] + ln Σ e^{x[j]}. 기울기는 μ − 원-핫이다.",
    );
    let x = Tensor::from([[1.0, 2.0, 3.0]]);
    let (l, [g]) = value_and_grad(|[x]| x.cross_entropy(&Tensor::from([2i64])), [&x]);
    a.number("logits (1,2,3), class 2", l.item());
    let g = g.to_vec::<f64>();
    for (i, g) in g.iter().enumerate() {
        a.number(&format!("gradient, entry {i}"), *g);
    }
    a.claim("0.407605964", "0.407605964", (l.item() - 0.407605964).abs() < 5e-10);
    let mut worst = 0f64;
    for seed in 0..50 {
        let z = normal([1, 5], &Rng::new(seed)) * 3.0;
        let c = seed as i64 % 5;
        let (_, [g]) = value_and_grad(|[z]| z.cross_entropy(&Tensor::from([c])), [&z]);
        worst = worst
            .max((g - (z.softmax(1) - Tensor::from([c]).one_hot(5).cast(DType::F64))).abs().max().item());
    }
    a.property("gradient = μ − onehot, 50 draws", "기울기 = μ − 원-핫, 50번", worst < 1e-15);
    let big = Tensor::from([[1000f32, 0.0]]);
    let naive = big.exp().sum().ln().item() - 1000.0;
    a.counter(
        "ln Σ e^x as written at 1000: ∞",
        "1000에서 쓰인 대로의 ln Σ e^x: ∞",
        naive.is_infinite() && big.cross_entropy(&Tensor::from([0i64])).item() == 0.0,
    );
}

fn example() -> (Tensor, Tensor, Tensor) {
    (Tensor::from([[1.0, 2.0, 3.0], [0.5, 0.5, 2.0]]), Tensor::from([2i64, 0]), Tensor::from([1.0, 1.0, 4.0]))
}

fn e8(a: &mut Argument) {
    a.say(
        "Logits (1,2,3) → 2 and (.5,.5,2) → 0 with weights (1,1,4).",
        "로짓 (1,2,3) → 2와 (.5,.5,2) → 0, 가중치 (1,1,4).",
    );
    let (x, y, w) = example();
    let terms = x
        .cross_entropy_with(&y, &CrossEntropyOptions { weight: Some(w), ..options(Reduction::None) })
        .to_vec::<f64>();
    a.number("first term", terms[0]);
    a.number("second term", terms[1]);
    a.claim(
        "1.630423858 and 1.868981135",
        "1.630423858과 1.868981135",
        (terms[0] - 1.630423858).abs() < 5e-10 && (terms[1] - 1.868981135).abs() < 5e-10,
    );
    let plain = x.cross_entropy_with(&y, &options(Reduction::None)).to_vec::<f64>();
    a.property(
        "weight[c] times the unweighted loss",
        "가중하지 않은 손실의 weight[c]배",
        (terms[0] - 4.0 * plain[0]).abs() < 1e-14 && terms[1] == plain[1],
    );
}

fn e9(a: &mut Argument) {
    a.say(
        "\"Averaged across observations\" says the page. With weights it is the weighted average: Σ wℓ/Σ w, here with \
         Σ w = 5, not N = 2. The other one is an option.",
        "문서는 \"관측에 대해 평균한다\"고 한다. 가중치가 있으면 가중 평균 Σ wℓ/Σ w이며, 여기서는 N = 2가 아니라 Σ w = 5로 나눈다. 다른 쪽은 옵션이다.",
    );
    let (x, y, w) = example();
    let of = |reduction| {
        x.cross_entropy_with(&y, &CrossEntropyOptions { weight: Some(w.clone()), ..options(reduction) })
            .item()
    };
    let mean = a.number("mean", of(Reduction::Mean));
    let count = a.number("divided by N instead", of(Reduction::MeanByCount));
    a.claim("0.699880999", "0.699880999", (mean - 0.699880999).abs() < 5e-10);
    a.counter(
        "dividing by N gives 1.749702497",
        "N으로 나누면 1.749702497",
        (count - 1.749702497).abs() < 5e-10,
    );
    let fine = (0..30).all(|seed| {
        let r = Rng::new(seed);
        let (x, y, w) = (normal([5, 3], &r), Tensor::randint(0, 3, [5], &r), normal([3], &r).square() + 0.1);
        let o = |reduction| CrossEntropyOptions { weight: Some(w.clone()), ..options(reduction) };
        let sum: f64 = y.to_vec::<i64>().iter().map(|c| w.to_vec::<f64>()[*c as usize]).sum();
        (x.cross_entropy_with(&y, &o(Reduction::Mean)).item() * sum
            - x.cross_entropy_with(&y, &o(Reduction::Sum)).item())
        .abs()
            < 1e-12
    });
    a.property("mean · Σw = sum, 30 draws", "평균 · Σw = 합, 30번", fine);
}

#[allow(deprecated)]
fn e10(a: &mut Argument) {
    a.say(
        "Two old switches, mapped onto one: reduce = false is none, size_average = false is sum, everything else mean. \
         The compiler warns whoever uses them: legacy_reduction is marked as deprecated.",
        "옛 스위치 둘을 하나로: reduce = false이면 none, size_average = false이면 sum, 나머지는 mean. legacy_reduction은 폐기 예정으로 표시되어, 쓰면 컴파일러가 경고한다.",
    );
    let all = [None, Some(true), Some(false)];
    let mut rows = vec![["size_average", "reduce", "reduction"].map(String::from).to_vec()];
    let mut fine = true;
    for s in all {
        for r in all {
            let found = CrossEntropyOptions::legacy_reduction(s, r);
            let expected = match (s, r) {
                (_, Some(false)) => Reduction::None,
                (Some(false), _) => Reduction::Sum,
                _ => Reduction::Mean,
            };
            fine &= found == expected;
            let word = |x: Option<bool>| x.map_or("None".to_string(), |x| x.to_string());
            rows.push(vec![word(s), word(r), format!("{found:?}")]);
        }
    }
    a.table(rows);
    a.property("all nine combinations", "아홉 조합 모두", fine);
    a.number("combinations", 9.0);
    a.counter(
        "reduce = false wins over size_average",
        "reduce = false가 size_average를 이긴다",
        CrossEntropyOptions::legacy_reduction(Some(true), Some(false)) == Reduction::None,
    );
}

fn e11(a: &mut Argument) {
    a.say("Shapes and values of the three.", "세 가지의 모양과 값.");
    let (x, y, _) = example();
    let of = |r| x.cross_entropy_with(&y, &options(r));
    let (mean, sum, none) = (of(Reduction::Mean), of(Reduction::Sum), of(Reduction::None));
    a.number("mean", mean.item());
    a.number("sum", sum.item());
    a.number("none, first", none.to_vec::<f64>()[0]);
    a.number("none, second", none.to_vec::<f64>()[1]);
    a.claim(
        "shapes (), () and (N)",
        "모양은 (), (), (N)",
        mean.rank() == 0 && sum.rank() == 0 && none.shape()[..] == [2],
    );
    let r = Rng::new(11);
    let (x, y) = (normal([3, 4, 2, 5], &r), Tensor::randint(0, 4, [3, 2, 5], &r));
    let none = x.cross_entropy_with(&y, &options(Reduction::None));
    let fine = none.shape()[..] == [3, 2, 5]
        && (none.sum().item() - x.cross_entropy_with(&y, &options(Reduction::Sum)).item()).abs() < 1e-12
        && (none.mean().item() - x.cross_entropy(&y).item()).abs() < 1e-14;
    a.property(
        "none has the target's shape; its sum and mean are the other two",
        "none은 타깃의 모양이며, 그 합과 평균이 나머지 둘이다",
        fine,
    );
}

fn e12(a: &mut Argument) {
    a.say(
        "An image of labels: as if every pixel were an example. The mean is over N·Πd.",
        "레이블로 된 그림: 모든 화소가 예제인 것과 같다. 평균은 N·Πd에 대한 것이다.",
    );
    let r = Rng::new(12);
    let (x, y) = (normal([2, 3, 4, 5], &r), Tensor::randint(0, 3, [2, 4, 5], &r));
    let image = a.number("(2, 3, 4, 5) with (2, 4, 5)", x.cross_entropy(&y).item());
    let flat = x.permute([0, 2, 3, 1]).reshape([40, 3]).cross_entropy(&y.reshape([40])).item();
    a.number("40 pixels in rows", flat);
    a.claim("equal", "같다", (image - flat).abs() < 1e-14);
    let fine = (0..20).all(|seed| {
        let r = Rng::new(seed);
        let (x, y) = (normal([2, 4, 3], &r), Tensor::randint(0, 4, [2, 3], &r));
        (x.cross_entropy(&y).item()
            - x.permute([0, 2, 1]).reshape([6, 4]).cross_entropy(&y.reshape([6])).item())
        .abs()
            < 1e-14
    });
    a.property("one more axis, 20 draws", "축이 하나 더 있어도, 20번", fine);
    let wrong = words(|| drop(x.cross_entropy(&Tensor::randint(0, 3, [2, 5, 4], &r))));
    a.counter("a target turned by 90° is refused", "90° 돌린 타깃은 거절된다", !wrong.is_empty());
}
