//! `cotangent book`: the book as one page that needs no network.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use clap::Args;
use flate2::read::GzDecoder;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use serde_json::{Value, json};

use crate::console::Console;
use crate::diagnostic::{Diagnostic, Exit};
use crate::drawing::must_be_its_kind;
use crate::formula;
use crate::run_folder::write_file;

/// `cotangent book`
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct Flags {
    /// Write the page to this file, and open nothing
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Open it at this chapter, such as `order`
    #[arg(long, value_name = "NAME")]
    chapter: Option<String>,
    /// Be mdBook's preprocessor, which makes MathML of the formulas
    #[arg(long, hide = true)]
    preprocess: bool,
    /// The same as --chapter
    #[arg(value_name = "CHAPTER", num_args = 0..=2, conflicts_with = "chapter")]
    words: Vec<String>,
}

const AFTER: &str = "\
The page stands in one file without scripts. Where there is no display, its
path is printed and nothing is opened. Chapters have the names that `cotangent
why --rows` shows.

Examples:
  cotangent book
  cotangent book order
  cotangent book --out book.html";

/// Names and contents of chapters, in their order, and of pictures; `build.rs` has packed them.
static BOOK: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let mut text = String::new();
    let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/book.gz"));
    GzDecoder::new(packed).read_to_string(&mut text).expect("it was packed by the build");
    let text: &'static str = text.leak();
    text.split('\u{1}').filter_map(|part| part.split_once('\n')).collect()
});

/// Names and sources of all chapters, in their order.
fn chapters() -> impl Iterator<Item = (&'static str, &'static str)> {
    BOOK.iter().copied().filter(|(name, _)| !name.contains('/'))
}

