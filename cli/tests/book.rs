//! The book: every `console` block of its chapters is run, and must say what stands there.

#[test]
fn book() {
    trycmd::TestCases::new().case("../book/src/*.md");
}
