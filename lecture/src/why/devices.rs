//! Rows B1–B10: a numerical library, and where its numbers live.

use std::sync::Arc;

use cotangent::{DType, Device, Rng, Tensor, attempt, device::Event, finite, laws::Draw};
use cotangent_interchange::{Array, Numbers, Tensors, safetensors};

use super::Argument;

rows! {
    row(
        "B1",
        "library",
        "devices",
        "fundamentally a numerical library: arrays without networks or gradients",
        "근본은 수치 계산 라이브러리: 신경망도 기울기도 없는 배열",
        b1,
    ),
    row(
        "B2",
        "library",
        "devices",
        "easy device computation, differentiation, samples that run",
        "쉬운 장치 계산, 미분, 돌아가는 예제",
        b2,
    ),
    row(
        "B3",
        "devices",
        "devices",
        "copies between processor and device are explicit",
        "CPU와 장치 사이의 복사는 명시적이다",
        b3,
    ),
    row(
        "B4",
        "devices",
        "devices",
        "the processor goes on while the device works",
        "장치가 일하는 동안 CPU는 계속 간다",
        b4,
    ),
    row(
        "B5",
        "devices",
        "devices",
        "kernel calls: the host instructs, and is back at once",
        "커널 호출: 호스트는 지시하고 바로 돌아온다",
        b5,
    ),
    row("B6", "devices", "devices", "send, compute, receive", "보내고, 계산하고, 받는다", b6),
    row("B7", "devices", "devices", "a variable lives in one memory", "변수는 한 메모리에 산다", b7),
    row(
        "B8",
        "devices",
        "devices",
        "a computation runs where its operands live",
        "계산은 피연산자가 있는 곳에서 한다",
        b8,
    ),
    row(
        "B9",
        "devices",
        "devices",
        "variables of two devices do not meet",
        "두 장치의 변수는 만나지 않는다",
        b9,
    ),
    row(
        "B10",
        "power-iteration",
        "devices",
        "power iteration: 2 copies there, 100 products, 1 copy back",
        "거듭제곱법: 보내기 2번, 곱 100번, 받기 1번",
        b10,
    ),
}

fn gpu() -> (Device, Arc<cotangent::device::VirtualGpu>) {
    let device = Device::virtual_gpu();
    let gpu = device.as_virtual_gpu().expect("it is one").clone();
    (device, gpu)
}