/// Paths and contents of all pictures; `cli/tests/book.rs` runs the commands that draw them.
fn pictures() -> impl Iterator<Item = (&'static str, &'static str)> {
    BOOK.iter().copied().filter(|(name, _)| name.contains('/'))
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--link:#0b6bcb}\
@media(prefers-color-scheme:dark){:root{--link:#6cb6ff}}\
body{margin:0;font:17px/1.6 system-ui,sans-serif;display:flex;align-items:flex-start}\
nav{position:sticky;top:0;max-height:100vh;overflow:auto;flex:0 0 15rem;padding:1rem;box-sizing:border-box;\
font-size:15px}\
nav a{display:block;padding:.15rem 0;text-decoration:none}\
main{flex:1;min-width:0;max-width:52rem;padding:1rem 2rem;box-sizing:border-box}\
a{color:var(--link)}section{border-bottom:1px solid var(--line);padding-bottom:2rem}\
pre{overflow:auto;padding:.8rem;background:var(--soft);border:1px solid var(--line);border-radius:6px;\
font:14px/1.4 ui-monospace,monospace}\
code{font-family:ui-monospace,monospace;font-size:.9em}pre code{font-size:inherit}\
.formula{overflow-x:auto;overflow-y:hidden;padding:.3rem 0;font-size:1.15em}img{max-width:100%;height:auto;background:#fff}\
table{border-collapse:collapse}th,td{border:1px solid var(--line);padding:.3rem .6rem;text-align:left}\
@media(max-width:50rem){body{display:block}nav{position:static;max-height:none}main{padding:1rem}}\
@media print{nav{display:none}}";

/// Writes the page, and opens it where somebody can see it.
pub(crate) fn run(flags: &Flags, console: &mut Console) -> Result<Exit, Diagnostic> {
    if flags.preprocess {
        return preprocess(&flags.words, console);
    }
    let chapter = flags.chapter.as_ref().or(flags.words.last());
    if let Some(name) = chapter
        && !chapters().any(|(known, _)| known == name)
    {
        let near = chapters().max_by(|a, b| {
            let [a, b] = [a, b].map(|(known, _)| strsim::jaro_winkler(known, name));
            a.total_cmp(&b)
        });
        let names: Vec<&str> = chapters().map(|(known, _)| known).collect();
        let found = Diagnostic::new(Exit::Usage, format!("there is no chapter `{name}`"));
        let found = found.help(format!("chapters are {}", names.join(", ")));
        return Err(near.map_or(found.clone(), |(near, _)| found.help(format!("did you mean `{near}`?"))));
    }
    let file = match &flags.out {
        Some(file) => file.clone(),
        None => kept()?,
    };
    let page = page();
    must_be_its_kind(&file, &page.as_bytes()[..5])?;
    write_file(&file, page.as_bytes())?;
    let mut place = file.display().to_string();
    if let Some(name) = chapter {
        place = format!("{place}#{name}");
    }
    let opened =
        flags.out.is_none() && std::io::stdout().is_terminal() && open(&file, chapter.map(String::as_str));
    match console.json() {
        true => {
            let names: Vec<&str> = chapters().map(|(name, _)| name).collect();
            let all = json!({ "file": file, "chapter": chapter, "chapters": names, "opened": opened });
            console.print_json(&all)?;
        }
        false => console.print(&place)?,
    }
    Ok(Exit::Success)
}

/// A file of the user's own that may be written again: in the folder for caches, or for what is temporary.
fn kept() -> Result<PathBuf, Diagnostic> {
    let of = |name: &str| std::env::var_os(name).filter(|v| Path::new(v).is_absolute()).map(PathBuf::from);
    let caches =
        of("XDG_CACHE_HOME").or_else(|| of("LOCALAPPDATA")).or_else(|| Some(of("HOME")?.join(".cache")));
    let folder = caches.unwrap_or_else(std::env::temp_dir).join("cotangent");
    std::fs::create_dir_all(&folder).map_err(|error| {
        let title = format!("{}: cannot be made: {error}", folder.display());
        Diagnostic::new(Exit::Failure, title).help("`--out FILE` writes the page elsewhere")
    })?;
    Ok(folder.join("book.html"))
}

/// Hands the page to the program that shows pages, if there is one.
fn open(file: &Path, chapter: Option<&str>) -> bool {
    let (program, first): (_, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("explorer", &[])
    } else if ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|v| std::env::var_os(v).is_some()) {
        ("xdg-open", &[])
    } else {
        return false;
    };
    let escaped: String =
        file.display().to_string().replace('%', "%25").replace(' ', "%20").replace('#', "%23");
    let link = format!("file://{escaped}{}", chapter.map(|c| format!("#{c}")).unwrap_or_default());
    let mut command = Command::new(program);
    command.args(first).arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// The first heading of a chapter.
fn title(source: &str) -> &str {
    source.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default()
}

/// The whole book: a list of the chapters, then each in a section with its name.
fn page() -> String {
    let mut list = String::new();
    let mut body = String::new();
    for (name, source) in chapters() {
        list.push_str(&format!("<a href=\"#{name}\">{}</a>\n", title(source)));
        body.push_str(&format!("<section id=\"{name}\">\n"));
        // A formula that cannot be shown stands as it was written; the tests want none.
        let source = formula::rendered(source).unwrap_or_else(|| source.to_string());
        let events = Parser::new_ext(&source, Options::ENABLE_TABLES).map(inside);
        html::push_html(&mut body, events);
        body.push_str("</section>\n");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>cotangent: from the chain rule up</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <nav>\n{list}</nav>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// mdBook's side of it: `[context, book]` comes in, the book goes out with its formulas as MathML.
fn preprocess(question: &[String], console: &mut Console) -> Result<Exit, Diagnostic> {
    match question {
        [] => {}
        [ask, renderer] if ask == "supports" => {
            return Ok(if renderer == "html" { Exit::Success } else { Exit::Failure });
        }
        _ => {
            return Err(Diagnostic::new(Exit::Usage, "`--preprocess`: expected nothing, or `supports html`"));
        }
    }
    let wrong = |what: String| Diagnostic::new(Exit::Data, format!("stdin: {what}")).help("mdBook writes it");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
    let mut both: Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let Some(book) = both.get_mut(1) else { return Err(wrong("expected `[context, book]`".into())) };
    formulas(book).map_err(wrong)?;
    console.print_json(book)?;
    Ok(Exit::Success)
}

/// Every `content` in a tree of chapters.
fn formulas(tree: &mut Value) -> Result<(), String> {
    match tree {
        Value::Array(list) => list.iter_mut().try_for_each(formulas),
        Value::Object(map) => map.iter_mut().try_for_each(|(key, value)| match value {
            Value::String(text) if key == "content" => {
                *text = formula::rendered(text).ok_or("a formula that cannot be read")?;
                Ok(())
            }
            value => formulas(value),
        }),
        _ => Ok(()),
    }
}

/// A picture as a link that holds it.
fn drawn(svg: &str) -> String {
    let mut link = String::from("data:image/svg+xml,");
    for c in svg.chars() {
        match c {
            '%' | '#' | '"' | '<' | '>' | '&' | '\n' => link += &format!("%{:02X}", c as u32),
            c => link.push(c),
        }
    }
    link
}

/// Links between chapters stay on the page; pictures are held by it; a chapter's headings stand below the book's.
fn inside(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let name = dest_url.strip_suffix(".md").filter(|n| chapters().any(|(known, _)| known == *n));
            let dest_url = name.map_or(dest_url.clone(), |n| CowStr::from(format!("#{n}")));
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let picture = pictures().find(|(path, _)| **path == *dest_url);
            let dest_url = picture.map_or(dest_url.clone(), |(_, svg)| CowStr::from(drawn(svg)));
            Event::Start(Tag::Image { link_type, dest_url, title, id })
        }
        Event::Start(Tag::Heading { level: HeadingLevel::H2, id, classes, attrs }) => {
            Event::Start(Tag::Heading { level: HeadingLevel::H3, id, classes, attrs })
        }
        Event::End(TagEnd::Heading(HeadingLevel::H2)) => Event::End(TagEnd::Heading(HeadingLevel::H3)),
        Event::Start(Tag::Heading { level: HeadingLevel::H1, id, classes, attrs }) => {
            Event::Start(Tag::Heading { level: HeadingLevel::H2, id, classes, attrs })
        }
        Event::End(TagEnd::Heading(HeadingLevel::H1)) => Event::End(TagEnd::Heading(HeadingLevel::H2)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What `why --rows` names is there, and the table of contents has the same chapters in the same order.
    #[test]
    fn chapters_are_those_of_the_rows_and_of_the_summary() {
        let names: Vec<&str> = chapters().map(|(name, _)| name).collect();
        let pages: BTreeSet<String> = cotangent_lecture::why::rows().map(|row| row.page()).collect();
        for page in &pages {
            let name = page.strip_prefix("book/src/").and_then(|p| p.strip_suffix(".md")).unwrap();
            assert!(names.contains(&name), "{page}");
        }
        let summary = include_str!("../../../book/src/SUMMARY.md");
        let listed: Vec<(&str, &str)> = summary
            .lines()
            .filter_map(|line| line.split_once("](")?.1.strip_suffix(".md)").map(|name| (name, line)))
            .collect();
        assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        for ((_, line), (name, source)) in listed.iter().zip(chapters()) {
            assert!(line.contains(&format!("[{}]", title(source))), "{name}: {line}");
        }
    }

    /// One file: nothing is loaded from elsewhere, and every link leads to a place on the page.
    #[test]
    fn the_page_needs_nothing_else() {
        let page = page();
        for word in ["<script", "<link", "https:"] {
            assert!(!page.contains(word), "{word}");
        }
        // What a picture is made of stands in the page.
        let images: Vec<&str> = page.split("<img src=\"").skip(1).collect();
        assert_eq!(images.len(), pictures().count());
        assert_eq!(page.matches("src=\"").count(), pictures().count());
        let data = images.iter().map(|i| i.split('"').next().unwrap());
        assert!(data.clone().all(|d| d.starts_with("data:image/svg+xml,%3Csvg") && !d.contains(['<', '>'])));
        // Beside the names of SVG's and MathML's elements nothing is addressed.
        let shown = data.fold(page.clone(), |page, d| page.replace(d, ""));
        assert!(!shown.contains("http:") && !shown.contains("url("));
        assert!(page.matches("<math").count() > 10 && !page.contains("$$"));
        for link in page.split("href=\"").skip(1) {
            let to = link.split('"').next().unwrap();
            let name = to.strip_prefix('#').unwrap_or_else(|| panic!("{to} leads elsewhere"));
            assert!(page.contains(&format!("<section id=\"{name}\">")), "{to}");
        }
        assert!(page.matches("<section").count() == chapters().count() && page.contains("<table>"));
    }

    /// Each picture stands in a chapter, and every formula can be shown.
    #[test]
    fn pictures_and_formulas_are_known() {
        for (path, svg) in pictures() {
            assert!(
                svg.starts_with("<svg") && chapters().any(|(_, s)| s.contains(&format!("]({path})"))),
                "{path}"
            );
        }
        for (name, source) in chapters() {
            assert!(formula::rendered(source).is_some(), "{name}");
        }
    }

    #[test]
    fn mdbook_s_tree_comes_back_with_formulas() {
        let mut tree = json!({"items": [{"Chapter": {"name": "$$a$$", "content": "$$x^2$$", "sub_items": [{"content": "b"}]}}]});
        formulas(&mut tree).unwrap();
        let chapter = &tree["items"][0]["Chapter"];
        assert!(chapter["content"].as_str().unwrap().contains("<msup>"));
        assert_eq!((&chapter["name"], &chapter["sub_items"][0]["content"]), (&json!("$$a$$"), &json!("b\n")));
        assert!(formulas(&mut json!({"content": "$$\\wrong$$"})).is_err());
    }

    /// Every row of the lecture stands in its chapter's table, in the words of `why --rows`.
    #[test]
    fn every_row_is_on_its_page() {
        for row in cotangent_lecture::why::rows() {
            let (_, source) =
                chapters().find(|(name, _)| row.page() == format!("book/src/{name}.md")).unwrap();
            let line = format!("| {} | {} |", row.id, row.title(cotangent_lecture::Lang::En));
            assert!(source.contains(&line), "{line} is not in {}", row.page());
        }
    }
}
