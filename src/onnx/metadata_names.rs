//! Class names in a file's metadata, as Ultralytics writes them: the entry `names` with a Python
//! dictionary, `{0: 'road', 1: 'building'}`.

use super::types::ModelProto;

/// The key in `metadata_props`.
const KEY: &str = "names";
/// A network has at most this many classes.
const MAX_CLASSES: usize = 255;

/// The class names in index order; `None` unless there is one for each index from 0.
pub(crate) fn metadata_names(model: &ModelProto) -> Option<Vec<String>> {
    let entry = model.metadata_props.iter().find(|entry| entry.key() == KEY)?;
    let mut text = Text { rest: entry.value().trim() };
    let mut names: Vec<Option<String>> = Vec::new();
    text.expect('{')?;
    while text.expect('}').is_none() {
        let index = text.index()?;
        text.expect(':')?;
        let name = text.quoted()?;
        if index >= MAX_CLASSES || name.trim().is_empty() {
            return None;
        }
        names.resize(names.len().max(index + 1), None);
        if names[index].replace(name).is_some() {
            return None;
        }
        if text.expect(',').is_none() && !text.rest.starts_with('}') {
            return None;
        }
    }
    (text.rest.is_empty() && !names.is_empty()).then_some(names)?.into_iter().collect()
}

/// What is left to read, without leading spaces.
struct Text<'a> {
    rest: &'a str,
}

impl Text<'_> {
    fn expect(&mut self, character: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(character)?.trim_start();
        Some(())
    }

    /// A number without sign, which JSON puts in quotes.
    fn index(&mut self) -> Option<usize> {
        if self.rest.starts_with(['"', '\'']) {
            return self.quoted()?.parse().ok();
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        digits.parse().ok()
    }

    /// A string in single or double quotes. Escapes other than of quotes and backslashes are not
    /// supported.
    fn quoted(&mut self) -> Option<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next()?.1 {
                    escaped @ ('"' | '\'' | '\\') => text.push(escaped),
                    _ => return None,
                },
                _ if character == quote => {
                    self.rest = self.rest[at + 1..].trim_start();
                    return Some(text);
                }
                _ => text.push(character),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::StringStringEntryProto;
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        let entry = StringStringEntryProto { key: Some(KEY.into()), value: Some(text.into()) };
        metadata_names(&ModelProto { metadata_props: vec![entry], ..ModelProto::default() })
    }

    #[test]
    fn names_of_ultralytics_are_read() {
        for text in [
            "{0: 'road', 1: \"driver's seat\"}",
            "{1: 'driver\\'s seat', 0: 'road'}",
            " { \"0\" : \"road\" , \"1\" : \"driver's seat\" , } ",
        ] {
            assert_eq!(names(text), Some(vec!["road".into(), "driver's seat".into()]), "{text}");
        }
        assert_eq!(names("{0: 'r\u{e4}d\\\\'}"), Some(vec!["r\u{e4}d\\".into()]));
        let most: Vec<String> = (0..255).map(|index| format!("{index}: 'c'")).collect();
        assert_eq!(names(&format!("{{{}}}", most.join(", "))).map(|names| names.len()), Some(255));
    }

    #[test]
    fn anything_else_is_left_alone() {
        for text in [
            "",
            "{}",
            "road, building",
            "['road', 'building']",
            "{0: 'road', 2: 'building'}",
            "{1: 'road'}",
            "{0: 'road', 0: 'building'}",
            "{0: 'road' 1: 'building'}",
            "{0: 'road', 1: 'building'",
            "{0: 'road', 1: 'building'} or so",
            "{0: 'road', 1: 2}",
            "{-1: 'road', 0: 'building'}",
            "{0: 'ro\\nad'}",
            "{0: 'road\\",
            "{0: ' '}",
            "{255: 'road'}",
            "{99999999999999999999: 'road'}",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
        assert_eq!(metadata_names(&ModelProto::default()), None);
    }
}
