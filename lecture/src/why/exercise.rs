//! Rows F1–F7: the exercise, backpropagation through a perceptron by hand.

use cotangent::{Rng, Tensor, attempt, grad, jacobian, laws::Draw};

use super::Argument;
use crate::{Chain, problem::normal};

rows! {
    row(
        "F1",
        "exercise",
        "exercise",
        "y_ℓ = σ(W_ℓ y_{ℓ−1} + b_ℓ), also for the last layer",
        "y_ℓ = σ(W_ℓ y_{ℓ−1} + b_ℓ), 마지막 층도",
        f1,
    ),
    row("F2", "exercise", "exercise", "∂y_ℓ/∂b_ℓ = diag(σ′)", "∂y_ℓ/∂b_ℓ = diag(σ′)", f2),
    row("F3", "exercise", "exercise", "∂y_ℓ/∂y_{ℓ−1} = diag(σ′) W_ℓ", "∂y_ℓ/∂y_{ℓ−1} = diag(σ′) W_ℓ", f3),
    row("F4", "exercise", "exercise", "diag(v) puts v on the diagonal", "diag(v)는 v를 대각선에 놓는다", f4),
    row(
        "F5",
        "exercise",
        "exercise",
        "which order is backpropagation? from the left",
        "어느 순서가 역전파인가? 왼쪽부터",
        f5,
    ),
    row("F6", "exercise", "exercise", "∂y_L/∂W_ℓ has the shape of W_ℓ", "∂y_L/∂W_ℓ의 모양은 W_ℓ과 같다", f6),
    row(
        "F7",
        "exercise",
        "exercise",
        "the slide's ∂y_L/∂W_ℓ has two errors",
        "슬라이드의 ∂y_L/∂W_ℓ에는 오류가 둘 있다",
        f7,
    ),
}

/// A perceptron with weights and biases, `F64`, and its input.
struct Net {
    w: Vec<Tensor>,
    b: Vec<Tensor>,
    x: Tensor,
}

impl Net {
    fn new(widths: &[usize], seed: u64) -> Self {
        let rng = Rng::new(seed);
        Net {
            w: widths.windows(2).map(|p| normal([p[1], p[0]], &rng)).collect(),
            b: widths.windows(2).map(|p| normal([p[1]], &rng)).collect(),
            x: normal([widths[0]], &rng),
        }
    }

    fn layer(&self, l: usize, y: &Tensor) -> Tensor {
        self.before(l, y).sigmoid()
    }

    /// `W_ℓ y + b_ℓ`
    fn before(&self, l: usize, y: &Tensor) -> Tensor {
        self.w[l].matmul(y) + &self.b[l]
    }

    /// `y_0, y_1, …, y_L`
    fn values(&self) -> Vec<Tensor> {
        let mut all = vec![self.x.clone()];
        (0..self.w.len()).for_each(|l| all.push(self.layer(l, &all[l])));
        all
    }

    /// `y_L` from `y_ℓ` on.
    fn rest(&self, l: usize, y: Tensor) -> Tensor {
        (l..self.w.len()).fold(y, |y, l| self.layer(l, &y))
    }

    /// `σ′(W_ℓ y_{ℓ−1} + b_ℓ)`
    fn slope(&self, l: usize, values: &[Tensor]) -> Tensor {
        let s = self.before(l, &values[l]).sigmoid();
        &s * (1.0 - &s)
    }
}

fn diag(v: &Tensor) -> Tensor {
    Tensor::eye(v.numel()).cast(v.dtype()) * v
}

fn diagonal(m: &Tensor) -> Tensor {
    (m * Tensor::eye(m.size(0)).cast(m.dtype())).sum_over([1], false)
}

fn apart(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().item()
}