fn b1(a: &mut Argument) {
    a.say(
        "n-dimensional arrays with matrix products, broadcasting, reductions, indexing, several types, random numbers and \
         files; nothing here knows of networks or gradients.",
        "행렬 곱, 브로드캐스팅, 축약, 인덱싱, 여러 자료형, 난수와 파일을 갖춘 n차원 배열. 여기에는 신경망도 기울기도 없다.",
    );
    let m = Tensor::from([[1.0, 2.0], [3.0, 4.0]]);
    let product = m.matmul(&m).to_vec::<f64>();
    a.number("([[1,2],[3,4]]²)₁₁", product[0]);
    a.number("([[1,2],[3,4]]²)₂₂", product[3]);
    a.claim("7 10 15 22", "7 10 15 22", product == [7.0, 10.0, 15.0, 22.0]);
    let sum = (&m + Tensor::from([10.0, 20.0])).sum_over([0], false).to_vec::<f64>();
    a.claim(
        "a row is added to each row, then columns are summed: 24, 46",
        "행마다 더하고 열을 합하면: 24, 46",
        sum == [24.0, 46.0],
    );
    a.claim("the second column: 2, 4", "둘째 열: 2, 4", m.select(1, 1).to_vec::<f64>() == [2.0, 4.0]);
    let types = [(DType::F32, DType::I64), (DType::F64, DType::F32), (DType::Bool, DType::I32)];
    let found: Vec<DType> = types.iter().map(|(a, b)| a.promote(*b)).collect();
    a.claim(
        "f32 with i64 is f32, f64 with f32 is f64, bool with i32 is i32",
        "f32와 i64는 f32, f64와 f32는 f64, bool과 i32는 i32",
        found == [DType::F32, DType::F64, DType::I32],
    );
    let drawn = |seed: u64| Tensor::randn([1000], &Rng::new(seed)).to_vec::<f32>();
    a.claim(
        "random numbers follow from a seed: the same from 1 and 1, others from 2",
        "난수는 시드를 따른다: 1과 1은 같고 2는 다르다",
        drawn(1) == drawn(1) && drawn(1) != drawn(2),
    );
    let (x, i) = (Tensor::randn([2, 3], &Rng::new(3)), Tensor::from([[-1_i64, 1 << 40]]));
    let kept = || {
        let array = |t: &Tensor, numbers| Array { shape: t.shape().to_vec(), numbers };
        let all = Tensors::from([
            ("x".to_string(), array(&x, Numbers::Real(x.to_vec()))),
            ("i".to_string(), array(&i, Numbers::Whole(i.to_vec()))),
        ]);
        let bytes = safetensors::write(&all, None).ok()?;
        Some((bytes.len(), safetensors::read(&bytes, "x.safetensors".as_ref()).ok()?.tensors == all))
    };
    let (bytes, same) = kept().unwrap_or_default();
    a.number("bytes of a file of six f32 and two i64", bytes as f64);
    a.claim(
        "written as safetensors and read again: the same names, shapes and bits",
        "safetensors로 쓰고 다시 읽으면 이름, 모양, 비트가 같다",
        same,
    );
    let mut d = Draw::new(1);
    let fine = (0..50).all(|_| {
        let (m, k, n) = (d.size(1..6), d.size(1..6), d.size(1..6));
        let (x, y) = (d.real([m, k]), d.real([k, n]));
        let (u, v, z) = (x.to_vec::<f64>(), y.to_vec::<f64>(), x.matmul(&y).to_vec::<f64>());
        (0..m * n).all(|i| {
            let by_hand: f64 = (0..k).map(|j| u[i / n * k + j] * v[j * n + i % n]).sum();
            (z[i] - by_hand).abs() < 1e-12
        })
    });
    a.property("50 matrix products against three loops", "행렬 곱 50개를 세 겹 반복문과 비교", fine);
    let clash = attempt(|| m.matmul(&Tensor::zeros([3, 2]).cast(DType::F64))).err().map(|e| e.to_string());
    a.counter(
        "sizes that do not fit are refused with words",
        "맞지 않는 크기는 설명과 함께 거절된다",
        clash.is_some_and(|e| e.contains("2 and 3 differ")),
    );
}

fn b2(a: &mut Argument) {
    a.say(
        "One call moves a tensor, one call differentiates, and the same code runs on both devices.",
        "호출 하나로 옮기고, 호출 하나로 미분하며, 같은 코드가 두 장치에서 돈다.",
    );
    let f = |x: &Tensor| (x.sigmoid() * x).sum();
    let x = Tensor::from([0.5, -1.0, 2.0]);
    let (device, _) = gpu();
    let grad = |x: &Tensor| {
        let [g] = cotangent::grad(|[x]| f(&x), [x]);
        g.to(&Device::cpu()).to_vec::<f64>()
    };
    let (here, there) = (grad(&x), grad(&x.to(&device)));
    a.number("∂/∂x₁ on the processor", here[0]);
    a.number("∂/∂x₁ on the device", there[0]);
    a.claim("the same bits", "같은 비트", here == there);
    let fine = (0..20).all(|seed| {
        let x = Draw::new(seed).real([5]).contiguous();
        grad(&x) == grad(&x.to(&device))
    });
    a.property("20 draws", "20번 뽑아도 그렇다", fine);
}

