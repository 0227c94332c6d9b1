//! Console sessions in Markdown: every `console` block below `tests/sessions` is run, and must say what stands there.

#[test]
fn sessions() {
    trycmd::TestCases::new().env("LC_ALL", "C").case("tests/sessions/*.md");
}