fn f1(a: &mut Argument) {
    a.say(
        "Every layer, the last one too, is σ(W_ℓ y_{ℓ−1} + b_ℓ) with y_0 = x and n_L = 1; the slide's b is b_ℓ. All y_ℓ, \
         for widths 3, 4, 2, 1:",
        "마지막 층을 포함한 모든 층이 σ(W_ℓ y_{ℓ−1} + b_ℓ)이다. y_0 = x, n_L = 1이고 슬라이드의 b는 b_ℓ이다. 폭 3, 4, 2, 1의 모든 y_ℓ:",
    );
    let net = Net::new(&[3, 4, 2, 1], 1);
    let values = net.values();
    for (l, y) in values.iter().enumerate() {
        for (i, v) in y.to_vec::<f64>().iter().enumerate() {
            a.number(&format!("y_{l}[{i}]"), *v);
        }
    }
    a.claim(
        "sizes 3, 4, 2, 1, and the last one within (0, 1)",
        "크기 3, 4, 2, 1, 마지막은 (0, 1) 안",
        values.iter().map(Tensor::numel).eq([3, 4, 2, 1]) && (0.0..1.0).contains(&values[3].sum().item()),
    );
    let traced = crate::explain::mlp(&[3, 4, 2, 1], "sigmoid", 0);
    a.property(
        "explain shows the same steps: product, sum, σ for each layer",
        "explain도 같은 단계를 보인다: 층마다 곱, 합, σ",
        traced.is_ok_and(|t| {
            t.steps().filter(|n| n.operation == "sigmoid").count() == 3 && t.agreement < 1e-14
        }),
    );
}

fn f2(a: &mut Argument) {
    a.say("b_ℓ moves W_ℓ y_{ℓ−1} + b_ℓ one to one, and σ acts on each entry by itself: a diagonal n_ℓ×n_ℓ matrix.", "b_ℓ은 W_ℓ y_{ℓ−1} + b_ℓ을 그대로 움직이고 σ는 항마다 작용하므로 n_ℓ×n_ℓ 대각 행렬이다.");
    let mut worst = 0f64;
    for seed in 0..10 {
        let net = Net::new(&[3, 5, 4, 1], seed);
        let values = net.values();
        for l in 0..3 {
            let j = jacobian(|b| (net.w[l].matmul(&values[l]) + b).sigmoid(), &net.b[l]);
            worst = worst.max(apart(&j, &diag(&net.slope(l, &values))));
        }
    }
    a.number("|Jacobian − diag(σ′)|, 10 draws of 3 layers", worst);
    a.property("equal to 1e-12", "1e-12까지 같다", worst <= 1e-12);
    let wrong = diag(&Net::new(&[3, 5, 1], 0).values()[1]);
    a.counter(
        "diag(y) is not it: σ′ is y(1 − y)",
        "diag(y)가 아니다: σ′는 y(1 − y)",
        wrong.max().item() > 0.25,
    );
}

fn f3(a: &mut Argument) {
    a.say(
        "y_{ℓ−1} goes through W_ℓ first: diag(σ′)·W_ℓ, n_ℓ×n_{ℓ−1}.",
        "y_{ℓ−1}은 먼저 W_ℓ을 지난다: diag(σ′)·W_ℓ, n_ℓ×n_{ℓ−1}.",
    );
    let mut worst = 0f64;
    for seed in 0..10 {
        let net = Net::new(&[3, 5, 4, 1], seed);
        let values = net.values();
        for l in 1..3 {
            let j = jacobian(|y| net.layer(l, &y), &values[l]);
            worst = worst.max(apart(&j, &diag(&net.slope(l, &values)).matmul(&net.w[l])));
        }
    }
    a.number("|Jacobian − diag(σ′)W_ℓ|, 10 draws", worst);
    a.property("equal to 1e-12, ℓ = 2 … L", "1e-12까지 같다, ℓ = 2 … L", worst <= 1e-12);
    let net = Net::new(&[3, 5, 4, 1], 0);
    let swapped = attempt(|| net.w[1].matmul(&diag(&net.slope(1, &net.values())))).is_err();
    a.counter("W_ℓ diag(σ′) does not even fit", "W_ℓ diag(σ′)는 크기도 맞지 않는다", swapped);
}

