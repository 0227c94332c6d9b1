//! The two languages that the lecture speaks.

use std::str::FromStr;

/// English or Korean.
///
/// ```
/// use cotangent_lecture::Lang;
/// assert_eq!("ko".parse::<Lang>().unwrap().say("chain rule", "연쇄 법칙"), "연쇄 법칙");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// 한국어.
    Ko,
}

impl Lang {
    /// The text in this language.
    pub fn say<'a>(self, en: &'a str, ko: &'a str) -> &'a str {
        match self {
            Lang::En => en,
            Lang::Ko => ko,
        }
    }

    /// Its code, as HTML's `lang`.
    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Ko => "ko",
        }
    }
}

impl FromStr for Lang {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "en" => Ok(Lang::En),
            "ko" => Ok(Lang::Ko),
            other => Err(format!("unknown language `{other}`, expected `en` or `ko`")),
        }
    }
}
