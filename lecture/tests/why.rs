//! `why`: every row of the lecture runs, holds, and gives the numbers that its row expects.

use std::collections::BTreeMap;

use cotangent_lecture::{
    Lang, lab,
    why::{self, Argument, Statement, TOPICS},
};

fn argue(row: &str) -> Argument {
    let found = why::named(row).unwrap()[0].argue(Lang::En).unwrap();
    for t in found.tested() {
        assert!(t.holds, "{row}: {}\n{}", t.text, found.text());
    }
    assert!(!found.tested().is_empty() && found.text().starts_with(&found.row().to_string()));
    assert!(found.seconds() < 5.0, "{row} took {} s", found.seconds());
    found
}

/// A test for each row: its name, and the numbers that the row expects, each within half of its last digit.
macro_rules! rows {
    ($($row:ident: $($name:literal $value:tt $within:literal),*;)*) => {$(
        #[test]
        #[expect(non_snake_case, reason = "rows are written as in the lecture, so that they are found")]
        fn $row() {
            let found = argue(stringify!($row));
            $(
                let x = found.get($name).unwrap_or_else(|| panic!("no {}\n{}", $name, found.text()));
                assert!((x - $value).abs() <= $within, "{} is {x}, not {}", $name, $value);
            )*
            let _ = &found;
        }
    )*
        const ROWS: &[&str] = &[$(stringify!($row)),*];
    };
}

