//! `explain`: the slides' tables, their numbers, and what cannot be explained.

use cotangent::{
    Error, Rng, Tensor,
    models::LeNet5,
    nn::{Call, ParametersExt},
};
use cotangent_lecture::{
    Chain, Lang,
    explain::{
        Expression, Format, Kind, Mode, ParseError, Style, Trace, bindings, expression, mlp, neuron, trace,
    },
};

const SLIDE: &str = "y*ln(x) + sqrt(y*ln(x))";

fn of(text: &str, at: &str) -> Result<Trace, ParseError> {
    expression(&Expression::parse(text)?, &bindings(at)?)
}

fn slide() -> Trace {
    of(SLIDE, "x=3,y=2").unwrap()
}

#[track_caller]
fn nine(x: f64, expected: f64) {
    assert!((x - expected).abs() < 5e-10, "{x} is not {expected}");
}

#[test]
fn c6_the_graph_has_four_nodes_and_b_is_used_twice() {
    let t = slide();
    let steps: Vec<(&str, &str)> = t.steps().map(|n| (n.name.as_str(), n.formula.as_str())).collect();
    assert_eq!(steps, [("a", "ln x"), ("b", "y·a"), ("c", "√b"), ("f", "b + c")]);
    let uses = |name: &str| {
        let i = t.nodes.iter().position(|n| n.name == name).unwrap();
        t.nodes.iter().flat_map(|n| &n.reads).filter(|r| **r == i).count()
    };
    assert_eq!([uses("x"), uses("y"), uses("a"), uses("b"), uses("c")], [1, 1, 1, 2, 1]);
    let dot = t.render(Format::Dot, Style::default());
    assert_eq!(dot.matches("->").count(), 6);
    // Written the other way round, it is the same graph.
    assert_eq!(of("sqrt(ln(x)*y) + y*log(x)", "x=3,y=2").unwrap().steps().count(), 4);
}

#[test]
fn c7_the_sum_over_paths_makes_the_derivative() {
    let t = slide();
    let paths = t.all_paths();
    assert_eq!(
        paths.iter().map(|p| (p.variable.as_str(), p.count)).collect::<Vec<_>>(),
        [("x", 2), ("y", 2)]
    );
    for (i, p) in paths.iter().enumerate() {
        let sum: f64 = p.terms.iter().map(|t| t.value.unwrap()).sum();
        nine(sum, t.gradient(i)[0]);
    }
    assert_eq!(paths[0].terms[0].nodes, ["f", "b", "a", "x"]);
    assert_eq!(paths[0].terms[1].symbols, "∂f/∂c·∂c/∂b·∂b/∂a·∂a/∂x");
    assert_eq!(paths[0].shared, "(1 + (1/(2·c)))·y·(1/x)");
    // A ladder of n squares of x·x has 2ⁿ paths; they are counted, not walked.
    let ladder = of("x*x", "x=1").unwrap();
    assert_eq!(ladder.all_paths()[0].count, 2);
    let deep = trace(|v| (0..60).fold(v[0].clone(), |x, _| &x + &x), &[("x", Tensor::from(1.0))]).unwrap();
    assert_eq!(deep.all_paths()[0].count, 1 << 60);
    assert!(deep.all_paths()[0].terms.is_empty());
    assert_eq!(deep.gradient(0)[0], 2f64.powi(60));
}

#[test]
fn c8_forward_mode_to_nine_digits() {
    let t = slide();
    for (name, value, dx, dy) in [
        ("a", 1.098612289, 1.0 / 3.0, 0.0),
        ("b", 2.197224577, 2.0 / 3.0, 1.098612289),
        ("c", 1.482303807, 0.224875179, 0.370575952),
        ("f", 3.679528385, 0.891541845, 1.469188241),
    ] {
        let n = t.node(name).unwrap();
        nine(n.value[0], value);
        nine(n.tangents[0][0], dx);
        nine(n.tangents[1][0], dy);
    }
    let text = t.render(Format::Text, Style { mode: Mode::Forward, ..Style::default() });
    assert!(text.contains("4  f = b + c  3.679528385  0.891541845  1.469188241  b, c"), "{text}");
    assert!(!text.contains("∂f/∂c = "), "reverse mode was not asked for");
}

