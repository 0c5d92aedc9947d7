//! A shell for IMAP sessions, without sockets: a mailbox in memory that several sessions share, and what must hold at every step.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use grapevine_doors::imap::{
    Answer, Appended, Ask, Change, Config, Extent, Flags, Flow, Folder, FolderId, Folders, Limits,
    News, Output, Quota, Reason, Refusal, Row, Session,
};
use grapevine_doors::{READ_BYTES, Tls};
use grapevine_model::{Hlc, MessageId, OriginId};

use crate::script::Scripted;

/// What happened; neighbouring sends are one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(Vec<u8>),
    TlsStarted,
    Asked(String),
    Closed,
}

/// A mailbox, as the core would keep one.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) folders: BTreeMap<u128, Kept>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) bodies: BTreeMap<MessageId, Vec<u8>>,
    pub(crate) next_uid: u32,
    pub(crate) modseq: u64,
    next_id: u64,
    /// Bodies break off after so many octets.
    pub(crate) fails_after: Option<usize>,
    /// Nothing is known now.
    pub(crate) down: bool,
    /// A site can't be heard.
    pub(crate) partial: bool,
}

#[derive(Default, Clone)]
pub(crate) struct Kept {
    pub(crate) path: String,
    pub(crate) special_use: Option<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) vanished: Vec<(u64, u32)>,
}

pub(crate) struct Client {
    pub(crate) session: Session,
    pub(crate) events: Vec<Event>,
    pub(crate) most_held_bytes: usize,
    pub(crate) store: Rc<RefCell<Store>>,
    pub(crate) piece_bytes: usize,
    pub(crate) sent: Vec<u8>,
    tls: Tls,
    staged: Vec<Vec<u8>>,
    staging: Option<(u64, Vec<u8>)>,
    /// A good password, or a proof of one, was shown.
    proved: bool,
}