fn f4(a: &mut Argument) {
    a.say(
        "k×k with v on the diagonal; taking the diagonal gives v back.",
        "대각선에 v가 있는 k×k. 대각선을 꺼내면 v다.",
    );
    let v = Tensor::from([1.0, -2.0, 3.0]);
    let m = diag(&v);
    a.number("diag(1, −2, 3)₂₂", m.to_vec::<f64>()[4]);
    a.claim(
        "3×3, zeros beside the diagonal",
        "3×3, 대각선 밖은 0",
        m.to_vec::<f64>() == [1.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 3.0],
    );
    let mut d = Draw::new(4);
    let fine = (0..50).all(|_| {
        let n = d.size(1..9);
        let v = d.real([n]).contiguous();
        apart(&diagonal(&diag(&v)), &v) == 0.0 && apart(&diag(&v).matmul(&v), &v.square()) < 1e-15
    });
    a.property("there and back, and diag(v)v = v², 50 draws", "갔다 오기, 그리고 diag(v)v = v², 50번", fine);
}

fn f5(a: &mut Argument) {
    a.say(
        "∂y_L/∂b_ℓ = ∂y_L/∂y_{L−1} ⋯ ∂y_{ℓ+1}/∂y_ℓ · ∂y_ℓ/∂b_ℓ. The first factor is a row, since n_L = 1. From the left a \
         row stays a row: that is backpropagation. From the right whole matrices are multiplied.",
        "∂y_L/∂b_ℓ = ∂y_L/∂y_{L−1} ⋯ ∂y_{ℓ+1}/∂y_ℓ · ∂y_ℓ/∂b_ℓ. n_L = 1이므로 첫 인수는 행이다. 왼쪽부터 곱하면 행은 행으로 남는다. 이것이 역전파다. 오른쪽부터 곱하면 행렬 전체를 곱하게 된다.",
    );
    let c = Chain::new(&[1, 100, 100, 100, 100]).expect("they are widths");
    let left = a.number("widths (1,100,100,100,100), from the left", c.reverse() as f64);
    let right = a.number("from the right", c.forward() as f64);
    a.number("best of all orders", c.best() as f64);
    a.claim(
        "30,000 against 2,010,000, and 30,000 is best",
        "30,000 대 2,010,000, 그리고 30,000이 최선",
        (left, right, c.best()) == (30_000.0, 2_010_000.0, 30_000),
    );
    let mut worst = 0f64;
    for seed in 0..10 {
        let net = Net::new(&[3, 4, 5, 2, 1], seed);
        let values = net.values();
        for l in 0..4 {
            let mut row = diag(&net.slope(3, &values));
            for k in (l..3).rev() {
                row = row.matmul(&net.w[k + 1]).matmul(&diag(&net.slope(k, &values)));
            }
            let [g] =
                grad(|[b]| net.rest(l + 1, (net.w[l].matmul(&values[l]) + b).sigmoid()).sum(), [&net.b[l]]);
            worst = worst.max(apart(&row.reshape([g.numel()]), &g));
        }
    }
    a.number("|product − gradient|, 10 draws of 4 layers", worst);
    a.property("equal to 1e-12", "1e-12까지 같다", worst < 1e-12);
    let wide = Chain::new(&[100, 100, 100, 1]).expect("they are widths");
    a.counter(
        "with one input and many outputs it is the wrong order",
        "입력이 하나고 출력이 많으면 잘못된 순서다",
        wide.forward() < wide.reverse(),
    );
}