#[test]
fn c9_each_step_says_what_it_reads_and_frees() {
    let t = slide();
    let names = |list: &[usize]| list.iter().map(|i| t.nodes[*i].name.as_str()).collect::<Vec<_>>();
    assert_eq!(names(&t.node("b").unwrap().reads), ["y", "a"]);
    assert_eq!(names(&t.node("c").unwrap().reads), ["b"]);
    assert_eq!(names(&t.node("a").unwrap().frees), ["x"]);
    assert_eq!(names(&t.node("b").unwrap().frees), ["y", "a"]);
    assert_eq!(names(&t.node("c").unwrap().frees), [""; 0]);
}

#[test]
fn c10_reverse_mode_to_nine_digits() {
    let t = slide();
    for (name, adjoint) in [
        ("f", 1.0),
        ("c", 1.0),
        ("b", 1.337312768),
        ("a", 2.674625536),
        ("x", 0.891541845),
        ("y", 1.469188241),
    ] {
        nine(t.node(name).unwrap().adjoints[0][0], adjoint);
    }
    // Both modes agree with each other, and with the library's jvp and vjp of the whole function.
    for i in 0..2 {
        assert!((t.gradient(i)[0] - t.node("f").unwrap().tangents[i][0]).abs() < 1e-15);
    }
    assert!(t.agreement < 1e-15);
}

#[test]
fn c11_what_is_stored_for_the_way_back() {
    let t = slide();
    let saved = |name: &str| {
        let s = &t.node(name).unwrap().saved;
        let mut names: Vec<&str> = s.iter().map(|s| s.name.as_str()).collect();
        names.sort();
        (names.join(" "), s.iter().map(|s| s.bytes).sum::<usize>())
    };
    assert_eq!(saved("a"), ("x".into(), 8));
    assert_eq!(saved("b"), ("a y".into(), 16));
    assert_eq!(saved("c"), ("c".into(), 8));
    assert_eq!(saved("f"), (String::new(), 0));
    assert_eq!(t.saved_bytes(), 32);
}

#[test]
fn c12_the_slip_is_shown_beside_the_right_value() {
    let t = slide();
    let slip = t.slip.as_ref().unwrap();
    nine(slip.adjoints[0][0][0], 1.116417024);
    nine(slip.adjoints[1][0][0], 1.839764192);
    let f = t.output;
    nine(slip.tangents[f][0][0], 1.116417024);
    // The judge: a central difference.
    let f = |x: f64, y: f64| y * x.ln() + (y * x.ln()).sqrt();
    let h = 1e-6;
    assert!(((f(3.0 + h, 2.0) - f(3.0 - h, 2.0)) / (2.0 * h) - t.gradient(0)[0]).abs() < 1e-8);
    assert!(((f(3.0, 2.0 + h) - f(3.0, 2.0 - h)) / (2.0 * h) - t.gradient(1)[0]).abs() < 1e-8);
    for format in [Format::Text, Format::Latex, Format::Html, Format::Json] {
        let shown = |slides| t.render(format, Style { slides, ..Style::default() });
        assert!(shown(true).contains("1.116417024") || shown(true).contains("1.11641702"), "{format:?}");
        assert!(!shown(false).contains("1.1164170"), "{format:?}");
    }
}

/// Every derivative of a step is the library's, so the slip planted into one of them must be noticed.
#[test]
fn a_function_that_detaches_is_refused() {
    let x = [("x", Tensor::from(2.0))];
    let e = trace(|v| &v[0] * v[0].detach(), &x).unwrap_err().to_string();
    assert!(e.contains("do not make up"), "{e}");
    let e = trace(|_| Tensor::from(1.0), &x).unwrap_err().to_string();
    assert!(e.contains("does not depend on a variable"), "{e}");
    let e = trace(|v| v[0].matmul(&Tensor::zeros([3, 3])), &x).unwrap_err();
    assert!(matches!(e, Error::Mistake(_)), "{e}");
}

/// Where a value is lost the steps are shown all the same, with what is lost.
#[test]
fn a_logarithm_of_a_negative_number_is_shown() {
    let t = of("y*ln(x) + y", "x=-3,y=2").unwrap();
    assert!((t.gradient(0)[0] + 2.0 / 3.0).abs() < 1e-12 && t.gradient(1)[0].is_nan());
    assert!(t.render(Format::Text, Style::default()).contains("! a is not finite"));
}

