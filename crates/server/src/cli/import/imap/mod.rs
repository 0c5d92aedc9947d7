//! `grapevine import imap`: from a living IMAP server, folder by folder, with flags and dates. Nothing is changed there.
//!
//! A mail there is `FOLDER, UIDVALIDITY, UID`; which mail that is here stands in the journal once it was fetched, so that
//! the next run fetches only what is new. Without a journal, or with another UIDVALIDITY, it is fetched again, is known by
//! its content, and not sent again. A connection that breaks is made again, and goes on where it was.

mod answer;
mod client;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use grapevine_doors::imap::from_utf7;
use grapevine_model::{BodyInfo, Flag, FolderPath, OriginId, SpecialUse};
use grapevine_user::import::{Numbering, below, fitting};
use grapevine_user::wall_ms;
use mail_parser::DateTime;

use self::answer::{Literal, Token};
use self::client::{Client, ClientError, Way, host_of, quoted, same_user};
use super::fill::{Body, Filler, Mail};
use super::{To, journal, report};
use crate::ask;
use crate::cli::session::Session;
use crate::out::{Exit, Failure, complain};
use crate::relay::tls::ClientTls;
use crate::routes::TlsPolicy;

/// Mails asked for at once.
const MAILS_AT_ONCE: usize = 50;
/// And octets, if there are several.
const OCTETS_AT_ONCE: u64 = 8 * 1024 * 1024;
/// A connection that breaks is made again so often without a mail between.
const TRIES: u32 = 5;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// From where.
#[derive(Debug, clap::Args)]
pub(crate) struct ImapArgs {
    /// The server. TLS from the first octet, but with --starttls.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    /// Who logs in there; the name of the mailbox here if nobody is named.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The password there: the first line of a file.
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// TLS begins after a greeting in clear (port 143).
    #[arg(long)]
    starttls: bool,
    /// Its certificate is to be by one of these (PEM), and not by one that the web trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Only these folders, as they are called there; each with --folder.
    #[arg(long, value_name = "FOLDER")]
    folder: Vec<String>,
    #[command(flatten)]
    to: To,
}

/// A folder there.
#[derive(Debug)]
struct Folder {
    /// As it is called there.
    name: String,
    /// As it is called here.
    path: FolderPath,
    special_use: Option<SpecialUse>,
}

/// A mail there.
#[derive(Debug, Clone)]
struct There {
    uid: u32,
    flags: Vec<Flag>,
    date_ms: Option<u64>,
    octets: u64,
}

/// Imports.
pub(super) async fn run(args: ImapArgs, session: &Session) -> Result<(), Failure> {
    let target = match &args.to.to {
        Some(name) => name.clone(),
        None => session.speaker()?,
    };
    let Some(host) = host_of(&args.from) else {
        return Err(Failure::usage(
            "--from wants HOST:PORT, such as mail.example.org:993",
        ));
    };
    let user = args.user.clone().unwrap_or_else(|| same_user(&target));
    let password = match &args.from_password_file {
        Some(file) => ask::password_file(file)?,
        None if ask::can_ask() => {
            let question = format!("Password of {user} at {host}: ");
            let given = rpassword::prompt_password(question).map_err(Failure::new)?;
            grapevine_model::Secret(given)
        }
        None => return Err(Failure::usage("give --from-password-file FILE")),
    };
    let spool = spool()?;
    let way = Way {
        address: args.from.clone(),
        host: host.to_owned(),
        starttls: args.starttls,
        tls: ClientTls::new(TlsPolicy::Required, args.ca.as_deref()).map_err(Failure::new)?,
        user,
        password,
        spool: spool.0.clone(),
    };
    let mut client = Client::connect(&way).await.map_err(failed(&way))?;
    let (folders, subscribed) = list(&mut client, &args).await.map_err(failed(&way))?;
    let mut filler = Filler::open(&session.user, &target).await?;
    if let Some(journal) = journal(session, &target, &args.to).await? {
        filler.remember(journal);
    }
    let mut numbering = Numbering::new(target.clone(), wall_ms());
    let mut client = Some(client);
    for folder in &folders {
        filler.folder(&folder.path, folder.special_use).await?;
        let mut tries = 0;
        loop {
            let before = filler.sums.fetched;
            let mut connected = match client.take() {
                Some(client) => client,
                None => match Client::connect(&way).await {
                    Ok(client) => client,
                    Err(error) => {
                        again(error, &mut tries, &way).await?;
                        continue;
                    }
                },
            };
            match fetch(&mut connected, &way, folder, (&mut filler, &mut numbering)).await {
                Ok(()) => {
                    client = Some(connected);
                    break;
                }
                Err(Stop::Here(failure)) => return Err(failure),
                Err(Stop::There(ClientError::No(why))) => {
                    filler.fail(&folder.name, why);
                    client = Some(connected);
                    break;
                }
                Err(Stop::There(error)) => {
                    if filler.sums.fetched > before {
                        tries = 0;
                    }
                    again(error, &mut tries, &way).await?;
                }
            }
        }
    }
    for path in subscribed {
        session.user.subscribe(&target, &path).await?;
    }
    let sums = filler.finish().await?;
    report(session, &target, sums)
}