fn b3(a: &mut Argument) {
    a.say(
        "to(&device) copies. Its log holds direction, bytes and time; a round trip changes no bit.",
        "to(&device)가 복사한다. 기록에는 방향, 바이트, 시간이 있고, 갔다 와도 비트 하나 바뀌지 않는다.",
    );
    let (device, gpu) = gpu();
    let x = Tensor::randn([1000], &Rng::new(3));
    let back = x.to(&device).to(&Device::cpu());
    let mut rows = vec![["copy", "bytes", "simulated µs"].map(String::from).to_vec()];
    for e in gpu.log() {
        if let Event::Transfer { to_device, bytes, start, end } = e {
            let way = if to_device { "host → device" } else { "device → host" };
            rows.push(vec![way.into(), bytes.to_string(), format!("{:.2}", (end - start) * 1e6)]);
        }
    }
    a.table(rows);
    let (there, home) = gpu.transfers();
    a.number("copies there", there as f64);
    a.number("copies back", home as f64);
    a.claim("one each way, 4000 bytes", "한 번씩, 4000바이트", (there, home) == (1, 1));
    let bits = |t: &Tensor| t.to_vec::<f32>().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    a.property("1000 numbers, the same bits", "수 1000개가 같은 비트", bits(&x) == bits(&back));
    let mixed = attempt(|| &x + x.to(&device)).is_err();
    a.counter("no operation copies by itself", "어떤 연산도 스스로 복사하지 않는다", mixed);
}

fn b4(a: &mut Argument) {
    a.say(
        "A launch costs the host 5 µs (simulated), whatever the kernel takes. So the host is ahead of the device, and is \
         free to do other work.",
        "커널이 얼마나 걸리든 호스트가 쓰는 시간은 5 µs(모의)다. 그래서 호스트는 장치보다 앞서 가며 다른 일을 할 수 있다.",
    );
    let (device, gpu) = gpu();
    let x = Tensor::zeros([512, 512]).contiguous().to(&device);
    let before = gpu.clock().0;
    let mut y = x.clone();
    for _ in 0..10 {
        y = y.matmul(&x);
    }
    let (host, done) = gpu.clock();
    a.number("host busy, µs", (host - before) * 1e6);
    a.number("device busy until, µs later", (done - before) * 1e6);
    a.claim("the host is free while the device works", "장치가 일하는 동안 호스트는 자유롭다", host < done);
    let _ = y.to(&Device::cpu());
    let (host, done) = gpu.clock();
    a.counter("whoever reads a value waits", "값을 읽는 쪽은 기다린다", host >= done);
}

fn b5(a: &mut Argument) {
    a.say(
        "Every operation on the device is one kernel with a name in the log; synchronize() waits for all of them.",
        "장치에서의 모든 연산은 기록에 이름이 남는 커널 하나다. synchronize()는 모두를 기다린다.",
    );
    let (device, gpu) = gpu();
    let x = Tensor::ones([64, 64]).contiguous().to(&device);
    gpu.clear_log();
    let _ = x.matmul(&x).relu().exp().sigmoid();
    let names: Vec<&str> = gpu
        .log()
        .iter()
        .filter_map(|e| if let Event::Launch { kernel, .. } = e { Some(*kernel) } else { None })
        .collect();
    a.say(&format!("Kernels: {}.", names.join(", ")), &format!("커널: {}.", names.join(", ")));
    let launches = a.number("launches", gpu.launches() as f64);
    a.claim("four kernels, by name", "이름이 있는 커널 넷", launches == 4.0 && names[0] == "matmul");
    let waits = |g: &cotangent::device::VirtualGpu| {
        g.log().iter().filter(|e| matches!(e, Event::Wait { .. })).count()
    };
    let before = waits(&gpu);
    let fine = device.synchronize().is_ok() && waits(&gpu) == before + 1;
    a.claim("a wait is in the log too", "기다림도 기록된다", before == 0 && fine);
    let mut d = Draw::new(5);
    let counted = (0..20).all(|_| {
        let n = d.size(1..20);
        gpu.clear_log();
        (0..n).fold(x.clone(), |y, _| y.relu());
        gpu.launches() == n
    });
    a.property("n operations are n launches, 20 draws", "연산 n개는 호출 n번, 20번 뽑아도 그렇다", counted);
}

