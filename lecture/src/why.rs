//! Why it is so: every row of the lecture as a short argument with numbers that are computed while one waits, the
//! counter-example, and a seeded check.

/// The rows of a part of the lecture: as one text they need no addresses.
macro_rules! rows {
    ($(row($id:literal, $topic:literal, $page:literal, $en:literal, $ko:literal, $run:ident $(,)?)),* $(,)?) => {
        pub(super) const ROWS: super::Rows =
            (concat!($($id, "\n", $topic, "\n", $page, "\n", $en, "\n", $ko, "\n"),*), &[$($run),*]);
    };
}

mod convolution;
mod cross_entropy;
mod devices;
mod differentiation;
mod exercise;
mod korean;
mod lenet;
mod optimisation;
mod perceptrons;

use std::{fmt::Write, sync::LazyLock, time::Instant};

use cotangent::{Error, Result, attempt};
use serde::Serialize;

use crate::{
    Chain, Lang,
    explain::{nine, table, width},
};

/// One row of the lecture.
#[derive(Debug)]
pub struct Row {
    /// `C8`
    pub id: &'static str,
    /// The topic it belongs to, as `cotangent why TOPIC` knows it.
    pub topic: &'static str,
    /// The chapter that shows it.
    page: &'static str,
    title: [&'static str; 2],
    argument: fn(&mut Argument),
}

impl Row {
    /// Its claim in a few words.
    pub fn title(&self, lang: Lang) -> &'static str {
        lang.say(self.title[0], self.title[1])
    }

    /// Its page in the book.
    pub fn page(&self) -> String {
        format!("book/src/{}.md", self.page)
    }

    /// Its command.
    pub fn command(&self) -> String {
        format!("cotangent why {}", self.id)
    }

    /// Run its demonstration.
    ///
    /// # Errors
    /// A mistake that the library met: the demonstration is broken.
    pub fn argue(&self, lang: Lang) -> Result<Argument> {
        self.run(lang, false)
    }

    /// Does [`Row::train`] show more than [`Row::argue`]?
    pub fn trains(&self) -> bool {
        ["A15", "H12"].contains(&self.id)
    }

    /// Run its demonstration with the whole training that its row asks for, where it does: that takes longer than five
    /// seconds.
    ///
    /// # Errors
    /// As those of [`Row::argue`].
    pub fn train(&self, lang: Lang) -> Result<Argument> {
        self.run(lang, true)
    }

    fn run(&self, lang: Lang, training: bool) -> Result<Argument> {
        let begin = Instant::now();
        let mut argument =
            Argument { row: self.id, title: self.title(lang), lang, training, ..Argument::default() };
        attempt(|| (self.argument)(&mut argument))?;
        argument.seconds = begin.elapsed().as_secs_f64();
        Ok(argument)
    }
}

/// Five lines a row, and what it runs.
type Rows = (&'static str, &'static [fn(&mut Argument)]);

/// A question that several rows answer.
#[derive(Debug)]
pub struct Topic {
    /// As `cotangent why TOPIC` knows it.
    pub name: &'static str,
    title: [&'static str; 2],
}

impl Topic {
    /// The question.
    pub fn title(&self, lang: Lang) -> &'static str {
        lang.say(self.title[0], self.title[1])
    }

    /// The rows that answer it, in order.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        rows().filter(|r| r.topic == self.name)
    }
}