fn f6(a: &mut Argument) {
    a.say("⟨X, Y⟩ = Σ X_ij Y_ij makes matrices a space like any other: the gradient is the matrix G with directional derivative ⟨G, D⟩.", "⟨X, Y⟩ = Σ X_ij Y_ij이면 행렬도 보통의 공간이다. 기울기는 방향 도함수가 ⟨G, D⟩인 행렬 G다.");
    let mut worst = 0f64;
    let mut shapes = true;
    for seed in 0..10 {
        let net = Net::new(&[3, 4, 2, 1], seed);
        let values = net.values();
        for (l, y) in values[..3].iter().enumerate() {
            let f = |w: Tensor| net.rest(l + 1, (w.matmul(y) + &net.b[l]).sigmoid()).sum();
            let [g] = grad(|[w]| f(w), [&net.w[l]]);
            shapes &= g.shape() == net.w[l].shape();
            let d = normal(*net.w[l].shape(), &Rng::new(seed + 99));
            let h = 1e-5;
            let along = (f(&net.w[l] + &d * h).item() - f(&net.w[l] - &d * h).item()) / (2.0 * h);
            worst = worst.max((along - (&g * &d).sum().item()).abs());
        }
    }
    a.number("|directional derivative − ⟨G, D⟩|, 10 draws", worst);
    a.property("equal to 1e-8, by differences", "차분과 1e-8까지 같다", worst < 1e-8);
    a.claim("G has W's shape", "G의 모양은 W와 같다", shapes);
    let w = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    let [g] = grad(|[w]| (&w * &w).sum(), [&w]);
    a.counter(
        "it is not the transpose: ∇‖W‖² is 2W",
        "전치가 아니다: ∇‖W‖²은 2W",
        apart(&g, &(&w * 2.0)) == 0.0 && apart(&g, &(w.t() * 2.0)) > 0.0,
    );
}

fn f7(a: &mut Argument) {
    a.say(
        "The slide: (∂y_L/∂y_ℓ)ᵀ diag(σ′) y_ℓᵀ. Two slips: the column must stand behind the matrix, and the input of the \
         layer is y_{ℓ−1}. Right: diag(σ′)·(∂y_L/∂y_ℓ)ᵀ·y_{ℓ−1}ᵀ.",
        "슬라이드: (∂y_L/∂y_ℓ)ᵀ diag(σ′) y_ℓᵀ. 오류가 둘이다. 열벡터는 행렬 뒤에 와야 하고, 층의 입력은 y_{ℓ−1}이다. 올바른 식: diag(σ′)·(∂y_L/∂y_ℓ)ᵀ·y_{ℓ−1}ᵀ.",
    );
    let mut worst = 0f64;
    let mut words = String::new();
    for seed in 0..10 {
        let net = Net::new(&[3, 4, 2, 1], seed);
        let values = net.values();
        for (l, y) in values[..3].iter().enumerate() {
            let [by_w] = grad(|[w]| net.rest(l + 1, (w.matmul(y) + &net.b[l]).sigmoid()).sum(), [&net.w[l]]);
            let [by_y] = grad(|[y]| net.rest(l + 1, y).sum(), [&values[l + 1]]);
            let n = by_y.numel();
            let (column, d) = (by_y.reshape([n, 1]), diag(&net.slope(l, &values)));
            let input = y.reshape([1, y.numel()]);
            worst = worst.max(apart(&d.matmul(&column).matmul(&input), &by_w));
            if l == 0 && seed == 0 {
                words = attempt(|| column.matmul(&d)).err().map(|e| e.to_string()).unwrap_or_default();
                a.number("width of y_ℓᵀ on the slide", n as f64);
                a.number("width of W_ℓ, which is that of y_{ℓ−1}ᵀ", net.w[0].size(1) as f64);
            }
        }
    }
    let first =
        words.lines().next().unwrap_or_default().split("      at ").next().unwrap_or_default().to_string();
    a.say("The slide's product, as the library sees it:", "라이브러리가 본 슬라이드의 곱:");
    a.quote(&first);
    a.number("|right formula − gradient|, 10 draws", worst);
    a.property("equal to 1e-12", "1e-12까지 같다", worst < 1e-12);
    a.counter(
        "n_ℓ×1 times n_ℓ×n_ℓ does not conform",
        "n_ℓ×1 곱하기 n_ℓ×n_ℓ은 맞지 않는다",
        words.contains("differ"),
    );
}
