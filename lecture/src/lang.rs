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

    /// A title or an error that [`crate::explain`] or [`crate::why`] gave in English, in this language; anything else as
    /// it is.
    ///
    /// ```
    /// use cotangent_lecture::{Lang, explain::Expression};
    /// let e = Expression::parse("y*ln(x").unwrap_err();
    /// assert_eq!(Lang::Ko.words(&e.message), "있어야 할 것: `)`. 있는 것: 끝");
    /// ```
    pub fn words(self, english: &str) -> String {
        match self {
            Lang::En => english.to_string(),
            Lang::Ko => crate::korean::translated(english, &[crate::korean::WORDS]),
        }
    }

    /// That of a locale such as `ko_KR.UTF-8`; English where it is another.
    pub fn of_locale(locale: &str) -> Lang {
        match locale.split(['_', '.', '@', '-']).next() {
            Some("ko") => Lang::Ko,
            _ => Lang::En,
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