macro_rules! topics {
    ($($name:literal $en:literal $ko:literal;)*) => {
        /// All topics.
        pub static TOPICS: LazyLock<Vec<Topic>> = LazyLock::new(|| {
            // As one text they need no addresses.
            let lines: Vec<&str> = concat!($($name, "\n", $en, "\n", $ko, "\n"),*).lines().collect();
            lines.chunks_exact(3).map(|l| Topic { name: l[0], title: [l[1], l[2]] }).collect()
        });
    };
}
topics! {
    "finite-sum" "What is minimised?" "무엇을 최소화하는가?";
    "relu-at-zero" "What is the derivative of ReLU at 0?" "0에서 ReLU의 도함수는 무엇인가?";
    "stepsizes" "Which step sizes are allowed?" "어떤 보폭을 쓸 수 있는가?";
    "descent" "Why does the loss go down?" "왜 손실이 줄어드는가?";
    "sgd" "What is stochastic gradient descent?" "확률적 경사 하강법이란 무엇인가?";
    "unbiased" "Why is one example enough?" "왜 예제 하나면 되는가?";
    "batch-size" "How large a batch?" "배치는 얼마나 커야 하는가?";
    "epoch" "What is an epoch?" "에폭이란 무엇인가?";
    "cyclic" "Why is the cyclic order not SGD?" "왜 순환 순서는 SGD가 아닌가?";
    "shuffling" "Why shuffle?" "왜 섞는가?";
    "library" "What is it besides neural networks?" "신경망 말고 무엇인가?";
    "devices" "Where do numbers live?" "수는 어디에 있는가?";
    "power-iteration" "What does a computation on a device cost?" "장치에서의 계산은 무엇이 드는가?";
    "differentiation" "What is automatic differentiation?" "자동 미분이란 무엇인가?";
    "cost" "Why does a gradient cost about five values?" "왜 기울기의 비용은 함수값의 다섯 배쯤인가?";
    "not-finite-differences" "Why not finite differences?" "왜 유한 차분이 아닌가?";
    "not-symbolic" "Why is it not symbolic?" "왜 기호 미분이 아닌가?";
    "chain-rule" "What does the chain rule do, step by step?" "연쇄 법칙은 한 단계씩 무엇을 하는가?";
    "reverse-mode" "Why reverse mode?" "왜 역방향 모드인가?";
    "no-grad" "Why no_grad?" "왜 no_grad인가?";
    "perceptrons" "What is a multilayer perceptron?" "다층 퍼셉트론이란 무엇인가?";
    "no-linear-depth" "Why a non-linear activation?" "왜 비선형 활성화인가?";
    "stable-formulas" "Why are formulas not computed as written?" "왜 공식을 쓰인 대로 계산하지 않는가?";
    "softmax-is-argmax" "Why is softmax an argmax?" "왜 softmax는 argmax인가?";
    "softmax-regression" "What is softmax regression?" "소프트맥스 회귀란 무엇인가?";
    "kl-is-cross-entropy" "Why is KL the same as cross entropy?" "왜 KL은 교차 엔트로피와 같은가?";
    "cross-entropy" "What does CrossEntropyLoss take?" "CrossEntropyLoss는 무엇을 받는가?";
    "cross-entropy-averages" "What does cross entropy average?" "교차 엔트로피는 무엇을 평균하는가?";
    "exercise" "How is a perceptron differentiated by hand?" "퍼셉트론을 손으로 미분하면?";
    "shift-invariance" "Why convolution?" "왜 합성곱인가?";
    "sizes" "How large is the output?" "출력은 얼마나 큰가?";
    "padding" "Where does the padding go?" "패딩은 어디에 두는가?";
    "pooling" "Why is average pooling a convolution, and max pooling not?" "왜 평균 풀링은 합성곱이고 최대 풀링은 아닌가?";
    "lenet-1998" "What was LeNet-5 in 1998?" "1998년의 LeNet-5는 무엇이었는가?";
    "lenet-modern" "What is LeNet-5 today?" "오늘날의 LeNet-5는 무엇인가?";
    "no-activation-after-pooling" "Why no activation after S2 and S4?" "왜 S2와 S4 뒤에는 활성화가 없는가?";
}

/// All rows, in the order of the lecture.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    static ALL: LazyLock<Vec<Row>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for (text, run) in [
            optimisation::ROWS,
            devices::ROWS,
            differentiation::ROWS,
            perceptrons::ROWS,
            cross_entropy::ROWS,
            exercise::ROWS,
            convolution::ROWS,
            lenet::ROWS,
        ] {
            let lines: Vec<&str> = text.lines().collect();
            for (l, argument) in lines.chunks_exact(5).zip(run) {
                all.push(Row { id: l[0], topic: l[1], page: l[2], title: [l[3], l[4]], argument: *argument });
            }
        }
        all
    });
    ALL.iter()
}

/// The rows that a word means: one by its id, or those of a topic.
///
/// ```
/// use cotangent_lecture::why::named;
/// assert_eq!(named("c8").unwrap()[0].id, "C8");
/// assert!(named("descent").unwrap().len() > 2);
/// assert!(named("Z9").unwrap_err().to_string().contains("cotangent why"));
/// ```
///
/// # Errors
/// An unknown word, with what there is.
pub fn named(word: &str) -> Result<Vec<&'static Row>> {
    // `no_grad`, `reverse mode` and `Softmax-Is-Argmax` are names too.
    let word = word.trim();
    let plain: String = word.to_lowercase().replace([' ', '_'], "-");
    if let Some(row) = rows().find(|r| r.id.eq_ignore_ascii_case(word)) {
        return Ok(vec![row]);
    }
    if let Some(topic) = TOPICS.iter().find(|t| t.name == plain) {
        return Ok(topic.rows().collect());
    }
    let near = near(&plain).join(" or ");
    let near = if near.is_empty() { near } else { format!("; did you mean {near}?") };
    Err(Error::other(format!("there is no topic or row `{word}`"))
        .help(format!("`cotangent why` lists topics, `cotangent why --rows` the rows A1 to H12{near}")))
}