rows! {
    A1: "worst difference of 20 draws" 0.0 1e-12;
    A2: "σ′(0)" 0.0 0.0, "(σ(h) − σ(−h))/2h" 0.5 1e-9;
    A3: "difference from the closed form" 0.0 1e-12;
    A4: "worst distance of θᵏ from the running mean, k < 500" 0.0 1e-13, "α_3 of 1/(k + 1)" 0.25 0.0;
    A5:;
    A6: "ratio of the last two residuals" 4.0 0.1;
    A7: "2/L" 0.2 0.0, "the bound along the top eigenvector" 0.2 1e-12;
    A8: "1 − (1 − 1/N)^N, N = 10,000" 0.632 5e-4, "share seen in an epoch, mean of 10" 0.632 5e-3;
    A9: "enumeration: |E∇f_i − ∇F|" 0.0 1e-12;
    A10: "steps of 12 that go up, α = 2⁻⁹" 3.0 0.0;
    A11: "θ¹⁰⁰⁰, ω ~ N(3, 1)" 3.0 0.1, "a GAN's data mean" 3.0 0.0;
    A12: "N = 4, B = 2: |mean of 16 batches − ∇F|" 0.0 1e-12, "slope of ln variance over ln B" (-1.0) 0.05;
    A13: "worst relative difference, f32, 10 draws" 0.0 1e-6;
    A14: "noise scale at the start" 3.590575367 5e-7;
    A15: "measured/predicted" 1.0 0.1;
    A16: "batches of 4 from 10, drop_last off" 3.0 0.0, "batches of 4 from 10, drop_last on" 2.0 0.0;
    A17: "∇F" 3.213393832 5e-10, "mean in position 4 over 24 permutations" 3.213393832 5e-10,
        "mean of the fourth, given 1, 2, 3" 8.389775603 5e-10;
    A18: "gradient descent, 1 step" 1.0 0.0, "SGD, 60,000 steps" 1.0 0.0, "B = 64: steps in an epoch" 937.5 1e-9;
    A19: "cyclic, %" 100.0 0.0, "shuffled, %" 100.0 0.0, "IID, %" 63.2 1.5;
    A20:;
    A21: "orders that came" 24.0 0.0;
    A22: "σ(k) leaves its range in epoch" 2.0 0.0, "at k (counted from 1)" 6.0 0.0;
    A23:;
    A24:;
    A25: "second step with the same gradient" 0.3 1e-15;

    B1: "([[1,2],[3,4]]²)₁₁" 7.0 0.0, "([[1,2],[3,4]]²)₂₂" 22.0 0.0;
    B2:;
    B3: "copies there" 1.0 0.0, "copies back" 1.0 0.0;
    B4: "host busy, µs" 50.0 1e-9;
    B5: "launches" 4.0 0.0;
    B6: "copies back" 1.0 0.0, "copies back with item() in the loop" 21.0 0.0;
    B7: "bytes on the device" 4000.0 0.0, "bytes after the last handle went" 0.0 0.0;
    B8: "operations whose result stays with its operand, of 12" 12.0 0.0;
    B9:;
    B10: "copies to the device" 2.0 0.0, "copies back" 1.0 0.0, "products A·x" 100.0 0.0, "‖±x − v‖" 0.0 1e-6,
        "Rayleigh quotient" 10.0 1e-4, "first step of the slide's version that leaves f32" 39.0 0.0,
        "copies back with item() in the loop" 101.0 0.0;

    C1: "√2 by Newton's loop" (std::f64::consts::SQRT_2) 1e-15, "its derivative, reverse" 0.353553390593274 1e-14;
    C2: "LeNet-5, counted" 3.0 0.5, "largest of the shipped networks, counted" 2.5 2.5,
        "100 quotients x/y/x/…" 4.99 5e-10;
    C3: "automatic: relative error" 0.0 1e-15, "best difference: relative error" 1e-11 9.9e-11;
    C4: "nodes of the tape, 50 turns" 100.0 0.0;
    C5:;
    C6: "nodes" 4.0 0.0, "edges" 6.0 0.0, "readers of b" 2.0 0.0;
    C7: "∂f/∂x, path 1: ∂f/∂b·∂b/∂a·∂a/∂x" 0.666666667 5e-10,
        "∂f/∂x, path 2: ∂f/∂c·∂c/∂b·∂b/∂a·∂a/∂x" 0.224875179 5e-10;
    C8: "a" 1.098612289 5e-10, "b" 2.197224577 5e-10, "c" 1.482303807 5e-10, "f" 3.679528385 5e-10,
        "∂b/∂x" 0.666666667 5e-10, "∂b/∂y" 1.098612289 5e-10, "∂c/∂x" 0.224875179 5e-10,
        "∂c/∂y" 0.370575952 5e-10, "∂f/∂x" 0.891541845 5e-10, "∂f/∂y" 1.469188241 5e-10;
    C9: "values alive at most" 3.0 0.0;
    C10: "∂f/∂f" 1.0 0.0, "∂f/∂c" 1.0 0.0, "∂f/∂b" 1.337312768 5e-10, "∂f/∂a" 2.674625536 5e-10,
        "∂f/∂x" 0.891541845 5e-10, "∂f/∂y" 1.469188241 5e-10;
    C11: "bytes in all" 32.0 0.0;
    C12: "∂f/∂x" 0.891541845 5e-10, "∂f/∂y" 1.469188241 5e-10, "slide ∂f/∂x" 1.116417024 5e-10,
        "slide ∂f/∂y" 1.839764192 5e-10, "central difference ∂f/∂x" 0.8915418 5e-8,
        "central difference ∂f/∂y" 1.4691882 5e-8;
    C13: "rows of Df1" 2.0 0.0, "columns of Df3" 5.0 0.0, "|product − Jacobian of the whole|" 0.0 1e-14;
    C14: "counted, widths 1, 20, 30, 40" 24800.0 0.0, "Σ n_{i−1}n_i n_N" 24800.0 0.0;
    C15: "counted, widths 1, 20, 30, 40" 1800.0 0.0, "n₀ Σ n_i n_{i+1}" 1800.0 0.0;
    C16: "(10,10,1000,10): reverse" 200000.0 0.0, "(10,10,1000,10): best" 101000.0 0.0,
        "(10,20,1,20,10): forward" 2400.0 0.0, "(10,20,1,20,10): reverse" 2400.0 0.0, "(10,20,1,20,10): best" 500.0 0.0,
        "random rising chains where reverse is best, of 20,000" 20000.0 0.0;
    C17: "leaves with a gradient" 10.0 0.0;
    C18: "∂/∂x₂ of Σx² at (1, 2)" 4.0 0.0;
    C19: "bytes in all, B = 64" 2669176.0 0.0;
    C20:;
    C21: "LeNet-5, bytes alive after it in no_grad" 2560.0 0.0, "d²x³/dx² at 3, inside no_grad" 18.0 0.0;

    D1: "without a bias, at x = 0" 0.5 0.0, "|softmax of two − σ((w₁ − w₂)ᵀx)|, 20 draws" 0.0 1e-15;
    D2: "parameters" 25.0 0.0;
    D3: "784→512→512→10" 669706.0 0.0;
    D4: "|three layers − one matrix|, relative, f32" 0.0 1e-6;
    D5: "ReLU(3)" 3.0 0.0, "σ′(0)" 0.0 0.0;
    D6: "σ(-1000)" 0.0 0.0, "σ(0)" 0.5 0.0, "σ(1000)" 1.0 0.0, "σ′(-1000)" 0.0 0.0, "σ′(0)" 0.25 0.0,
        "σ′(1000)" 0.0 0.0;
    D7: "tanh(−400)" (-1.0) 0.0, "tanh(−50), f32" (-1.0) 0.0;
    D8: "parameters of the MLP" 397505.0 0.0;
    D9: "|Jacobian − (diag(μ) − μμᵀ)|, 20 draws" 0.0 1e-15;
    D10: "Σ μ(−∞, 0, 1)" 1.0 1e-6;
    D11: "μ(1000 z)₂" 1.0 0.0, "a tie: μ₁" 0.5 0.0;
    D12: "μ(1,2,3)₁" 0.09003057 5e-9, "μ(1,2,3)₂" 0.24472847 5e-9, "μ(1,2,3)₃" 0.66524096 5e-9,
        "μ(−2,−2,−99)₁" 0.5 0.0, "μ(−2,−2,−99)₃ · 10⁴³" 3.7 0.05;
    D13: "parameters for MNIST" 7850.0 0.0;
    D14: "rows N" 4.0 0.0, "columns k" 3.0 0.0;
    D15: "D_KL(q ‖ q)" 0.0 1e-15;
    D16: "one-hot: CE" 1.205948778 5e-7, "one-hot: KL" 1.205948778 5e-7;
    D17:;

    E1: "|one operation − two|, 30 draws" 0.0 1e-6, "loss of (10⁴, −10⁴) for class 1" 20000.0 0.0;
    E2: "weights 2, 2, 2: loss/plain loss" 2.0 1e-14;
    E3: "least it can be for three classes, by mistake" 0.551444714 5e-10;
    E4:;
    E5: "labels 0, 1, 2 of equal scores" 1.098612289 1e-6;
    E6:;
    E7: "logits (1,2,3), class 2" 0.407605964 5e-10, "gradient, entry 0" 0.0900 5e-5, "gradient, entry 1" 0.2447 5e-5,
        "gradient, entry 2" (-0.3348) 5e-5;
    E8: "first term" 1.630423858 5e-10, "second term" 1.868981135 5e-10;
    E9: "mean" 0.699880999 5e-10, "divided by N instead" 1.749702497 5e-10;
    E10: "combinations" 9.0 0.0;
    E11: "none, first" 0.407605964 5e-10, "none, second" 1.868981135 5e-10, "sum" 2.276587099 1e-9,
        "mean" 1.138293550 1e-9;
    E12: "(2, 3, 4, 5) with (2, 4, 5)" 1.668886113 5e-7, "40 pixels in rows" 1.668886113 5e-7;

    F1:;
    F2: "|Jacobian − diag(σ′)|, 10 draws of 3 layers" 0.0 1e-12;
    F3: "|Jacobian − diag(σ′)W_ℓ|, 10 draws" 0.0 1e-12;
    F4: "diag(1, −2, 3)₂₂" (-2.0) 0.0;
    F5: "widths (1,100,100,100,100), from the left" 30000.0 0.0, "from the right" 2010000.0 0.0;
    F6: "|directional derivative − ⟨G, D⟩|, 10 draws" 0.0 1e-8;
    F7: "|right formula − gradient|, 10 draws" 0.0 5e-11, "width of y_ℓᵀ on the slide" 4.0 0.0,
        "width of W_ℓ, which is that of y_{ℓ−1}ᵀ" 3.0 0.0;

    G1: "convolution and global max: change of the logits" 0.0 0.0;
    G2: "|conv2d − loop|, f64" 0.0 1e-12, "output height" 28.0 0.0;
    G3: "P = 0" 28.0 0.0, "P = 2" 32.0 0.0;
    G4: "stride 1" 5.0 0.0, "stride 2" 3.0 0.0;
    G5: "D₂" 6.0 0.0;
    G6: "settings that agree, of 100,000" 100000.0 0.0, "D₂ of 3→6" 6.0 0.0;
    G7: "floor" 2.0 0.0, "ceil" 3.0 0.0;
    G8: "C1 of LeNet-5: 1→6, 5×5" 156.0 0.0, "3→6, 5×5" 456.0 0.0;
    G9: "depth after pooling 3 maps" 3.0 0.0;
    G10: "y[0,0]" 6.0 0.0, "y[0,1]" 8.0 0.0, "y[1,0]" 3.0 0.0, "y[1,1]" 4.0 0.0;
    G11: "maxpool(x) + maxpool(−x) [0,0]" 5.0 0.0;
    G12: "y[0,0]" 3.25 0.0, "y[0,1]" 5.25 0.0, "y[1,0]" 2.0 0.0, "y[1,1]" 2.0 0.0;
    G13: "|average pooling − area resize|, 10 pictures" 0.0 1e-15;
    G14: "|convolution with zeros − pooling|, 20 draws" 0.0 1e-6, "|convolution in groups − pooling|, 20 draws" 0.0 1e-6;
    G15: "index of the 8" 7.0 0.0;

    H1: "layers" 7.0 0.0;
    H2: "S2" 12.0 0.0, "S4" 32.0 0.0;
    H3: "links" 60.0 0.0, "parameters of C3" 1516.0 0.0;
    H4: "f(1)" 1.0 1e-4;
    H5: "codes" 10.0 0.0, "cells of a code" 84.0 0.0;
    H6: "C1" 156.0 0.0, "S2" 12.0 0.0, "C3" 1516.0 0.0, "S4" 32.0 0.0, "C5" 48120.0 0.0, "F6" 10164.0 0.0,
        "parameters" 60000.0 0.0, "connections" 340908.0 0.0;
    H7: "parameters" 61706.0 0.0;
    H8:;
    H9: "ReLUs before pooling, C1" 4704.0 0.0, "ReLUs after pooling" 1176.0 0.0;
    H10: "weights of the last layer" 840.0 0.0;
    H11: "size of a 28×28 image with p = 2" 32.0 0.0;
    H12: "LeNet-5 of 1998: parameters" 60000.0 0.0, "LeNet-5 today: parameters" 61706.0 0.0;
}

