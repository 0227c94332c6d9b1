//! Korean for what is put together from English words: names of numbers, heads of tables, titles and errors.

/// The first entry that fits, with its holes filled; the text itself where none does, as for formulas and names.
///
/// `{}` stands for anything; in the Korean, `{0}`, `{1}`, … are what stood there, themselves translated.
pub(crate) fn translated(english: &str, tables: &[&[(&str, &str)]]) -> String {
    for (pattern, korean) in tables.iter().copied().flatten() {
        if let Some(holes) = holes(pattern, english) {
            let fill = |text: String, (i, hole): (usize, &&str)| {
                text.replace(&format!("{{{i}}}"), &translated(hole, tables))
            };
            return holes.iter().enumerate().fold(korean.to_string(), fill);
        }
    }
    english.to_string()
}

/// What stands in the holes of a pattern, if the text fits it.
fn holes<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut parts = pattern.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty().then(Vec::new) };
    let mut found = Vec::new();
    for part in parts {
        let (hole, after) = rest.split_once(part)?;
        found.push(hole);
        rest = after;
    }
    found.push(rest.strip_suffix(last)?);
    Some(found)
}

/// What `explain` and `why` say beside their tables.
pub(crate) const WORDS: &[(&str, &str)] = &[
    // Titles.
    ("MLP {} with {}, seed {}", "MLP {0}, 활성화 {1}, 시드 {2}"),
    ("{}   for test example {}", "{0}   시험 예제 {1}에서"),
    ("{}   at {}", "{0}   {1}에서"),
    // What is wrong with an expression.
    ("expected {}, found {}", "있어야 할 것: {0}. 있는 것: {1}"),
    ("the end", "끝"),
    ("an operator or the end", "연산자 또는 끝"),
    ("`,` or the end", "`,` 또는 끝"),
    ("`,` or `)`", "`,` 또는 `)`"),
    ("`,` or `]`", "`,` 또는 `]`"),
    ("a name, as in `x=3`", "`x=3`과 같은 이름"),
    ("a number", "수"),
    ("a number, a name or `(`", "수, 이름 또는 `(`"),
    ("a number or `[`", "수 또는 `[`"),
    ("a number, a name or one of + - * / ^ @ ( ) [ ]", "수, 이름, 또는 + - * / ^ @ ( ) [ ] 중 하나"),
    ("fewer powers of powers", "더 적은 거듭제곱의 거듭제곱"),
    ("fewer brackets", "더 적은 괄호"),
    ("expected at most {} numbers, names and operations", "수, 이름, 연산은 모두 {0}개까지 쓸 수 있습니다"),
    ("expected at most {} levels of brackets", "괄호는 {0}겹까지 쓸 수 있습니다"),
    ("expected rows of one length", "행의 길이가 모두 같아야 합니다"),
    ("expected at most four axes", "축은 넷까지 쓸 수 있습니다"),
    ("name a part with `--at`", "`--at`으로 일부에 이름을 붙이세요"),
    ("`{}` has no value", "`{0}`의 값이 없습니다"),
    ("give it one: {}", "값을 주세요: {0}"),
    ("`{}` is a function, and cannot have a value", "`{0}`은(는) 함수이므로 값을 가질 수 없습니다"),
    ("a function takes brackets: {}", "함수에는 괄호가 필요합니다: {0}"),
    ("a product needs its `*`, a function its brackets: {}", "곱에는 `*`가, 함수에는 괄호가 필요합니다: {0}"),
    ("such as {}, at most {}", "예: {0}, 크기는 {1}까지"),
    ("call the variable something else", "변수에 다른 이름을 쓰세요"),
    ("`{}` has two values", "`{0}`의 값이 둘입니다"),
    ("give each variable one value", "변수마다 값을 하나씩 주세요"),
    ("a value is made of numbers alone", "값은 수로만 이루어집니다"),
    ("such as {} or {}", "예: {0} 또는 {1}"),
    (
        "such as {}; `cotangent summary RUN` lists the layers",
        "예: {0}. `cotangent summary RUN`이 층을 보여 줍니다",
    ),
    ("such as {}", "예: {0}"),
    ("`{}` is not a function I know", "`{0}`은(는) 아는 함수가 아닙니다"),
    ("there are {}; a product needs its `*`: {}", "함수는 {0}. 곱에는 `*`가 필요합니다: {1}"),
    // What is wrong otherwise.
    ("the widths {} are not those of a small network", "폭 {0}은(는) 작은 신경망의 폭이 아닙니다"),
    (
        "give at least two, input first, 1 last, and at most 100,000 parameters: {}",
        "입력의 폭부터 둘 이상, 마지막은 1, 매개변수는 100,000개까지: {0}",
    ),
    ("unknown activation `{}`", "모르는 활성화 `{0}`"),
    ("there are sigmoid, tanh, relu and none", "sigmoid, tanh, relu, none이 있습니다"),
    ("`--neuron {}`: expected LAYER:NUMBER", "`--neuron {0}`: LAYER:NUMBER 꼴이어야 합니다"),
    ("there is no layer `{}`", "층 `{0}`이(가) 없습니다"),
    ("the layers are {}", "층은 {0}입니다"),
    ("`{}` has {} neurons, and {} was asked for", "`{0}`의 뉴런은 {1}개인데 {2}번을 찾았습니다"),
    ("they are counted from 0", "0부터 셉니다"),
    (
        "the result does not depend on a variable: there is nothing to differentiate",
        "결과가 변수에 의존하지 않습니다. 미분할 것이 없습니다",
    ),
    ("use one of the variables in the expression", "변수 하나를 식에 쓰세요"),
    ("there is nothing to explain", "설명할 것이 없습니다"),
    ("an expression at a point: {}", "식과 점: {0}"),
    ("a small perceptron: {}", "작은 퍼셉트론: {0}"),
    ("one neuron of a trained network: {}", "학습된 신경망의 뉴런 하나: {0}"),
    (
        "`--image {}`: there are {} test examples, counted from 0",
        "`--image {0}`: 시험 예제는 {1}개이며 0부터 셉니다",
    ),
    ("there is no topic or row `{}`", "`{0}`(이)라는 주제나 행이 없습니다"),
    (
        "`cotangent why` lists topics, `cotangent why --rows` the rows A1 to H12; did you mean {}?",
        "`cotangent why`는 주제를, `cotangent why --rows`는 A1부터 H12까지의 행을 보여 줍니다. 혹시 {0}인가요?",
    ),
    ("{} or {}", "{0} 또는 {1}"),
    (
        "`cotangent why` lists topics, `cotangent why --rows` the rows A1 to H12",
        "`cotangent why`는 주제를, `cotangent why --rows`는 A1부터 H12까지의 행을 보여 줍니다",
    ),
    ("`--train`: {} argues without a training", "`--train`: {0}은(는) 학습 없이 논증합니다"),
    ("`--plot`: {} has no picture", "`--plot`: {0}에는 그림이 없습니다"),
    ("rows A14 and C3 have one", "A14와 C3에 있습니다"),
    ("rows A15 and H12 train", "학습하는 행은 A15와 H12입니다"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_translated() {
        let of = |text: &str| translated(text, &[WORDS]);
        assert_eq!(of("expected `)`, found the end"), "있어야 할 것: `)`. 있는 것: 끝");
        assert_eq!(
            of("`fc2` has 84 neurons, and 90 was asked for"),
            "`fc2`의 뉴런은 84개인데 90번을 찾았습니다"
        );
        assert_eq!(of("x^2   at x = 3"), "x^2   x = 3에서");
        // Nothing fits: as it was.
        assert_eq!(of("matmul: inner sizes 2 and 3 differ"), "matmul: inner sizes 2 and 3 differ");
        assert_eq!(of(""), "");
    }

    /// A pattern with `{0}` … as many as it has holes.
    #[test]
    fn every_hole_is_used() {
        for (english, korean) in WORDS {
            for i in 0..english.matches("{}").count() {
                assert!(korean.contains(&format!("{{{i}}}")), "{english}: hole {i}");
            }
            assert!(!korean.contains("{}"), "{english}");
        }
    }
}