#[test]
fn vectors_and_matrices_are_explained() {
    let t = of("sum(sigmoid(W @ x))", "x=[1,2],W=[[1,-1],[0.5,2]]").unwrap();
    let steps: Vec<&str> = t.steps().map(|n| n.formula.as_str()).collect();
    assert_eq!(steps, ["W @ x", "sigmoid a", "sum b"]);
    assert_eq!((t.passes_forward, t.passes_reverse), (6, 1));
    let s = |z: f64| 1.0 / (1.0 + (-z).exp());
    let d = |z: f64| s(z) * (1.0 - s(z));
    let (d0, d1) = (d(-1.0), d(4.5));
    for (got, want) in t.gradient(0).iter().zip([d0 + 0.5 * d1, -d0 + 2.0 * d1]) {
        nine(*got, want);
    }
    for (got, want) in t.gradient(1).iter().zip([d0, 2.0 * d0, d1, 2.0 * d1]) {
        nine(*got, want);
    }
    // Several results: a pass each, a column each.
    let t = of("x^2", "x=[1,2,3]").unwrap();
    assert_eq!(t.seeds.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["f[0]", "f[1]", "f[2]"]);
    assert_eq!(t.nodes[0].adjoints[2], [0.0, 0.0, 6.0]);
}

#[test]
fn c13_a_chain_is_ordered_and_costed() {
    let t = of("sum([[1,2,3],[4,5,6]] @ tanh([[1,0],[0,1],[1,1]] @ x))", "x=[1,2]").unwrap();
    let chain = t.cost().chain.unwrap();
    assert_eq!(chain.widths(), [1, 2, 3, 3, 2]);
    assert_eq!(chain, Chain::new(&[1, 2, 3, 3, 2]).unwrap());
    assert_eq!((chain.reverse(), chain.forward()), (6 + 9 + 6, 4 + 12 + 18));
    assert_eq!(chain.best(), chain.reverse());
    let text = t.render(Format::Text, Style::default());
    assert!(text.contains("a chain: D1 1×2, D2 2×3, D3 3×3, D4 3×2"), "{text}");
    assert!(slide().cost().chain.is_none(), "b is read twice");
}

#[test]
fn f1_a_perceptron_is_explained() {
    let t = mlp(&[2, 3, 1], "sigmoid", 0).unwrap();
    assert_eq!(t.steps().count(), 7);
    assert_eq!(t.inputs().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["x", "W1", "b1", "W2", "b2"]);
    assert!(t.agreement < 1e-14);
    // F7: the derivative by W is diag(σ′)·ȳᵀ·xᵀ, of W's shape.
    let (w, b) = (t.node("W1").unwrap(), t.node("b1").unwrap());
    for (i, g) in w.adjoints[0].iter().enumerate() {
        nine(*g, b.adjoints[0][i / 2] * t.node("x").unwrap().value[i % 2]);
    }
    for (widths, activation) in
        [(&[2, 3][..], "relu"), (&[1], "relu"), (&[2, 0, 1], "relu"), (&[2, 1], "gelu")]
    {
        assert!(mlp(widths, activation, 0).is_err());
    }
    assert!(mlp(&[usize::MAX, 2, 1], "relu", 0).is_err());
}

