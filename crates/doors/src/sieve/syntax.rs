//! Tokens as commands, tests and arguments (RFC 5228 section 8.2): the form of a script, whatever it means.

use super::lexer::{self, Placed, Token};
use super::limits::NESTING;
use super::mistake::{Mistake, Position};

/// A command, or a test: both look alike.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    /// Its name, in lower case.
    pub(super) name: String,
    pub(super) arguments: Vec<Argument>,
    /// Tests that it is given.
    pub(super) tests: Vec<Node>,
    /// Commands in braces, if it has any braces.
    pub(super) block: Option<Vec<Node>>,
}

/// An argument, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) at: Position,
    pub(super) value: Value,
}

/// What an argument is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Tag(String),
    Number(u64),
    /// A string, or a list of strings in brackets.
    Texts(Vec<String>, Written),
}

/// How strings were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Alone,
    InBrackets,
}

/// The commands of a script.
pub(super) fn parse(script: &[u8]) -> Result<Vec<Node>, Mistake> {
    let (tokens, end) = lexer::tokens(script)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        end,
    };
    let commands = parser.commands(0)?;
    match parser.tokens.next() {
        None => Ok(commands),
        Some((_, at)) => Err(Mistake::new(at, "a \"}\" without its \"{\"")),
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Placed>>,
    end: Position,
}

impl Parser {
    fn at(&mut self) -> Position {
        let end = self.end;
        self.tokens.peek().map_or(end, |(_, at)| *at)
    }

    fn is_mark(&mut self, mark: char) -> bool {
        matches!(self.tokens.peek(), Some((Token::Mark(c), _)) if *c == mark)
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let found = self.is_mark(mark);
        if found {
            self.tokens.next();
        }
        found
    }

    /// Up to a closing brace, or the end.
    fn commands(&mut self, depth: usize) -> Result<Vec<Node>, Mistake> {
        let mut commands = Vec::new();
        loop {
            let at = self.at();
            match self.tokens.peek() {
                None | Some((Token::Mark('}'), _)) => return Ok(commands),
                Some((Token::Word(_), _)) => {}
                Some(_) => {
                    return Err(Mistake::new(at, "a command like \"keep\" is expected here"));
                }
            }
            let mut command = self.node(depth)?;
            if self.take_mark(';') {
            } else if self.take_mark('{') {
                let depth = deeper(depth, command.at)?;
                command.block = Some(self.commands(depth)?);
                if !self.take_mark('}') {
                    return Err(Mistake::new(
                        command.at,
                        format!("the \"{{\" of this \"{}\" has no \"}}\"", command.name),
                    ));
                }
            } else {
                let at = self.at();
                return Err(Mistake::new(
                    at,
                    format!("a \";\" is missing after \"{}\"", command.name),
                ));
            }
            commands.push(command);
        }
    }

    /// A command up to its `;` or `{`, or a test.
    fn node(&mut self, depth: usize) -> Result<Node, Mistake> {
        let at = self.at();
        let Some((Token::Word(name), _)) = self.tokens.next() else {
            return Err(Mistake::new(at, "the name of a test is expected here"));
        };
        let mut node = Node {
            at,
            name,
            arguments: Vec::new(),
            tests: Vec::new(),
            block: None,
        };
        loop {
            let at = self.at();
            let value = match self.tokens.peek() {
                Some((Token::Tag(_) | Token::Number(_) | Token::Text(_), _)) => {
                    match self.tokens.next() {
                        Some((Token::Tag(tag), _)) => Value::Tag(tag),
                        Some((Token::Number(number), _)) => Value::Number(number),
                        Some((Token::Text(text), _)) => Value::Texts(vec![text], Written::Alone),
                        _ => break,
                    }
                }
                Some((Token::Mark('['), _)) => Value::Texts(self.list()?, Written::InBrackets),
                _ => break,
            };
            node.arguments.push(Argument { at, value });
        }
        if self.take_mark('(') {
            let depth = deeper(depth, node.at)?;
            loop {
                node.tests.push(self.node(depth)?);
                if !self.take_mark(',') {
                    break;
                }
            }
            let at = self.at();
            if !self.take_mark(')') {
                return Err(Mistake::new(at, "a \")\" or a \",\" is missing here"));
            }
        } else if matches!(self.tokens.peek(), Some((Token::Word(_), _))) && takes_test(&node.name)
        {
            let depth = deeper(depth, node.at)?;
            node.tests.push(self.node(depth)?);
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Vec<String>, Mistake> {
        self.tokens.next();
        let mut texts = Vec::new();
        loop {
            let at = self.at();
            match self.tokens.next() {
                Some((Token::Text(text), _)) => texts.push(text),
                _ => {
                    return Err(Mistake::new(
                        at,
                        "a list holds strings in quotation marks, with commas between them",
                    ));
                }
            }
            let at = self.at();
            if self.take_mark(']') {
                return Ok(texts);
            }
            if !self.take_mark(',') {
                return Err(Mistake::new(at, "a \",\" or a \"]\" is missing here"));
            }
        }
    }
}

/// Who is followed by a test without brackets. Asked only so that a forgotten `;` is called that.
fn takes_test(name: &str) -> bool {
    matches!(name, "if" | "elsif" | "not")
}

fn deeper(depth: usize, at: Position) -> Result<usize, Mistake> {
    if depth >= NESTING {
        return Err(Mistake::new(
            at,
            format!("this is nested more than {NESTING} deep"),
        ));
    }
    Ok(depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_mark_is_named_where_it_is_missing() {
        for (script, line, column, word) in [
            ("keep\nstop;", 2, 1, "\";\""),
            ("if true { keep;", 1, 1, "\"}\""),
            ("keep; }", 1, 7, "\"{\""),
            ("redirect [\"a\" \"b\"];", 1, 15, "\",\""),
            ("if allof(true false) {}", 1, 15, "\")\""),
            ("redirect [];", 1, 11, "strings"),
            ("\"a\";", 1, 1, "command"),
        ] {
            let mistake = parse(script.as_bytes()).unwrap_err();
            assert_eq!(mistake.at, Position { line, column }, "{script}: {mistake}");
            assert!(mistake.what.contains(word), "{script}: {mistake}");
        }
    }

    #[test]
    fn nesting_ends_with_a_word_and_not_with_the_stack() {
        let deep = format!("if {}true {{}}", "not ".repeat(3_000));
        assert!(parse(deep.as_bytes()).unwrap_err().what.contains("nested"));
        let deep = "if true {".repeat(1_500);
        assert!(parse(deep.as_bytes()).unwrap_err().what.contains("nested"));
        let fits = format!("{}{}", "if true {".repeat(15), "}".repeat(15));
        assert!(parse(fits.as_bytes()).is_ok());
    }
}