pub(crate) fn message(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

impl Store {
    pub(crate) fn new() -> Self {
        let mut store = Self {
            next_uid: 1,
            modseq: 10,
            ..Self::default()
        };
        store.folders.insert(
            0,
            Kept {
                path: "INBOX".into(),
                ..Kept::default()
            },
        );
        store
    }

    pub(crate) fn deposit(&mut self, folder: u128, body: Vec<u8>, flags: &[&str]) -> u32 {
        let mail = self.id();
        self.bodies.insert(mail, body.clone());
        self.put(
            folder,
            mail,
            mail,
            body.len() as u64,
            Flags::of(flags.iter().copied()),
            86_400_000,
        )
    }

    fn id(&mut self) -> MessageId {
        self.next_id += 1;
        MessageId {
            time: Hlc(self.next_id),
            origin: OriginId(7),
        }
    }

    fn put(
        &mut self,
        folder: u128,
        mail: MessageId,
        content: MessageId,
        size_bytes: u64,
        flags: Flags,
        date_ms: u64,
    ) -> u32 {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.modseq += 1;
        let modseq = self.modseq;
        let kept = self.folders.get_mut(&folder).unwrap();
        kept.rows.push(Row {
            uid,
            mail,
            content,
            size_bytes,
            date_ms,
            modseq,
            flags,
        });
        uid
    }

    pub(crate) fn expunge(&mut self, folder: u128, mails: &[MessageId]) {
        self.modseq += 1;
        let modseq = self.modseq;
        let kept = self.folders.get_mut(&folder).unwrap();
        let (gone, rows) = kept
            .rows
            .drain(..)
            .partition(|row| mails.contains(&row.mail));
        let gone: Vec<Row> = gone;
        kept.rows = rows;
        kept.vanished
            .extend(gone.iter().map(|row| (modseq, row.uid)));
    }

    pub(crate) fn change(
        &mut self,
        folder: u128,
        mails: &[MessageId],
        change: Change,
        flags: &Flags,
        unchanged_since: Option<u64>,
    ) -> Vec<u32> {
        self.modseq += 1;
        let modseq = self.modseq;
        let mut left = Vec::new();
        for row in &mut self.folders.get_mut(&folder).unwrap().rows {
            if !mails.contains(&row.mail) {
                continue;
            }
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                left.push(row.uid);
                continue;
            }
            let changed = row.flags.changed(change, flags);
            if changed != row.flags {
                row.flags = changed;
                row.modseq = modseq;
            }
        }
        left
    }

    pub(crate) fn mails(&self, folder: u128) -> Vec<MessageId> {
        self.folders[&folder]
            .rows
            .iter()
            .map(|row| row.mail)
            .collect()
    }

    fn of_path(&self, path: &str) -> Option<u128> {
        self.folders
            .iter()
            .find(|(_, kept)| kept.path == path)
            .map(|(id, _)| *id)
    }

    fn news(&self, folder: u128, since: Option<u64>) -> Answer {
        let Some(kept) = self.folders.get(&folder) else {
            return Answer::No(Refusal::new(Reason::NoSuchFolder, "gone"));
        };
        let changed = |row: &&Row| since.is_none_or(|since| row.modseq > since);
        let vanished = kept
            .vanished
            .iter()
            .filter(|(modseq, _)| since.is_some_and(|since| *modseq > since));
        Answer::News(News {
            extent: if since.is_some() {
                Extent::Since
            } else {
                Extent::Whole
            },
            rows: kept.rows.iter().filter(changed).cloned().collect(),
            vanished: vanished.map(|(_, uid)| *uid).collect(),
            uidvalidity: 77,
            uidnext: self.next_uid,
            highest_modseq: self.modseq,
            mark: self.modseq,
            partial: self.partial,
        })
    }

    fn place(&mut self, from: u128, mails: &[MessageId], to: u128, moved: bool) -> Answer {
        let rows: Vec<Row> = self.folders[&from]
            .rows
            .iter()
            .filter(|row| mails.contains(&row.mail))
            .cloned()
            .collect();
        if moved {
            self.expunge(from, mails);
        }
        let mut uids = Vec::new();
        for row in rows {
            let mail = if moved { row.mail } else { self.id() };
            uids.push((
                row.uid,
                self.put(
                    to,
                    mail,
                    row.content,
                    row.size_bytes,
                    row.flags,
                    row.date_ms,
                ),
            ));
        }
        Answer::Placed {
            uidvalidity: 77,
            uids,
        }
    }

    fn answer(&mut self, ask: Ask, staged: &mut Vec<Vec<u8>>, proved: &mut bool) -> Option<Answer> {
        if self.down && !matches!(ask, Ask::Authenticate(_) | Ask::Body { .. }) {
            return Some(Answer::No(Refusal::try_later("not now")));
        }
        Some(match ask {
            Ask::Authenticate(credentials) => {
                if credentials.password.expose() == "sesame" {
                    *proved = true;
                    Answer::Yes
                } else {
                    Answer::No(Refusal::bad_credentials())
                }
            }
            Ask::ScramBegin { .. } => Answer::Challenge(crate::scram::challenge()),
            Ask::ScramFinish(proof) if proof.proof == crate::scram::PROOF => {
                *proved = true;
                Answer::Proved {
                    signature: crate::scram::SIGNATURE,
                }
            }
            Ask::ScramFinish(_) => Answer::No(Refusal::bad_credentials()),

            Ask::Folders => Answer::Folders(Folders {
                folders: self
                    .folders
                    .iter()
                    .map(|(id, kept)| Folder {
                        id: FolderId(*id),
                        path: kept.path.clone(),
                        uidvalidity: 77,
                        uidnext: self.next_uid,
                        messages: kept.rows.len() as u32,
                        unseen: kept.rows.iter().filter(|row| !row.flags.is_seen()).count() as u32,
                        deleted: kept
                            .rows
                            .iter()
                            .filter(|row| row.flags.is_deleted())
                            .count() as u32,
                        size_bytes: kept.rows.iter().map(|row| row.size_bytes).sum(),
                        highest_modseq: self.modseq,
                        special_use: kept.special_use.clone(),
                    })
                    .collect(),
                subscribed: self.subscribed.iter().cloned().collect(),
            }),
            Ask::Create { path, special_use } => {
                if self.of_path(&path).is_some() {
                    return Some(Answer::No(Refusal::new(Reason::FolderExists, "there is")));
                }
                self.next_id += 1;
                let id = u128::from(self.next_id) + 1000;
                self.folders.insert(
                    id,
                    Kept {
                        path,
                        special_use,
                        ..Kept::default()
                    },
                );
                Answer::Created(FolderId(id))
            }
            Ask::Delete(folder) => {
                self.folders.remove(&folder.0);
                Answer::Yes
            }
            Ask::Rename { folders } => {
                for (folder, to) in folders {
                    let from = self.folders[&folder.0].path.clone();
                    for kept in self.folders.values_mut() {
                        if kept.path == from || kept.path.starts_with(&format!("{from}/")) {
                            kept.path = format!("{to}{}", &kept.path[from.len()..]);
                        }
                    }
                }
                Answer::Yes
            }
            Ask::Subscribe(path) => {
                self.subscribed.insert(path);
                Answer::Yes
            }
            Ask::Unsubscribe(path) => {
                self.subscribed.remove(&path);
                Answer::Yes
            }
            Ask::View { folder, since } => self.news(folder.0, since),
            Ask::ChangeFlags {
                folder,
                mails,
                change,
                flags,
                unchanged_since,
            } => Answer::Stored {
                modified: self.change(folder.0, &mails, change, &flags, unchanged_since),
            },
            Ask::Expunge { folder, mails } => {
                self.expunge(folder.0, &mails);
                Answer::Yes
            }
            Ask::Copy { from, mails, to } => self.place(from.0, &mails, to.0, false),
            Ask::Move { from, mails, to } => self.place(from.0, &mails, to.0, true),
            Ask::Append { folder, messages } => {
                assert_eq!(messages.len(), staged.len(), "each message is staged once");
                let mut uids = Vec::new();
                for (Appended { flags, date_ms }, body) in
                    messages.into_iter().zip(staged.drain(..))
                {
                    let mail = self.id();
                    let size = body.len() as u64;
                    self.bodies.insert(mail, body);
                    uids.push((
                        0,
                        self.put(folder.0, mail, mail, size, flags, date_ms.unwrap_or(0)),
                    ));
                }
                Answer::Placed {
                    uidvalidity: 77,
                    uids,
                }
            }
            Ask::Quota => Answer::Quota(Quota {
                used_bytes: 5000,
                limit_bytes: Some(1_000_000),
                used_messages: 3,
                limit_messages: None,
            }),
            Ask::Body { .. } => return None,
        })
    }
}

