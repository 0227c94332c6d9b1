//! Console sessions in Markdown: every `console` block below `tests/sessions` is run, and must say what stands there.

#[test]
fn sessions() {
    trycmd::TestCases::new().case("tests/sessions/*.md");
}