fn b6(a: &mut Argument) {
    a.say(
        "A well-made program sends once, computes, and receives once. Reading a number inside the loop (item()) breaks \
         the phases: a copy and a wait each time. The device's log shows it, and its warning() says so.",
        "잘 만든 프로그램은 한 번 보내고, 계산하고, 한 번 받는다. 반복문 안에서 수를 읽으면(item()) 매번 복사하고 기다리느라 단계가 깨진다. 장치의 기록에서 보이며, warning()이 그것을 말한다.",
    );
    let phases = |reads: bool| {
        let (device, gpu) = gpu();
        let x = Tensor::ones([256]).contiguous().to(&device);
        let mut y = x.clone();
        for _ in 0..20 {
            y = &y * 0.9 + &x;
            if reads {
                let _ = y.sum().item();
            }
        }
        let _ = y.to(&Device::cpu());
        let log = gpu.log();
        let word = |e: &Event| match e {
            Event::Transfer { to_device: true, .. } => "send",
            Event::Transfer { .. } => "receive",
            Event::Launch { .. } => "compute",
            Event::Wait { .. } => "wait",
        };
        let mut order: Vec<&str> = log.iter().map(word).filter(|w| *w != "wait").collect();
        order.dedup();
        (order.join(" "), gpu.transfers().1, gpu.clock().0 * 1e6, gpu.warning())
    };
    let (order, back, time, quiet) = phases(false);
    a.claim(&format!("the phases: {order}"), "단계: 보내기, 계산, 받기", order == "send compute receive");
    a.number("copies back", back as f64);
    a.number("simulated µs", time);
    let (order, back, slow, warning) = phases(true);
    a.number("copies back with item() in the loop", back as f64);
    a.number("simulated µs with item() in the loop", slow);
    a.counter(
        "item() in the loop: one copy back a turn",
        "반복문 안의 item(): 매번 되받는 복사",
        back == 21 && slow > 1.3 * time && order.len() > 30,
    );
    let warning = warning.unwrap_or_default();
    a.quote(&warning);
    a.claim(
        "a warning for item() in the loop, none without",
        "반복문 안의 item()에는 경고가 있고, 없으면 경고도 없다",
        warning.contains("item()") && quiet.is_none(),
    );
}

fn b7(a: &mut Argument) {
    a.say(
        "device() says where; each device counts its bytes, and gives them back when the last handle goes.",
        "device()가 어디인지 말한다. 장치마다 바이트를 세며, 마지막 핸들이 사라지면 돌려받는다.",
    );
    let (device, gpu) = gpu();
    let x = Tensor::zeros([1000]).contiguous();
    let y = x.to(&device);
    a.claim(
        "x on the processor, y on the device",
        "x는 CPU에, y는 장치에",
        x.device().is_cpu() && y.device() == device,
    );
    a.claim("it shows when printed", "출력하면 보인다", format!("{y:?}").contains("virtual"));
    a.number("bytes on the device", gpu.memory().0 as f64);
    let there = gpu.memory().0 == 4000;
    drop(y);
    let _ = device.synchronize();
    let after = a.number("bytes after the last handle went", gpu.memory().0 as f64);
    a.property("4000, then 0", "4000, 그다음 0", there && after == 0.0);
}