#[test]
fn one_neuron_of_lenet5_is_explained() {
    let net = LeNet5::new(&Rng::new(0));
    let x = Tensor::randn([1, 1, 28, 28], &Rng::new(1));
    let t = neuron(&net, &x, "fc2", 17).unwrap();
    let out = &t.nodes[t.output];
    assert_eq!(out.path, "fc2");
    // The places of maxima are kept for the way back, and are no step of their own.
    let pools: Vec<&str> =
        t.steps().filter(|n| n.operation == "max_pool2d").map(|n| n.saved[0].name.as_str()).collect();
    assert_eq!((t.steps().count(), pools.len()), (15, 2), "{pools:?}");
    // What it reads last: its own bias has slope 1, the others' 0.
    let bias = t.node("fc2.bias").unwrap();
    assert_eq!((bias.adjoints[0][17], bias.adjoints[0][16]), (1.0, 0.0));
    assert!(t.node("fc3.weight").is_none(), "later layers do not matter");
    // The library's own judge: the gradient of that element by the first layer's bias.
    let wanted = cotangent::grad_of(&net, |n| {
        let mut y = x.clone();
        for layer in ["conv1", "conv2"] {
            let p = |name: &str| {
                let all = n.parameters();
                all.iter().find(|(k, _)| k == name).unwrap().1.get()
            };
            let pad = if layer == "conv1" { 2 } else { 0 };
            let (w, b) = (p(&format!("{layer}.weight")), p(&format!("{layer}.bias")));
            y = y.conv2d(&w, Some(&b), cotangent::ops::Conv::default().padding(pad)).relu().max_pool2d(2);
        }
        let all = n.parameters();
        let p = |name: &str| all.iter().find(|(k, _)| k == name).unwrap().1.get();
        let y = (y.flatten(1).matmul(&p("fc1.weight").t()) + p("fc1.bias")).relu();
        (y.matmul(&p("fc2.weight").t()) + p("fc2.bias")).select(1, 17).sum()
    });
    let own = &t.node("conv1.bias").unwrap().adjoints[0];
    for (own, wanted) in own.iter().zip(wanted[1].to_vec::<f64>()) {
        assert!((own - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{own} {wanted}");
    }
    // What is usual is not said.
    let said = [t.steps().next().unwrap(), t.steps().nth(2).unwrap()].map(|n| n.formula.as_str());
    let conv = "conv2d(input, conv1.weight, conv1.bias; padding [2, 2, 2, 2])";
    assert_eq!(said, [conv, "max_pool2d(b; kernel [2, 2], stride [2, 2])"]);
    // The pixel that moves it most, beside the picture; no line is long, and none ends with blanks.
    let g = &t.node("input").unwrap().adjoints[0];
    let most = (0..784).max_by(|a, b| g[*a].abs().total_cmp(&g[*b].abs())).unwrap();
    let text = t.render(Format::Text, Style { mode: Mode::Reverse, ..Style::default() });
    let map: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("The picture, and what")).collect();
    let sign = map[1 + most / 28].chars().nth(2 + 28 + 4 + most % 28);
    assert_eq!((map.len(), sign), (29, Some(if g[most] > 0.0 { '+' } else { '-' })), "{text}");
    assert!(map.iter().all(|l| l.len() <= 80 && l.trim_end() == *l), "{text}");
    assert!(text.contains("never built: the steps are"), "{text}");
    let e = neuron(&net, &x, "fc9", 0).unwrap_err().to_string();
    assert!(e.contains("no layer `fc9`") && e.contains("conv1"), "{e}");
    assert!(neuron(&net, &x, "fc2", 84).unwrap_err().to_string().contains("84 neurons"));
    assert_eq!(net.call(&x).shape()[..], [1, 10]);
}

fn hangul(text: &str) -> bool {
    text.chars().any(|c| ('가'..='힣').contains(&c))
}

/// Do message and help say it in Korean?
fn korean(e: &ParseError) -> bool {
    let [message, help] = [&e.message, &e.help].map(|t| Lang::Ko.words(t));
    hangul(&message) && (help.is_empty() || hangul(&help))
}

#[test]
fn a_mistake_points_at_its_character() {
    for (text, at, message) in [
        ("y*ln(x", 6..7, "expected `)`, found the end"),
        ("y*(x", 4..5, "expected `)`, found the end"),
        ("y x", 2..3, "expected an operator or the end, found `x`"),
        ("", 0..1, "expected a number, a name or `(`, found the end"),
        ("x +", 3..4, "expected a number, a name or `(`, found the end"),
        ("x * / y", 4..5, "expected a number, a name or `(`, found `/`"),
        ("1.2.3", 0..5, "expected a number, found `1.2.3`"),
        ("y $ x", 2..3, "expected a number, a name or one of + - * / ^ @ ( ) [ ], found `$`"),
        ("foo(x)", 0..3, "`foo` is not a function I know"),
        ("[[1,2],[3]]", 7..10, "expected rows of one length"),
        ("[1,x]", 3..4, "expected a number or `[`, found `x`"),
        ("min(x", 5..6, "expected `,` or `)`, found the end"),
    ] {
        let e = Expression::parse(text).unwrap_err();
        assert_eq!((e.at.clone(), e.message.as_str()), (at, message), "{text}");
        assert!(korean(&e), "{text}: {}", Lang::Ko.words(&e.message));
    }
    let deep = "(".repeat(10_000);
    assert!(Expression::parse(&deep).unwrap_err().message.contains("at most 200 levels"));
    assert!(Expression::parse(&"-x^".repeat(10_000)).is_err());
    // Equal parts are one; a sum of different ones is as long as it looks.
    let long = (0..1000).map(|i| format!("x*{i}")).collect::<Vec<_>>().join("+");
    assert!(Expression::parse(&long).unwrap_err().message.contains("at most 1000 numbers"));
    assert!(Expression::parse(&"[".repeat(10_000)).is_err());
    let e = of("y*x", "x=3").unwrap_err();
    assert_eq!(
        (e.at, e.message.as_str(), e.help.as_str()),
        (0..1, "`y` has no value", "give it one: `--at x=..,y=2`")
    );
    let e = of("y*x", "x=3,y=2,z=1").unwrap_err();
    assert!(e.message.starts_with("`z` has a value") && e.at == (0..3) && korean(&e), "{e:?}");
    // What people write, and what to write instead.
    for text in ["2x", "x y", "sin x", "3(x)"] {
        let e = of(text, "x=3").unwrap_err();
        assert!(e.help.contains("`2*x`, `sin(x)`") && korean(&e), "{text}: {}", e.help);
    }
    assert_eq!(of("x)", "x=3").unwrap_err().help, "");
    let e = of("x*sin", "x=3").unwrap_err();
    assert!(e.help.contains("`sin(x)`") && korean(&e), "{}", e.help);
    assert_eq!(bindings("x").unwrap_err().help, "such as `x=3`");
    let e = of("x*(W@x)", "x=[1,2,3],W=[[1,2],[3,4]]").unwrap_err();
    assert_eq!((e.at, e.message.as_str()), (3..6, "matmul: inner sizes 2 and 3 differ"));
    for (text, at) in
        [("x=3,,", 4..5), ("x", 1..2), ("x=", 2..3), ("x=y", 2..3), ("x=1,x=2", 4..5), ("ln=3", 0..2)]
    {
        let e = bindings(text).unwrap_err();
        assert_eq!(e.at, at, "{text}");
        assert!(korean(&e), "{text}: {}", Lang::Ko.words(&e.message));
    }
}

#[test]
fn powers_and_signs_are_what_they_are_in_mathematics() {
    for (text, value) in [
        ("-x^2", -9.0),
        ("2^x", 8.0),
        ("2^-x", 0.125),
        ("x^0.5", 3f64.sqrt()),
        ("x^5 - x**4", 243.0 - 81.0),
        ("2 - 3 - x", -4.0),
        ("2/4*x", 1.5),
        ("x^2^1", 9.0),
        ("+-+-x", 3.0),
        ("1e1*x", 30.0),
        ("e^ln(x)", 3.0),
        ("max(x, 2) + min(x, 2)", 5.0),
        ("x^0 + 0*x", 1.0),
    ] {
        let t = of(text, "x=3").unwrap();
        assert!((t.nodes[t.output].value[0] - value).abs() < 1e-12, "{text}");
        assert!(t.agreement < 1e-12, "{text}");
    }
}

#[test]
fn every_format_in_both_languages_holds_the_numbers() {
    let t = slide();
    for lang in [Lang::En, Lang::Ko] {
        for format in [Format::Text, Format::Latex, Format::Html] {
            let text = t.render(format, Style { lang, ..Style::default() });
            assert!(text.contains("0.891541845") && text.contains("1.337312768"), "{format:?}");
        }
    }
    let html = t.render(Format::Html, Style::default());
    // Nothing is loaded from elsewhere; without scripts nothing is hidden.
    assert!(
        !html.contains("http://")
            || html.matches("http://").count() == html.matches("http://www.w3.org/2000/svg").count()
    );
    assert!(!html.contains("https://") && !html.contains(" src="));
    assert!(html.contains("type=\"range\"") && !html.contains("class=\"later\""));
    assert_eq!(html.matches("<tr data-step").count(), 6 + 6 + 6);
    let svg = t.render(Format::Svg, Style::default());
    assert_eq!(svg.matches("<rect").count(), 6);
    assert_eq!(svg.matches("class=\"e\"").count(), 6);
    let json: serde_json::Value = serde_json::from_str(&t.render(Format::Json, Style::default())).unwrap();
    assert_eq!(json["saved_bytes"], 32);
    assert_eq!(json["trace"]["nodes"][3]["kind"], "step");
    assert!(json["trace"].get("slip").is_none());
    // A title cannot break out of a page.
    let t = slide().titled("<script>\"&");
    let html = t.render(Format::Html, Style::default());
    assert!(html.contains("&lt;script&gt;&quot;&amp;") && !html.contains("<script>\""));
}

/// In Korean no two English words follow each other, in any format, but for the words of the formats themselves.
#[test]
fn korean_is_korean_in_every_format() {
    let all = [
        slide(),
        of("sum(sigmoid(W @ x))", "x=[1,2],W=[[1,-1],[0.5,2]]").unwrap(),
        of("softmax(W @ x)", "x=[1,2,3,4,5],W=[[1,2,3,4,5],[2,3,4,5,6]]").unwrap(),
        of("1/x", "x=0").unwrap(),
        mlp(&[3, 4, 1], "tanh", 0).unwrap(),
    ];
    for (t, format) in all.iter().flat_map(|t| {
        [Format::Text, Format::Latex, Format::Dot, Format::Svg, Format::Html].map(|format| (t, format))
    }) {
        let page = t.render(format, Style { lang: Lang::Ko, slides: true, ..Style::default() });
        // What a reader of the page sees: neither elements nor styles and scripts; of a graph its labels.
        let mut seen = String::new();
        let mut rest = page.as_str();
        while let Some((before, after)) = rest.split_once('<').filter(|_| page.starts_with('<')) {
            seen += before;
            let end = ["style", "script"]
                .into_iter()
                .find(|e| after.starts_with(e))
                .map_or(">", |e| if e == "style" { "</style>" } else { "</script>" });
            rest = after.split_once(end).map_or("", |(_, rest)| rest);
        }
        seen += rest;
        if format == Format::Dot {
            seen = page.split('"').skip(1).step_by(2).collect::<Vec<_>>().join("\n");
        }
        assert!(format == Format::Dot || format == Format::Svg || hangul(&seen), "{format:?}: {seen}");
        let words: Vec<bool> = seen
            .split([' ', '\n'])
            .map(|w| w.len() > 2 && w.chars().all(|c| c.is_ascii_alphabetic()))
            .collect();
        assert!(!words.windows(2).any(|w| w[0] && w[1]), "{format:?}: {seen}");
    }
}

/// Also vectors, matrices and long sums fit into eighty columns, with every number that the wide table had.
#[test]
fn explanations_fit_into_a_terminal() {
    for t in [
        slide(),
        mlp(&[2, 3, 1], "sigmoid", 0).unwrap(),
        of("sum(sigmoid(W @ x))", "x=[1,2],W=[[1,-1],[0.5,2]]").unwrap(),
        of("x*sin(x) + tanh(x)*exp(x)", "x=1").unwrap(),
    ] {
        for lang in [Lang::En, Lang::Ko] {
            let text = t.render(Format::Text, Style { lang, slides: true, ..Style::default() });
            for line in text.lines() {
                let cells: usize = line.chars().map(|c| if hangul(&c.to_string()) { 2 } else { 1 }).sum();
                assert!(cells <= 80, "{cells}: {line}");
            }
            let last = t.nodes[t.output].value[0];
            assert!(text.contains(&format!("{last:.9}")), "{text}");
        }
    }
}

#[test]
fn what_is_not_finite_is_said() {
    let t = of("1/x", "x=0").unwrap();
    assert_eq!(t.not_finite().unwrap().name, "f");
    assert!(t.render(Format::Text, Style::default()).contains("! f is not finite"));
    assert!(slide().not_finite().is_none());
    assert_eq!(slide().nodes.iter().filter(|n| n.kind == Kind::Constant).count(), 0);
}