#[test]
fn every_row_of_the_lecture_is_there_and_tested() {
    let lecture = [("A", 25), ("B", 10), ("C", 21), ("D", 17), ("E", 12), ("F", 7), ("G", 15), ("H", 12)];
    let expected: Vec<String> =
        lecture.iter().flat_map(|(c, n)| (1..=*n).map(move |i| format!("{c}{i}"))).collect();
    let there: Vec<&str> = why::rows().map(|r| r.id).collect();
    assert_eq!(there, expected);
    assert_eq!(ROWS, expected);
    // Every row belongs to a topic, and every topic has rows.
    assert!(why::rows().all(|r| TOPICS.iter().any(|t| t.name == r.topic)));
    assert!(TOPICS.iter().all(|t| t.rows().count() > 0));
    assert!(why::rows().all(|r| r.page().starts_with("book/src/") && r.page().ends_with(".md")));
    assert!(why::rows().all(|r| r.command() == format!("cotangent why {}", r.id)));
}

/// The longest run of English words in a text, without what stands in backticks.
fn english(text: &str) -> usize {
    let plain: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" · ");
    let word = |w: &&str| w.len() > 1 && w.chars().all(|c| c.is_ascii_alphabetic() || c == '\'');
    let runs = plain.split(' ').collect::<Vec<_>>();
    runs.split(|w| !word(w)).map(<[&str]>::len).max().unwrap_or(0)
}