/// At most two topics whose name, question or rows have words like these, the likest first.
fn near(asked: &str) -> Vec<String> {
    let words = |text: &str| -> Vec<Vec<char>> {
        let text = text.to_lowercase();
        let long = text.split(|c: char| !c.is_alphanumeric()).filter(|w| w.chars().count() > 1);
        long.map(|w| w.chars().collect()).collect()
    };
    // Dice's coefficient of pairs of letters.
    let alike = |a: &[char], b: &[char]| {
        let both = a.windows(2).filter(|p| b.windows(2).any(|q| q == *p)).count();
        2.0 * both as f64 / (a.len() + b.len() - 2) as f64
    };
    let best = |word: &[char], text: &str| {
        words(text).iter().map(|w| alike(word, w)).filter(|s| *s > 0.55).fold(0.0, f64::max)
    };
    let asked = words(asked);
    let (mut first, mut second) = ((0.0, ""), (0.0, ""));
    for t in TOPICS.iter() {
        let said = t.rows().fold(t.title(Lang::En).to_string(), |text, r| text + " " + r.title(Lang::En));
        let score: f64 = asked.iter().map(|w| best(w, t.name).max(0.8 * best(w, &said))).sum();
        if score > first.0 {
            (first, second) = ((score, t.name), first);
        } else if score > second.0 {
            second = (score, t.name);
        }
    }
    let enough = (0.75 * first.0).max(f64::MIN_POSITIVE);
    [first, second].iter().filter(|(s, _)| *s >= enough).map(|(_, n)| format!("`{n}`")).collect()
}

/// Row C16 for widths of one's own, `n₀` first: the cost of every order of the product, and the best one.
///
/// ```
/// use cotangent_lecture::{Lang, why};
/// let found = why::chain(&[10, 20, 1, 20, 10], Lang::En).unwrap();
/// assert_eq!((found.get("reverse"), found.get("best")), (Some(2400.0), Some(500.0)));
/// assert!(why::chain(&[10], Lang::En).is_err());
/// ```
///
/// # Errors
/// Too few widths, or one that is 0 or too large.
pub fn chain(widths: &[u64], lang: Lang) -> Result<Argument> {
    let chain = Chain::new(widths).map_err(Error::other)?;
    let row = named("C16")?[0];
    let mut argument = Argument { row: row.id, title: row.title(lang), lang, ..Argument::default() };
    differentiation::chain(&mut argument, &chain);
    Ok(argument)
}

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statement {
    /// It holds, as computed.
    Claim,
    /// Where the claim's condition is missing, it fails.
    CounterExample,
    /// It held for all of many seeded draws.
    Property,
}

/// A statement that was tested.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    /// What kind of statement.
    pub statement: Statement,
    /// In words.
    pub text: String,
    /// Was it so?
    pub holds: bool,
}

/// A number that was computed.
#[derive(Clone, Debug, Serialize)]
pub struct Number {
    /// What it is: `∂f/∂x`; the same in both languages.
    pub name: String,
    /// What it is called in the language of the argument.
    pub label: String,
    /// Its value; `null` in JSON where it is not finite.
    pub value: f64,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// What the library itself says.
    Quote(String),
    Table(Vec<Vec<String>>),
    Number(usize),
    Tested(usize),
}

/// Numbers that are best seen: lines over a common axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What lies along the horizontal axis.
    pub x: String,
    /// What lies along the vertical axis, where equal factors are equally far apart if all values are above 0.
    pub y: String,
    /// Names and points.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// A row's argument: text, numbers, and what was tested.
#[derive(Clone, Debug, Default)]
pub struct Argument {
    row: &'static str,
    title: &'static str,
    lang: Lang,
    parts: Vec<Part>,
    numbers: Vec<Number>,
    tested: Vec<Tested>,
    seconds: f64,
    plot: Option<Plot>,
    /// Is the training that takes longer wanted?
    training: bool,
}

impl Argument {
    fn say(&mut self, en: &str, ko: &str) {
        self.parts.push(Part::Text(self.lang.say(en, ko).to_string()));
    }

    /// The library's own words, as they are.
    fn quote(&mut self, words: &str) {
        self.parts.push(Part::Quote(words.to_string()));
    }

    /// In the language of the argument.
    fn named(&self, english: &str) -> String {
        match self.lang {
            Lang::En => english.to_string(),
            Lang::Ko => crate::korean::translated(english, &[korean::NAMES]),
        }
    }

    fn number(&mut self, name: &str, value: f64) -> f64 {
        self.numbers.push(Number { name: name.to_string(), label: self.named(name), value });
        self.parts.push(Part::Number(self.numbers.len() - 1));
        value
    }

    fn table(&mut self, mut rows: Vec<Vec<String>>) {
        rows.iter_mut().flatten().for_each(|cell| *cell = self.named(cell));
        self.parts.push(Part::Table(rows));
    }

