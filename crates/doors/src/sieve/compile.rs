//! From the form of a script to its meaning: what is not known, not required, or not complete is a mistake, told to its author.

use std::collections::BTreeSet;

use grapevine_model::FolderPath;

use super::arguments::{Arguments, Takes};
use super::limits::{VACATION_DAYS, VACATION_DAYS_LEAST, VACATION_DAYS_MOST};
use super::mistake::{Mistake, Position};
use super::script::{
    Command, FlagChange, Goes, Missing, Modifier, ReasonForm, Script, Test, Vacation,
};
use super::syntax::{self, Node};
use super::text::{Template, decode_characters, is_variable};

/// What a script may `require`, as ManageSieve names it.
pub const EXTENSIONS: [&str; 15] = [
    "fileinto",
    "reject",
    "ereject",
    "envelope",
    "encoded-character",
    "vacation",
    "imap4flags",
    "copy",
    "mailbox",
    "variables",
    "relational",
    "subaddress",
    "comparator-i;octet",
    "comparator-i;ascii-casemap",
    "comparator-i;ascii-numeric",
];

impl Script {
    /// Understands a script, or says what is wrong with it.
    pub fn compile(script: &[u8]) -> Result<Self, Mistake> {
        let nodes = syntax::parse(script)?;
        let mut compiler = Compiler {
            required: BTreeSet::new(),
        };
        let mut nodes = nodes.into_iter().peekable();
        while let Some(node) = nodes.next_if(|node| node.name == "require") {
            compiler.require(node)?;
        }
        let commands = compiler.commands(nodes.collect())?;
        Ok(Self { commands })
    }
}

pub(super) struct Compiler {
    required: BTreeSet<&'static str>,
}

impl Compiler {
    fn require(&mut self, node: Node) -> Result<(), Mistake> {
        let at = node.at;
        leaf(&node)?;
        let mut arguments = Arguments::of(node, &[], 1)?;
        for name in arguments.texts("the extensions that the script needs")? {
            match EXTENSIONS.iter().find(|known| **known == name) {
                Some(known) => self.required.insert(known),
                None => {
                    return Err(Mistake::new(
                        at,
                        format!(
                            "the extension \"{name}\" is not known here; known are {}",
                            EXTENSIONS.join(", ")
                        ),
                    ));
                }
            };
        }
        Ok(())
    }

    /// Whether an extension was required.
    pub(super) fn has(&self, extension: &str) -> bool {
        self.required.contains(extension)
    }

    /// An extension is needed for what stands here.
    pub(super) fn needs(&self, extension: &str, at: Position, what: &str) -> Result<(), Mistake> {
        match self.has(extension) {
            true => Ok(()),
            false => Err(Mistake::new(
                at,
                format!("{what} needs: require \"{extension}\"; at the script's beginning"),
            )),
        }
    }

    /// A string with what may stand in it.
    pub(super) fn template(&self, text: String, at: Position) -> Result<Template, Mistake> {
        let text = match self.has("encoded-character") {
            true => decode_characters(&text, at)?,
            false => text,
        };
        Ok(match self.has("variables") {
            true => Template::with_variables(&text),
            false => Template::plain(text),
        })
    }

    pub(super) fn templates(
        &self,
        texts: Vec<String>,
        at: Position,
    ) -> Result<Vec<Template>, Mistake> {
        texts
            .into_iter()
            .map(|text| self.template(text, at))
            .collect()
    }

    fn commands(&self, nodes: Vec<Node>) -> Result<Vec<Command>, Mistake> {
        let mut commands: Vec<Command> = Vec::new();
        // Whether an `elsif` or an `else` may follow.
        let mut is_open = false;
        for mut node in nodes {
            match node.name.as_str() {
                "elsif" | "else" if !is_open => {
                    return Err(Mistake::new(
                        node.at,
                        format!("\"{}\" can only follow an \"if\" or \"elsif\"", node.name),
                    ));
                }
                "if" | "elsif" => {
                    let is_elsif = node.name == "elsif";
                    let (at, tests) = (node.at, std::mem::take(&mut node.tests));
                    let block = self.block(node)?;
                    let test = match <[Node; 1]>::try_from(tests) {
                        Ok([test]) => self.test(test)?,
                        Err(_) => {
                            return Err(Mistake::new(
                                at,
                                "one test must follow; several are joined by \"allof(...)\" or \"anyof(...)\"",
                            ));
                        }
                    };
                    match commands.last_mut() {
                        Some(Command::If { branches, .. }) if is_elsif => {
                            branches.push((test, block));
                        }
                        _ => commands.push(Command::If {
                            branches: vec![(test, block)],
                            otherwise: Vec::new(),
                        }),
                    }
                    is_open = true;
                }
                "else" => {
                    if !node.tests.is_empty() {
                        return Err(Mistake::new(
                            node.at,
                            "no test can follow \"else\"; \"elsif\" has one",
                        ));
                    }
                    let block = self.block(node)?;
                    if let Some(Command::If { otherwise, .. }) = commands.last_mut() {
                        *otherwise = block;
                    }
                    is_open = false;
                }
                _ => {
                    is_open = false;
                    commands.push(self.command(node)?);
                }
            }
        }
        Ok(commands)
    }