impl Client {
    pub(crate) fn new(tls: Tls) -> Self {
        let mut store = Store::new();
        store.deposit(
            0,
            message("From: a@b\nSubject: one\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n"),
            &["\\Seen"],
        );
        store.deposit(0, message("Subject: two\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\npart one\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b--\n"), &[]);
        store.deposit(0, b"\r\nno header".to_vec(), &["\\Deleted", "Work"]);
        Self::on(tls, &Rc::new(RefCell::new(store)))
    }

    /// Another session on the same mailbox.
    pub(crate) fn on(tls: Tls, store: &Rc<RefCell<Store>>) -> Self {
        Self::limited(tls, store, Limits::default())
    }

    pub(crate) fn limited(tls: Tls, store: &Rc<RefCell<Store>>, limits: Limits) -> Self {
        let config = Config {
            hostname: "s1.example".into(),
            tls,
            scram: grapevine_model::ScramPolicy::Off,
            limits,
        };
        Self::configured(config, store)
    }

    pub(crate) fn configured(config: Config, store: &Rc<RefCell<Store>>) -> Self {
        let tls = config.tls;
        let session = Session::new(config);
        let mut client = Self {
            session,
            events: Vec::new(),
            most_held_bytes: 0,
            store: Rc::clone(store),
            piece_bytes: 1000,
            sent: Vec::new(),
            tls,
            staged: Vec::new(),
            staging: None,
            proved: false,
        };
        client.drain();
        client
    }

    /// Logged in, INBOX selected, and what was said so far forgotten.
    pub(crate) fn selected() -> Self {
        let mut client = Self::new(Tls::Active);
        client.feed(b"l LOGIN a@pa sesame\r\ns SELECT INBOX\r\n");
        assert!(
            client.text().contains("s OK [READ-WRITE]"),
            "{}",
            client.text()
        );
        client.sent.clear();
        client
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(READ_BYTES) {
            assert!(
                self.session.wants_bytes() || self.is_closed(),
                "a session at rest reads or is closed"
            );
            self.session.receive(piece);
            self.drain();
        }
    }