    fn plot(&mut self, [x, y]: [&str; 2], lines: &[(&str, Vec<(f64, f64)>)]) {
        let lines = lines.iter().map(|(name, points)| (self.named(name), points.clone())).collect();
        let title = format!("{}  {}", self.row, self.title);
        self.plot = Some(Plot { title, x: self.named(x), y: self.named(y), lines });
    }

    fn test(&mut self, statement: Statement, text: &str, holds: bool) {
        self.tested.push(Tested { statement, text: text.to_string(), holds });
        self.parts.push(Part::Tested(self.tested.len() - 1));
    }

    fn claim(&mut self, en: &str, ko: &str, holds: bool) {
        self.test(Statement::Claim, self.lang.say(en, ko), holds);
    }

    fn counter(&mut self, en: &str, ko: &str, holds: bool) {
        self.test(Statement::CounterExample, self.lang.say(en, ko), holds);
    }

    fn property(&mut self, en: &str, ko: &str, holds: bool) {
        self.test(Statement::Property, self.lang.say(en, ko), holds);
    }

    /// The row.
    pub fn row(&self) -> &'static str {
        self.row
    }

    /// The numbers, in order.
    pub fn numbers(&self) -> &[Number] {
        &self.numbers
    }

    /// The number called so.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|n| n.name == name).map(|n| n.value)
    }

    /// What was tested.
    pub fn tested(&self) -> &[Tested] {
        &self.tested
    }

    /// Its picture, where one helps.
    pub fn picture(&self) -> Option<&Plot> {
        self.plot.as_ref()
    }

    /// Did everything hold?
    pub fn holds(&self) -> bool {
        self.tested.iter().all(|t| t.holds)
    }

    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", wrapped(&format!("{}  {}", self.row, self.title), 0));
        let names = self.numbers.iter().map(|n| width(&n.label)).max().unwrap_or(0).min(44);
        for part in &self.parts {
            match part {
                Part::Text(t) => text += &format!("\n{}\n", wrapped(t, 2)),
                Part::Quote(t) => {
                    let lines = t.lines().map(|l| wrapped(l.trim(), 4).replacen("    ", "  > ", 1));
                    text += &format!("\n{}\n", lines.collect::<Vec<_>>().join("\n"));
                }
                Part::Table(rows) => {
                    let right: Vec<usize> = (1..rows[0].len()).collect();
                    text += &format!("\n{}", table(rows, &right));
                }
                Part::Number(i) => {
                    let n = &self.numbers[*i];
                    let pad = " ".repeat(names.saturating_sub(width(&n.label)));
                    let _ = writeln!(text, "  {}{pad}  {}", n.label, short(n.value));
                }
                Part::Tested(i) => {
                    let t = &self.tested[*i];
                    let mark = if t.holds { "✓" } else { "✗" };
                    let kind = match t.statement {
                        Statement::Claim => "",
                        Statement::CounterExample => self.lang.say("counter-example: ", "반례: "),
                        Statement::Property => self.lang.say("checked: ", "확인: "),
                    };
                    let line = wrapped(&format!("{mark} {kind}{}", t.text), 4);
                    let _ = writeln!(text, "  {}", line.trim_start());
                }
            }
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        let row = rows().find(|r| r.id == self.row);
        let tables: Vec<&Vec<Vec<String>>> =
            self.parts.iter().filter_map(|p| if let Part::Table(t) = p { Some(t) } else { None }).collect();
        let (mut text, mut quotes) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match part {
                Part::Text(t) => text.push(t.as_str()),
                Part::Quote(t) => quotes.push(t.as_str()),
                _ => {}
            }
        }
        serde_json::json!({
            "row": self.row,
            "topic": row.map(|r| r.topic),
            "page": row.map(Row::page),
            "title": self.title,
            "text": text,
            "quotes": quotes,
            "numbers": self.numbers,
            "tables": tables,
            "tested": self.tested,
            "plot": self.plot,
            "holds": self.holds(),
            "seconds": self.seconds,
        })
    }
}

/// Whole numbers as such, others to nine digits.
pub(crate) fn short(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e15 { format!("{x:.0}") } else { nine(x) }
}

/// Lines of at most eighty cells, which begin with so many blanks.
fn wrapped(text: &str, blanks: usize) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        // The row's two blanks after its name stay.
        let between = if lines.is_empty() && blanks == 0 && !line.contains(' ') { 2 } else { 1 };
        if !line.is_empty() && blanks + width(&line) + between + width(word) > 80 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line += &" ".repeat(between);
        }
        line += word;
    }
    lines.push(line);
    let blanks = " ".repeat(blanks);
    lines.iter().map(|l| format!("{blanks}{l}")).collect::<Vec<_>>().join("\n")
}