/// A folder for messages on their way, which goes with what is in it.
struct SpoolFolder(PathBuf);

impl Drop for SpoolFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spool() -> Result<SpoolFolder, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(Failure::new)?;
    let name = format!("grapevine-import-{:016x}", u64::from_ne_bytes(random));
    let dir = std::env::temp_dir().join(name);
    crate::folder::create_private(&dir)
        .map_err(|error| Failure::new(format_args!("{}: {error}", dir.display())))?;
    Ok(SpoolFolder(dir))
}

async fn again(error: ClientError, tries: &mut u32, way: &Way) -> Result<(), Failure> {
    *tries += 1;
    let passes = matches!(error, ClientError::Broken(_));
    if !passes || *tries >= TRIES {
        return Err(failed(way)(error));
    }
    complain(format_args!("note: {}: {error}; once more", way.address));
    tokio::time::sleep(PAUSE * *tries).await;
    Ok(())
}

fn failed(way: &Way) -> impl Fn(ClientError) -> Failure {
    let address = way.address.clone();
    move |error| {
        let why = format!("{address}: {error}; run it again later, it goes on from there");
        match error {
            ClientError::Broken(_) => Failure::unavailable(why),
            ClientError::No(_) => Failure::new(why),
            ClientError::Login(_) => Failure {
                exit: Exit::NotAllowed,
                why: format!("{address}: {error}"),
            },
        }
    }
}

/// The folders there, and what is subscribed to.
async fn list(
    client: &mut Client,
    args: &ImapArgs,
) -> Result<(Vec<Folder>, Vec<FolderPath>), ClientError> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    let mut subscribed = Vec::new();
    let into = args.to.into.as_ref();
    client
        .command("LIST \"\" \"*\"", |answer| {
            let Some((attributes, name, path)) = listed(answer, "LIST") else {
                return;
            };
            let has = |what: &str| attributes.iter().any(|one| one.eq_ignore_ascii_case(what));
            if has("\\Noselect") || has("\\NonExistent") {
                return;
            }
            let special_use = USES.iter().find(|(attribute, _)| has(attribute));
            let folder = Folder {
                name: name.clone(),
                path: below(into, path),
                special_use: special_use.map(|(_, special_use)| *special_use),
            };
            folders.insert(name, folder);
        })
        .await?;
    client
        .command("LSUB \"\" \"*\"", |answer| {
            if let Some((_, _, path)) = listed(answer, "LSUB") {
                subscribed.push(path);
            }
        })
        .await?;
    let mut folders: Vec<Folder> = folders.into_values().collect();
    if !args.folder.is_empty() {
        let wanted = |name: &str| {
            let shown = from_utf7(name);
            (args.folder.iter()).any(|one| one == name || shown.as_ref() == Some(one))
        };
        folders.retain(|folder| wanted(&folder.name));
        if folders.is_empty() {
            return Err(ClientError::No("it has no such folder".into()));
        }
    }
    if into.is_some() || !args.folder.is_empty() {
        subscribed.clear();
    }
    Ok((folders, subscribed))
}

const USES: [(&str, SpecialUse); 6] = [
    ("\\Archive", SpecialUse::Archive),
    ("\\Drafts", SpecialUse::Drafts),
    ("\\Important", SpecialUse::Important),
    ("\\Junk", SpecialUse::Junk),
    ("\\Sent", SpecialUse::Sent),
    ("\\Trash", SpecialUse::Trash),
];