    fn block(&self, mut node: Node) -> Result<Vec<Command>, Mistake> {
        let (at, name) = (node.at, node.name.clone());
        let block = node.block.take();
        Arguments::of(node, &[], 0)?;
        match block {
            Some(block) => self.commands(block),
            None => Err(Mistake::new(
                at,
                format!("\"{name}\" must be followed by commands in braces"),
            )),
        }
    }

    fn command(&self, node: Node) -> Result<Command, Mistake> {
        let at = node.at;
        let name = node.name.clone();
        leaf(&node)?;
        match name.as_str() {
            "require" => Err(Mistake::new(
                at,
                "\"require\" can only stand at the script's beginning",
            )),
            "stop" => Arguments::of(node, &[], 0).map(|_| Command::Stop),
            "discard" => Arguments::of(node, &[], 0).map(|_| Command::Discard),
            "keep" => {
                let mut arguments = Arguments::of(node, &[("flags", Takes::Texts)], 0)?;
                let flags = self.flags_of(&mut arguments)?;
                Ok(Command::Keep { flags })
            }
            "fileinto" => {
                self.needs("fileinto", at, "\"fileinto\"")?;
                let tags = [
                    ("flags", Takes::Texts),
                    ("copy", Takes::Nothing),
                    ("create", Takes::Nothing),
                ];
                let mut arguments = Arguments::of(node, &tags, 1)?;
                let flags = self.flags_of(&mut arguments)?;
                let goes = self.goes(&mut arguments)?;
                let missing = match arguments.flag("create") {
                    Some(at) => {
                        self.needs("mailbox", at, "\":create\"")?;
                        Missing::Create
                    }
                    None => Missing::Inbox,
                };
                let folder = arguments.text("the name of a folder")?;
                let folder = self.template(folder, at)?;
                if let Some(fixed) = folder.fixed()
                    && let Err(why) = fixed.parse::<FolderPath>()
                {
                    return Err(Mistake::new(at, why.to_string()));
                }
                Ok(Command::FileInto {
                    folder,
                    flags,
                    goes,
                    missing,
                })
            }
            "redirect" => {
                let mut arguments = Arguments::of(node, &[("copy", Takes::Nothing)], 1)?;
                let goes = self.goes(&mut arguments)?;
                let to = arguments.text("an address")?;
                let to = self.template(to, at)?;
                self.address(&to, at)?;
                Ok(Command::Redirect { to, goes })
            }
            "reject" | "ereject" => {
                self.needs(&name, at, &format!("\"{name}\""))?;
                let mut arguments = Arguments::of(node, &[], 1)?;
                let reason = arguments.text("the reason, for the sender")?;
                let reason = self.template(reason, at)?;
                Ok(Command::Reject { reason })
            }
            "vacation" => self.vacation(node),
            "setflag" | "addflag" | "removeflag" => {
                self.needs("imap4flags", at, &format!("\"{name}\""))?;
                let change = match name.as_str() {
                    "setflag" => FlagChange::Set,
                    "addflag" => FlagChange::Add,
                    _ => FlagChange::Remove,
                };
                self.flag_command(node, change)
            }
            "set" => {
                self.needs("variables", at, "\"set\"")?;
                self.set(node)
            }
            "if" | "elsif" | "else" => Err(Mistake::new(at, "this can't stand here")),
            other => Err(Mistake::new(
                at,
                format!("there is no command \"{other}\"{}", like(other)),
            )),
        }
    }

    fn goes(&self, arguments: &mut Arguments) -> Result<Goes, Mistake> {
        match arguments.flag("copy") {
            Some(at) => {
                self.needs("copy", at, "\":copy\"")?;
                Ok(Goes::Copy)
            }
            None => Ok(Goes::Instead),
        }
    }

    fn flags_of(&self, arguments: &mut Arguments) -> Result<Option<Vec<Template>>, Mistake> {
        match arguments.texts_of("flags")? {
            Some((flags, at)) => {
                self.needs("imap4flags", at, "\":flags\"")?;
                Ok(Some(self.templates(flags, at)?))
            }
            None => Ok(None),
        }
    }