/// Cells of a terminal: a syllable of Hangul takes two.
fn cells(line: &str) -> usize {
    line.chars().map(|c| if ('가'..='힣').contains(&c) { 2 } else { 1 }).sum()
}

#[test]
fn english_is_noticed() {
    assert_eq!(
        ["가중치 two for 셋", "`cotangent why A1` 참", "the largest batch that fits", "E ∇f"].map(english),
        [2, 0, 5, 0]
    );
    assert_eq!([cells("가 a"), cells("− ∇")], [4, 3]);
}

/// Every row says the same numbers in both languages, Korean is Korean, and both fit into eighty columns. Each topic
/// has an argument, a counter-example, and a seeded check.
#[test]
fn every_row_speaks_both_languages() {
    let mut kinds: BTreeMap<&str, Vec<Statement>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in why::rows() {
        let [en, ko] = [Lang::En, Lang::Ko].map(|lang| row.argue(lang).unwrap());
        kinds.entry(row.topic).or_default().extend(ko.tested().iter().map(|t| t.statement));
        // Times are not the same twice.
        let timed = |name: &str| ["seconds", "speed-up"].iter().any(|w| name.contains(w));
        let numbers = |a: &Argument| -> Vec<(String, u64)> {
            a.numbers()
                .iter()
                .filter(|n| !timed(&n.name))
                .map(|n| (n.name.clone(), n.value.to_bits()))
                .collect()
        };
        assert_eq!(numbers(&en), numbers(&ko), "{}", row.id);
        let of = |a: &Argument| a.tested().iter().map(|t| (t.statement, t.holds)).collect::<Vec<_>>();
        assert_eq!(of(&en), of(&ko), "{}", row.id);
        let said = ko.json();
        let strings = |v: &serde_json::Value| {
            v.as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_string()).collect()
        };
        let mut all: Vec<String> = strings(&said["text"]);
        all.push(row.title(Lang::Ko).to_string());
        all.extend(ko.tested().iter().map(|t| t.text.clone()));
        all.extend(ko.numbers().iter().map(|n| n.label.clone()));
        for table in said["tables"].as_array().unwrap() {
            table.as_array().unwrap().iter().for_each(|r| all.extend::<Vec<String>>(strings(r)));
        }
        wrong.extend(all.iter().filter(|t| english(t) > 1).map(|t| format!("{}: English: {t}", row.id)));
        for line in en.text().lines().chain(ko.text().lines()).filter(|l| cells(l) > 80) {
            wrong.push(format!("{}: {} columns: {line}", row.id, cells(line)));
        }
        assert!(!en.text().chars().any(|c| ('가'..='힣').contains(&c)), "{}", row.id);
    }
    for topic in TOPICS.iter() {
        for kind in [Statement::Claim, Statement::CounterExample, Statement::Property] {
            if !kinds[topic.name].contains(&kind) {
                wrong.push(format!("{}: no {kind:?}", topic.name));
            }
        }
        if english(topic.title(Lang::Ko)) > 1 {
            wrong.push(topic.title(Lang::Ko).to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A15: time to an accuracy by batch size; a goal that is out of reach is said to be.
#[test]
fn a15_time_to_an_accuracy_by_batch_size() {
    let found = lab::to_accuracy(&[16, 64], 1000, 0.6, 4);
    assert!(
        found.iter().all(|f| f.reached && f.accuracy >= 0.6 && f.seconds > 0.0 && f.throughput > 0.0),
        "{found:?}"
    );
    assert!(found[0].steps > found[1].steps, "{found:?}");
    let never = lab::to_accuracy(&[64], 320, 1.0, 2);
    assert_eq!((never[0].reached, never[0].steps, never[0].epochs), (false, 10, 2.0));
    let shown = lab::reached(&[found[0].clone(), never[0].clone()]);
    assert_eq!(shown[2].last().unwrap(), "not reached");
    assert_ne!(shown[1].last().unwrap(), "not reached");
    let trains: Vec<&str> = why::rows().filter(|r| r.trains()).map(|r| r.id).collect();
    assert_eq!(trains, ["A15", "H12"]);
}

#[test]
fn an_unknown_word_is_helped() {
    let e = why::named("softmax").err().unwrap().to_string();
    assert!(Lang::Ko.words(e.lines().next().unwrap()).contains("주제나 행이 없습니다"), "{e}");
    assert!(e.contains("did you mean `softmax-is-argmax`"), "{e}");
    assert!(why::named("A26").is_err() && why::named("").is_err());
    // As people type them.
    for (typed, meant) in
        [("sofmax", "softmax-is-argmax"), ("shufling", "shuffling"), ("max-pooling", "pooling")]
    {
        let e = why::named(typed).err().unwrap().to_string();
        assert!(e.contains(&format!("did you mean `{meant}`")), "{e}");
    }
    assert!(!why::named("zzz").err().unwrap().to_string().contains("did you mean"));
    for typed in ["no_grad", "Reverse mode", "c8"] {
        assert!(why::named(typed).is_ok(), "{typed}");
    }
    assert_eq!(
        why::named("descent").unwrap().iter().map(|r| r.id).collect::<Vec<_>>(),
        ["A3", "A6", "A7", "A10"]
    );
}