/// `* LIST (attributes) "/" name`
fn listed(answer: &[Token], word: &str) -> Option<(Vec<String>, String, FolderPath)> {
    answer.get(1).filter(|token| token.is(word))?;
    let attributes = answer.get(2)?.list()?.iter().filter_map(Token::text);
    let delimiter = match answer.get(3)? {
        token if token.is("NIL") => None,
        token => token.text()?.chars().next(),
    };
    let name = answer.get(4)?.text()?;
    let shown = match name.is_ascii() {
        true => from_utf7(&name).unwrap_or_else(|| name.clone()),
        false => name.clone(),
    };
    let path = match delimiter {
        Some(delimiter) => fitting(shown.split(delimiter)),
        None => fitting(std::iter::once(shown.as_str())),
    };
    Some((attributes.collect(), name, path))
}

/// Why a folder was left.
enum Stop {
    There(ClientError),
    Here(Failure),
}

impl<E: Into<ClientError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::There(error.into())
    }
}

/// Fetches what is new in a folder.
async fn fetch(
    client: &mut Client,
    way: &Way,
    folder: &Folder,
    (filler, numbering): (&mut Filler, &mut Numbering),
) -> Result<(), Stop> {
    let name = match folder.name.is_ascii() {
        true => quoted(&folder.name)?,
        false => return Err(ClientError::No("a name that is no modified UTF-7".into()).into()),
    };
    let (mut validity, mut exists) = (None, 0_u32);
    client
        .command(&format!("EXAMINE {name}"), |answer| {
            if answer.get(2).is_some_and(|word| word.is("EXISTS")) {
                exists = number(answer.get(1)).unwrap_or(0);
            }
            if answer.get(2).and_then(Token::text).is_some_and(|text| {
                text.eq_ignore_ascii_case("[UIDVALIDITY") || text.starts_with("[UIDVALIDITY")
            }) {
                // `[UIDVALIDITY 12]` is one word, as whatever is in brackets.
                let text = answer.get(2).and_then(Token::text).unwrap_or_default();
                let digits = text.trim_end_matches(']').rsplit(' ').next();
                validity = digits.and_then(|digits| digits.parse::<u32>().ok());
            }
        })
        .await?;
    if exists == 0 {
        return Ok(());
    }
    let mut mails: Vec<There> = Vec::new();
    client
        .command(
            "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
            |answer| {
                mails.extend(there(answer));
            },
        )
        .await?;
    let id = format!("{}\0{}\0{}", way.address, way.user, folder.name);
    let id = blake3::hash(id.as_bytes()).to_hex();
    let id = id.get(..16).unwrap_or_default().to_owned();
    let source = |uid: u32| validity.map(|validity| format!("{id}:{validity}:{uid}"));
    // Which of two alike is which stays as it was.
    let mut known: BTreeMap<u32, OriginId> = BTreeMap::new();
    for mail in &mails {
        let origin = source(mail.uid).and_then(|source| filler.journal().source(&source));
        known.extend(origin.map(|origin| (mail.uid, origin)));
    }
    let taken: HashSet<OriginId> = known.values().copied().collect();
    mails.retain(|mail| match known.get(&mail.uid) {
        Some(origin) => !filler.settled(*origin, None),
        None => true,
    });
    let mut rest = mails.as_slice();
    while !rest.is_empty() {
        let mut octets = 0;
        let mut fits = |mail: &&There| {
            octets += mail.octets;
            octets <= OCTETS_AT_ONCE
        };
        let many = rest
            .iter()
            .take(MAILS_AT_ONCE)
            .take_while(&mut fits)
            .count();
        let (now, later) = rest.split_at(many.clamp(1, rest.len()));
        rest = later;
        let uids: Vec<String> = now.iter().map(|mail| mail.uid.to_string()).collect();
        let uids = uids.join(",");
        let command = format!("UID FETCH {uids} (UID BODY.PEEK[])");
        let tag = client.send(&command).await?;
        while let Some(answer) = client.next(&tag).await? {
            let Some((uid, literal)) = body(&answer) else {
                continue;
            };
            let Some(mail) = now.iter().find(|mail| mail.uid == uid) else {
                continue;
            };
            let place = format!("{}, UID {uid}", folder.name);
            let (body, info) = match literal {
                Literal::Here(body, info) => (body, info),
                Literal::TooLong(octets) => {
                    filler.fail(&place, format_args!("it has {octets} octets: too long"));
                    continue;
                }
            };
            let origin = match known.get(&uid) {
                Some(origin) => *origin,
                None => fresh(numbering, &folder.path, info, &taken),
            };
            if let Some(source) = source(uid) {
                let noted = filler.journal().comes_from(&source, origin);
                noted.map_err(|error| Stop::Here(Failure::new(error)))?;
            }
            filler.sums.fetched += 1;
            let mail = Mail {
                place,
                origin,
                original: None,
                folder: folder.path.clone(),
                info,
                flags: mail.flags.clone(),
                date_ms: mail.date_ms,
                body,
            };
            filler.put(mail).await.map_err(Stop::Here)?;
        }
    }
    Ok(())
}

