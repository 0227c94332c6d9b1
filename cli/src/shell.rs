//! Paths as a shell takes them, in commands that people copy.

use std::path::Path;

/// The path as one word of a POSIX shell, and never as a flag.
pub(crate) fn word(path: &Path) -> String {
    let text = path.display().to_string();
    cotangent_board::runs::quoted(&if text.starts_with('-') { format!("./{text}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        let word = |path: &str| super::word(Path::new(path));
        assert_eq!(word("runs/lenet5-mnist-001"), "runs/lenet5-mnist-001");
        assert_eq!(word("my runs/x"), "'my runs/x'");
        assert_eq!(word("it's/$HOME"), "'it'\\''s/$HOME'");
        assert_eq!(word("-x"), "./-x");
        assert_eq!(word("läufe"), "läufe");
    }
}