    /// An address that is known already is looked at already.
    fn address(&self, address: &Template, at: Position) -> Result<(), Mistake> {
        match address.fixed().map(str::parse::<grapevine_model::Name>) {
            Some(Err(why)) => Err(Mistake::new(at, format!("this is no address: {why}"))),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn flag_command(&self, node: Node, change: FlagChange) -> Result<Command, Mistake> {
        let at = node.at;
        let count = node.arguments.len().clamp(1, 2);
        let mut arguments = Arguments::of(node, &[], count)?;
        let variable = match count {
            2 => {
                self.needs("variables", at, "a variable for flags")?;
                Some(self.variable(arguments.text("the name of a variable")?, at)?)
            }
            _ => None,
        };
        let flags = arguments.texts("flags")?;
        Ok(Command::Flags {
            change,
            variable,
            flags: self.templates(flags, at)?,
        })
    }

    pub(super) fn variable(&self, name: String, at: Position) -> Result<String, Mistake> {
        match is_variable(&name) {
            true => Ok(name.to_ascii_lowercase()),
            false => Err(Mistake::new(
                at,
                format!(
                    "\"{name}\" is no name of a variable: letters, digits and \"_\", no digit first"
                ),
            )),
        }
    }

    fn set(&self, node: Node) -> Result<Command, Mistake> {
        const MODIFIERS: [(&str, Modifier); 6] = [
            ("lower", Modifier::Lower),
            ("upper", Modifier::Upper),
            ("lowerfirst", Modifier::LowerFirst),
            ("upperfirst", Modifier::UpperFirst),
            ("quotewildcard", Modifier::QuoteWildcard),
            ("length", Modifier::Length),
        ];
        let at = node.at;
        let tags = MODIFIERS.map(|(name, _)| (name, Takes::Nothing));
        let mut arguments = Arguments::of(node, &tags, 2)?;
        let mut modifiers: Vec<Modifier> = Vec::new();
        for (name, modifier) in MODIFIERS {
            let Some(at) = arguments.flag(name) else {
                continue;
            };
            if modifiers.iter().any(|m| m.rank() == modifier.rank()) {
                return Err(Mistake::new(
                    at,
                    format!("\":{name}\" can't be together with its opposite"),
                ));
            }
            modifiers.push(modifier);
        }
        modifiers.sort_by_key(|modifier| std::cmp::Reverse(modifier.rank()));
        let variable = self.variable(arguments.text("the name of a variable")?, at)?;
        let value = arguments.text("the value of the variable")?;
        Ok(Command::Set {
            variable,
            value: self.template(value, at)?,
            modifiers,
        })
    }

    fn vacation(&self, node: Node) -> Result<Command, Mistake> {
        let at = node.at;
        self.needs("vacation", at, "\"vacation\"")?;
        let tags = [
            ("days", Takes::Number),
            ("subject", Takes::Text),
            ("from", Takes::Text),
            ("addresses", Takes::Texts),
            ("mime", Takes::Nothing),
            ("handle", Takes::Text),
        ];
        let mut arguments = Arguments::of(node, &tags, 1)?;
        let days = match arguments.number_of("days")? {
            Some((days, _)) => days.clamp(VACATION_DAYS_LEAST, VACATION_DAYS_MOST),
            None => VACATION_DAYS,
        };
        let mut text_of = |tag: &str| -> Result<Option<Template>, Mistake> {
            match arguments.text_of(tag)? {
                Some((text, at)) => Ok(Some(self.template(text, at)?)),
                None => Ok(None),
            }
        };
        let (subject, from, handle) = (text_of("subject")?, text_of("from")?, text_of("handle")?);
        if let Some(from) = &from {
            self.address(from, at)?;
        }
        let addresses = match arguments.texts_of("addresses")? {
            Some((texts, at)) => self.templates(texts, at)?,
            None => Vec::new(),
        };
        let form = match arguments.flag("mime") {
            Some(_) => ReasonForm::Mime,
            None => ReasonForm::Plain,
        };
        let reason = arguments.text("the text of the answer")?;
        Ok(Command::Vacation(Box::new(Vacation {
            days,
            subject,
            from,
            addresses,
            form,
            handle,
            reason: self.template(reason, at)?,
        })))
    }

    pub(super) fn tests(&self, nodes: Vec<Node>, of: Position) -> Result<Vec<Test>, Mistake> {
        if nodes.is_empty() {
            return Err(Mistake::new(of, "tests in brackets must follow"));
        }
        nodes.into_iter().map(|node| self.test(node)).collect()
    }
}

/// A command that takes neither tests nor a block.
fn leaf(node: &Node) -> Result<(), Mistake> {
    if let Some(test) = node.tests.first() {
        return Err(Mistake::new(
            test.at,
            format!("\"{}\" takes no test", node.name),
        ));
    }
    match node.block {
        Some(_) => Err(Mistake::new(
            node.at,
            format!(
                "\"{}\" takes no commands in braces; end it with \";\"",
                node.name
            ),
        )),
        None => Ok(()),
    }
}

/// The command that was probably meant.
fn like(name: &str) -> String {
    let meant = match name {
        "elseif" | "elif" => "elsif",
        "file" | "move" | "fileto" => "fileinto",
        "forward" => "redirect",
        "delete" => "discard",
        "exit" | "return" => "stop",
        _ => return String::new(),
    };
    format!("; is \"{meant}\" meant?")
}

#[cfg(test)]
#[path = "compile_test.rs"]
mod tests;