fn b8(a: &mut Argument) {
    a.say(
        "The result of an operation lives where its operands do. Here for a dozen operations; the laws check it for every one.",
        "연산의 결과는 피연산자가 있는 곳에 산다. 여기서는 열두 가지 연산으로 보며, 모든 연산은 법칙 검사가 확인한다.",
    );
    let (device, _) = gpu();
    type F = fn(&Tensor) -> Tensor;
    let all: [(&str, F); 12] = [
        ("exp", |x| x.exp()),
        ("relu", |x| x.relu()),
        ("x + x", |x| x + x),
        ("x · 2", |x| x * 2.0),
        ("sum", |x| x.sum()),
        ("matmul", |x| x.matmul(x)),
        ("softmax", |x| x.softmax(-1)),
        ("transpose", |x| x.t()),
        ("max", |x| x.max()),
        ("gt", |x| x.gt(0.0)),
        ("narrow", |x| x.narrow(0, 1, 2)),
        ("cast", |x| x.cast(DType::F32)),
    ];
    let x = Draw::new(8).real([4, 4]).contiguous();
    let there = x.to(&device);
    let right = all.iter().filter(|(_, f)| f(&there).device() == device && f(&x).device().is_cpu()).count();
    a.number("operations whose result stays with its operand, of 12", right as f64);
    a.property("all twelve", "열두 가지 모두", right == all.len());
    let same = all.iter().all(|(_, f)| f(&there).to(&Device::cpu()).to_vec::<f64>() == f(&x).to_vec::<f64>());
    a.claim("and the values are the same bits", "값도 같은 비트다", same);
}

fn b9(a: &mut Argument) {
    a.say(
        "An operation of operands in two memories is an error that names the operation, both devices, and the repair. \
         Nothing is copied silently.",
        "두 메모리의 피연산자로 하는 연산은 오류이며, 연산과 두 장치와 고치는 법을 말한다. 몰래 복사하지 않는다.",
    );
    let (device, gpu) = gpu();
    let (x, y) = (Tensor::from([1.0, 2.0]), Tensor::from([3.0, 4.0]).to(&device));
    let before = gpu.transfers();
    let message = attempt(|| &x + &y).err().map(|e| e.to_string()).unwrap_or_default();
    a.quote(&message);
    let named = message.contains("add")
        && message.contains("cpu")
        && message.contains("virtual:")
        && message.contains("to(&device)");
    a.claim("it names the operation, both devices, and `to`", "연산, 두 장치, `to`를 말한다", named);
    let (u, v) = ([1.0, 2.0], [3.0, 4.0]);
    let sum = (Tensor::from(u).to(&device) + &y).to(&Device::cpu()).to_vec::<f64>();
    a.claim("after a transfer they meet", "옮기고 나면 만난다", sum == [u[0] + v[0], u[1] + v[1]]);
    type F = fn(&Tensor, &Tensor) -> Tensor;
    let pairs: [F; 6] = [
        |x, y| x - y,
        |x, y| x * y,
        |x, y| x / y,
        |x, y| x.maximum(y),
        |x, y| x.matmul(y),
        |x, y| Tensor::cat(&[x, y], 0),
    ];
    let refused = pairs.iter().all(|f| attempt(|| f(&x, &y)).is_err() && attempt(|| f(&y, &x)).is_err());
    a.property("six operations, both ways round", "여섯 연산, 양쪽 순서 모두", refused);
    let extra = gpu.transfers().0 - before.0;
    a.counter("and no copy was made on the way", "그 과정에서 복사는 없었다", extra == 1);
}

/// `A = VΛVᵀ` with eigenvalues 10, 8, 3, 1 and `V = I − ½·1·1ᵀ`, whose first column is the answer.
fn matrix() -> (Tensor, Tensor) {
    let v = Tensor::eye(4) - 0.5;
    let a = (&v * Tensor::from([10f32, 8.0, 3.0, 1.0])).matmul(&v.t());
    (a, v.select(1, 0).contiguous())
}

