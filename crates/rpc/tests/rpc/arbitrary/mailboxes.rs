//! Arbitrary asks about mailboxes, and answers.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn folder() -> BoxedStrategy<FolderId> {
    prop_oneof![Just(FolderId::INBOX), any::<u128>().prop_map(FolderId)].boxed()
}

fn path() -> BoxedStrategy<FolderPath> {
    prop_oneof![
        Just("INBOX".to_owned()),
        "[A-Za-z&ä ]{1,9}(/[a-z.#]{1,5}){0,3}"
    ]
    .prop_map(|text| text.parse().unwrap())
    .boxed()
}

fn special_use() -> BoxedStrategy<Option<SpecialUse>> {
    option::of(prop_oneof![
        Just(SpecialUse::Archive),
        Just(SpecialUse::Drafts),
        Just(SpecialUse::Important),
        Just(SpecialUse::Junk),
        Just(SpecialUse::Sent),
        Just(SpecialUse::Trash),
    ])
    .boxed()
}

fn mark() -> BoxedStrategy<Mark> {
    any::<u64>().prop_map(Mark).boxed()
}

fn flags() -> BoxedStrategy<Vec<Flag>> {
    let flag = prop_oneof![
        proptest::sample::select(&Flag::SYSTEM[..]).prop_map(str::to_owned),
        "[$A-Za-z0-9]{1,9}"
    ];
    vec(flag.prop_map(|text| text.parse().unwrap()), 0..4).boxed()
}

fn ask() -> BoxedStrategy<MailboxAsk> {
    let change = prop_oneof![
        Just(FlagChange::Add),
        Just(FlagChange::Remove),
        Just(FlagChange::Replace)
    ];
    let to = || (folder(), ids(), folder());
    prop_oneof![
        Just(MailboxAsk::Folders),
        Just(MailboxAsk::Usage),
        (path(), special_use())
            .prop_map(|(path, special_use)| MailboxAsk::CreateFolder { path, special_use }),
        folder().prop_map(|folder| MailboxAsk::DeleteFolder { folder }),
        (folder(), path()).prop_map(|(folder, to)| MailboxAsk::RenameFolder { folder, to }),
        path().prop_map(|path| MailboxAsk::Subscribe { path }),
        path().prop_map(|path| MailboxAsk::Unsubscribe { path }),
        (folder(), option::of(mark()), any::<u32>()).prop_map(|(folder, since, after)| {
            MailboxAsk::View {
                folder,
                since,
                after,
            }
        }),
        (folder(), ids(), change, flags(), option::of(mark())).prop_map(
            |(folder, mails, change, flags, unchanged_since)| MailboxAsk::ChangeFlags {
                folder,
                mails,
                change,
                flags,
                unchanged_since,
            }
        ),
        (folder(), ids()).prop_map(|(folder, mails)| MailboxAsk::Expunge { folder, mails }),
        to().prop_map(|(from, mails, to)| MailboxAsk::Copy { from, mails, to }),
        to().prop_map(|(from, mails, to)| MailboxAsk::Move { from, mails, to }),
        (
            folder(),
            message_id(),
            body(),
            flags(),
            option::of(any::<u64>())
        )
            .prop_map(
                |(folder, message, body, flags, date_ms)| MailboxAsk::Append {
                    folder,
                    message,
                    body,
                    flags,
                    date_ms,
                }
            ),
    ]
    .boxed()
}

pub(super) fn request() -> BoxedStrategy<Request> {
    (name(), ask())
        .prop_map(|(name, ask)| Request::Mailbox { name, ask })
        .boxed()
}

fn folder_view() -> BoxedStrategy<FolderView> {
    let counts = any::<[u32; 5]>();
    (
        folder(),
        path(),
        special_use(),
        counts,
        any::<u64>(),
        mark(),
    )
        .prop_map(|(folder, path, special_use, counts, size, mark)| {
            let [uid_validity, uid_next, messages, unseen, deleted] = counts;
            FolderView {
                folder,
                path,
                special_use,
                uid_validity,
                uid_next,
                messages,
                unseen,
                deleted,
                size,
                mark,
            }
        })
        .boxed()
}

fn row() -> BoxedStrategy<MailRow> {
    let ids = (message_id(), option::of(message_id()), any::<u32>());
    let measures = (any::<u64>(), any::<u64>(), mark());
    (ids, measures, flags(), option::of(list_copy()))
        .prop_map(
            |((message, body, uid), (len, date_ms, mark), flags, list)| MailRow {
                uid,
                message,
                body: body.unwrap_or(message),
                len,
                date_ms,
                mark,
                flags,
                list,
            },
        )
        .boxed()
}

fn view() -> BoxedStrategy<MailboxView> {
    let extent = prop_oneof![Just(Extent::All), Just(Extent::Changes)];
    let numbers = (any::<u32>(), any::<u32>(), option::of(any::<u32>()));
    let lists = (vec(row(), 0..4), vec(any::<u32>(), 0..4));
    (folder(), extent, numbers, mark(), lists)
        .prop_map(
            |(folder, extent, (uid_validity, uid_next, next), mark, (rows, vanished))| {
                MailboxView {
                    folder,
                    extent,
                    uid_validity,
                    uid_next,
                    mark,
                    rows,
                    vanished,
                    next,
                }
            },
        )
        .boxed()
}

fn answer() -> BoxedStrategy<MailboxAnswer> {
    let flagged =
        (any::<u32>(), message_id(), mark(), flags()).prop_map(|(uid, message, mark, flags)| {
            FlaggedMail {
                uid,
                message,
                mark,
                flags,
            }
        });
    let copied = (any::<u32>(), any::<u32>(), message_id()).prop_map(|(from_uid, uid, message)| {
        CopiedMail {
            from_uid,
            uid,
            message,
        }
    });
    prop_oneof![
        (vec(folder_view(), 0..4), vec(path(), 0..4)).prop_map(|(folders, subscribed)| {
            MailboxAnswer::Folders {
                folders,
                subscribed,
            }
        }),
        folder_view().prop_map(MailboxAnswer::Folder),
        Just(MailboxAnswer::Done),
        (
            any::<(u64, u64)>(),
            option::of(any::<u64>()),
            option::of(any::<u64>())
        )
            .prop_map(|((octets, messages), most_octets, most_messages)| {
                MailboxAnswer::Usage {
                    usage: Usage { octets, messages },
                    quota: Quota {
                        octets: most_octets,
                        messages: most_messages,
                    },
                }
            }),
        view().prop_map(MailboxAnswer::View),
        (vec(flagged, 0..4), vec(any::<u32>(), 0..4))
            .prop_map(|(mails, kept)| MailboxAnswer::Flagged { mails, kept }),
        (vec(any::<u32>(), 0..4), mark())
            .prop_map(|(numbers, mark)| MailboxAnswer::Expunged { numbers, mark }),
        (any::<u32>(), vec(copied, 0..4), mark()).prop_map(|(uid_validity, mails, mark)| {
            MailboxAnswer::Copied {
                uid_validity,
                mails,
                mark,
            }
        }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(uid_validity, uid)| MailboxAnswer::Appended { uid_validity, uid }),
    ]
    .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    (server(), any::<bool>(), any::<u8>(), answer())
        .prop_map(|(by, partial, copies, answer)| {
            Reply::Mailbox(MailboxReply {
                by,
                partial,
                copies,
                answer,
            })
        })
        .boxed()
}
