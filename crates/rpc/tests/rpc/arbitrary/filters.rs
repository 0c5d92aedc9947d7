//! Arbitrary asks about filters, and answers.

use grapevine_model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn script() -> BoxedStrategy<ScriptName> {
    "[a-zé ]{1,9}"
        .prop_map(|text| text.parse().unwrap())
        .boxed()
}

fn script_text() -> BoxedStrategy<ScriptText> {
    "(?s).{0,40}"
        .prop_map(|text| text.try_into().unwrap())
        .boxed()
}

pub(super) fn request() -> BoxedStrategy<Request> {
    let ask = prop_oneof![
        Just(SieveAsk::List),
        script().prop_map(SieveAsk::Get),
        (script(), script_text()).prop_map(|(script, text)| SieveAsk::Put { script, text }),
        option::of(script()).prop_map(SieveAsk::Activate),
        script().prop_map(SieveAsk::Delete),
        (script(), script()).prop_map(|(script, to)| SieveAsk::Rename { script, to }),
        (script(), any::<u64>()).prop_map(|(script, len)| SieveAsk::HaveSpace { script, len }),
    ];
    (name(), ask)
        .prop_map(|(name, ask)| Request::Sieve { name, ask })
        .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    let view =
        (script(), any::<bool>(), any::<u64>()).prop_map(|(script, active, len)| ScriptView {
            script,
            active,
            len,
        });
    prop_oneof![
        vec(view, 0..4).prop_map(SieveReply::Scripts),
        script_text().prop_map(SieveReply::Text),
        Just(SieveReply::Fits),
    ]
    .prop_map(Reply::Sieve)
    .boxed()
}