    /// Says something, and gives what is heard.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.sent.clear();
        self.feed(format!("{line}\r\n").as_bytes());
        self.text()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.events.last() == Some(&Event::Closed)
    }

    pub(crate) fn eof(&mut self) {
        self.session.eof();
        self.drain();
    }

    pub(crate) fn changed(&mut self) {
        self.session.mailbox_changed();
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
        while let Some(output) = self.session.poll() {
            assert!(!self.is_closed(), "nothing follows Close");
            match output {
                Output::Send(bytes) => self.record(bytes),
                Output::StartTls => {
                    assert_ne!(self.tls, Tls::Active);
                    self.tls = Tls::Active;
                    self.events.push(Event::TlsStarted);
                    self.session.receive(b"x LOGIN evil evil\r\n");
                    self.session.tls_started();
                }
                Output::Close => self.events.push(Event::Closed),
                Output::BodyStart { bytes } => {
                    assert!(self.staging.is_none());
                    self.staging = Some((bytes, Vec::new()));
                }
                Output::BodyChunk(piece) => {
                    self.staging.as_mut().unwrap().1.extend_from_slice(&piece)
                }
                Output::BodyEnd => {
                    let (bytes, body) = self.staging.take().unwrap();
                    assert_eq!(bytes, body.len() as u64, "as long as it was said to be");
                    self.staged.push(body);
                }
                Output::BodyAbort => {
                    self.staging = None;
                    self.staged.clear();
                }
                Output::Ask(ask) => self.answer(ask),
            }
            self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
        }
    }

    fn answer(&mut self, ask: Ask) {
        assert!(!self.session.wants_bytes(), "a question is open");
        if matches!(
            ask,
            Ask::Authenticate(_) | Ask::ScramBegin { .. } | Ask::ScramFinish(_)
        ) {
            assert_eq!(self.tls, Tls::Active, "no password without TLS");
        } else {
            assert!(self.proved, "nothing is asked for who has not logged in");
        }
        self.events.push(Event::Asked(format!("{ask:?}")));
        if let Ask::Body { mail, start } = ask {
            return self.give(mail, start);
        }
        let answer = self
            .store
            .borrow_mut()
            .answer(ask, &mut self.staged, &mut self.proved);
        if let Some(answer) = answer {
            self.session.answer(answer);
        }
    }

    fn give(&mut self, mail: MessageId, start: u64) {
        let (body, fails_after) = {
            let store = self.store.borrow();
            let content = store
                .folders
                .values()
                .flat_map(|kept| &kept.rows)
                .find(|row| row.mail == mail)
                .map_or(mail, |row| row.content);
            (store.bodies.get(&content).cloned(), store.fails_after)
        };
        let Some(body) = body else {
            return self.session.body_failed();
        };
        let body = &body[(start as usize).min(body.len())..];
        let end = fails_after.unwrap_or(usize::MAX).min(body.len());
        for piece in body[..end].chunks(self.piece_bytes) {
            let flow = self.session.body_chunk(piece);
            self.most_held_bytes = self.most_held_bytes.max(self.session.held_bytes());
            while let Some(output) = (flow == Flow::More).then(|| self.session.poll()).flatten() {
                match output {
                    Output::Send(bytes) => self.record(bytes),
                    Output::Close => return self.events.push(Event::Closed),
                    other => panic!("{other:?} in a body"),
                }
            }
            if flow == Flow::Enough {
                return;
            }
        }
        if end < body.len() {
            self.session.body_failed();
        } else {
            self.session.body_end();
        }
    }

    fn record(&mut self, bytes: Vec<u8>) {
        self.sent.extend_from_slice(&bytes);
        if let Some(Event::Sent(sent)) = self.events.last_mut() {
            sent.extend_from_slice(&bytes);
        } else {
            self.events.push(Event::Sent(bytes));
        }
    }
}

impl Scripted for Client {
    fn say(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn heard(&self) -> String {
        self.text()
    }
}
