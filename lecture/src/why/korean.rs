//! What numbers, heads and cells of tables are called in Korean.

pub(super) const NAMES: &str = include_str!("names.txt");