fn fresh(
    numbering: &mut Numbering,
    path: &FolderPath,
    info: BodyInfo,
    taken: &HashSet<OriginId>,
) -> OriginId {
    loop {
        let origin = numbering.origin(path, info);
        if !taken.contains(&origin) {
            return origin;
        }
    }
}

fn number(token: Option<&Token>) -> Option<u32> {
    token?.text()?.parse().ok()
}

/// The items of a FETCH answer, by their names.
fn items(answer: &[Token]) -> Option<impl Iterator<Item = (String, &Token)>> {
    answer.get(2).filter(|word| word.is("FETCH"))?;
    let list = answer.get(3)?.list()?;
    Some(list.chunks_exact(2).filter_map(|pair| match pair {
        [name, value] => Some((name.text()?.to_ascii_uppercase(), value)),
        _ => None,
    }))
}

fn there(answer: &[Token]) -> Option<There> {
    let mut mail = There {
        uid: 0,
        flags: Vec::new(),
        date_ms: None,
        octets: 0,
    };
    for (name, value) in items(answer)? {
        match name.as_str() {
            "UID" => mail.uid = number(Some(value))?,
            "FLAGS" => {
                let flags = value.list()?.iter().filter_map(Token::text);
                mail.flags = flags.filter_map(|flag| flag.parse().ok()).collect();
            }
            "INTERNALDATE" => mail.date_ms = date(&value.text()?),
            "RFC822.SIZE" => mail.octets = value.text()?.parse().unwrap_or(0),
            _ => {}
        }
    }
    (mail.uid > 0).then_some(mail)
}

fn body(answer: &[Token]) -> Option<(u32, Literal)> {
    let (mut uid, mut found) = (None, None);
    for (name, value) in items(answer)? {
        match (name.as_str(), value) {
            ("UID", value) => uid = number(Some(value)),
            ("BODY[]", Token::Literal(literal)) => found = Some(literal.clone()),
            // A short or an empty message may come in quotes, or as NIL.
            ("BODY[]", Token::Text(bytes)) => {
                let info = BodyInfo {
                    len: bytes.len() as u64,
                    digest: *blake3::hash(bytes).as_bytes(),
                };
                let source = grapevine_user::BodySource::bytes(bytes.as_slice());
                found = Some(Literal::Here(Body::from(source), info));
            }
            _ => {}
        }
    }
    Some((uid?, found?))
}

/// `17-Jul-1996 02:44:25 -0700`
fn date(text: &str) -> Option<u64> {
    let (day, rest) = text.trim().split_once(' ')?;
    let text = format!("{} {rest}", day.replace('-', " "));
    let date = DateTime::parse_rfc822(&text).filter(DateTime::is_valid)?;
    u64::try_from(date.to_timestamp()).ok()?.checked_mul(1_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates_and_names_are_read_as_servers_write_them() {
        assert_eq!(date("17-Jul-1996 02:44:25 -0700"), Some(837_596_665_000));
        assert_eq!(date(" 1-Jan-2004 00:00:00 +0000"), Some(1_072_915_200_000));
        assert_eq!(date("soon"), None);
        assert_eq!(host_of("mail.example.org:993"), Some("mail.example.org"));
        assert_eq!(host_of("[::1]:993"), Some("::1"));
        assert_eq!(host_of("mail.example.org"), None);
    }
}