fn b10(a: &mut Argument) {
    a.say(
        "Send A and x⁰, a hundred times x ← A·x, receive x. The slide does not normalise: with the largest eigenvalue 10 \
         the numbers leave f32 before the end. Divided by its norm, x tends to the eigenvector, at the rate of the gap \
         8/10, and xᵀAx to the eigenvalue.",
        "A와 x⁰을 보내고, 백 번 x ← A·x, x를 받는다. 슬라이드는 정규화하지 않으므로 가장 큰 고윳값이 10이면 끝나기 전에 f32를 벗어난다. 노름으로 나누면 x는 8/10의 비율로 고유벡터에, xᵀAx는 고윳값에 다가간다.",
    );
    let (m, v) = matrix();
    let run = |normalise: bool, read: bool| {
        let (device, gpu) = gpu();
        let (there, mut x) = (m.to(&device), Tensor::ones([4]).contiguous().to(&device));
        for _ in 0..100 {
            let y = there.matmul(&x);
            x = if normalise { &y / y.norm() } else { y };
            if read {
                let _ = x.sum().item();
            }
        }
        let x = x.to(&Device::cpu());
        let products =
            gpu.log().iter().filter(|e| matches!(e, Event::Launch { kernel: "matmul", .. })).count();
        (x, gpu.transfers(), products, gpu.launches(), gpu.clock().0 * 1e6)
    };
    let (x, (there, back), products, launches, time) = run(true, false);
    a.number("copies to the device", there as f64);
    a.number("copies back", back as f64);
    a.number("products A·x", products as f64);
    a.number("launches with the norms", launches as f64);
    a.claim(
        "2 copies there, 1 back, 100 products",
        "보내기 2번, 받기 1번, 곱 100번",
        (there, back, products) == (2, 1, 100),
    );
    let off = a.number("‖±x − v‖", (&x * x.matmul(&v).sign() - &v).norm().item());
    let lambda = a.number("Rayleigh quotient", x.matmul(&m.matmul(&x)).item());
    a.property(
        "direction to 1e-6, eigenvalue 10",
        "방향은 1e-6까지, 고윳값은 10",
        off < 1e-6 && (lambda - 10.0).abs() < 1e-4,
    );
    let mut x = Tensor::ones([4]);
    let mut last = 0;
    let mut words = String::new();
    for step in 1..=100 {
        match finite(|| m.matmul(&x)) {
            Ok(y) => (x, last) = (y, step),
            Err(e) => {
                words = e.to_string();
                break;
            }
        }
    }
    let first = a.number("first step of the slide's version that leaves f32", f64::from(last + 1));
    // Where in the source it was is of no use here.
    let said = words.split_once(" at ").zip(words.split_once(" gave "));
    a.quote(&said.map_or(String::new(), |((operation, _), (_, what))| format!("{operation} gave {what}")));
    let overflowed = !run(false, false).0.to_vec::<f32>().iter().all(|x| x.is_finite());
    a.counter(
        "without the norm the 39th step overflows f32",
        "노름으로 나누지 않으면 39번째 걸음이 f32를 넘는다",
        first == 39.0 && overflowed && said.is_some(),
    );
    let slow = run(true, true);
    a.number("simulated µs", time);
    a.number("simulated µs with item() in the loop", slow.4);
    a.number("copies back with item() in the loop", slow.1.1 as f64);
    a.counter(
        "item() in the loop is what is slow: a hundred copies and waits",
        "느린 것은 반복문 안의 item()이다: 복사와 기다림이 백 번",
        slow.1.1 == 101 && slow.4 > 1.5 * time,
    );
    let seeds = (0..5).all(|seed| {
        let u = Tensor::randn([4], &Rng::new(seed));
        let mut x = &u / u.norm();
        (0..100).for_each(|_| {
            let y = m.matmul(&x);
            x = &y / y.norm();
        });
        (&x * x.matmul(&v).sign() - &v).norm().item() < 1e-6
    });
    a.property("from five random starts too", "무작위로 다섯 번 시작해도 그렇다", seeds);
}
